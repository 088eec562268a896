"""A space small enough to reason about: a text is the sum of its words' random directions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from lvm.encoding.vectors import Vectors, require
from lvm.evaluation.decoding import Windows
from lvm.spaces import Decoded

DIM = 64


@dataclass
class FakeSpace:
    """``library`` are the texts its inverter can say: it says the nearest one, changed by ``slip``."""

    library: list[str]
    slip: Callable[[str], str] = lambda text: text
    crowd: float = 0.0  # how much of one common direction every vector gets
    trained_documents: frozenset[str] = frozenset()
    trained_texts: frozenset[str] = frozenset()
    name: str = "fake"
    fingerprint: str = "f" * 64
    inverter_encoder: str = "f" * 64
    seeds: list[int] = field(default_factory=list)

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        raw = np.stack([sum((word(w) for w in text.casefold().split()), np.zeros(DIM)) for text in texts])
        raw /= np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-9)
        raw[:, 0] += self.crowd
        return Vectors.from_raw(self.fingerprint, raw.astype(np.float32))

    def require_readable(self, texts: Sequence[str]) -> None:
        """It knows every word."""

    def decode(
        self,
        vectors: Vectors,
        *,
        tries: int | None = None,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> Decoded:
        self.seeds.append(seed)
        require(vectors, self.name, self.fingerprint, DIM)
        nearest = (vectors.unit @ self.encode(self.library).unit.T).argmax(axis=1)
        if progress:
            progress(len(vectors))
        texts = [self.slip(self.library[i]) for i in nearest]
        encoded = self.encode(texts)
        return Decoded(texts, encoded, np.einsum("nd,nd->n", vectors.unit, encoded.unit))

    def was_trained_on(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([text in self.trained_texts for text in texts], dtype=bool)


def word(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=DIM)


@pytest.fixture
def fake_space() -> type[FakeSpace]:
    return FakeSpace


@pytest.fixture
def sentences() -> list[str]:
    """300 different sentences of five words."""
    rng = np.random.default_rng(7)
    return [" ".join(f"w{w}" for w in rng.integers(0, 5000, 5)) for _ in range(300)]


@pytest.fixture
def windows(fake_space, sentences) -> Windows:
    """Forty windows of four sentences and what follows each."""
    unit = fake_space(sentences).encode(sentences).unit
    starts = np.arange(40) * 5
    return Windows(
        space="f" * 64,
        context=np.stack([unit[s : s + 4] for s in starts]),
        target=unit[starts + 4],
        context_texts=[sentences[s : s + 4] for s in starts.tolist()],
        target_texts=[sentences[s + 4] for s in starts.tolist()],
        documents=np.arange(40) // 4,
    )
