"""Latent vector models: one file per architecture, and the registry ``MODELS``.

Contract: nothing in this package reads or writes a file or a database.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args

from lvm.errors import UsageError
from lvm.models.base import LVM, ImpossibleModel, Prediction, States
from lvm.models.gru import GRU
from lvm.models.lstm import LSTM
from lvm.models.mamba2 import Mamba2
from lvm.models.transformer import Transformer

MODELS: dict[str, type[LVM]] = {model.name: model for model in (LSTM, GRU, Mamba2, Transformer)}
"""All architectures by name."""

Head = Literal["point", "energy"]
HEADS: tuple[Head, ...] = get_args(Head)
"""``point``: one prediction to decode and one to rank by. ``energy``: a sampling head besides."""

SAMPLER: dict[str, int] = {"sampler_width": 384, "sampler_blocks": 3, "sampler_noise": 64}
"""Hyperparameters of the sampling head, with their defaults; see ``lvm.models.sampler``."""

WIDEST, DEEPEST = 65_536, 128
"""Largest size of a network, and largest number of its layers."""

__all__ = [
    "HEADS",
    "LVM",
    "MODELS",
    "Head",
    "ImpossibleModel",
    "Prediction",
    "States",
    "UnknownModel",
    "build",
    "hyperparameters",
]


class UnknownModel(UsageError):
    """A model name or a hyperparameter does not exist."""


def build(name: str, dim: int, context: int, head: Head = "point", **hyper: Any) -> LVM:
    """Build an untrained model.

    Args:
        name: one of ``MODELS``.
        dim: dimension of the space.
        context: number of vectors in a window.
        head: one of ``HEADS``.
        **hyper: hyperparameters that differ from the defaults (``hidden``, ``dropout``, ...).

    Raises:
        UnknownModel: if the architecture or the head does not exist, or has no such hyperparameter.
        ImpossibleModel: if the hyperparameters make no network.
    """
    known = hyperparameters(name, head)
    unknown = sorted(set(hyper) - set(known))
    if unknown:
        raise UnknownModel(f"model {name} has no {', '.join(unknown)}; it has {', '.join(known)}")
    for key, value in hyper.items():
        if key == "dropout":
            if not 0 <= value < 1:
                raise ImpossibleModel(f"dropout is {value}; it must be from 0 up to 1, 1 excluded")
            continue
        largest = DEEPEST if key in ("layers", "sampler_blocks") else WIDEST
        if not 1 <= value <= largest:
            raise ImpossibleModel(f"{key} is {value}; it must be from 1 to {largest}")
    sampler = {key: hyper.pop(key, default) for key, default in SAMPLER.items()}
    model = _model(name)(dim, context, **hyper)
    if head == "energy":
        model.add_sampler(*sampler.values())
    return model


def hyperparameters(name: str, head: Head = "point") -> dict[str, Any]:
    """Hyperparameters of an architecture with a head, with their defaults.

    Raises:
        UnknownModel: if the architecture or the head does not exist.
    """
    if head not in HEADS:
        raise UnknownModel(f"there is no head {head!r}; choose one of {', '.join(HEADS)}")
    parameters = inspect.signature(_model(name)).parameters
    own = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return own | (SAMPLER if head == "energy" else {})


def _model(name: str) -> type[LVM]:
    if name not in MODELS:
        raise UnknownModel(f"there is no model {name!r}; choose one of {', '.join(MODELS)}")
    return MODELS[name]
