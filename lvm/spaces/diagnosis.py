"""Compare two encoders step by step, to find out why their vectors differ.

Contract: the steps of encoding are compared in order (tokenizer, token limit, hidden states, pooling, projection,
normalisation) on the same texts. The first step that differs is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lvm.arrays import FloatArray
from lvm.encoding.encoder import PROBE_SENTENCES, TextEncoder
from lvm.encoding.recipe import Pooling
from lvm.gates import PROBE_MIN_COSINE

_LONG = "The report lists every expense of the department in the past year, item by item. " * 12


@dataclass(frozen=True)
class Step:
    """One step of encoding, compared in two encoders.

    Attributes:
        name: tokenizer, token limit, hidden states, pooling, projection or normalisation.
        same: whether both encoders do the same.
        detail: the measurement in words.
    """

    name: str
    same: bool
    detail: str


@dataclass(frozen=True)
class Diagnosis:
    """Result of the comparison of two encoders.

    Attributes:
        names: names of the encoders.
        steps: all steps, in order.
        cosine: median and least cosine between their final vectors; NaN if the dimensions differ.
        texts: number of compared texts.
    """

    names: tuple[str, str]
    steps: tuple[Step, ...]
    cosine: tuple[float, float]
    texts: int

    @property
    def parts_at(self) -> Step | None:
        """The first step that differs; None if all are the same."""
        return next((step for step in self.steps if not step.same), None)

    @property
    def compatible(self) -> bool:
        """Whether the encoders can replace each other."""
        return self.parts_at is None and self.cosine[1] >= PROBE_MIN_COSINE

    @property
    def message(self) -> str:
        """The result in one line."""
        first, second = self.names
        step = self.parts_at
        if step is None:
            least = f"least cosine {self.cosine[1]:.4f} over {self.texts} texts"
            return f"{first} and {second} make the same vectors ({least})"
        meaning = "so vectors of one mean nothing to the inverter of the other"
        if self.cosine[1] >= PROBE_MIN_COSINE:
            meaning = "so directions agree, but the inverter of one was not trained on vectors like those of the other"
        return (
            f"{first} and {second} part at {step.name}: {step.detail}; median cosine {self.cosine[0]:.3f} over "
            f"{self.texts} texts, {meaning}"
        )


def diagnose(
    first: TextEncoder, second: TextEncoder, names: tuple[str, str], texts: Sequence[str] = PROBE_SENTENCES
) -> Diagnosis:
    """Compare two encoders step by step on the same texts.

    Args:
        first: an encoder.
        second: another encoder.
        names: their names, for the message.
        texts: the texts.
    """
    texts = list(texts)
    steps = [
        _tokenizer(first, second, texts),
        _token_limit(first, second),
        _hidden_states(first, second, texts),
    ]
    pooled = _pooled(first, texts), _pooled(second, texts)
    steps.append(_pooling(first, second, pooled, steps[-1].same))
    raw = _final(first, texts), _final(second, texts)
    steps += [_projection(first, second), _normalisation(raw)]
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in raw]
    if unit[0].shape == unit[1].shape:
        cosines = np.einsum("nd,nd->n", *unit)
        cosine = (float(np.median(cosines)), float(cosines.min()))
    else:
        cosine = (float("nan"), float("nan"))
    return Diagnosis(names, tuple(steps), cosine, len(texts))


def _ids(encoder: TextEncoder, text: str) -> list[int]:
    return list(encoder.truncating.encode(text).ids)


def _tokenizer(first: TextEncoder, second: TextEncoder, texts: list[str]) -> Step:
    for text in texts:
        a = first.tokenizer.encode(text).tokens
        b = second.tokenizer.encode(text).tokens
        if a != b:
            where = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            return Step(
                "tokenizer",
                False,
                f"{text[:40]!r} differs from token {where} on: {a[where : where + 3]} and {b[where : where + 3]}",
            )
    return Step("tokenizer", True, f"the same tokens for all {len(texts)} texts")


def _token_limit(first: TextEncoder, second: TextEncoder) -> Step:
    a, b = (len(_ids(encoder, _LONG)) for encoder in (first, second))
    return Step("token limit", a == b, f"a long text is cut at {a} and {b} tokens, with special tokens")


def _states(encoder: TextEncoder, text: str) -> FloatArray:
    """(tokens, width) states of one text."""
    states: FloatArray = encoder.states(torch.tensor([_ids(encoder, text)]))[0].float().numpy()
    return states


def _hidden_states(first: TextEncoder, second: TextEncoder, texts: list[str]) -> Step:
    least = 1.0
    for text in texts:
        a, b = _states(first, text), _states(second, text)
        if a.shape != b.shape:
            return Step("hidden states", False, f"shapes {a.shape} and {b.shape} for {text[:40]!r}")
        cosine = np.einsum("td,td->t", a, b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        least = min(least, float(cosine.min()))
    layers = (
        "" if first.recipe.layer == second.recipe.layer else f", layers {first.recipe.layer} and {second.recipe.layer}"
    )
    return Step("hidden states", least >= PROBE_MIN_COSINE, f"least cosine of a token's states {least:.4f}{layers}")


def _pooled(encoder: TextEncoder, texts: list[str]) -> FloatArray:
    rows = [encoder.pool(encoder.states(torch.tensor([_ids(encoder, text)]))) for text in texts]
    return torch.cat(rows).float().numpy()


def _pooling(first: TextEncoder, second: TextEncoder, pooled: tuple[FloatArray, FloatArray], same_states: bool) -> Step:
    a, b = pooled
    kinds: tuple[Pooling, Pooling] = (first.recipe.pooling, second.recipe.pooling)
    if a.shape != b.shape:
        return Step("pooling", False, f"dimensions {a.shape[1]} and {b.shape[1]}")
    cosine = np.einsum("nd,nd->n", a, b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    if not same_states:
        return Step("pooling", kinds[0] == kinds[1], f"{kinds[0]} and {kinds[1]} (their inputs already differ)")
    return Step(
        "pooling",
        float(cosine.min()) >= PROBE_MIN_COSINE,
        f"{kinds[0]} and {kinds[1]}, least cosine {cosine.min():.4f}",
    )


def _projection(first: TextEncoder, second: TextEncoder) -> Step:
    a, b = first.projection_sha256, second.projection_sha256
    words = ["none" if digest is None else f"sha256 {digest[:12]}" for digest in (a, b)]
    return Step("projection", a == b, f"{words[0]} and {words[1]}")


def _final(encoder: TextEncoder, texts: list[str]) -> FloatArray:
    vectors = encoder.encode(texts)
    return vectors.unit * vectors.norms[:, None]


def _normalisation(raw: tuple[FloatArray, FloatArray]) -> Step:
    norms = [np.linalg.norm(vectors, axis=1) for vectors in raw]
    unit = [bool(np.allclose(n, 1.0, atol=1e-3)) for n in norms]
    words = [f"median norm {np.median(n):.3f}" for n in norms]
    return Step("normalisation", unit[0] == unit[1], f"{words[0]} and {words[1]}")
