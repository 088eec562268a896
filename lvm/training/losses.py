"""The losses: cosine and text for the vector head, InfoNCE for the query head, energy for the sampling head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lvm.models import Prediction
from lvm.training.config import TrainConfig

_NEAR = 1e-6  # added to squared distances: the gradient of a root is infinite at 0


def window_loss(
    config: TrainConfig, prediction: Prediction, targets: Tensor, others: Tensor, allowed: Tensor
) -> Tensor:
    """Mean loss of the point heads on a batch of windows, without the text loss.

    Args:
        config: names the loss, its temperature and its weight.
        prediction: predictions for the batch, two tensors (batch, dim).
        targets: (batch, dim) true next vectors. The targets of other windows are negatives of a window.
        others: (n, dim) further negatives.
        allowed: (batch, batch + n) bool from ``negatives_allowed``.

    Returns:
        A scalar tensor; 0 for the loss ``text``.
    """
    loss = torch.zeros((), device=targets.device)
    if config.loss in ("mix", "infonce"):
        loss = loss + info_nce(prediction.query, torch.cat([targets, others]), allowed, config.temperature)
    if config.loss in ("mix", "cosine"):
        weight = config.cosine_weight if config.loss == "mix" else 1.0
        loss = loss + weight * cosine_loss(prediction.vector, targets)
    return loss


def energy_loss(samples: Tensor, targets: Tensor) -> Tensor:
    """Energy score of samples (Gneiting & Raftery, 2007): it is smallest if they follow the targets' distribution.

    Args:
        samples: (batch, n, dim) unit vectors, n at least 2.
        targets: (batch, dim) true next vectors.

    Returns:
        Mean of 2/n sum |target - sample| - 1/(n (n - 1)) sum |sample - sample'|, a scalar tensor.
    """
    n = samples.shape[1]
    to_target = _distance(torch.einsum("bnd,bd->bn", samples, targets)).mean()
    between = _distance(torch.einsum("bnd,bmd->bnm", samples, samples))
    apart = ~torch.eye(n, dtype=torch.bool, device=samples.device)
    return 2 * to_target - between[:, apart].mean()


def _distance(cosine: Tensor) -> Tensor:
    """Euclidean distance of unit vectors with a cosine."""
    return (2 - 2 * cosine.float()).clamp_min(0).add(_NEAR).sqrt()


def cosine_loss(vector: Tensor, targets: Tensor) -> Tensor:
    """1 - mean cosine between equal rows of two tensors (batch, dim) of unit vectors."""
    return 1 - (vector * targets).sum(-1).mean()


def info_nce(query: Tensor, candidates: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al., 2018): cross-entropy of candidate i for query i among the allowed candidates.

    Args:
        query: (batch, dim) unit vectors.
        candidates: (batch + n, dim) unit vectors; the first ``batch`` are the targets.
        allowed: (batch, batch + n) bool.
        temperature: divides the cosines.
    """
    logits = (query @ candidates.T).float() / temperature
    logits = logits.masked_fill(~allowed, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(query), device=query.device))


def negatives_allowed(starts: Tensor, context: int, rows: Tensor, hashes: Tensor) -> Tensor:
    """Which candidates are compared with which windows.

    A window is not compared with its own context, as in evaluation, and not with copies of its target, which would be
    false negatives.

    Args:
        starts: (batch,) first rows of the windows. The first ``batch`` candidates are their targets.
        context: vectors in a window.
        rows: (candidates,) rows of the candidates.
        hashes: (N,) hashes of all rows from ``simhash``.

    Returns:
        (batch, candidates) bool.
    """
    offset = rows[None, :] - starts[:, None]
    same = hashes[rows][None, :] == hashes[starts + context][:, None]
    allowed = ~(same | ((offset >= 0) & (offset < context)))
    return allowed.fill_diagonal_(True)


def simhash(unit: Tensor) -> Tensor:
    """Hashes that are equal for copies of a vector, also with different last bits, and rarely for other vectors.

    A hash is the signs of 63 fixed random projections (Charikar, STOC 2002). Two vectors with cosine 0.9 have the same
    hash in one of 10,000 pairs.

    Args:
        unit: (N, dim) unit vectors.

    Returns:
        (N,) int64.
    """
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(unit.shape[1], 63, generator=generator).to(unit.device)
    powers = 2 ** torch.arange(63, device=unit.device)
    return (((unit @ planes) > 0) * powers).sum(dim=-1)  # CUDA multiplies no matrices of integers
