"""Figures of samples: do they follow the distribution of the next vector?

Contract: several samples of the next vector for every window, and the true ones, in; figures out. A point prediction is
one sample. It is near the truth on average, and as far from its distribution as any mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lvm.arrays import FloatArray, IntArray
from lvm.evaluation.alignment import mean_pairwise_cosine


@dataclass(frozen=True)
class SampleFigures:
    """Samples of next vectors on held-out windows.

    Attributes:
        n: number of windows.
        count: samples per window; 1 for a point prediction.
        energy_score: mean of 2/N sum |truth - sample| - 1/(N (N - 1)) sum |sample - sample'|; lower is better. For all
            values of a distribution, the second term is 1/N^2 of its sum.
        mean_pairwise_cosine: mean cosine between samples of different windows.
        within: mean cosine between samples of the same window; None for a point prediction.
        cosine: mean cosine of a sample to the truth.
        medoid: mean cosine to the truth of the sample that is nearest to the others.
        best_of: mean cosine to the truth of the nearest sample: what a perfect choice would give.
    """

    n: int
    count: int
    energy_score: float
    mean_pairwise_cosine: float
    within: float | None
    cosine: float
    medoid: float
    best_of: float


def sample_figures(samples: FloatArray, targets: FloatArray, *, all_values: bool = False) -> SampleFigures:
    """Measure samples.

    Args:
        samples: (n, count, dim) unit vectors.
        targets: (n, dim) true next vectors.
        all_values: the samples are not draws, but all values that the distribution has, equally likely.
    """
    n, count, _ = samples.shape
    to_truth = np.einsum("ncd,nd->nc", samples, targets)
    between = np.einsum("ncd,nkd->nck", samples, samples)
    energy = 2 * _distance(to_truth).mean(axis=1)
    within: float | None = None
    if count > 1:
        apart = ~np.eye(count, dtype=np.bool_)
        spread = _distance(between[:, apart]).mean(axis=1)
        energy = energy - (spread * (count - 1) / count if all_values else spread)
        within = float(between[:, apart].mean())
    return SampleFigures(
        n=n,
        count=count,
        energy_score=float(energy.mean()),
        mean_pairwise_cosine=float(np.mean([mean_pairwise_cosine(samples[:, i]) for i in range(count)])),
        within=within,
        cosine=float(to_truth.mean()),
        medoid=float(to_truth[np.arange(n), medoid(samples)].mean()),
        best_of=float(to_truth.max(axis=1).mean()),
    )


def medoid(samples: FloatArray) -> IntArray:
    """Index of the sample that is nearest to the others, for every window: (n,) int64.

    Args:
        samples: (n, count, dim) unit vectors.
    """
    index: IntArray = np.einsum("ncd,nd->nc", samples, samples.sum(axis=1)).argmax(axis=1)
    return index


def _distance(cosine: FloatArray) -> FloatArray:
    distance: FloatArray = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return distance
