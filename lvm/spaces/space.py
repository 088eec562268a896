"""A space: one encoder and the inverter trained for it, under one name.

Contract: a space encodes by one path, and decodes only ``Vectors`` with its own fingerprint. ``lvm.spaces.registry``
opens spaces by name. Before vectors are stored, the database compares the space with the stored space of this name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from lvm.arrays import FloatArray, IntArray
from lvm.corpus.chunker import Chunker
from lvm.corpus.readable import ADVICE, UNREADABLE, UnreadableText
from lvm.devices import enough_memory
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.vectors import SpaceMismatch, Vectors, require
from lvm.errors import UsageError
from lvm.inversion.protocol import Candidate, Inverter, batches_by_length
from lvm.progress import Progress

_POSITIONS = 4096  # tokens scored together; their logits take 160 MB with 10,000 word pieces
_POSITIONS_ON_CPU = 512  # a third faster there: larger arrays do not stay in its caches


class NotTexts(UsageError):
    """What was given is no list of texts, e.g. a single string, or has a wrong number of texts."""


def as_texts(texts: object, function: str) -> Sequence[str]:
    """The texts that a caller gave, as a list. Any iterable is taken. The tokenizer checks that each is a string.

    Args:
        texts: what was given.
        function: name of the function that it was given to, for the message.

    Raises:
        NotTexts: if it is a single string, or cannot be iterated.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        what = "one string" if isinstance(texts, str) else f"something of type {type(texts).__name__}"
        raise NotTexts(f"{function} takes a list of texts, not {what}; write {function}([text])")
    return texts if isinstance(texts, list | tuple) else [*texts]


class InvalidDecoding(UsageError):
    """More or fewer candidates than the inverter makes, or steps of an inverter without a corrector."""


@dataclass(frozen=True)
class Decoded:
    """Texts decoded from vectors.

    Attributes:
        texts: n texts, never empty.
        vectors: n vectors of the decoded texts.
        cosine: (n,) float32, cosine between a vector and the vector of its decoded text.
        candidates: n lists of at most ``n_best`` distinct texts: the decoded text, then the others, the nearest first.
            None if ``n_best`` is 1. For vec2text's inverters the second can be nearer than the decoded text, which is
            always the last correction.
        steps: n lists of the best text of every step: the hypothesis, then every correction. None unless requested.
    """

    texts: list[str]
    vectors: Vectors
    cosine: FloatArray
    candidates: list[list[Candidate]] | None = None
    steps: list[list[Candidate]] | None = None


@dataclass(frozen=True)
class Score:
    """How likely n texts are under the inverter, given n vectors.

    Attributes:
        nats: (n,) float32, cross-entropy of a text, summed over its tokens.
        tokens: (n,) int64, tokens of a text in the inverter's vocabulary, with the end token.
    """

    nats: FloatArray
    tokens: IntArray

    @property
    def per_token(self) -> FloatArray:
        """(n,) nats per token of every text: lower is likelier."""
        return np.asarray(self.nats / self.tokens, dtype=np.float32)

    @property
    def nll(self) -> float:
        """Nats per token of all texts together; NaN if there is none."""
        return float(self.nats.sum(dtype=np.float64) / self.tokens.sum()) if len(self.nats) else float("nan")


class Space:
    """An encoder and its inverter under one name. ``lvm.open_space`` opens one.

    Args:
        name: its name.
        encoder: the encoder.
        open_inverter: opens the inverter; called on first use.
    """

    def __init__(self, name: str, encoder: TextEncoder, open_inverter: Callable[[], Inverter]) -> None:
        self.name, self.encoder, self._open_inverter = name, encoder, open_inverter

    def __repr__(self) -> str:
        return f"Space({self.name!r}, {self.fingerprint}, dim={self.dim}, max_tokens={self.max_tokens})"

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.encoder.dim

    @property
    def max_tokens(self) -> int:
        """Token limit of a chunk, without special tokens."""
        return self.encoder.recipe.max_tokens

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the encoder: 16 hex digits, a hash of recipe, weights, configuration and tokenizer."""
        return self.encoder.fingerprint

    @property
    def recipe(self) -> dict[str, Any]:
        """The encoder's recipe as plain values."""
        return self.encoder.recipe.as_dict()

    @property
    def tokenizer(self) -> Tokenizer:
        """The encoder's tokenizer, without truncation."""
        return self.encoder.tokenizer

    @cached_property
    def inverter(self) -> Inverter:
        """The inverter, opened on first use.

        An inverter that was trained for another encoder is not refused here: the roundtrip gate measures whether it
        understands the vectors.

        Raises:
            WeightsUnusable: if its folder is missing or damaged.
            SpaceMismatch: if it decodes vectors of another dimension.
            DeviceFull: if the device has too little free memory.
        """
        with enough_memory(self.encoder.device):
            inverter = self._open_inverter()
        if inverter.dim != self.dim:
            raise SpaceMismatch(
                f"the inverter of space {self.name} decodes vectors of dimension {inverter.dim}, its encoder makes "
                f"dimension {self.dim}; train an inverter with `lvm inverter train --space {self.name}`"
            )
        return inverter

    @property
    def inverter_encoder(self) -> str:
        """Fingerprint of the encoder that the inverter was trained for."""
        return self.inverter.encoder

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the texts of documents that the inverter was trained on, as far as known."""
        return self.inverter.trained_documents

    def was_trained_on(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether the inverter was trained on chunk texts, independent of their documents: (n,) bool.

        Args:
            texts: n chunk texts.
        """
        return self.inverter.was_trained_on(texts)

    @property
    def median_norm(self) -> float:
        """The norm to which ``decode`` scales unit vectors for the inverter."""
        return self.encoder.median_norm

    def chunker(self) -> Chunker:
        """A chunker for texts of this space."""
        return Chunker(self.tokenizer, self.max_tokens)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode texts.

        Args:
            texts: n strings. A text over the token limit is cut there; see ``over_limit``. Of texts in a writing system
                that the encoder does not know, which all get one vector, a warning is logged; see ``unreadable``.
            progress: called with the number of encoded texts.

        Returns:
            n vectors of this space, row i for text i.

        Raises:
            NotTexts: if ``texts`` is a single string, or cannot be iterated.
            InvalidVectors: if the encoder returns a zero or non-finite vector.
            DeviceFull: if the device has too little free memory.
        """
        return self.encoder.encode(as_texts(texts, "encode"), progress)

    def over_limit(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts that ``encode`` cuts at the token limit."""
        return self.encoder.over_limit(texts)

    def unreadable(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts of which the encoder knows less than half: it has next to one vector for all of them."""
        return self.encoder.unreadable(texts)

    def require_readable(self, texts: Sequence[str]) -> None:
        """Refuse texts that the encoder cannot read.

        Args:
            texts: n texts.

        Raises:
            UnreadableText: for the first of them; the message names another encoder as the way out.
        """
        if rows := self.unreadable(texts):
            which = "the text" if len(texts) == 1 else f"text {rows[0] + 1} of {len(texts)}"
            raise UnreadableText(
                f"{which} {UNREADABLE} ({texts[rows[0]][:40]!r}), so its vector would say nothing about it in space "
                f"{self.name!r}: {ADVICE}"
            )

    def probe(self) -> Vectors:
        """Vectors of the probe sentences (``lvm.encoding.encoder.PROBE_SENTENCES``)."""
        return self.encoder.probe()

    def score(self, texts: Sequence[str], vectors: Vectors, progress: Progress | None = None) -> Score:
        """How likely text i is for vector i, under the frozen inverter; for vec2text's, under the hypothesizer.

        Args:
            texts: n texts. What exceeds the inverter's longest text is cut and does not count.
            vectors: n vectors of this space. Only directions count, as in ``decode``.
            progress: called with the number of scored texts.

        Raises:
            NotTexts: if ``texts`` is a single string, or there are more or fewer texts than vectors.
            SpaceMismatch: if the vectors are of another space.
            InvalidVectors: if they are a bare array, of a wrong dimension, NaN or zero.
            WeightsUnusable: if the inverter cannot be opened.
            DeviceFull: if the device has too little free memory.
        """
        require(vectors, self.name, self.fingerprint, self.dim)
        texts = as_texts(texts, "score")
        if len(texts) != len(vectors):
            raise NotTexts(f"score takes a list with a text for each of the {len(vectors)} vectors")
        inverter = self.inverter
        at_norm = torch.from_numpy(Vectors.from_raw(self.fingerprint, vectors.unit).unit * np.float32(self.median_norm))
        ids = inverter.token_ids(texts)
        nats = np.zeros(len(texts), np.float32)
        positions = _POSITIONS_ON_CPU if self.encoder.device.type == "cpu" else _POSITIONS
        with enough_memory(self.encoder.device), torch.inference_mode():
            for rows in batches_by_length(list(map(len, ids)), positions):
                nats[rows] = inverter.nats(at_norm[rows], [ids[row] for row in rows]).cpu().numpy()
                if progress:
                    progress(len(rows))
        return Score(nats, np.array([len(each) for each in ids], dtype=np.int64))

    def decode(
        self,
        vectors: Vectors,
        n_best: int = 1,
        *,
        steps: bool = False,
        tries: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Decoded:
        """Decode vectors to texts. ``n_best`` and ``steps`` do not change the texts.

        Args:
            vectors: n vectors of this space; n may be 0. Only directions count: the inverter gets all vectors at the
                median norm.
            n_best: largest number of candidates per vector; 1 for none.
            steps: whether to return the text of every step of vec2text's corrector.
            tries: texts that the project's inverter draws of a vector, to keep the nearest; 10 unless given. Fewer are
                faster and less near. vec2text's inverters draw none.
            seed: seed of the sampling.
            progress: called with the number of decoded vectors.

        Returns:
            n texts and their vectors.

        Raises:
            SpaceMismatch: if the vectors are of another space.
            InvalidVectors: if they are a bare array, of a wrong dimension, NaN or zero.
            InvalidDecoding: if ``n_best`` is no number from 1 to the number of texts that the inverter makes of a
                vector, or ``steps`` is true and there is no corrector.
            WeightsUnusable: if the inverter cannot be opened.
            DeviceFull: if the device has too little free memory.
        """
        require(vectors, self.name, self.fingerprint, self.dim)
        self.check_decoding(n_best, steps)
        if not len(vectors):
            return Decoded([], vectors, np.empty(0, np.float32), [] if n_best > 1 else None, [] if steps else None)
        wanted = Vectors.from_raw(self.fingerprint, vectors.unit)
        at_norm = wanted.unit * np.float32(self.median_norm)
        with enough_memory(self.encoder.device):
            inverted = self.inverter.decode(
                at_norm, lambda batch: self.encode(batch).raw, seed, progress, n_best, steps, tries
            )
        if inverted.raw is None:
            encoded = self.encode(inverted.texts)
        else:
            encoded = Vectors.from_raw(self.fingerprint, inverted.raw)
        cosine = np.einsum("nd,nd->n", wanted.unit, encoded.unit)
        return Decoded(inverted.texts, encoded, cosine, inverted.candidates, inverted.steps)

    def check_decoding(self, n_best: int = 1, steps: bool = False) -> None:
        """Refuse options of ``decode`` that the inverter cannot fulfil. The defaults do not open the inverter.

        Args:
            n_best: see ``decode``.
            steps: see ``decode``.

        Raises:
            InvalidDecoding: see ``decode``.
            WeightsUnusable: if the inverter cannot be opened.
        """
        if type(n_best) is not int or n_best < 1:
            raise InvalidDecoding(f"n_best is {n_best!r}; it must be an integer of at least 1")
        if n_best > 1 and n_best > (most := self.inverter.candidates):
            raise InvalidDecoding(
                f"n_best is {n_best}, but the inverter of space {self.name!r} makes at most {most} "
                f"text{'s' if most > 1 else ''} of a vector; n_best may be 1 to {most}"
            )
        if steps and not self.inverter.corrections:
            raise InvalidDecoding(
                f"the inverter of space {self.name!r} has no corrector, so it decodes in one step; decode without "
                "steps, or open a space with vec2text's corrector (gtr-base)"
            )
