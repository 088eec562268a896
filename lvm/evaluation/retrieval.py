"""Retrieval metrics: how well a predictor ranks the true next chunk among all chunks of a split.

Contract: a predictor, model or baseline, is a function from contexts to two unit vectors: ``vector``, measured by its
cosine to the true next vector, and ``query``, measured by the rank of the true next chunk. All predictors are measured
on the same windows and the same pool: all chunks of the split's documents. The chunks of a window's own context are
left out of its ranking. The pool is read and scored in blocks, so memory does not grow with the split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from lvm.arrays import FloatArray, IntArray
from lvm.errors import LvmError
from lvm.evaluation.intervals import interval
from lvm.sequences import ChosenRows, SequenceSet, Split

Predictor = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""(n, context, dim) contexts -> (vector, query), both (n, dim) of norm 1."""

CUTS = (1, 5, 10, 50)
"""The k of the metrics R@k."""

MEASURED_WINDOWS = 20_000
"""Windows that suffice for a large split: the standard error of R@10 is below 0.004."""

RANKED_WINDOWS = 8192
"""Windows that are ranked in one reading of the pool."""

_QUERIES, _POOL_ROWS = 1024, 8192  # queries and rows of the pool in one product; it takes 34 MB

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
        batch: windows that are predicted together.

    Returns:
        The metrics, and the figures of every window.

    Raises:
        EmptySplit: if the split has no window.
        InvalidPrediction: if a prediction is not finite.
        CorruptedFile: if vectors changed since they were written.
    """
    starts = sequences.starts[split]
    if not len(starts):
        raise EmptySplit(
            f"the {split} split has no window, so nothing can be measured: extract sequences from more or longer "
            "documents"
        )
    if limit is not None and limit < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, limit).round().astype(np.int64)]
    pool = sequences.pool(split)
    cosines, copies, queries, found, norm_error = [], [], [], [], 0.0
    ranked = predicted = 0
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
        queries.append(query)
        predicted += len(chosen)
        if predicted - ranked >= RANKED_WINDOWS or predicted == len(starts):
            found.append(ranks(np.concatenate(queries), starts[ranked:predicted], sequences.context, pool))
            queries, ranked = [], predicted
    rank, each = np.concatenate(found), np.concatenate(cosines)
    cosine, copy = float(each.mean()), float(np.concatenate(copies).mean())
    r1, r5, r10, r50 = (float((rank <= k).mean()) for k in CUTS)
    metrics = RetrievalMetrics(
        n=len(starts),
        pool=len(pool),
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


def ranks(query: FloatArray, starts: IntArray, context: int, pool: ChosenRows) -> IntArray:
    """Ranks of the true next chunks of windows. The chunks of a window's own context are left out.

    Args:
        query: (n, dim) unit vectors.
        starts: (n,) first rows of the windows.
        context: vectors in a window.
        pool: the ranked chunks, those of all documents of a split (``SequenceSet.pool``).

    Returns:
        (n,) int64, from 1.
    """
    # consecutive: documents are whole
    places = np.searchsorted(pool.rows, starts)[:, None] + np.arange(context + 1)
    return rank_of(query, pool, places[:, -1], places[:, :-1])


def rank_of(
    queries: FloatArray,
    pool: ChosenRows | FloatArray,
    targets: IntArray,
    excluded: IntArray,
    *,
    block: int = _POOL_ROWS,
) -> IntArray:
    """Ranks of the targets of queries, from 1: one more than the number of chunks with a higher score.

    The pool is read once for all queries.

    Args:
        queries: (n, dim) unit vectors.
        pool: (m, dim) unit vectors.
        targets: (n,) row in the pool of every query's target.
        excluded: (n, k) rows in the pool that are left out of a query's ranking.
        block: rows of the pool that are scored together; memory is 1024 * block floats.

    Returns:
        (n,) int64.
    """
    parts = [slice(at, at + _QUERIES) for at in range(0, len(queries), _QUERIES)]
    target_score = np.empty((len(queries), 1), dtype=np.float32)
    ranks = np.ones(len(queries), dtype=np.int64)
    for part in parts:
        target_score[part, 0] = np.einsum("nd,nd->n", queries[part], pool[targets[part]]) + _TIE
        own = np.einsum("nd,nkd->nk", queries[part], pool[excluded[part]])
        ranks[part] -= (own > target_score[part]).sum(axis=1)
    for at in range(0, len(pool), block):
        scored = pool[at : at + block].T
        for part in parts:
            ranks[part] += (queries[part] @ scored > target_score[part]).sum(axis=1)
    return np.maximum(ranks, 1)
