"""Baselines: simple predictors of the next vector, for comparison with LVMs.

Contract: a baseline is a ``Predictor`` whose vector and query are the same. Only ridge regression is fitted, in closed
form on the training windows; the validation windows choose its penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lvm.arrays import FloatArray
from lvm.evaluation.retrieval import Predictor
from lvm.sequences import SequenceSet

RECENCY = 0.6
"""Weight of a vector of the context in the recency mean, relative to the vector after it."""

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Penalties that ridge regression tries."""

_WINDOWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Ridge:
    """Ridge regression: a linear map from all vectors of a context to the next vector.

    Attributes:
        weight: (context * dim + 1, dim) float32; the last row is the intercept.
        penalty: the penalty, of ``PENALTIES``, with the best validation cosine.
        validation_cosine: mean cosine to the true next vector on validation windows.
    """

    weight: FloatArray
    penalty: float
    validation_cosine: float

    def __call__(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        flat = contexts.reshape(len(contexts), -1)
        vector = _unit(flat @ self.weight[:-1] + self.weight[-1])
        return vector, vector


def copy_last(contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predict the last vector of the context."""
    vector = _unit(contexts[:, -1])
    return vector, vector


def context_mean(contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predict the direction of the mean of the context."""
    vector = _unit(contexts.mean(axis=1))
    return vector, vector


def recency_mean(contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predict a weighted mean of the context; the vector k positions before the last has weight ``RECENCY ** k``."""
    weights = (RECENCY ** np.arange(contexts.shape[1])[::-1]).astype(np.float32)
    vector = _unit(np.einsum("t,ntd->nd", weights, contexts))
    return vector, vector


def fit_ridge(sequences: SequenceSet, *, limit: int = 2048) -> Ridge:
    """Fit ridge regression on the training windows.

    The normal equations are summed in batches, so memory is (context * dim) squared.

    Args:
        sequences: the sequence set.
        limit: largest number of validation windows that choose the penalty.
    """
    starts = sequences.starts["train"]
    width = sequences.context * sequences.dim + 1
    gram, moment = np.zeros((width, width)), np.zeros((width, sequences.dim))
    for at in range(0, len(starts), _WINDOWS_AT_ONCE):
        chosen = starts[at : at + _WINDOWS_AT_ONCE]
        flat = np.ones((len(chosen), width), dtype=np.float32)
        flat[:, :-1] = sequences.contexts(chosen).reshape(len(chosen), -1)
        gram += flat.T @ flat
        moment += flat.T @ sequences.targets(chosen)
    best: Ridge | None = None
    for penalty in PENALTIES:
        damped = gram.copy()
        damped[np.arange(width - 1), np.arange(width - 1)] += penalty  # no penalty on the intercept
        weight = np.linalg.solve(damped, moment).astype(np.float32)
        ridge = Ridge(weight, penalty, 0.0)
        cosine = _cosine(sequences, ridge, limit)
        if best is None or cosine > best.validation_cosine:
            best = Ridge(weight, penalty, cosine)
    assert best is not None
    return best


def baselines(sequences: SequenceSet) -> dict[str, Predictor]:
    """All baselines by name: ``copy_last``, ``context_mean``, ``recency_mean`` and a fitted ``ridge``."""
    return {
        "copy_last": copy_last,
        "context_mean": context_mean,
        "recency_mean": recency_mean,
        "ridge": fit_ridge(sequences),
    }


def _cosine(sequences: SequenceSet, predictor: Predictor, limit: int) -> float:
    """Mean cosine to the target on evenly spaced validation windows; on training windows if there are none."""
    starts = sequences.starts["validation"]
    starts = starts if len(starts) else sequences.starts["train"]
    chosen = starts[np.linspace(0, len(starts) - 1, min(limit, len(starts))).round().astype(np.int64)]
    vector, _ = predictor(sequences.contexts(chosen))
    return float(np.einsum("nd,nd->n", vector, sequences.targets(chosen)).mean())


def _unit(raw: FloatArray) -> FloatArray:
    return np.asarray(raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12), dtype=np.float32)
