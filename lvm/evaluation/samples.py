"""Figures of samples: do they follow the distribution of the next vector, and what are their texts worth?

Contract: several samples of the next vector for every window, and the true ones, in; figures out. A point prediction is
one sample. It is near the truth on average, and as far from its distribution as any mean. Texts are those of
``lvm.evaluation.rollout.propose``, so what is measured is what a model writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lvm.arrays import FloatArray, IntArray
from lvm.evaluation.alignment import mean_pairwise_cosine
from lvm.evaluation.decoding import Spread, Windows
from lvm.evaluation.rollout import Proposals
from lvm.evaluation.text import distinct_2


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


@dataclass(frozen=True)
class DecodedSamples:
    """Samples of one model, decoded; of every window one text is chosen by the model's own ranking head.

    Attributes:
        n: number of windows.
        count: samples per window.
        pipeline: cosine of a decoded text to the decoded sample, all samples.
        chosen: cosine of the chosen text to the true next chunk.
        any: cosine of a decoded text to the true next chunk, all samples.
        best_of: cosine to the truth of the text that is nearest to it: what a perfect choice would give.
        mean_pairwise_cosine: mean cosine between the chosen texts of two windows.
        distinct_2: share of different pairs of neighbouring words in the chosen texts.
        texts: n lists of texts, the chosen one first.
    """

    n: int
    count: int
    pipeline: Spread
    chosen: Spread
    any: Spread
    best_of: Spread
    mean_pairwise_cosine: float
    distinct_2: float
    texts: list[list[str]]

    @classmethod
    def of(cls, windows: Windows, proposals: Proposals) -> DecodedSamples:
        """Measure the texts that a model proposes.

        Args:
            windows: n held-out windows.
            proposals: candidates for the next texts of the n windows' contexts.
        """
        n, count = proposals.scores.shape
        unit = proposals.decoded.vectors.unit.reshape(n, count, -1)
        order = (-proposals.scores).argsort(axis=1, kind="stable")
        to_truth = np.einsum("ncd,nd->nc", unit, windows.target).astype(np.float64)
        rows = np.arange(n)
        texts = [[proposals.decoded.texts[row * count + which] for which in order[row]] for row in range(n)]
        return cls(
            n=n,
            count=count,
            pipeline=Spread.of(proposals.decoded.cosine.astype(np.float64)),
            chosen=Spread.of(to_truth[rows, order[:, 0]]),
            any=Spread.of(to_truth.ravel()),
            best_of=Spread.of(to_truth.max(axis=1)),
            mean_pairwise_cosine=mean_pairwise_cosine(unit[rows, order[:, 0]]),
            distinct_2=distinct_2([each[0] for each in texts]),
            texts=texts,
        )


def _distance(cosine: FloatArray) -> FloatArray:
    distance: FloatArray = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return distance
