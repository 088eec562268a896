"""What a prediction is worth without a model: the figures every LVM is shown beside.

Contract: each baseline is a ``Predictor`` whose vector and query are the same. Only ridge learns, in
closed form from the training windows, with its penalty chosen on the validation windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lvm.evaluation.retrieval import (
    FloatArray,
    Predictor,
    RetrievalMetrics,
    corpus_mean,
    evaluate,
)
from lvm.sequences import SequenceSet, Split

RECENCY = 0.6
"""How much less each earlier vector of the context counts in the recency-weighted mean."""

PENALTIES = (1.0, 10.0, 100.0, 1000.0)

_ROWS = 8192


@dataclass(frozen=True)
class Ridge:
    """Linear map from a whole window to the next vector, at least squared error.

    Attributes:
        weight: (context * dim + 1, dim) float32; the last row is the intercept.
        penalty: the one of ``PENALTIES`` that did best on validation.
        validation_cosine: what it reached there.
    """

    weight: FloatArray
    penalty: float
    validation_cosine: float

    def __call__(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        flat = contexts.reshape(len(contexts), -1)
        vector = _unit(flat @ self.weight[:-1] + self.weight[-1])
        return vector, vector


def copy_last(contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The last vector of the context again."""
    vector = _unit(contexts[:, -1])
    return vector, vector


def context_mean(contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The direction of the context's mean."""
    vector = _unit(contexts.mean(axis=1))
    return vector, vector


def recency_mean(contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean in which a vector k places before the last counts ``RECENCY ** k``."""
    weights = (RECENCY ** np.arange(contexts.shape[1])[::-1]).astype(np.float32)
    vector = _unit(np.einsum("t,ntd->nd", weights, contexts))
    return vector, vector


def fit_ridge(sequences: SequenceSet, *, limit: int = 2048) -> Ridge:
    """Fit ridge on the training windows by streamed normal equations: memory is (context * dim) squared.

    Args:
        sequences: training windows fit it; at most ``limit`` validation windows choose the penalty.
    """
    starts = sequences.starts["train"]
    width = sequences.context * sequences.dim + 1
    gram, moment = np.zeros((width, width)), np.zeros((width, sequences.dim))
    for at in range(0, len(starts), _ROWS):
        chosen = starts[at : at + _ROWS]
        flat = np.ones((len(chosen), width), dtype=np.float32)
        flat[:, :-1] = sequences.contexts(chosen).reshape(len(chosen), -1)
        gram += flat.T @ flat
        moment += flat.T @ sequences.targets(chosen)
    best: Ridge | None = None
    for penalty in PENALTIES:
        damped = gram.copy()
        damped[np.arange(width - 1), np.arange(width - 1)] += penalty  # the intercept goes free
        weight = np.linalg.solve(damped, moment).astype(np.float32)
        ridge = Ridge(weight, penalty, 0.0)
        cosine = _cosine(sequences, ridge, limit)
        if best is None or cosine > best.validation_cosine:
            best = Ridge(weight, penalty, cosine)
    assert best is not None
    return best


def baselines(sequences: SequenceSet) -> dict[str, Predictor]:
    """All baselines by name, ridge fitted: copy_last, context_mean, recency_mean, ridge."""
    return {
        "copy_last": copy_last,
        "context_mean": context_mean,
        "recency_mean": recency_mean,
        "ridge": fit_ridge(sequences),
    }


def evaluate_baselines(
    sequences: SequenceSet,
    split: Split = "test",
    *,
    limit: int | None = None,
    centred: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, RetrievalMetrics]:
    """Measure every baseline on a split.

    Args:
        sequences, split, limit: see ``lvm.evaluation.retrieval.evaluate``.
        centred: rank with the training mean subtracted from queries and pool as well, under ``NAME_centred``.
        progress: called with each baseline's name before it is measured.
    """
    centre = corpus_mean(sequences) if centred else None
    measured = {}
    for name, predictor in baselines(sequences).items():
        if progress:
            progress(name)
        measured[name] = evaluate(sequences, predictor, split, limit=limit)
        if centre is not None:
            measured[f"{name}_centred"] = evaluate(sequences, predictor, split, limit=limit, centre=centre)
    return measured


def _cosine(sequences: SequenceSet, predictor: Predictor, limit: int) -> float:
    """Mean cosine on evenly spaced validation windows (on training windows where there is none)."""
    starts = sequences.starts["validation"]
    starts = starts if len(starts) else sequences.starts["train"]
    chosen = starts[np.linspace(0, len(starts) - 1, min(limit, len(starts))).round().astype(np.int64)]
    vector, _ = predictor(sequences.contexts(chosen))
    return float(np.einsum("nd,nd->n", vector, sequences.targets(chosen)).mean())


def _unit(raw: FloatArray) -> FloatArray:
    return np.asarray(raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12), dtype=np.float32)
