"""From predictions to text: what a model says comes next, in words, beside what simpler guesses say.

Contract: held-out windows and each model's predicted vectors in; for every model, for copy-last, the context
mean and the true vector: decoded texts and how close they come to what was decoded, to the true next chunk
and to another window's. It knows no model and no database; the space decodes. Means stand beside medians,
because a few perfect hits make a mean look better than what is usually read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lvm import gates
from lvm.errors import LvmError
from lvm.evaluation.alignment import crowding, row_cosines
from lvm.evaluation.protocol import InvertibleSpace, Progress
from lvm.evaluation.roundtrip import spread
from lvm.evaluation.text import token_f1
from lvm.spaces.vectors import FloatArray, SpaceMismatch, Vectors

SAMPLE_WINDOWS = 96
"""Windows decoded where there are as many."""

EXAMPLES = 5
_CONTEXT_SENTENCES = 3  # of an example's context that are shown

Kind = Literal["model", "baseline", "ceiling"]
COPY_LAST, CONTEXT_MEAN, TRUTH = "copy_last", "context_mean", "truth"


class UnusablePredictions(LvmError):
    """Predictions that do not belong to the windows they are to be compared on."""


@dataclass(frozen=True)
class Windows:
    """Held-out windows, as text and as vectors of one space.

    Attributes:
        space: fingerprint of the space the vectors belong to.
        context: (n, context, dim) unit vectors.
        target: (n, dim) unit vectors of the chunks that follow.
        context_texts: n lists of the context's texts, oldest first.
        target_texts: n texts that follow.
    """

    space: str
    context: FloatArray
    target: FloatArray
    context_texts: list[list[str]]
    target_texts: list[str]

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class Spread:
    """Mean and median of one figure over ``n`` windows; NaN where n is 0."""

    mean: float
    median: float
    n: int

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Spread:
        if not len(values):
            return cls(float("nan"), float("nan"), 0)
        return cls(float(values.mean()), float(np.median(values)), len(values))


@dataclass(frozen=True)
class DecodedVectors:
    """What decoding one set of vectors gave.

    Attributes:
        name: the model's name, or ``copy_last``, ``context_mean``, ``truth``.
        kind: model, baseline, or ceiling (nothing decodes better than the true vector).
        texts: n decoded texts.
        cosines_to_truth: (n,) cosine of each decoded text to the true next chunk.
        pipeline: cosine of the re-encoded text to the vector that was decoded.
        to_truth: cosine of the decoded text to the true next chunk.
        to_random: cosine of the decoded text to another window's next chunk.
        overlap: F1 of shared words between decoded text and true next chunk.
        norm_error: how far the farthest vector's norm was from 1 before it was decoded.
        crowding: mean cosine between two different of the vectors; near 1, all predictions are one.
        asked, said: the n vectors that were decoded, and those of the decoded texts.
    """

    name: str
    kind: Kind
    texts: list[str]
    cosines_to_truth: npt.NDArray[np.float64]
    pipeline: Spread
    to_truth: Spread
    to_random: Spread
    overlap: Spread
    norm_error: float
    crowding: float
    asked: Vectors
    said: Vectors

    @property
    def verdict(self) -> gates.Verdict:
        return gates.judge_pipeline(self.pipeline.mean, self.norm_error)


@dataclass(frozen=True)
class DecodedExample:
    """One window side by side: its last sentences, what followed, and what everybody said would."""

    context: list[str]
    truth: str
    decoded: dict[str, str]
    cosines: dict[str, float]


def choose_windows(documents: Sequence[object], n: int = SAMPLE_WINDOWS, seed: int = 0) -> npt.NDArray[np.int64]:
    """Up to ``n`` windows, seeded and spread over documents, given the document of each: (<= n,) indices."""
    return spread(documents, seed)[:n]


def decode_predictions(
    space: InvertibleSpace,
    windows: Windows,
    predictions: Mapping[str, Vectors],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[DecodedVectors]:
    """Decode each model's predictions, copy-last, the context mean and the truth, and compare the texts.

    Args:
        space: decodes and re-encodes.
        windows: n held-out windows.
        predictions: by model, the n predicted vectors with the norms the model gave them.
        seed: of the inverter's candidates (the same for everybody) and of which window is the random other.
        progress: called with the number of vectors decoded, ``(len(predictions) + 3) * len(windows)`` in all.

    Returns:
        One entry for each model in the given order, then copy-last, context mean, truth.

    Raises:
        SpaceMismatch: if windows or predictions belong to another space.
        UnusablePredictions: if there are no windows, or a model predicted for another number of them.
    """
    if not len(windows):
        raise UnusablePredictions(
            "no held-out window to decode: every held-out document is too short; ingest longer documents "
            "or extract with a shorter --context"
        )
    named = {"windows": windows.space, **{name: vectors.fingerprint for name, vectors in predictions.items()}}
    for name, fingerprint in named.items():
        if fingerprint != space.fingerprint:
            raise SpaceMismatch(
                f"{name}: vectors of space {fingerprint[:16]} cannot be decoded by {space.name!r} "
                f"({space.fingerprint[:16]}): extract and train again in this space"
            )
    for name, vectors in predictions.items():
        if len(vectors) != len(windows):
            raise UnusablePredictions(
                f"{name}: {len(vectors)} predictions for {len(windows)} windows; predict for these windows"
            )

    mean = Vectors.from_raw(windows.space, windows.context.mean(axis=1))
    sets: list[tuple[str, Kind, Vectors]] = [
        *((name, "model", vectors) for name, vectors in predictions.items()),
        (COPY_LAST, "baseline", Vectors.from_raw(windows.space, windows.context[:, -1])),
        (CONTEXT_MEAN, "baseline", Vectors(mean.fingerprint, mean.unit, np.ones_like(mean.norms))),
        (TRUTH, "ceiling", Vectors.from_raw(windows.space, windows.target)),
    ]

    others = _others(len(windows), np.random.default_rng(seed))
    return [_decode(space, windows, name, kind, vectors, others, seed, progress) for name, kind, vectors in sets]


def examples(windows: Windows, decoded: Sequence[DecodedVectors], count: int = EXAMPLES) -> list[DecodedExample]:
    """The first ``count`` windows side by side: ``choose_windows`` shuffled them, so none is hand-picked."""
    return [
        DecodedExample(
            context=windows.context_texts[row][-_CONTEXT_SENTENCES:],
            truth=windows.target_texts[row],
            decoded={each.name: each.texts[row] for each in decoded},
            cosines={each.name: float(each.cosines_to_truth[row]) for each in decoded},
        )
        for row in range(min(count, len(windows)))
    ]


def _decode(
    space: InvertibleSpace,
    windows: Windows,
    name: str,
    kind: Kind,
    vectors: Vectors,
    others: npt.NDArray[np.int64],
    seed: int,
    progress: Callable[[int], None] | None,
) -> DecodedVectors:
    texts = space.decode(vectors, seed=seed, progress=progress).texts
    encoded = space.encode(texts)
    said = encoded.unit
    to_truth = row_cosines(said, windows.target)
    overlap = np.array([token_f1(a, b) for a, b in zip(texts, windows.target_texts, strict=True)])
    return DecodedVectors(
        name=name,
        kind=kind,
        texts=texts,
        cosines_to_truth=to_truth,
        pipeline=Spread.of(row_cosines(said, vectors.unit)),
        to_truth=Spread.of(to_truth),
        to_random=Spread.of(row_cosines(said[: len(others)], windows.target[others])),
        overlap=Spread.of(overlap),
        norm_error=float(np.abs(vectors.norms.astype(np.float64) - 1.0).max()),
        crowding=crowding(vectors.unit),
        asked=vectors,
        said=encoded,
    )


def _others(n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each of n windows another one, no window twice: (n,), or (0,) where there is only one window."""
    if n < 2:
        return np.empty(0, dtype=np.int64)
    ring = rng.permutation(n)
    others = np.empty(n, dtype=np.int64)
    others[ring] = np.roll(ring, 1)
    return others
