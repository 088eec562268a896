"""Models and unfinished runs on disk.

Contract: only safetensors, sealed (see ``lvm.files``) and written atomically; what is on disk is
always whole, whenever the process dies. A model's folder holds

    model.safetensors   weights of the best epoch, and in its header all that is needed to use them
    last.safetensors    the state after the last epoch, to go on from: weights, optimizer, history
    config.json         the same configuration for people to read
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor

from lvm.errors import first_line
from lvm.files import UNSEALED, CorruptedFile, replacing, verify, write_sealed
from lvm.models import LVM, UnknownModel, build
from lvm.training.config import LOSSES

FloatArray = npt.NDArray[np.float32]

MODEL, LAST, CONFIG = "model.safetensors", "last.safetensors", "config.json"
FORMAT = "lvm-model-1"


@dataclass(frozen=True)
class TrainedModel:
    """A model and what it was trained on and for.

    Attributes:
        model: the weights of the best epoch, in evaluation mode.
        name: its architecture.
        loss: what it was trained by; it decides which head decodes and which ranks.
        space_name, space: the space its vectors are of (name and fingerprint): hand it no others.
        context: vectors it expects.
        sha256: of the checkpoint's content, as its header states it.
        config: everything the run was asked to do.
    """

    model: LVM
    name: str
    loss: str
    space_name: str
    space: str
    context: int
    sha256: str
    config: dict[str, Any]

    def predict(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(n, context, dim) -> what to decode and what to rank by, (n, dim) float32 unit vectors each.

        It is a ``lvm.evaluation.retrieval.Predictor``.
        """
        return predict(self.model, self.loss, contexts)


@torch.inference_mode()
def predict(model: LVM, loss: str, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What ``model`` predicts; a head that ``loss`` does not train is stood in for by the other."""
    device = model.recency.device
    was_training = model.training
    model.eval()
    prediction = model(torch.from_numpy(np.ascontiguousarray(contexts, dtype=np.float32)).to(device))
    model.train(was_training)
    vector, query = (part.cpu().numpy() for part in prediction)
    if loss == "cosine":
        return vector, vector
    return (query, query) if loss == "infonce" else (vector, query)


def load_model(folder: Path, device: str = "cpu") -> TrainedModel:
    """Open the best weights of a trained model.

    Raises:
        CorruptedFile: if there is none, or it is damaged.
    """
    tensors, metadata = read(folder / MODEL)
    try:
        config = _described(metadata, tensors)
        model = build(config["model"], config["dim"], config["context"], **config["hyper"])
        model.load_state_dict(tensors)
        predict(model, config["loss"], np.zeros((1, config["context"], config["dim"]), np.float32))  # it works
    except KeyError as error:
        raise CorruptedFile(f"{folder / MODEL} does not say {error}; delete it and train again") from error
    except (ValueError, TypeError, ArithmeticError, RuntimeError, UnknownModel) as error:
        raise CorruptedFile(
            f"{folder / MODEL} does not fit a model of this version ({first_line(error)}); train it again"
        ) from error
    return TrainedModel(
        model=model.to(device).eval(),
        name=config["model"],
        loss=config["loss"],
        space_name=config["space_name"],
        space=config["space"],
        context=config["context"],
        sha256=metadata["sha256"],
        config=config,
    )


def checkpoint_of(folder: Path, config: dict[str, Any]) -> str | None:
    """sha256 of the model in a folder, if it is of a run that was asked to do this very thing.

    Raises:
        CorruptedFile: if it is damaged.
    """
    if not (folder / MODEL).is_file():
        return None
    _, metadata = read(folder / MODEL)
    return metadata["sha256"] if metadata["config"] == json.dumps(config, sort_keys=True) else None


def _described(metadata: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The configuration in a checkpoint's header; ValueError for one that is none, or not of these tensors.

    What it claims is compared with the tensors before a network of its sizes is built.
    """
    config: dict[str, Any] = json.loads(metadata["config"])
    if not isinstance(config, dict) or not isinstance(config["hyper"], dict):
        raise ValueError("its configuration is no JSON object")
    for key in ("model", "loss", "space_name", "space"):
        if not isinstance(config[key], str):
            raise ValueError(f"its {key} is no text")
        config[key].encode()  # raises for lone surrogates, which could not be printed
    if config["loss"] not in LOSSES:
        raise ValueError(f"there is no loss {config['loss'][:40]!r}")
    dropout = config["hyper"].get("dropout", 0)
    sizes = [config["dim"], config["context"], *(size for key, size in config["hyper"].items() if key != "dropout")]
    weights = sum(tensor.numel() for tensor in tensors.values())
    if not all(type(size) is int and 0 < size <= weights for size in sizes) or not 0 <= dropout < 1:
        raise ValueError("its sizes are not those of its weights")
    if config["hyper"].get("layers", 1) > len(tensors):
        raise ValueError("its layers are not those of its weights")
    with torch.device("meta"):
        shapes = build(config["model"], config["dim"], config["context"], **config["hyper"]).state_dict()
    if {name: each.shape for name, each in shapes.items()} != {name: each.shape for name, each in tensors.items()}:
        raise ValueError("its sizes are not those of its weights")
    if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("its weights are not finite numbers")
    return config


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write tensors and metadata, sealed and all at once; returns the content's sha256.

    Raises:
        CannotWrite: if the disk is full; the checkpoint that was there is intact.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_sealed(path, safetensors.torch.save(plain, {**metadata, "format": FORMAT, "sha256": UNSEALED}))


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write ``config.json``."""
    with replacing(folder / CONFIG) as file:
        file.write((json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a checkpoint whose every byte has been checked.

    Raises:
        CorruptedFile: if it is missing, cut short, changed, or of another format.
    """
    header, _ = verify(path)
    metadata = header["__metadata__"]
    if metadata.get("format") != FORMAT:
        raise CorruptedFile(f"{path} is no checkpoint of this version; delete it and train again")
    try:
        return safetensors.torch.load_file(path), metadata
    except Exception as error:  # safetensors has its own error, torch and the file system theirs
        raise CorruptedFile(f"{path} cannot be read ({first_line(error)}); delete it and train again") from error
