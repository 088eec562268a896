"""More to train an inverter on than chunks and their vectors: splices of chunks, and vectors with noise.

Contract: splices teach which words a vector stands for. Noise makes the inverter read vectors that are nearly right,
such as the predictions of an LVM. Both are seeded, so that a training can resume.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvm.arrays import FloatArray

_NORMAL_RANGE = 1.349  # interquartile range of a normal distribution with standard deviation 1
_WORDS = 6  # shortest splice
_ROWS = 20_000  # vectors that median and interquartile range are taken from


def splices(chunks: Sequence[str], count: int, seed: int, epoch: int) -> list[str]:
    """Texts that nobody wrote: the head of one chunk and the tail of another.

    Chunks are few, and a network that sees them several times learns them by heart. Splices are many, so they teach
    which words a vector stands for.

    Args:
        chunks: n chunk texts.
        count: number of splices.
        seed: seed of the choice.
        epoch: number of the epoch; it changes the choice.

    Returns:
        At most ``count`` texts of at least ``_WORDS`` words. Shorter ones could be somebody's text, and the inverter
        must know which texts it was trained on.
    """
    random = np.random.default_rng([seed, epoch, len(chunks)])
    heads, tails = random.integers(len(chunks), size=(2, count)).tolist()
    places = random.random((2, count)).tolist()
    texts = []
    for head, tail, end, begin in zip(heads, tails, *places, strict=True):
        first, second = chunks[head].split(), chunks[tail].split()
        kept = first[: round(end * len(first))]
        words = [*kept, *second[round(begin * len(second)) :]]
        if head != tail and len(kept) not in (0, len(words)) and len(words) >= _WORDS:
            texts.append(" ".join(words))
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
