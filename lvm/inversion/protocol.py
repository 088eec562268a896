"""The interface of inverters. ``lvm.inversion.inverter`` and ``lvm.inversion.vec2text`` implement it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lvm.arrays import FloatArray
from lvm.progress import Progress

Encode = Callable[[Sequence[str]], FloatArray]
"""The space's encoder: n texts -> (n, dim) float32, not normalised."""


class Inverted(NamedTuple):
    """Texts of n vectors.

    Attributes:
        texts: n texts.
        raw: (n, dim) vectors of the texts, if the inverter encoded them to choose; else None.
    """

    texts: list[str]
    raw: FloatArray | None


class Inverter(Protocol):
    """Turns the vectors of one encoder into text."""

    @property
    def dim(self) -> int:
        """Dimension of the vectors that it decodes."""
        ...

    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder that it was trained for."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of everything that decides its texts. Verdicts are stored with it."""
        ...

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the texts of documents that it was trained on, as far as known."""
        ...

    def was_trained_on(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether it was trained on these n chunk texts, as far as known: (n,) bool."""
        ...

    def decode(self, raw: FloatArray, encode: Encode, seed: int = 0, progress: Progress | None = None) -> Inverted:
        """Decode a bare array of vectors. Call ``Space.decode`` instead, which checks the space of the vectors.

        Args:
            raw: (n, dim) float32 at the norms that the inverter expects.
            encode: the space's encoder.
            seed: seed of random numbers.
            progress: called with the number of decoded vectors.
        """
        ...

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts as the inverter would write them, with the end token. Long texts are cut at its limit.

        Args:
            texts: n texts.
        """
        ...

    def nats(self, raw: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
        """Cross-entropy of texts given vectors, in nats, summed over the tokens of a text: (n,) float32.

        The weights are frozen; the result can be differentiated by ``raw``. Call ``Space.score`` for figures.

        Args:
            raw: (n, dim) float32 at the norms that the inverter expects.
            ids: n texts from ``token_ids``.
        """
        ...


def batches_by_length(lengths: Sequence[int], positions: int) -> list[list[int]]:
    """Rows in batches of similar length, so that little is padded, longest first.

    Args:
        lengths: number of tokens of every text, at least 1.
        positions: largest number of positions of a batch, padding included; a longer text is a batch of its own.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > positions:
            batches.append([])
        batches[-1].append(row)
    return batches
