"""Order tests: does a model use the order of its context at all?

Contract: the same held-out windows are predicted from their context as it is, shuffled, reversed, and with one of its
vectors left out. A drop is the figure of the intact context minus the figure of the changed one, so a positive drop of
cosine or R@10 says that order, or the vector, carries information.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lvm.arrays import FloatArray, IntArray
from lvm.evaluation.alignment import row_cosines
from lvm.evaluation.intervals import interval
from lvm.evaluation.retrieval import Predictor, ranks
from lvm.sequences import SequenceSet

ORDER_WINDOWS = 512
"""Windows that suffice: the standard error of a paired drop of R@10 is below 0.02."""

_INTACT = "intact"


@dataclass(frozen=True)
class Drop:
    """What a change of the context costs.

    Attributes:
        cosine: mean drop of the cosine to the true next vector.
        cosine_interval: 95 % interval of ``cosine``, by bootstrap over documents.
        r10: drop of R@10.
        r10_interval: 95 % interval of ``r10``, by bootstrap over documents.
    """

    cosine: float
    cosine_interval: tuple[float, float]
    r10: float
    r10_interval: tuple[float, float]


@dataclass(frozen=True)
class OrderTest:
    """Order tests of one predictor.

    Attributes:
        n: number of windows.
        shuffled: the context in a random order, another one for every window.
        reversed: the context backwards.
        left_out: without the last vector, without the last but one, and so on. The oldest vector is repeated to fill
            the context.
    """

    n: int
    shuffled: Drop
    reversed: Drop
    left_out: tuple[Drop, ...]


def changed(contexts: FloatArray, seed: int) -> dict[str, FloatArray]:
    """The contexts, changed in every way, by name: ``shuffled``, ``reversed``, ``without 1`` (the last), and so on.

    Args:
        contexts: (n, context, dim) vectors.
        seed: seed of the shuffling.
    """
    n, length, _ = contexts.shape
    order = np.random.default_rng(seed).random((n, length)).argsort(axis=1)
    found = {
        "shuffled": np.take_along_axis(contexts, order[:, :, None], axis=1),
        "reversed": np.ascontiguousarray(contexts[:, ::-1]),
    }
    for back in range(1, length + 1 if length > 1 else 1):
        kept = np.delete(np.arange(length), length - back)
        found[f"without {back}"] = contexts[:, np.concatenate([kept[:1], kept])]
    return found


def order_test(
    sequences: SequenceSet, predictor: Predictor, *, limit: int = ORDER_WINDOWS, seed: int = 0
) -> OrderTest | None:
    """Run all order tests on the test windows.

    Args:
        sequences: the sequence set.
        predictor: model or baseline.
        limit: largest number of windows, evenly spaced.
        seed: seed of the shuffling and of the bootstrap.

    Returns:
        None if the context has one vector only, which has no order.
    """
    starts = sequences.starts["test"]
    if sequences.context < 2 or not len(starts):
        return None
    starts = starts[np.linspace(0, len(starts) - 1, min(limit, len(starts))).round().astype(np.int64)]
    contexts, targets = sequences.contexts(starts), sequences.targets(starts)
    cosines, queries = {}, {}
    for name, given in {_INTACT: contexts, **changed(contexts, seed)}.items():
        vector, queries[name] = predictor(given)
        cosines[name] = row_cosines(vector, targets).astype(np.float32)
    rank = ranks(  # one reading of the pool for all of them
        np.concatenate(list(queries.values())), np.tile(starts, len(queries)), sequences.context, sequences.pool("test")
    )
    hits = dict(zip(queries, (rank <= 10).astype(np.float32).reshape(len(queries), -1), strict=True))
    documents = sequences.documents_of(starts)
    drops = {
        name: _drop((cosines[_INTACT], hits[_INTACT]), (cosines[name], hits[name]), documents, seed)
        for name in queries
        if name != _INTACT
    }
    return OrderTest(
        n=len(starts),
        shuffled=drops["shuffled"],
        reversed=drops["reversed"],
        left_out=tuple(drops[f"without {back}"] for back in range(1, sequences.context + 1)),
    )


def _drop(
    intact: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray], documents: IntArray, seed: int
) -> Drop:
    cosine, hits = (before - after for before, after in zip(intact, other, strict=True))
    return Drop(
        float(cosine.mean()),
        interval(cosine, documents, seed=seed),
        float(hits.mean()),
        interval(hits, documents, seed=seed),
    )
