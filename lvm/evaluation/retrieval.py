"""How well predictions find the true next chunk among all held-out ones.

Contract: every predictor, model or baseline, is a function from contexts to two unit vectors: the one to
decode (``vector``, judged by cosine) and the one to rank by (``query``, judged by rank). All are measured
on the same windows, against the same pool: every chunk of the split's documents, a window's own context
left out. Scores are computed block by block, so memory does not grow with the split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from lvm.errors import LvmError
from lvm.sequences import SequenceSet, Split

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

Predictor = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""(n, context, dim) contexts -> (vector, query), both (n, dim) of norm 1."""

CUTS = (1, 5, 10, 50)

MEASURED_WINDOWS = 20_000
"""Of a large split this many windows, evenly spaced, are enough: the standard error of R@10 is then below 0.004."""

_TIE = 1e-6
"""Scores this close are one: copies of a text differ in the last bit, depending on where BLAS put them."""


class InvalidPrediction(LvmError):
    """A predictor gave NaN or infinity: there is nothing to measure."""


class EmptySplit(LvmError):
    """There is no window to measure on."""


@dataclass(frozen=True)
class RetrievalMetrics:
    """What a predictor is worth on a split.

    Attributes:
        n: windows measured.
        pool: chunks ranked among (the context's own are left out of each ranking).
        cosine: mean cosine of ``vector`` to the true next vector.
        copy_cosine: mean cosine of ``vector`` to the last vector of the context.
        margin: ``cosine - copy_cosine``: negative where a prediction is more like the past than the future.
        r1, r5, r10, r50: share of windows whose true next chunk is among the first k by ``query``.
        mrr: mean reciprocal rank.
        norm_error: largest ``|1 - norm|`` among all vectors and queries.
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
        return asdict(self)


def evaluate(
    sequences: SequenceSet,
    predictor: Predictor,
    split: Split = "test",
    *,
    limit: int | None = None,
    centre: FloatArray | None = None,
    batch: int = 1024,
) -> RetrievalMetrics:
    """Measure a predictor on the windows of a split.

    Args:
        sequences: where windows and pool come from.
        predictor: see ``Predictor``.
        split: whose documents.
        limit: measure this many windows, evenly spaced, instead of all. The pool stays whole.
        centre: (dim,) subtracted from queries and pool before ranking (``corpus_mean``); no cosine changes.
        batch: windows predicted and scored at a time.

    Raises:
        EmptySplit: if the split has no window.
        InvalidPrediction: if a prediction is not finite.
    """
    starts = sequences.starts[split]
    if not len(starts):
        raise EmptySplit(f"the {split} split has no window: extract sequences from more or longer documents")
    if limit is not None and limit < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, limit).round().astype(np.int64)]
    rows = sequences.rows(split)
    pool = np.asarray(sequences.unit[rows])
    if centre is not None:
        pool = _centred(pool, centre)
    cosines, copies, ranks, norm_error = [], [], [], 0.0
    for at in range(0, len(starts), batch):
        chosen = starts[at : at + batch]
        contexts = sequences.contexts(chosen)
        vector, query = predictor(contexts)
        for name, value in (("vector", vector), ("query", query)):
            if not np.isfinite(value).all():
                raise InvalidPrediction(
                    f"the predictor's {name} is not finite: its training diverged, "
                    "train again with a lower learning rate"
                )
            norms = np.linalg.norm(value.astype(np.float64), axis=1)
            norm_error = max(norm_error, float(np.abs(1 - norms).max()))
        cosines.append(np.einsum("nd,nd->n", vector, sequences.targets(chosen)))
        copies.append(np.einsum("nd,nd->n", vector, contexts[:, -1]))
        window = chosen[:, None] + np.arange(sequences.context + 1)
        places = np.searchsorted(rows, window)  # a document's rows are consecutive in the pool too
        ranked = query if centre is None else _centred(query, centre)
        ranks.append(rank_of(ranked, pool, places[:, -1], places[:, :-1]))
    rank = np.concatenate(ranks)
    cosine, copy = float(np.concatenate(cosines).mean()), float(np.concatenate(copies).mean())
    r1, r5, r10, r50 = (float((rank <= k).mean()) for k in CUTS)
    return RetrievalMetrics(
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


def rank_of(
    queries: FloatArray, pool: FloatArray, targets: IntArray, excluded: IntArray, *, block: int = 8192
) -> IntArray:
    """Rank of each query's target, from 1: one more than the chunks that score strictly higher.

    Args:
        queries: (n, dim).
        pool: (m, dim).
        targets: (n,) row of the pool that is sought.
        excluded: (n, k) rows of the pool left out of that query's ranking.
        block: pool rows scored at a time; memory is n * block floats.
    """
    sought = np.einsum("nd,nd->n", queries, pool[targets])[:, None] + _TIE
    ranks = np.ones(len(queries), dtype=np.int64)
    for scores in _blocks(queries, pool, block):
        ranks += (scores > sought).sum(axis=1)
    if excluded.shape[1]:
        own = np.einsum("nd,nkd->nk", queries, pool[excluded])
        ranks -= (own > sought).sum(axis=1)
    return np.maximum(ranks, 1)


def corpus_mean(sequences: SequenceSet) -> FloatArray:
    """(dim,) float32: the mean of all training vectors, for centred scoring."""
    rows = sequences.rows("train")
    total = np.zeros(sequences.dim)
    for at in range(0, len(rows), 65536):
        total += sequences.unit[rows[at : at + 65536]].sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(len(rows), 1), dtype=np.float32)


def _blocks(queries: FloatArray, pool: FloatArray, block: int) -> Iterator[FloatArray]:
    for at in range(0, len(pool), block):
        yield queries @ pool[at : at + block].T


def _centred(unit: FloatArray, centre: FloatArray) -> FloatArray:
    moved = unit - centre
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12), dtype=np.float32)
