"""Models and unfinished runs on disk.

Contract: checkpoints are sealed safetensors files (see ``lvm.files``), written atomically, so a killed process leaves
no half file. The folder of a model holds

    model.safetensors   weights of the best epoch; the header has everything that is needed to use them
    last.safetensors    state after the last epoch, to resume from: weights, optimizer, history
    config.json         the configuration, for reading
    versions/           the model of every finished run, named by the sha256 that its run recorded: a second name of
                        ``model.safetensors`` (a hard link), which stays when the next run replaces that

and, while heads are trained alone (``lvm.training.heads``),

    best.safetensors    weights of the best epoch before
    heads.safetensors   state of the heads after their last epoch
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvm import fitting
from lvm.arrays import FloatArray
from lvm.devices import enough_memory
from lvm.errors import UsageError, first_line, one_line
from lvm.files import CannotWrite, CorruptedFile, file_sha256, make_folder, replacing
from lvm.models import LVM, ImpossibleModel, UnknownModel, build
from lvm.settings import TEMPERATURE
from lvm.training.config import LOSSES, TrainResult

MODEL, LAST, CONFIG = "model.safetensors", "last.safetensors", "config.json"
BEST, HEADS = "best.safetensors", "heads.safetensors"
VERSIONS = "versions"
FORMAT = "lvm-model-1"


class NoSamples(UsageError):
    """Samples are asked of a model without a sampling head."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and its configuration.

    Attributes:
        model: the network with the weights of the best epoch, in evaluation mode.
        name: name of the architecture, or ``shipped`` (``lvm.pipeline.shipped``).
        loss: loss that it was trained with. It decides which head is decoded and which one ranks.
        space_name: name of the space. The model accepts only vectors of this space.
        space: fingerprint of the space.
        context: number of vectors in a window.
        sha256: of the file. Of a recorded model, what its training run recorded.
        digest: of the file's content, from its header. Version 0.1.0 recorded this one.
        config: configuration of the run.
        report: result of the training, if it was trained in this process.
        corpus: name of its corpus, if it is the shipped model. Of others the database knows the corpus.
    """

    model: LVM
    name: str
    loss: str
    space_name: str
    space: str
    context: int
    sha256: str
    digest: str
    config: dict[str, Any]
    report: TrainResult | None = None
    corpus: str | None = None

    def __repr__(self) -> str:
        best = f", best epoch {self.report.best.epoch}, R@10 {self.report.best.r10:.3f}" if self.report else ""
        return f"TrainedModel({self.name!r}, space={self.space_name!r}, context={self.context}{best})"

    @property
    def version(self) -> str:
        """Name of this very model: ``gru@`` and the first 12 digits of ``sha256``."""
        return f"{self.name}@{self.sha256[:12]}"

    def predict(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Predict the next vectors. This method is a ``lvm.evaluation.retrieval.Predictor``.

        Args:
            contexts: (n, context or more, dim) float32 unit vectors of the model's space; it sees the last ones.

        Returns:
            Vectors to decode and vectors to rank by: (n, dim) float32 unit vectors.
        """
        return predict(self.model, self.loss, contexts[:, -self.context :])

    @property
    def samples(self) -> bool:
        """Whether the model has a sampling head."""
        return self.model.sampler is not None

    @torch.inference_mode()
    def sample(
        self, contexts: FloatArray, count: int, *, temperature: float = TEMPERATURE, seed: int = 0
    ) -> FloatArray:
        """Draw samples of the next vectors.

        Args:
            contexts: (n, context or more, dim) float32 unit vectors of the model's space; it sees the last ones.
            count: samples per context.
            temperature: scale of the noise; 1 is what was trained, 0 gives one and the same sample.
            seed: seed of the noise. Contexts and samples get independent noise.

        Returns:
            (n, count, dim) float32 unit vectors.

        Raises:
            NoSamples: if the model has no sampling head.
            DeviceFull: if the device has too little free memory.
        """
        if self.model.sampler is None:
            raise NoSamples(
                f"model {self.name!r} has no sampling head, so it gives one prediction and no samples; train it with "
                "--head energy"
            )
        device = self.model.recency.device
        random = torch.Generator().manual_seed(int(seed))
        noise = (torch.rand(len(contexts), count, self.model.sampler.noise, generator=random) - 0.5) * temperature
        was_training = self.model.training
        self.model.eval()
        seen = np.ascontiguousarray(contexts[:, -self.context :], dtype=np.float32)
        with enough_memory(device):
            states = self.model.states(torch.from_numpy(seen).to(device))
            drawn: FloatArray = self.model.draw(states, noise.to(device)).cpu().numpy()
        self.model.train(was_training)
        return drawn


@torch.inference_mode()
def predict(model: LVM, loss: str, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predict the next vectors. The other head replaces a head that the loss does not train.

    Args:
        model: the network.
        loss: loss that it was trained with.
        contexts: (n, context, dim) float32 unit vectors.

    Returns:
        Vectors to decode and vectors to rank by: (n, dim) float32 unit vectors.
    """
    device = model.recency.device
    was_training = model.training
    model.eval()
    with enough_memory(device):
        prediction = model(torch.from_numpy(np.ascontiguousarray(contexts, dtype=np.float32)).to(device))
    model.train(was_training)
    vector, query = (part.cpu().numpy() for part in prediction)
    if loss in ("cosine", "text"):
        return vector, vector
    return (query, query) if loss == "infonce" else (vector, query)


def load_model(path: Path, device: str = "cpu") -> TrainedModel:
    """Open the best weights of a trained model.

    Args:
        path: folder of the model, or the file of a version.
        device: torch device.

    Raises:
        CorruptedFile: if the checkpoint is missing, damaged, or not of a model of this version.
        DeviceFull: if the device has too little free memory.
    """
    path = path if path.suffix == ".safetensors" else path / MODEL
    tensors, metadata = read(path)
    try:
        config = _described(metadata, tensors)
        head = config.get("head", "point")
        with fitting.seeded(0, torch.device("cpu")):  # a new model draws numbers, also while another thread trains
            model = build(config["model"], config["dim"], config["context"], head, **config["hyper"])
        model.load_state_dict(tensors)
        predict(model, config["loss"], np.zeros((1, config["context"], config["dim"]), np.float32))  # a test run
    except KeyError as error:
        raise CorruptedFile(f"{path} has no {error} in its header; delete it and train again") from error
    except (ValueError, TypeError, ArithmeticError, RuntimeError, UnknownModel, ImpossibleModel) as error:
        raise CorruptedFile(
            f"{path} does not fit a model of this version ({first_line(error)}); train it again"
        ) from error
    with enough_memory(torch.device(device)):
        model.to(device).eval()
    return TrainedModel(
        model=model,
        name=config["model"],
        loss=config["loss"],
        space_name=config["space_name"],
        space=config["space"],
        context=config["context"],
        sha256=file_sha256(path),
        digest=metadata["sha256"],
        config=config,
    )


@dataclass(frozen=True)
class Checkpoint:
    """The model in a folder.

    Attributes:
        sha256: of the file.
        digest: of its content, from its header.
        config: the configuration of its run, as JSON.
    """

    sha256: str
    digest: str
    config: str

    def is_of(self, config: dict[str, Any]) -> bool:
        """Whether its run had this configuration, a result of ``lvm.training.describe``."""
        return self.config == json.dumps(config, sort_keys=True)


def checkpoint_in(folder: Path) -> Checkpoint | None:
    """The model in a folder; None if there is none.

    Raises:
        CorruptedFile: if the checkpoint is damaged.
    """
    if not (folder / MODEL).is_file():
        return None
    _, metadata = read(folder / MODEL)
    return Checkpoint(file_sha256(folder / MODEL), metadata["sha256"], metadata.get("config", ""))


def version_file(folder: Path, sha256: str) -> Path:
    """The file of a version.

    Args:
        folder: folder of the model.
        sha256: what its training run recorded.
    """
    return folder / VERSIONS / f"{sha256}.safetensors"


def keep(folder: Path, sha256: str) -> Path:
    """Keep the model in a folder as a version: give its file a second name, or copy it where that is not possible.

    Args:
        folder: folder of the model.
        sha256: what its training run recorded.

    Returns:
        The file of the version.

    Raises:
        CannotWrite: if the folder cannot be written.
    """
    path, model = version_file(folder, sha256), folder / MODEL
    if path.is_file() and file_sha256(path) == file_sha256(model):
        return path
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        make_folder(path.parent)
        temporary.unlink(missing_ok=True)
        with suppress(OSError):  # a file system without hard links
            os.link(model, temporary)
            temporary.replace(path)
            return path
    except OSError as error:
        raise CannotWrite(
            f"{model} could not be kept as {path}: {error.strerror or error}; correct the permissions and run the same "
            "command again"
        ) from error
    with replacing(path) as copy, model.open("rb") as file:
        shutil.copyfileobj(file, copy)
    return path


def what_differs(earlier: str | None, config: dict[str, Any]) -> str:
    """Name the values in which an earlier run differs, for people.

    Args:
        earlier: the configuration in the header of its checkpoint.
        config: result of ``lvm.training.describe`` for the run that starts.

    Returns:
        E.g. ``learning_rate 0.001, now 0.0005; another sequence set``; empty if nothing is known to differ.
    """
    try:
        before, now = ({**values.pop("hyper"), **values} for values in (json.loads(earlier or ""), dict(config)))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return ""
    hashes = {"sequences_sha256": "another sequence set", "space": "another encoder"}
    differing = [name for name in {**now, **before} if before.get(name, hashes) != now.get(name, hashes)]
    named = [hashes.get(name) or f"{name} {before.get(name, '-')}, now {now.get(name, '-')}" for name in differing]
    return one_line("; ".join(named))[:400]


def _described(metadata: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The configuration in a checkpoint's header.

    The sizes are compared with the tensors before a network of these sizes is built.

    Raises:
        ValueError: if the configuration is invalid or does not match the tensors.
        KeyError: if a value is missing.
    """
    config: dict[str, Any] = json.loads(metadata["config"])
    if not isinstance(config, dict) or not isinstance(config["hyper"], dict):
        raise ValueError("its configuration is not a JSON object")
    for key in ("model", "loss", "space_name", "space"):
        if not isinstance(config[key], str):
            raise ValueError(f"its {key} is not a string")
        config[key].encode()  # raises for lone surrogates, which cannot be printed
    if config["loss"] not in LOSSES:
        raise ValueError(f"there is no loss {config['loss'][:40]!r}")
    dropout = config["hyper"].get("dropout", 0)
    sizes = [config["dim"], config["context"], *(size for key, size in config["hyper"].items() if key != "dropout")]
    weights = sum(tensor.numel() for tensor in tensors.values())
    if not all(type(size) is int and 0 < size <= weights for size in sizes) or not 0 <= dropout < 1:
        raise ValueError("its sizes do not match its weights")
    if config["hyper"].get("layers", 1) > len(tensors):
        raise ValueError("its number of layers does not match its weights")
    with torch.device("meta"):
        head = config.get("head", "point")  # version 0.1.0 had point models only
        shapes = build(config["model"], config["dim"], config["context"], head, **config["hyper"]).state_dict()
    if {name: each.shape for name, each in shapes.items()} != {name: each.shape for name, each in tensors.items()}:
        raise ValueError("its sizes do not match its weights")
    if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("its weights are not finite numbers")
    return config


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write a checkpoint; see ``fitting.write``."""
    return fitting.write(path, tensors, metadata, FORMAT)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write ``config.json``.

    Raises:
        CannotWrite: if the disk is full.
    """
    with replacing(folder / CONFIG) as file:
        file.write((json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a checkpoint; see ``fitting.read``."""
    return fitting.read(path, FORMAT)
