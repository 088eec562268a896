"""Latent vector models: text to vectors, vectors to predictions, predictions to text, on one encoding path.

    import lvm

    with lvm.open_workspace() as work:                # an embedded Postgres, or LVM_DATABASE_URL
        lvm.ingest(work, "sotu", limit=20)
        lvm.validate(work)                            # raises GateBlocked, with the figures on it
        sequences = lvm.extract(work)
        model = lvm.train(work, sequences, "gru", epochs=3)
        report = lvm.evaluate(work, sequences, [model])
        lvm.promote(work, model)                      # answers from now on where no model is named
        lvm.predict_next(work, model, ["The state of our union is strong."]).text
        for step in lvm.write(work, model, "The state of our union is strong."):
            print(step.text)

Every name below is loaded on first use: ``import lvm`` alone imports neither torch nor a database driver.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvm.encoding.vectors import SpaceMismatch, Vectors
    from lvm.errors import LvmError
    from lvm.pipeline.errors import GateBlocked, GateMissing
    from lvm.pipeline.evaluate import evaluate
    from lvm.pipeline.extract import extract
    from lvm.pipeline.generate import write
    from lvm.pipeline.ingest import ingest
    from lvm.pipeline.predict import predict_next
    from lvm.pipeline.promote import promote
    from lvm.pipeline.sources import remove
    from lvm.pipeline.train import train
    from lvm.pipeline.validate import validate
    from lvm.pipeline.workspace import Workspace, open_workspace
    from lvm.settings import Settings
    from lvm.spaces.registry import open_space
    from lvm.spaces.space import Space
    from lvm.training.config import TrainConfig

_HOME = {
    "GateBlocked": "lvm.pipeline.errors",
    "GateMissing": "lvm.pipeline.errors",
    "LvmError": "lvm.errors",
    "Settings": "lvm.settings",
    "Space": "lvm.spaces.space",
    "SpaceMismatch": "lvm.encoding.vectors",
    "TrainConfig": "lvm.training.config",
    "Vectors": "lvm.encoding.vectors",
    "Workspace": "lvm.pipeline.workspace",
    "evaluate": "lvm.pipeline.evaluate",
    "extract": "lvm.pipeline.extract",
    "ingest": "lvm.pipeline.ingest",
    "open_space": "lvm.spaces.registry",
    "open_workspace": "lvm.pipeline.workspace",
    "predict_next": "lvm.pipeline.predict",
    "promote": "lvm.pipeline.promote",
    "remove": "lvm.pipeline.sources",
    "train": "lvm.pipeline.train",
    "validate": "lvm.pipeline.validate",
    "write": "lvm.pipeline.generate",
}
"""Module of each public name."""

__all__ = [
    "GateBlocked",
    "GateMissing",
    "LvmError",
    "Settings",
    "Space",
    "SpaceMismatch",
    "TrainConfig",
    "Vectors",
    "Workspace",
    "evaluate",
    "extract",
    "ingest",
    "open_space",
    "open_workspace",
    "predict_next",
    "promote",
    "remove",
    "train",
    "validate",
    "write",
]

try:
    __version__ = version("lvm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lvm' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
