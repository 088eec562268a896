"""Intervals of means: how far a figure would move on other documents.

Contract: windows of one document are alike, so documents are resampled, and all windows of a document together (a
cluster bootstrap). Every interval by bootstrap in this package is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from lvm.arrays import IntArray

RESAMPLES = 2000
"""Samples of the bootstrap: enough for a stable 95 % interval."""

_BLOCK = 2**20  # documents that are drawn at once; bounds memory at about 30 MB


def interval(
    values: npt.ArrayLike,
    documents: Sequence[object] | IntArray | None = None,
    counts: npt.ArrayLike | None = None,
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a mean, by bootstrap over documents.

    Few documents vary less among themselves than all documents do, so the percentiles are moved outwards (the expanded
    percentile interval of Hesterberg, "What Teachers Should Know about the Bootstrap", 2015).

    With a single document there is nothing to resample but its windows. They are drawn as if every one were a document
    of its own, and the interval says nothing about other documents: it is too narrow.

    Args:
        values: (n,) values of windows, or their sums where ``counts`` are given.
        documents: the document of every window. None: every value is a document of its own.
        counts: (n,) what a value is the sum of, for the mean ``values.sum() / counts.sum()``; 1 by default.
        seed: seed of the draws.

    Returns:
        Lower and upper end; NaN for fewer than two values.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    number = np.arange(len(values))
    if documents is not None:
        number = np.unique(np.asarray(documents), return_inverse=True)[1]
    if not number.any():
        number = np.arange(len(values))
    sums = np.bincount(number, weights=values)
    sizes = np.bincount(number, weights=np.ones(len(values)) if counts is None else np.asarray(counts))
    random, n = np.random.default_rng(seed), len(sums)
    means = []
    for rows in _blocks(RESAMPLES, max(1, _BLOCK // n)):
        drawn = random.integers(n, size=(rows, n))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = _tail(n)
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
    return float(low), float(high)


def _blocks(total: int, size: int) -> list[int]:
    """Sizes of the blocks of ``total`` rows, ``size`` at most."""
    return [min(size, total - at) for at in range(0, total, size)]


def _tail(n: int) -> float:
    """The share of bootstrap means beyond either end, for n documents: below 2.5 %, and near it if n is large.

    The quantile of Student's t is Abramowitz and Stegun's series 26.7.5.
    """
    z, freedom = NormalDist().inv_cdf(0.975), n - 1
    t = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return NormalDist().cdf(-t * (n / freedom) ** 0.5)
