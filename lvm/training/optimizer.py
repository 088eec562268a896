"""The optimizer of latent vector models, for both parts of a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from lvm.training.config import TrainConfig


def groups_of(module: nn.Module, config: TrainConfig, scale: float = 1.0) -> list[dict[str, Any]]:
    """Parameter groups: no weight decay for biases, norms, scalars and recency weights.

    Args:
        module: its parameters are trained.
        config: names the weight decay.
        scale: multiplies the learning rate (``lvm.fitting.set_rate``).
    """
    recency = getattr(module, "recency", None)
    matrices = [p for p in module.parameters() if p.ndim >= 2 and p is not recency]
    others = [p for p in module.parameters() if p.ndim < 2 or p is recency]
    return [
        {"params": matrices, "weight_decay": config.weight_decay, "scale": scale},
        {"params": others, "weight_decay": 0.0, "scale": scale},
    ]


def optimizer_of(groups: Iterable[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW.

    Args:
        groups: from ``groups_of``.
        config: names the learning rate.
    """
    return torch.optim.AdamW(list(groups), lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
