"""Rollouts: predict, decode, re-encode, append, predict again; and what the written texts are worth.

Contract: ``propose`` is the one step of every rollout, for many contexts at once. What is appended is the vector of the
decoded text, so a rollout never leaves the vectors of texts. ``rollouts`` writes on from held-out contexts and compares
the texts with the true chunks, beside copying and random chunks. This module knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lvm.arrays import FloatArray, IntArray
from lvm.errors import LvmError
from lvm.evaluation.alignment import row_cosines
from lvm.evaluation.choosing import spread
from lvm.evaluation.decoding import EXAMPLES
from lvm.evaluation.text import distinct_2, same_words_key
from lvm.gates import REPETITION_COSINE
from lvm.progress import Progress
from lvm.sequences import SequenceSet, Split
from lvm.settings import TEMPERATURE
from lvm.spaces import Decoded, Space, SpaceMismatch, Vectors

SAMPLES = 8
"""Samples of a sampling model for one text: the inverter decodes eight vectors in one batch."""

TRIES = 4
"""Texts that the inverter draws of a sample, of which it keeps the nearest. A single prediction gets all its texts."""

STEPS = 5
"""Texts of a measured rollout."""


class NothingToWriteFrom(LvmError):
    """There is no context to go on from, or no chunk to draw."""


class Model(Protocol):
    """What a rollout needs of a model; ``lvm.training.TrainedModel`` is one."""

    @property
    def space(self) -> str:
        """Fingerprint of its space."""

    @property
    def context(self) -> int:
        """Vectors in a window."""

    @property
    def samples(self) -> bool:
        """Whether it can draw samples."""

    def predict(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(n, context, dim) contexts -> vectors to decode and to rank by, (n, dim) unit vectors."""

    def sample(
        self, contexts: FloatArray, count: int, *, temperature: float = TEMPERATURE, seed: int = 0
    ) -> FloatArray:
        """(n, context, dim) contexts -> (n, count, dim) unit vectors."""


@dataclass(frozen=True)
class Proposals:
    """Candidates for the next texts of n contexts, ``count`` of each. Those of one context are consecutive rows.

    Attributes:
        query: n vectors to rank by.
        vectors: n * count predicted vectors.
        decoded: their n * count texts.
        scores: (n, count) float32, the rank score of a text: cosine between its vector and the query.
    """

    query: Vectors
    vectors: Vectors
    decoded: Decoded
    scores: FloatArray

    @property
    def best(self) -> IntArray:
        """Rows of the texts with the highest scores: (n,) int64."""
        n, count = self.scores.shape
        rows: IntArray = np.arange(n, dtype=np.int64) * count + self.scores.argmax(axis=1)
        return rows


def propose(
    space: Space,
    model: Model,
    contexts: FloatArray,
    *,
    samples: int | None = None,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Proposals:
    """Predict the next vectors, decode all of them in one call, and score the texts by the model's ranking head.

    Args:
        space: decodes, and encodes the texts again.
        model: predicts.
        contexts: (n, context, dim) float32 unit vectors of the model's space.
        samples: samples of each context. None is ``SAMPLES`` for a model that samples, and 1 for another. A model that
            does not sample gives its prediction as the only one.
        temperature: of the samples.
        seed: of the samples and of the decoding.
        progress: called with the number of decoded vectors.

    Raises:
        SpaceMismatch: if the model was trained in another space.
        NoSamples: if a model that does not sample is asked for more than one.
    """
    vector, query = model.predict(contexts)
    if model.samples or (samples or 1) > 1:
        drawn = model.sample(contexts, samples or SAMPLES, temperature=temperature, seed=seed)
        vector = drawn.reshape(-1, drawn.shape[2])
    vectors = Vectors.from_raw(model.space, vector)
    tries = TRIES if len(vectors) > len(query) else None
    decoded = space.decode(vectors, tries=tries, seed=seed, progress=progress)
    texts = decoded.vectors.unit.reshape(len(query), -1, query.shape[1])
    return Proposals(Vectors.from_raw(model.space, query), vectors, decoded, np.einsum("nd,ncd->nc", query, texts))


def repeats(text: str, unit: FloatArray, earlier: Sequence[str], earlier_unit: Sequence[FloatArray]) -> bool:
    """Whether a text says again what an earlier one said: in the same words, or above ``gates.REPETITION_COSINE``.

    Args:
        text: the text.
        unit: (dim,) its unit vector.
        earlier: k earlier texts.
        earlier_unit: k unit vectors (dim,) of the earlier texts.
    """
    return same_words_key(text) in map(same_words_key, earlier) or any(
        float(unit @ other) > REPETITION_COSINE for other in earlier_unit
    )


# -- what rollouts are worth ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LongWindows:
    """Held-out contexts and the chunks that truly follow.

    Attributes:
        space: fingerprint of the space.
        context: (n, context, dim) unit vectors.
        future: (n, steps, dim) unit vectors of the chunks that follow, in order.
        last_texts: n texts of the last chunks of the contexts.
    """

    space: str
    context: FloatArray
    future: FloatArray
    last_texts: list[str]

    def __len__(self) -> int:
        return len(self.context)


@dataclass(frozen=True)
class RolloutFigures:
    """Texts of n rollouts beside the true chunks. Cosines of a text are those of its vector.

    Attributes:
        cosine: by step, mean cosine of the text to the true chunk at this step.
        best_cosine: by step, mean cosine of the text to the nearest of the true chunks of all steps.
        repetition: share of texts that repeat an earlier one of their rollout (see ``repeats``).
        distinct_2: share of different word pairs among those of all texts.
    """

    cosine: list[float]
    best_cosine: list[float]
    repetition: float
    distinct_2: float


@dataclass(frozen=True)
class RolloutReport:
    """Rollouts of a model, beside copying and random chunks on the same windows. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        n: number of rollouts.
        steps: texts of a rollout.
        written: figures of the model.
        copied: figures of repeating the last chunk of the context.
        random: figures of chunks drawn at random.
        examples: the texts of the first rollouts.
        contexts: the last text of the context of the same rollouts.
    """

    n: int
    steps: int
    written: RolloutFigures
    copied: RolloutFigures
    random: RolloutFigures
    examples: list[list[str]]
    contexts: list[str]


def long_starts(
    sequences: SequenceSet, split: Split = "test", *, steps: int = STEPS, n: int, seed: int = 0
) -> IntArray:
    """Choose contexts that at least ``steps`` chunks of the same document follow, at random, spread over documents.

    Args:
        sequences: the sequence set.
        split: the split.
        steps: chunks that follow.
        n: largest number of contexts.
        seed: seed of the choice.

    Returns:
        First rows of the contexts, at most n, int64. Rows ``s + context .. s + context + steps - 1`` follow.
    """
    starts = sequences.starts[split]
    documents = sequences.documents_of(starts)
    fits = starts + sequences.context + steps <= sequences.document_starts[documents + 1]
    starts, documents = starts[fits], documents[fits]
    return np.asarray(starts[spread(documents.tolist(), seed)[:n]], dtype=np.int64)


def rollouts(
    space: Space,
    model: Model,
    windows: LongWindows,
    pool: Sequence[str],
    *,
    samples: int | None = None,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    progress: Progress | None = None,
) -> RolloutReport:
    """Write on from every context, as many steps as true chunks are known, and compare.

    Every step is one prediction, one decoding and one encoding for all windows. The text with the highest score is
    taken, also if it repeats an earlier one.

    Args:
        space: decodes, and encodes texts.
        model: predicts.
        windows: n contexts and the chunks that follow.
        pool: texts of chunks to draw at random, for comparison.
        samples: see ``propose``.
        temperature: of the samples.
        seed: of samples, decoding and random chunks.
        progress: called with the number of decoded vectors, n * steps * samples in all.

    Raises:
        SpaceMismatch: if the windows or the model belong to another space.
        NothingToWriteFrom: if there is no window, no step, or no text in the pool.
        NoSamples: if a model that does not sample is asked for more than one.
    """
    if windows.space != space.fingerprint:
        raise SpaceMismatch(
            f"the windows are of space {windows.space[:16]}, this is {space.name!r} ({space.fingerprint[:16]}); "
            "extract sequences in this space"
        )
    n, steps = windows.future.shape[:2]
    if not n or not steps or not pool:
        raise NothingToWriteFrom(
            f"there are {n} contexts with {steps} chunks after them, and {len(pool)} chunks to draw from, so no "
            "rollout can be measured; ingest more or longer documents"
        )
    contexts, texts, units = windows.context, list[list[str]](), list[FloatArray]()
    for step in range(steps):
        proposals = propose(
            space, model, contexts, samples=samples, temperature=temperature, seed=seed + step, progress=progress
        )
        best = proposals.best
        texts.append([proposals.decoded.texts[row] for row in best])
        units.append(proposals.decoded.vectors.unit[best])
        contexts = np.concatenate([contexts[:, 1:], units[-1][:, None]], axis=1)

    drawn = np.random.default_rng(seed).integers(len(pool), size=(steps, n))
    random = [[pool[i] for i in row] for row in drawn]
    random_unit = space.encode([text for row in random for text in row]).unit.reshape(steps, n, -1)
    return RolloutReport(
        n=n,
        steps=steps,
        written=_figures(windows.future, texts, units),
        copied=_figures(windows.future, [windows.last_texts] * steps, [windows.context[:, -1]] * steps),
        random=_figures(windows.future, random, list(random_unit)),
        examples=[[row[i] for row in texts] for i in range(min(n, EXAMPLES))],
        contexts=windows.last_texts[:EXAMPLES],
    )


def _figures(future: FloatArray, texts: Sequence[Sequence[str]], units: Sequence[FloatArray]) -> RolloutFigures:
    """Figures of texts and their vectors.

    Args:
        future: (n, steps, dim) true vectors.
        texts: ``steps`` lists of n texts.
        units: ``steps`` arrays (n, dim).
    """
    n, steps = future.shape[:2]
    again = sum(
        repeats(texts[step][i], units[step][i], [row[i] for row in texts[:step]], [row[i] for row in units[:step]])
        for step in range(steps)
        for i in range(n)
    )
    return RolloutFigures(
        cosine=[float(row_cosines(unit, future[:, step]).mean()) for step, unit in enumerate(units)],
        best_cosine=[float(np.einsum("nd,nsd->ns", unit, future).max(axis=1).mean()) for unit in units],
        repetition=again / (n * steps),
        distinct_2=distinct_2(text for row in texts for text in row),
    )
