"""A space: one encoder recipe together with the inverter trained for it.

Contract: it encodes and decodes on one path, knows its fingerprint, and is compared with the database by the
vectors of fixed probe sentences before anything is stored. ``lvm.spaces.registry`` opens spaces by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lvm.corpus.chunker import Chunker
from lvm.spaces.encoder import Progress, TextEncoder
from lvm.spaces.vectors import FloatArray, SpaceMismatch, Vectors, require

PROBE_SENTENCES = (
    "The committee will publish its report before the end of the year.",
    "A small boat crossed the bay in heavy rain.",
    "Prices rose by three percent, faster than wages.",
    "Why do some materials become superconducting when they are cooled?",
    "She laughed, closed the book, and went out into the garden.",
    "Article 5. Members shall keep accurate records of every vote.",
)
"""Texts of several kinds whose vectors are stored with a space: what its encoder does, not only what it is."""


class Inverter(Protocol):
    """What turns vectors back into text: ours (``lvm.spaces.inverter``) or vec2text's."""

    @property
    def dim(self) -> int: ...
    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder it was trained for."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of its weights: a verdict of the roundtrip gate is about these."""
        ...

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the documents it is known to have been trained on."""
        ...

    def saw(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) which of these chunk texts it is known to have been trained on."""
        ...

    def decode(
        self,
        raw: FloatArray,
        encode: Callable[[Sequence[str]], FloatArray],
        seed: int = 0,
        progress: Progress | None = None,
    ) -> list[str]:
        """Texts of raw vectors (n, dim), bare: ``Space.decode`` is the door, and asks whose they are."""
        ...


def typical_norm(encoder: TextEncoder) -> float:
    """Median norm of an encoder's vectors, over the probes; 1 if it normalises them itself."""
    return 1.0 if encoder.recipe.normalize else float(np.median(encoder.encode(PROBE_SENTENCES).norms))


@dataclass(frozen=True)
class Decoded:
    """Texts decoded from vectors.

    Attributes:
        texts: n strings, never empty.
        vectors: the texts encoded again.
        cosine: (n,) float32, cosine of each text's vector to the vector that was decoded.
    """

    texts: list[str]
    vectors: Vectors
    cosine: npt.NDArray[np.float32]


class Space:
    """An encoder and its inverter under one name.

    Args:
        name: how people and the database call it.
        encoder: the encoding path.
        open_inverter: opens the inverter, on first use.
    """

    def __init__(self, name: str, encoder: TextEncoder, open_inverter: Callable[[], Inverter]) -> None:
        self.name, self.encoder, self._open_inverter = name, encoder, open_inverter

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.encoder.dim

    @property
    def max_tokens(self) -> int:
        """Token limit of a chunk, special tokens not counted."""
        return self.encoder.recipe.max_tokens

    @property
    def fingerprint(self) -> str:
        """16 hex digits of recipe and weights."""
        return self.encoder.fingerprint

    @property
    def recipe(self) -> dict[str, Any]:
        """The encoder's recipe, for the database."""
        return self.encoder.recipe.as_dict()

    @property
    def tokenizer(self) -> Tokenizer:
        """The encoder's tokenizer, without truncation."""
        return self.encoder.tokenizer

    @cached_property
    def inverter(self) -> Inverter:
        """The inverter.

        Raises:
            WeightsUnusable: if its folder is missing or corrupted.
            SpaceMismatch: if it reads vectors of another dimension. One of the same dimension that was trained for
                another encoder is opened: whether it understands the vectors is what the gate measures.
        """
        inverter = self._open_inverter()
        if inverter.dim != self.dim:
            raise SpaceMismatch(
                f"the inverter of space {self.name} reads vectors of dimension {inverter.dim}, its encoder makes "
                f"{self.dim}; train one with `lvm inverter train --space {self.name}`"
            )
        return inverter

    @property
    def inverter_encoder(self) -> str:
        """Fingerprint of the encoder that the inverter was trained for."""
        return self.inverter.encoder

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the documents the inverter was trained on."""
        return self.inverter.trained_documents

    def inverter_saw(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) which of these chunk texts the inverter was trained on, in whatever document."""
        return self.inverter.saw(texts)

    @cached_property
    def typical_norm(self) -> float:
        """The norm at which the inverter gets a direction back."""
        return typical_norm(self.encoder)

    def chunker(self) -> Chunker:
        """Splits texts into chunks that this space can hold."""
        return Chunker(self.tokenizer, self.max_tokens)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode texts; see ``TextEncoder.encode``."""
        return self.encoder.encode(texts, progress)

    def over_limit(self, texts: Sequence[str]) -> list[int]:
        """Which of these texts are longer than the token limit, and so were cut when they were encoded."""
        return self.encoder.over_limit(texts)

    def probe(self) -> Vectors:
        """Vectors of ``PROBE_SENTENCES``."""
        return self.encode(PROBE_SENTENCES)

    def decode(self, vectors: Vectors, *, seed: int = 0, progress: Progress | None = None) -> Decoded:
        """Decode directions to text.

        Args:
            vectors: n vectors of this space; their directions count, and the inverter gets them at the space's
                typical norm.
            seed: of the sampling.
            progress: called with the number of vectors done.

        Raises:
            SpaceMismatch: if the vectors are of another space.
            InvalidVectors: for a bare array, a wrong dimension, NaN or zero vectors; an empty batch gives an empty
                answer.
        """
        require(vectors, self.name, self.fingerprint, self.dim)
        if not len(vectors):
            return Decoded([], vectors, np.empty(0, np.float32))
        asked = Vectors.from_raw(self.fingerprint, vectors.unit)
        at_norm = asked.unit * np.float32(self.typical_norm)
        texts = self.inverter.decode(at_norm, lambda batch: self.encode(batch).raw, seed, progress)
        again = self.encode(texts)
        return Decoded(texts, again, np.einsum("nd,nd->n", asked.unit, again.unit))
