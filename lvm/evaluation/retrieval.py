"""Retrieval metrics: how well a predictor ranks the true next chunk among all chunks of a split.

Contract: a predictor, model or baseline, is a function from contexts to two unit vectors: ``vector``, measured by its
cosine to the true next vector, and ``query``, measured by the rank of the true next chunk. All predictors are measured
on the same windows and the same pool: all chunks of the split's documents. The chunks of a window's own context are
left out of its ranking. Scores are computed in blocks, so memory does not grow with the split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from lvm.arrays import FloatArray, IntArray
from lvm.errors import LvmError
from lvm.evaluation.intervals import interval
from lvm.sequences import SequenceSet, Split

Predictor = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""(n, context, dim) contexts -> (vector, query), both (n, dim) of norm 1."""

CUTS = (1, 5, 10, 50)
"""The k of the metrics R@k."""

MEASURED_WINDOWS = 20_000
"""Windows that suffice for a large split: the standard error of R@10 is below 0.004."""

_TIE = 1e-6
"""Scores with a smaller difference are equal: BLAS may compute the last bits of two copies of a vector differently."""


class InvalidPrediction(LvmError):
    """A prediction is NaN or infinite."""


class EmptySplit(LvmError):
    """A split has no window."""


@dataclass(frozen=True)
class RetrievalMetrics:
    """Metrics of a predictor on a split.

    Attributes:
        n: number of measured windows.
        pool: number of ranked chunks, before a window's own context is left out.
        cosine: mean cosine of ``vector`` to the true next vector.
        copy_cosine: mean cosine of ``vector`` to the last vector of the context.
        margin: ``cosine - copy_cosine``; negative if predictions are nearer to the past than to the future.
        r1: share of windows whose true next chunk has rank 1 by ``query``.
        r5: share of windows whose true next chunk has rank 5 or better.
        r10: share of windows whose true next chunk has rank 10 or better.
        r50: share of windows whose true next chunk has rank 50 or better.
        mrr: mean reciprocal rank.
        norm_error: largest ``|1 - norm|`` of all vectors and queries.
    """

    n: int
    pool: int
    cosine: float
    copy_cosine: float
    margin: float
    r1: float
    r5: float
    r10: float
    r50: float
    mrr: float
    norm_error: float

    def as_dict(self) -> dict[str, float]:
        """All metrics by name."""
        return asdict(self)


@dataclass(frozen=True)
class WindowFigures:
    """A predictor on every measured window, for paired comparisons.

    Attributes:
        cosine: (n,) cosines of ``vector`` to the true next vector.
        rank: (n,) int64 ranks of the true next chunk by ``query``, from 1.
        document: (n,) int64 numbers of the windows' documents.
    """

    cosine: FloatArray
    rank: IntArray
    document: IntArray


@dataclass(frozen=True)
class Difference:
    """A figure of a model minus the same figure of one baseline, on the same windows.

    Attributes:
        over: name of the baseline.
        value: the mean difference; positive if the model is better.
        interval: 95 % interval of ``value``, by bootstrap over documents; NaN for a single window.
    """

    over: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Lead:
    """How far a model is ahead of the best baseline. The best one by cosine may be another than by R@10."""

    cosine: Difference
    r10: Difference


def lead(model: WindowFigures, baselines: Mapping[str, WindowFigures]) -> Lead:
    """Compare a model with the best baseline by cosine, and with the best one by R@10.

    Args:
        model: figures of the model.
        baselines: figures of at least one baseline by name, on the same windows.
    """

    def difference(own: FloatArray, others: dict[str, FloatArray]) -> Difference:
        over = max(others, key=lambda name: float(others[name].mean()))
        apart = own.astype(np.float64) - others[over]
        return Difference(over, float(apart.mean()), interval(apart, model.document))

    return Lead(
        cosine=difference(model.cosine, {name: each.cosine for name, each in baselines.items()}),
        r10=difference(_hits(model), {name: _hits(each) for name, each in baselines.items()}),
    )


def _hits(figures: WindowFigures) -> FloatArray:
    return (figures.rank <= 10).astype(np.float32)


def evaluate(
    sequences: SequenceSet,
    predictor: Predictor,
    split: Split = "test",
    *,
    limit: int | None = None,
    batch: int = 1024,
) -> RetrievalMetrics:
    """Measure a predictor on the windows of a split: ``measure`` without the figures of single windows."""
    return measure(sequences, predictor, split, limit=limit, batch=batch)[0]


def measure(
    sequences: SequenceSet,
    predictor: Predictor,
    split: Split = "test",
    *,
    limit: int | None = None,
    batch: int = 1024,
) -> tuple[RetrievalMetrics, WindowFigures]:
    """Measure a predictor on the windows of a split.

    Args:
        sequences: the sequence set.
        predictor: see ``Predictor``.
        split: the split.
        limit: largest number of windows, evenly spaced; None for all. The pool is always the whole split.
        batch: windows that are predicted and ranked together.

    Returns:
        The metrics, and the figures of every window.

    Raises:
        EmptySplit: if the split has no window.
        InvalidPrediction: if a prediction is not finite.
    """
    starts = sequences.starts[split]
    if not len(starts):
        raise EmptySplit(
            f"the {split} split has no window, so nothing can be measured: extract sequences from more or longer "
            "documents"
        )
    if limit is not None and limit < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, limit).round().astype(np.int64)]
    rows = sequences.rows(split)
    pool = np.asarray(sequences.unit[rows])
    cosines, copies, found, norm_error = [], [], [], 0.0
    for at in range(0, len(starts), batch):
        chosen = starts[at : at + batch]
        contexts = sequences.contexts(chosen)
        vector, query = predictor(contexts)
        for name, value in (("vector", vector), ("query", query)):
            if not np.isfinite(value).all():
                raise InvalidPrediction(
                    f"the predictor's {name} is not finite: its training diverged; "
                    "train again with a lower learning rate"
                )
            norms = np.linalg.norm(value.astype(np.float64), axis=1)
            norm_error = max(norm_error, float(np.abs(1 - norms).max()))
        cosines.append(np.einsum("nd,nd->n", vector, sequences.targets(chosen)))
        copies.append(np.einsum("nd,nd->n", vector, contexts[:, -1]))
        found.append(ranks(query, chosen, sequences.context, rows, pool))
    rank, each = np.concatenate(found), np.concatenate(cosines)
    cosine, copy = float(each.mean()), float(np.concatenate(copies).mean())
    r1, r5, r10, r50 = (float((rank <= k).mean()) for k in CUTS)
    metrics = RetrievalMetrics(
        n=len(starts),
        pool=len(rows),
        cosine=cosine,
        copy_cosine=copy,
        margin=cosine - copy,
        r1=r1,
        r5=r5,
        r10=r10,
        r50=r50,
        mrr=float((1.0 / rank).mean()),
        norm_error=norm_error,
    )
    return metrics, WindowFigures(each, rank, sequences.documents_of(starts))


def ranks(query: FloatArray, starts: IntArray, context: int, rows: IntArray, pool: FloatArray) -> IntArray:
    """Ranks of the true next chunks of windows. The chunks of a window's own context are left out.

    Args:
        query: (n, dim) unit vectors.
        starts: (n,) first rows of the windows.
        context: vectors in a window.
        rows: rows of the pool in the sequence set (``SequenceSet.rows``).
        pool: vectors of these rows.

    Returns:
        (n,) int64, from 1.
    """
    places = np.searchsorted(rows, starts[:, None] + np.arange(context + 1))  # consecutive: documents are whole
    return rank_of(query, pool, places[:, -1], places[:, :-1])


def rank_of(
    queries: FloatArray, pool: FloatArray, targets: IntArray, excluded: IntArray, *, block: int = 8192
) -> IntArray:
    """Ranks of the targets of queries, from 1: one more than the number of chunks with a higher score.

    Args:
        queries: (n, dim) unit vectors.
        pool: (m, dim) unit vectors.
        targets: (n,) row in the pool of every query's target.
        excluded: (n, k) rows in the pool that are left out of a query's ranking.
        block: rows of the pool that are scored together; memory is n * block floats.

    Returns:
        (n,) int64.
    """
    target_score = np.einsum("nd,nd->n", queries, pool[targets])[:, None] + _TIE
    ranks = np.ones(len(queries), dtype=np.int64)
    for scores in _blocks(queries, pool, block):
        ranks += (scores > target_score).sum(axis=1)
    if excluded.shape[1]:
        own = np.einsum("nd,nkd->nk", queries, pool[excluded])
        ranks -= (own > target_score).sum(axis=1)
    return np.maximum(ranks, 1)


def _blocks(queries: FloatArray, pool: FloatArray, block: int) -> Iterator[FloatArray]:
    """Scores of all queries, for one block of the pool after the other: (n, block)."""
    for at in range(0, len(pool), block):
        yield queries @ pool[at : at + block].T
