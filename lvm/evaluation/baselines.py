"""Baselines: simple predictors of the next vector, for comparison with LVMs.

Contract: a baseline is a ``Predictor`` whose vector and query are the same. Only ridge regression is fitted, in closed
form on the training windows; the validation windows choose its penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lvm.arrays import FloatArray, IntArray
from lvm.evaluation.retrieval import Predictor
from lvm.sequences import SequenceSet, first_windows

RECENCY = 0.6
"""Weight of a vector of the context in the recency mean, relative to the vector after it."""

PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0), (1000.0, 3000.0)
"""Penalties that ridge regression tries: smaller ones until the validation cosine falls, then larger ones so."""

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
    width = sequences.context * sequences.dim
    gram, moment = (torch.from_numpy(each) for each in _normal_equations(sequences))
    best: Ridge | None = None
    before = 0.0
    for penalties in PENALTIES:
        for penalty in penalties:
            gram.diagonal()[:width] += penalty - before  # in place, as a copy is large; none on the intercept
            before = penalty
            factor = torch.linalg.cholesky(gram)  # half the work of a general solution
            weight = torch.cholesky_solve(moment, factor).numpy().astype(np.float32)
            ridge = Ridge(weight, penalty, 0.0)
            cosine = _cosine(sequences, ridge, limit)
            if best is not None and cosine <= best.validation_cosine:
                break
            best = Ridge(weight, penalty, cosine)
    assert best is not None
    return best


def _normal_equations(sequences: SequenceSet) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums over all training windows of X'X and X'Y, where a row of X has the context's vectors and a 1.

    Position i + 1 of a document's windows holds the vectors of position i, without the first and with one more. So only
    the products with position 0 are summed over all windows.

    Returns:
        (context * dim + 1, context * dim + 1) and (context * dim + 1, dim).
    """
    starts, unit, context, dim = sequences.starts["train"], sequences.unit, sequences.context, sequences.dim
    first = first_windows(starts)
    begins = starts[first]  # the first window of every document
    ends = starts[np.append(first[1:], len(starts)) - 1] + 1  # and the one after its last
    gram, moment = np.zeros((context * dim + 1,) * 2), np.zeros((context * dim + 1, dim))
    gram[-1, -1] = len(starts)

    def products(rows: IntArray, lag: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Sums over rows: of the products with the rows ``lag`` later, and of these."""
        product, total = np.zeros((dim, dim)), np.zeros(dim)
        for at in range(0, len(rows), _WINDOWS_AT_ONCE):
            chosen = rows[at : at + _WINDOWS_AT_ONCE]
            later = unit[chosen + lag]
            product += unit[chosen].T @ later
            total += later.sum(axis=0)
        return product, total

    for lag in range(context + 1):
        block, total = products(starts, lag)
        for place in range(min(context, context + 1 - lag)):
            if place:
                block -= products(begins + place - 1, lag)[0]
                block += products(ends + place - 1, lag)[0]
            row, column = slice(place * dim, (place + 1) * dim), slice((place + lag) * dim, (place + lag + 1) * dim)
            if place + lag == context:
                moment[row] = block
            else:
                gram[row, column], gram[column, row] = block, block.T
        if lag == context:
            moment[-1] = total
        else:
            gram[-1, lag * dim : (lag + 1) * dim] = gram[lag * dim : (lag + 1) * dim, -1] = total
    return gram, moment


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
