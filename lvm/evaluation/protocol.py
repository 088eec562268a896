"""What evaluation asks of a space: texts to vectors, vectors to texts, and what the inverter was trained on.

Contract: ``lvm.spaces`` provides it, evaluation only uses it. Nothing here knows which encoder is behind it,
so a space with the wrong encoder is measured exactly as it would be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lvm.spaces.vectors import Vectors

Progress = Callable[[int], None]
"""Called with the number of items finished since the last call."""


class DecodedTexts(Protocol):
    """What decoding n vectors gives: the n texts it chose."""

    @property
    def texts(self) -> list[str]: ...


class InvertibleSpace(Protocol):
    """An encoder together with the inverter trained for it."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def inverter_encoder(self) -> str:
        """Fingerprint of the encoder that the inverter was trained for."""
        ...

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the documents that the inverter was trained on."""
        ...

    def inverter_saw(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """For each text, whether it was a training chunk of the inverter."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors: ...

    def decode(self, vectors: Vectors, *, seed: int = 0, progress: Progress | None = None) -> DecodedTexts: ...
