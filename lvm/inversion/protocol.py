"""The interface of inverters. ``lvm.inversion.inverter`` and ``lvm.inversion.vec2text`` implement it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lvm.arrays import FloatArray
from lvm.progress import Progress

Encode = Callable[[Sequence[str]], FloatArray]
"""The space's encoder: n texts -> (n, dim) float32, not normalised."""


class Candidate(NamedTuple):
    """A text that an inverter made of a vector.

    Attributes:
        text: the text.
        cosine: cosine between the vector and the vector of the text.
    """

    text: str
    cosine: float


class Inverted(NamedTuple):
    """Texts of n vectors.

    Attributes:
        texts: n texts.
        raw: (n, dim) vectors of the texts, if the inverter encoded them; else None.
        candidates: for each vector its text, then the other distinct texts, the nearest first; None unless requested.
        steps: for each vector the best text of every step, the hypothesis first; None unless requested.
    """

    texts: list[str]
    raw: FloatArray | None
    candidates: list[list[Candidate]] | None = None
    steps: list[list[Candidate]] | None = None


def distinct(candidates: Iterable[Candidate], n_best: int) -> list[Candidate]:
    """The first ``n_best`` candidates, without those whose text came before."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.text, candidate)
    return list(first.values())[:n_best]


def joined(parts: Sequence[Inverted]) -> Inverted:
    """One ``Inverted`` of several, which have all the same fields or are of no vectors."""
    raw = [part.raw for part in parts if part.raw is not None]
    candidates = [each for part in parts for each in part.candidates or []]
    steps = [each for part in parts for each in part.steps or []]
    texts = [text for part in parts for text in part.texts]
    return Inverted(texts, np.concatenate(raw) if raw else None, candidates or None, steps or None)


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
    def candidates(self) -> int:
        """Largest number of texts that it makes of one vector."""
        ...

    @property
    def corrections(self) -> int:
        """Number of times that it corrects a text; 0 without a corrector."""
        ...

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the texts of documents that it was trained on, as far as known."""
        ...

    def was_trained_on(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether it was trained on these n chunk texts, as far as known: (n,) bool."""
        ...

    def decode(
        self,
        raw: FloatArray,
        encode: Encode,
        seed: int = 0,
        progress: Progress | None = None,
        n_best: int = 1,
        steps: bool = False,
        tries: int | None = None,
    ) -> Inverted:
        """Decode a bare array of vectors. Call ``Space.decode`` instead, which checks the space of the vectors.

        ``n_best`` and ``steps`` do not change the texts.

        Args:
            raw: (n, dim) float32 at the norms that the inverter expects.
            encode: the space's encoder.
            seed: seed of random numbers.
            progress: called with the number of decoded vectors.
            n_best: largest number of candidates per vector, at most ``candidates``; 1 for none.
            steps: whether to return the text of every step. ``corrections`` must not be 0.
            tries: texts to draw of a vector, at least 1; fewer are faster and less near. None is the inverter's own
                number. An inverter that draws none ignores it.
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
