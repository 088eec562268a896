"""Baselines: simple predictors of the next vector, for comparison with LVMs.

Contract: a baseline is a ``Predictor`` whose vector and query are the same. Only ridge regression is fitted, in closed
form on the training windows; the validation windows choose its penalty. Few windows are fitted by their products with
each other, many by the sums of the products of features: the same solution, by the smaller matrix. It is solved in
float32. Where all vectors shared a direction (pairwise cosine 0.9), that moved weights by up to 0.015 and figures by
0.001.
"""

from __future__ import annotations

from collections.abc import Callable
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

    Memory is (context * dim) squared, whatever the number of windows.

    Args:
        sequences: the sequence set.
        limit: largest number of validation windows that choose the penalty.
    """
    few = 2 * len(sequences.starts["train"]) <= sequences.context * sequences.dim
    fit = _fit_by_windows(sequences) if few else _fit_by_features(sequences)
    best: Ridge | None = None
    for penalties in PENALTIES:
        for penalty in penalties:
            weight = fit(penalty)
            if weight is None:
                continue
            ridge = Ridge(weight, penalty, 0.0)
            cosine = _cosine(sequences, ridge, limit)
            if best is not None and cosine <= best.validation_cosine:
                break
            best = Ridge(weight, penalty, cosine)
    assert best is not None
    return best


Fit = Callable[[float], FloatArray | None]
"""Fits weights with a penalty. None if it is so small that float32 does not tell the equations from singular ones."""


def _fit_by_features(sequences: SequenceSet) -> Fit:
    """Ridge regression by the normal equations: one equation for each feature of a context."""
    gram, moment = (torch.from_numpy(each) for each in _normal_equations(sequences))
    solve = _damped(gram, gram.diagonal()[:-1], moment)  # no penalty on the intercept

    def fit(penalty: float) -> FloatArray | None:
        weight = solve(penalty)
        return None if weight is None else weight.numpy()

    return fit


def _fit_by_windows(sequences: SequenceSet) -> Fit:
    """The same by the dual equations: one equation for each window. Means are subtracted in place of an intercept."""
    starts = sequences.starts["train"]
    contexts = torch.from_numpy(sequences.contexts(starts).reshape(len(starts), -1))
    targets = torch.from_numpy(sequences.targets(starts))
    mean, target_mean = contexts.mean(dim=0), targets.mean(dim=0)
    centred = contexts - mean
    products = centred @ centred.T
    solve = _damped(products, products.diagonal(), targets - target_mean)

    def fit(penalty: float) -> FloatArray | None:
        shares = solve(penalty)
        if shares is None:
            return None
        weight = centred.T @ shares
        return torch.cat([weight, (target_mean - mean @ weight)[None]]).numpy()

    return fit


def _damped(
    matrix: torch.Tensor, diagonal: torch.Tensor, right: torch.Tensor
) -> Callable[[float], torch.Tensor | None]:
    """A function that adds a penalty to a symmetric matrix and solves it; None if it is not positive definite then.

    Args:
        matrix: (n, n). It is changed in place, as a copy is large.
        diagonal: what the penalty is added to, a view of ``matrix``.
        right: (n, m) right-hand sides.
    """
    before = 0.0

    def solve(penalty: float) -> torch.Tensor | None:
        nonlocal before
        diagonal.add_(penalty - before)
        before = penalty
        factor, failed = torch.linalg.cholesky_ex(matrix)  # half the work of a general solution
        return None if failed else torch.cholesky_solve(right, factor)

    return solve


def _normal_equations(sequences: SequenceSet) -> tuple[FloatArray, FloatArray]:
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
    gram = np.zeros((context * dim + 1,) * 2, np.float32)  # sums are float64; solving in float32 takes half the time
    moment = np.zeros((context * dim + 1, dim), np.float32)
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
