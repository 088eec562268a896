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

from lvm.files import UNSEALED, CorruptedFile, replacing, verify, write_sealed
from lvm.models import LVM, build

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
    config = json.loads(metadata["config"])
    model = build(config["model"], config["dim"], config["context"], **config["hyper"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CorruptedFile(
            f"{folder / MODEL} does not fit model {config['model']} of this version; train it again"
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
    return safetensors.torch.load_file(path), metadata
