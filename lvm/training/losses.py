"""The losses: near the next vector (cosine), above all others (InfoNCE), or each head its own (mix)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lvm.models import Prediction
from lvm.training.config import TrainConfig


def window_loss(
    config: TrainConfig, prediction: Prediction, targets: Tensor, others: Tensor, allowed: Tensor
) -> Tensor:
    """Mean loss of a batch of windows.

    Args:
        config: which loss, temperature and weight.
        prediction: (batch, dim) each.
        targets: (batch, dim) the true next vectors; each is a negative for the other windows.
        others: (n, dim) further negatives.
        allowed: (batch, batch + n) bool, see ``negatives_allowed``.
    """
    if config.loss == "cosine":
        return cosine_loss(prediction.vector, targets)
    contrast = info_nce(prediction.query, torch.cat([targets, others]), allowed, config.temperature)
    if config.loss == "infonce":
        return contrast
    return contrast + config.cosine_weight * cosine_loss(prediction.vector, targets)


def cosine_loss(vector: Tensor, targets: Tensor) -> Tensor:
    """1 - mean cosine of unit vectors."""
    return 1 - (vector * targets).sum(-1).mean()


def info_nce(query: Tensor, candidates: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding candidate i for query i among all allowed candidates."""
    logits = (query @ candidates.T).float() / temperature
    logits = logits.masked_fill(~allowed, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(query), device=query.device))


def negatives_allowed(starts: Tensor, context: int, rows: Tensor, likeness: Tensor) -> Tensor:
    """Which candidates may count against which window: what evaluation ranks among, and no false negatives.

    Args:
        starts: (batch,) first rows of the windows; the first ``batch`` candidates are their targets.
        context: vectors in a window.
        rows: (candidates,) their rows.
        likeness: (N,) equal for rows that hold the same vector (``likeness_of``).

    Returns:
        (batch, candidates) bool: not of the window's own context and not a copy of its target, except
        the target itself.
    """
    offset = rows[None, :] - starts[:, None]
    same = likeness[rows][None, :] == likeness[starts + context][:, None]
    allowed = ~(same | ((offset >= 0) & (offset < context)))
    return allowed.fill_diagonal_(True)


def likeness_of(unit: Tensor) -> Tensor:
    """(N,) int64 that is equal for copies of a vector (last-bit noise aside) and hardly ever otherwise.

    The signs of 63 fixed random projections: vectors at cosine 0.9 share all of them once in 10,000 pairs.
    """
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(unit.shape[1], 63, generator=generator).to(unit.device)
    powers = 2 ** torch.arange(63, device=unit.device)
    parts = [((part @ planes) > 0).long() @ powers for part in torch.split(unit, 16384)]
    return torch.cat(parts)
