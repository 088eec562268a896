"""More to train an inverter on than chunks and their vectors: random spans of the corpus, and vectors with noise.

Contract: spans teach which words a vector stands for, independent of where sentences begin. Noise makes the inverter
read vectors that are nearly right, such as the predictions of an LVM. Both are seeded, so that a training can resume.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvm.arrays import FloatArray

_NORMAL_RANGE = 1.349  # interquartile range of a normal distribution with standard deviation 1
_ROWS = 20_000  # vectors that median and interquartile range are taken from


def spans(chunks: Sequence[str], documents: Sequence[int], count: int, seed: int) -> list[str]:
    """Random spans of words. A span starts anywhere in a chunk and may run on into the next chunks of its document.

    Args:
        chunks: n chunk texts, in order.
        documents: number of the document of every chunk.
        count: number of spans.
        seed: seed of the choice.

    Returns:
        At most ``count`` texts, as long as chunks are: the lengths in words are drawn from those of the chunks.
    """
    random = np.random.default_rng([seed, len(chunks)])
    lengths = np.array([len(chunk.split()) for chunk in chunks])
    starts, wanted = random.integers(len(chunks), size=count), lengths[random.integers(len(chunks), size=count)]
    places = random.random(count)
    texts = []
    for start, words, place in zip(starts.tolist(), wanted.tolist(), places.tolist(), strict=True):
        found = chunks[start].split()[int(place * lengths[start]) :]
        following = start + 1
        while len(found) < words and following < len(chunks) and documents[following] == documents[start]:
            found += chunks[following].split()
            following += 1
        texts.append(" ".join(found[:words]))
    return texts


class Noise:
    """Gaussian noise in the scale of a corpus: coordinates are standardised by median and interquartile range.

    Source: Large Concept Models (arXiv 2412.08821), section 2.4.3 and table 7.

    Args:
        unit: (n, dim) unit vectors of the corpus.
        most: largest share of noise in the variance of a vector; 0 for no noise.
        seed: seed of the noise.
    """

    def __init__(self, unit: FloatArray, most: float, seed: int) -> None:
        rows = np.linspace(0, len(unit) - 1, min(len(unit), _ROWS)).round().astype(np.int64)
        low, middle, high = (
            torch.from_numpy(q) for q in np.quantile(unit[rows], (0.25, 0.5, 0.75), axis=0).astype("f4")
        )
        self.median, self.scale = middle, (high - low) / _NORMAL_RANGE
        self.most, self.seed = most, seed

    def __call__(self, unit: Tensor, step: int) -> Tensor:
        """Add noise to half of the vectors.

        Args:
            unit: (batch, dim) unit vectors.
            step: number of the training step; equal steps draw equal noise.

        Returns:
            (batch, dim) unit vectors.
        """
        if not self.most:
            return unit
        random = torch.Generator().manual_seed(int(np.random.SeedSequence((self.seed, step)).generate_state(1)[0]))
        share = self.most * torch.rand(len(unit), 1, generator=random)
        share = share * (torch.rand(len(unit), 1, generator=random) < 0.5)
        normal = torch.randn(unit.shape, generator=random)
        share, normal = share.to(unit.device), normal.to(unit.device)
        median, scale = self.median.to(unit.device), self.scale.to(unit.device)
        return F.normalize(median + (1 - share).sqrt() * (unit - median) + share.sqrt() * scale * normal, dim=-1)
