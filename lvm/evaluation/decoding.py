"""Decode predictions to text and measure the texts, in comparison with baselines and the true vectors.

Contract: held-out windows and predicted vectors in, decoded texts and figures out. The same windows are decoded for
every model, for copy-last, for the context mean and for the true next vector. Figures are cosines of the decoded text
to the decoded vector, to the true next chunk, and to the next chunk of another window. Both mean and median are given,
because a few perfect texts raise the mean. This module knows no models and no database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lvm import gates
from lvm.arrays import FloatArray, IntArray
from lvm.errors import LvmError
from lvm.evaluation.alignment import mean_pairwise_cosine, row_cosines
from lvm.evaluation.choosing import spread
from lvm.evaluation.text import distinct_2, token_f1
from lvm.progress import Progress
from lvm.spaces import Space, SpaceMismatch, Vectors

SAMPLE_WINDOWS = 96
"""Largest number of windows that are decoded."""

EXAMPLES = 5
"""Windows in the report's examples."""

_CONTEXT_SENTENCES = 3  # sentences of a context in an example

Kind = Literal["model", "baseline", "ceiling"]
COPY_LAST, CONTEXT_MEAN, TRUTH = "copy_last", "context_mean", "truth"


class UnusablePredictions(LvmError):
    """Predictions do not match the windows, or there are no windows."""


@dataclass(frozen=True)
class Windows:
    """Held-out windows as vectors and as text.

    Attributes:
        space: fingerprint of the space.
        context: (n, context, dim) unit vectors.
        target: (n, dim) unit vectors of the next chunks.
        context_texts: n lists of ``context`` texts, in order.
        target_texts: n texts of the next chunks.
        documents: (n,) int64 numbers of the windows' documents.
    """

    space: str
    context: FloatArray
    target: FloatArray
    context_texts: list[list[str]]
    target_texts: list[str]
    documents: IntArray

    def __len__(self) -> int:
        return len(self.target)

    def first(self, n: int) -> Windows:
        """The first ``n`` windows, or all."""
        return Windows(
            self.space,
            self.context[:n],
            self.target[:n],
            self.context_texts[:n],
            self.target_texts[:n],
            self.documents[:n],
        )


@dataclass(frozen=True)
class Spread:
    """Mean and median of a figure over windows.

    Attributes:
        mean: the mean; NaN if n is 0.
        median: the median; NaN if n is 0.
        n: number of windows.
    """

    mean: float
    median: float
    n: int

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Spread:
        """Mean and median of values (n,)."""
        if not len(values):
            return cls(float("nan"), float("nan"), 0)
        return cls(float(values.mean()), float(np.median(values)), len(values))


@dataclass(frozen=True)
class DecodedVectors:
    """Decoded texts of one set of vectors, with figures. Cosines of a text are those of its vector.

    Attributes:
        name: name of the model, or ``copy_last``, ``context_mean``, ``truth``.
        kind: ``model``, ``baseline``, or ``ceiling`` for the true vectors.
        texts: n decoded texts.
        cosines_to_truth: (n,) cosines of the decoded texts to the true next chunks.
        pipeline: cosine of a decoded text to the decoded vector.
        to_truth: cosine of a decoded text to the true next chunk.
        to_random: cosine of a decoded text to the next chunk of another window.
        overlap: F1 of shared words between decoded text and true next chunk.
        off_manifold: distance of the decoded text to the true next chunk, minus that of the vector (LCM, arXiv
            2412.08821): how much further from the truth decoding leads. Large if no text has such a vector.
        distinct_2: share of different pairs of neighbouring words in all texts; low if all texts say the same.
        norm_error: largest ``|1 - norm|`` of the vectors, before decoding.
        mean_pairwise_cosine: mean cosine between two of the vectors; near 1 if all predictions are the same.
        predicted: the n vectors that were decoded.
        decoded: the n vectors of the decoded texts.
    """

    name: str
    kind: Kind
    texts: list[str]
    cosines_to_truth: npt.NDArray[np.float64]
    pipeline: Spread
    to_truth: Spread
    to_random: Spread
    overlap: Spread
    off_manifold: Spread
    distinct_2: float
    norm_error: float
    mean_pairwise_cosine: float
    predicted: Vectors
    decoded: Vectors

    @property
    def verdict(self) -> gates.Verdict:
        """The verdict of the pipeline gate on these figures."""
        return gates.judge_pipeline(self.pipeline.mean, self.norm_error)


@dataclass(frozen=True)
class DecodedExample:
    """One window with all decoded texts.

    Attributes:
        context: last sentences of the context.
        truth: text of the true next chunk.
        decoded: decoded texts, by name of the predictor.
        cosines: cosines of the decoded texts to the true next chunk, by name of the predictor.
    """

    context: list[str]
    truth: str
    decoded: dict[str, str]
    cosines: dict[str, float]


def choose_windows(documents: Sequence[object], n: int = SAMPLE_WINDOWS, seed: int = 0) -> IntArray:
    """Choose windows at random, spread over documents.

    Args:
        documents: the document of every window.
        n: largest number of windows.
        seed: seed of the choice.

    Returns:
        Indices of at most ``n`` windows, int64.
    """
    return spread(documents, seed)[:n]


def decode_predictions(
    space: Space,
    windows: Windows,
    predictions: Mapping[str, Vectors],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[DecodedVectors]:
    """Decode the predictions of all models, copy-last, the context mean and the true vectors, and measure the texts.

    Args:
        space: decodes, and encodes the texts again.
        windows: n held-out windows.
        predictions: n predicted vectors by name of the model, with the norms of the model's output.
        seed: seed of the inverter's sampling, and of the choice of other windows.
        progress: called with the number of decoded vectors, ``(len(predictions) + 3) * len(windows)`` in all.

    Returns:
        An entry for every model in the given order, then for copy-last, context mean and truth.

    Raises:
        SpaceMismatch: if windows or predictions belong to another space.
        UnusablePredictions: if there are no windows, or a model has another number of predictions.
    """
    if not len(windows):
        raise UnusablePredictions(
            "there is no held-out window to decode: all held-out documents are too short; ingest longer documents "
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
                f"{name}: {len(vectors)} predictions for {len(windows)} windows, so they are of other windows; predict "
                "for these windows"
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
    """The first windows with all decoded texts. ``choose_windows`` has shuffled them, so the choice is random.

    Args:
        windows: the windows.
        decoded: the result of ``decode_predictions``.
        count: largest number of examples.
    """
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
    space: Space,
    windows: Windows,
    name: str,
    kind: Kind,
    vectors: Vectors,
    others: IntArray,
    seed: int,
    progress: Progress | None,
) -> DecodedVectors:
    result = space.decode(vectors, seed=seed, progress=progress)
    texts, decoded = result.texts, result.vectors
    to_truth = row_cosines(decoded.unit, windows.target)
    overlap = np.array([token_f1(a, b) for a, b in zip(texts, windows.target_texts, strict=True)])
    return DecodedVectors(
        name=name,
        kind=kind,
        texts=texts,
        cosines_to_truth=to_truth,
        pipeline=Spread.of(row_cosines(decoded.unit, vectors.unit)),
        to_truth=Spread.of(to_truth),
        to_random=Spread.of(row_cosines(decoded.unit[: len(others)], windows.target[others])),
        overlap=Spread.of(overlap),
        off_manifold=Spread.of(_distances(decoded.unit, windows.target) - _distances(vectors.unit, windows.target)),
        distinct_2=distinct_2(texts),
        norm_error=float(np.abs(vectors.norms.astype(np.float64) - 1.0).max()),
        mean_pairwise_cosine=mean_pairwise_cosine(vectors.unit),
        predicted=vectors,
        decoded=decoded,
    )


def _distances(unit: FloatArray, other: FloatArray) -> npt.NDArray[np.float64]:
    return np.sqrt(np.maximum(2 - 2 * row_cosines(unit, other), 0))


def _others(n: int, rng: np.random.Generator) -> IntArray:
    """Another window for every window, all different: (n,) int64; (0,) if there is only one window."""
    if n < 2:
        return np.empty(0, dtype=np.int64)
    ring = rng.permutation(n)
    others = np.empty(n, dtype=np.int64)
    others[ring] = np.roll(ring, 1)
    return others
