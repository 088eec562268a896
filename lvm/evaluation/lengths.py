"""Roundtrip cosine by length of the chunk: does the inverter read long chunks as well as short ones?

Contract: token counts and roundtrip cosines of the same chunks in, figures of groups of about equal size out. This
module knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lvm.arrays import IntArray
from lvm.evaluation.intervals import interval

GROUPS = 5
"""Largest number of groups."""


@dataclass(frozen=True)
class LengthFigures:
    """Roundtrip cosines of chunks of similar length.

    Attributes:
        shortest: smallest token count.
        longest: largest token count.
        n: number of chunks.
        mean: mean roundtrip cosine.
        interval: 95 % interval of ``mean``, by bootstrap over chunks; NaN for a single chunk.
    """

    shortest: int
    longest: int
    n: int
    mean: float
    interval: tuple[float, float]


def by_length(tokens: Sequence[int], cosines: Sequence[float], groups: int = GROUPS) -> list[LengthFigures]:
    """Group chunks by length. Chunks of equal length are in one group.

    Args:
        tokens: token counts of n chunks.
        cosines: roundtrip cosines of the same chunks.
        groups: largest number of groups.

    Returns:
        Figures of the groups, from short to long; empty if there is no chunk.
    """
    counts, values = np.asarray(tokens, dtype=np.int64), np.asarray(cosines, dtype=np.float64)
    if not len(counts):
        return []
    edges = np.unique(np.quantile(counts, np.arange(1, groups) / groups, method="nearest"))
    group = np.searchsorted(edges, counts, side="left")
    return [_figures(counts[group == index], values[group == index]) for index in np.unique(group)]


def _figures(counts: IntArray, values: npt.NDArray[np.float64]) -> LengthFigures:
    return LengthFigures(int(counts.min()), int(counts.max()), len(values), float(values.mean()), interval(values))
