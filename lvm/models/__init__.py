"""Latent vector models: one file per architecture, and the registry ``MODELS``.

Contract: nothing in this package reads or writes a file or a database.
"""

from __future__ import annotations

import inspect
from typing import Any

from lvm.errors import UsageError
from lvm.models.base import LVM, ImpossibleModel, Prediction
from lvm.models.gru import GRU
from lvm.models.lstm import LSTM
from lvm.models.mamba2 import Mamba2
from lvm.models.transformer import Transformer

MODELS: dict[str, type[LVM]] = {model.name: model for model in (LSTM, GRU, Mamba2, Transformer)}
"""All architectures by name."""

WIDEST, DEEPEST = 65_536, 128
"""Largest size of a network, and largest number of its layers."""

__all__ = ["LVM", "MODELS", "ImpossibleModel", "Prediction", "UnknownModel", "build", "hyperparameters"]


class UnknownModel(UsageError):
    """A model name or a hyperparameter does not exist."""


def build(name: str, dim: int, context: int, **hyper: Any) -> LVM:
    """Build an untrained model.

    Args:
        name: one of ``MODELS``.
        dim: dimension of the space.
        context: number of vectors in a window.
        **hyper: hyperparameters that differ from the defaults (``hidden``, ``dropout``, ...).

    Raises:
        UnknownModel: if the architecture does not exist, or has no such hyperparameter.
        ImpossibleModel: if the hyperparameters make no network.
    """
    model = _model(name)
    unknown = sorted(set(hyper) - set(hyperparameters(name)))
    if unknown:
        raise UnknownModel(f"model {name} has no {', '.join(unknown)}; it has {', '.join(hyperparameters(name))}")
    for key, value in hyper.items():
        if key == "dropout":
            if not 0 <= value < 1:
                raise ImpossibleModel(f"dropout is {value}; it must be from 0 up to 1, 1 excluded")
            continue
        largest = DEEPEST if key == "layers" else WIDEST
        if not 1 <= value <= largest:
            raise ImpossibleModel(f"{key} is {value}; it must be from 1 to {largest}")
    return model(dim, context, **hyper)


def hyperparameters(name: str) -> dict[str, Any]:
    """Hyperparameters of an architecture, with their defaults.

    Raises:
        UnknownModel: if the architecture does not exist.
    """
    parameters = inspect.signature(_model(name)).parameters
    return {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}


def _model(name: str) -> type[LVM]:
    if name not in MODELS:
        raise UnknownModel(f"there is no model {name!r}; choose one of {', '.join(MODELS)}")
    return MODELS[name]
