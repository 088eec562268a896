"""Text that goes on: predict, decode, re-encode, append, one text after the other.

Contract: ``write`` refuses bad requests at once, before the first text. Then it is an iterator: every text is made when
it is asked for. It stops after ``steps`` texts, or earlier if it has nothing new to say, and says why. Equal calls
write equal texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from lvm.arrays import FloatArray
from lvm.evaluation.rollout import propose, repeats
from lvm.evaluation.text import word_pairs
from lvm.pipeline.predict import (
    InvalidOption,
    Prediction,
    candidates,
    check_options,
    context_of,
    reopened_model,
)
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.settings import TEMPERATURE
from lvm.spaces import Space
from lvm.spaces.space import as_texts
from lvm.training import TrainedModel

STEPS = 20
"""Texts to write unless a number is given."""

MAX_STALE = 2
"""Texts in a row without a new pair of words after which writing stops."""

Ended = Literal["steps", "repetition", "nothing_new"]

REASONS: dict[Ended, str] = {
    "steps": "as many texts as requested are written",
    "repetition": "the model repeats what it wrote before",
    "nothing_new": f"{MAX_STALE} texts in a row bring no new pair of words",
}
"""What the ends mean, for people."""


class Writing(Iterator[Prediction]):
    """The texts of one rollout, made while they are read. ``write`` opens one.

    A text that repeats an earlier one of the rollout is not taken: the next best candidate is. If all candidates
    repeat, writing ends.

    Args:
        space: that the model was trained in.
        model: the model; it was compared with the database already.
        text: what to go on from: a text, or consecutive texts, the oldest first.
        steps: texts at most.
        samples: see ``write``.
        temperature: of the samples.
        seed: of samples and decoding.

    Attributes:
        model: the model.
        texts: what was written so far.
        ended: why it ended, a key of ``REASONS``; None while it goes on.

    Raises:
        NotTexts: for what is neither a text nor a list of texts.
        NothingToContinue: if the text has no letter and no digit.
        UnreadableText: if it is in a writing system that the encoder does not know.
        InvalidOption: if an option has an impossible value.
        NoSamples: if a model that does not sample is asked for more than one.
        SpaceMismatch: if the model was trained in another space.
    """

    def __init__(
        self,
        space: Space,
        model: TrainedModel,
        text: str | Sequence[str],
        *,
        steps: int = STEPS,
        samples: int | None = None,
        temperature: float = TEMPERATURE,
        seed: int = 0,
    ) -> None:
        check_writing(model, steps, samples, temperature, seed)
        self._space, self.model = space, model
        self._context = context_of(space, model, [text] if isinstance(text, str) else as_texts(text, "write"))
        self._steps, self._samples, self._temperature, self._seed = steps, samples, temperature, seed
        self.texts: list[str] = []
        self.ended: Ended | None = None
        self._written: list[FloatArray] = []  # vectors of the texts
        self._pairs: set[tuple[str, str]] = set()
        self._stale = 0

    def __repr__(self) -> str:
        state = f"ended: {self.ended}" if self.ended else "goes on"
        return f"Writing(model={self.model.name!r}, texts={len(self.texts)}, {state})"

    def __next__(self) -> Prediction:
        if self.ended is None and len(self.texts) >= self._steps:
            self.ended = "steps"
        step = None if self.ended else self._next()
        if step is None:
            raise StopIteration
        unit = step.encoded.unit
        self.texts.append(step.text)
        self._written.append(unit[0])
        self._context = np.concatenate([self._context[:, 1:], unit[None]], axis=1)
        return step

    def _next(self) -> Prediction | None:
        """The best candidate that repeats nothing; None if writing ended."""
        proposals = propose(
            self._space,
            self.model,
            self._context,
            samples=self._samples,
            temperature=self._temperature,
            seed=self._seed + len(self.texts),
        )
        ranked = candidates(proposals)
        new = [each for each in ranked if not repeats(each.text, each.encoded.unit[0], self.texts, self._written)]
        if not new:
            self.ended = "repetition"
            return None
        pairs = set(word_pairs(new[0].text))
        self._stale = 0 if pairs - self._pairs else self._stale + 1
        self._pairs |= pairs
        if self._stale >= MAX_STALE:
            self.ended = "nothing_new"
            return None
        return replace(new[0], others=tuple(each for each in ranked if each is not new[0]))


@named_stage
def write(
    work: Workspace | Space,
    model: TrainedModel | str | None,
    text: str | Sequence[str],
    *,
    steps: int = STEPS,
    samples: int | None = None,
    temperature: float = TEMPERATURE,
    seed: int | None = None,
) -> Writing:
    """Go on from a text, one text at a time: ``for step in lvm.write(work, "gru", "We met."): print(step.text)``.

    Args:
        work: the database and space that the model belongs to; or a space alone, for the shipped model.
        model: what ``train`` gave, the name of a trained model or of a version of it (``gru@1a2b3c``), or ``shipped``;
            None for ``best_model``.
        text: what to go on from: a text, or consecutive texts, the oldest first. It is cut into chunks as ingestion
            would; the last ``context`` chunks count. If there are fewer, the oldest chunk is repeated.
        steps: texts at most.
        samples: candidates to draw at every step; 8 unless given, if the model samples. Their texts are ranked by the
            model's ranking head, and the best one is written. Another model gives its one prediction.
        temperature: of the samples, 0 to 10.
        seed: of samples and decoding; ``LVM_SEED`` unless given.

    Returns:
        An iterator over the texts, with their scores and the candidates that were not taken. After the last one,
        ``ended`` says why it was the last.

    Raises:
        NotTexts: for what is neither a text nor a list of texts.
        NothingToContinue: if the text has no letter and no digit.
        UnreadableText: if it is in a writing system that the encoder does not know.
        InvalidOption: if an option has an impossible value.
        NoSamples: if a model that does not sample is asked for more than one.
        NoModel: if no model of that name is trained.
        SpaceMismatch: if the model was trained in another space.
        CorruptedFile: if the model is damaged, or not the one that was recorded.
        GateMissing: if the space's inverter never passed a gate in this database.
        ShippedUnusable: if the shipped model is of another encoder or inverter.
    """
    check_writing(None, steps, samples, temperature, seed or 0)
    opened, space, settings = reopened_model(work, model)
    seed = settings.seed if seed is None else seed
    return Writing(space, opened, text, steps=steps, samples=samples, temperature=temperature, seed=seed)


def check_writing(model: TrainedModel | None, steps: int, samples: int | None, temperature: float, seed: int) -> None:
    """``check_options``, and the number of steps.

    Raises:
        InvalidOption: if a value is impossible.
        NoSamples: if a model that does not sample is asked for more than one.
    """
    if steps < 1:
        raise InvalidOption(f"steps is {steps}, so nothing would be written; ask for 1 or more")
    check_options(model, samples, temperature, seed)
