"""Rollouts: the step, what a repetition is, and what the texts are worth beside copying and random chunks."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.evaluation.rollout import (
    LongWindows,
    NothingToWriteFrom,
    long_starts,
    propose,
    repeats,
    rollouts,
)
from lvm.evaluation.text import distinct_2, word_pairs
from lvm.spaces import SpaceMismatch
from lvm.training import NoSamples
from tests.evaluation.conftest import FakeSpace
from tests.evaluation.storyteller import Storyteller
from tests.training.toy import CONTEXT, corpus

STEPS = 5


@pytest.fixture
def space(sentences: list[str]) -> Any:
    return FakeSpace(sentences)


@pytest.fixture
def model(space: Any, sentences: list[str]) -> Storyteller:
    return Storyteller(space.encode(sentences).unit, space.fingerprint)


@pytest.fixture
def windows(space: Any, sentences: list[str]) -> LongWindows:
    """Ten windows of the story."""
    unit, starts = space.encode(sentences).unit, np.arange(0, 200, 20)
    context = unit[starts[:, None] + np.arange(3)]
    future = unit[starts[:, None] + 3 + np.arange(STEPS)]
    return LongWindows(space.fingerprint, context, future, [sentences[start + 2] for start in starts])


def test_a_step_takes_the_sample_that_the_model_ranks_highest(
    space: Any, model: Storyteller, windows: LongWindows, sentences: list[str]
) -> None:
    model.samples, model.favourite = True, 3
    found = propose(space, model, windows.context, samples=4)
    assert model.calls == [(10, 4)] and len(space.seeds) == 1, "all are drawn and decoded in one call"
    assert found.best.tolist() == [4 * row + 2 for row in range(10)]
    assert [found.decoded.texts[row] for row in found.best] == sentences[5:200:20]
    assert found.scores.shape == (10, 4) and found.scores[:, 2] == pytest.approx(1.0)
    assert propose(space, model, windows.context).scores.shape == (10, 8)


def test_a_model_that_does_not_sample_gives_its_prediction(
    space: Any, model: Storyteller, windows: LongWindows
) -> None:
    for samples in (None, 1):
        found = propose(space, model, windows.context, samples=samples)
        assert found.scores.shape == (10, 1) and found.best.tolist() == list(range(10))
    with pytest.raises(NoSamples):
        propose(space, model, windows.context, samples=2)


def test_a_model_that_knows_the_story_writes_it(
    space: Any, model: Storyteller, windows: LongWindows, sentences: list[str]
) -> None:
    done: list[int] = []
    report = rollouts(space, model, windows, sentences, progress=done.append)
    assert (report.n, report.steps, sum(done), len(space.seeds)) == (10, STEPS, 50, STEPS)
    assert report.written.cosine == pytest.approx([1.0] * STEPS, abs=1e-5)
    assert report.written.repetition == 0 and report.written.distinct_2 > 0.99
    assert report.examples[1] == sentences[23 : 23 + STEPS] and len(report.examples) == 5
    assert report.contexts == windows.last_texts[:5]
    assert report.copied.repetition == pytest.approx(0.8) and report.copied.distinct_2 == pytest.approx(0.2)
    assert max(report.copied.cosine + report.random.cosine) < 0.5
    assert report.random.repetition < 0.1
    for figures in (report.written, report.copied, report.random):
        assert len(figures.cosine) == STEPS == len(figures.best_cosine)
        assert all(best >= at for best, at in zip(figures.best_cosine, figures.cosine, strict=True))
    assert json.loads(json.dumps(asdict(report)))["copied"]["repetition"] == report.copied.repetition


def test_the_order_of_the_true_chunks_counts_for_one_figure_only(
    space: Any, model: Storyteller, windows: LongWindows, sentences: list[str]
) -> None:
    reversed_ = replace(windows, future=windows.future[:, ::-1])
    report = rollouts(space, model, reversed_, sentences)
    assert report.written.cosine[2] == pytest.approx(1.0, abs=1e-5), "the middle stays"
    assert max(report.written.cosine[:2]) < 0.5
    assert report.written.best_cosine == pytest.approx([1.0] * STEPS, abs=1e-5)


def test_what_is_written_is_the_context_of_the_next_step(
    space: Any, model: Storyteller, windows: LongWindows, sentences: list[str]
) -> None:
    seen: list[np.ndarray] = []
    predict = model.predict
    model.predict = lambda contexts: (seen.append(contexts), predict(contexts))[1]  # type: ignore[method-assign,func-returns-value]
    space.slip = lambda text: text.replace(text.split()[0], "slipped")  # the decoder changes a word
    rollouts(space, model, windows, sentences)
    written = space.slip(sentences[3])
    np.testing.assert_allclose(seen[1][0, -1], space.encode([written]).unit[0], atol=1e-6)
    np.testing.assert_allclose(seen[1][:, :-1], windows.context[:, 1:])


def test_a_model_that_walks_in_a_circle_repeats_itself(space: Any, windows: LongWindows, sentences: list[str]) -> None:
    circle = Storyteller(space.encode(sentences[:2]).unit, space.fingerprint)
    report = rollouts(space, circle, windows, sentences)
    assert report.written.repetition == pytest.approx(3 / 5)


@pytest.mark.parametrize("what", ["windows", "steps", "pool"])
def test_nothing_to_measure_is_named(
    what: str, space: Any, model: Storyteller, windows: LongWindows, sentences: list[str]
) -> None:
    given_ = {
        "windows": replace(windows, context=windows.context[:0], future=windows.future[:0], last_texts=[]),
        "steps": replace(windows, future=windows.future[:, :0]),
    }.get(what, windows)
    with pytest.raises(NothingToWriteFrom, match="ingest"):
        rollouts(space, model, given_, [] if what == "pool" else sentences)


def test_windows_of_another_space_are_refused(
    space: Any, model: Storyteller, windows: LongWindows, sentences: list[str]
) -> None:
    with pytest.raises(SpaceMismatch):
        rollouts(space, model, replace(windows, space="0" * 64), sentences)
    model.space = "0" * 64
    with pytest.raises(SpaceMismatch):
        rollouts(space, model, windows, sentences)


def test_long_contexts_end_inside_their_document(tmp_path: Path) -> None:
    sequences = corpus(tmp_path / "set.safetensors")
    ends = sequences.document_starts
    chosen = long_starts(sequences, "train", steps=STEPS, n=10_000)
    every = sequences.starts["train"]
    expected = [start for start in every if start + CONTEXT + STEPS <= ends[np.searchsorted(ends, start, side="right")]]
    assert sorted(chosen.tolist()) == expected and 0 < len(expected) < len(every)
    few = long_starts(sequences, "train", steps=STEPS, n=4, seed=1)
    assert len(set(np.searchsorted(ends, few, side="right").tolist())) == 4, "spread over documents"
    assert not len(long_starts(sequences, "train", steps=1000, n=4))


def test_a_repetition_is_the_same_words_or_nearly_the_same_vector() -> None:
    one, near, far = (np.array(row, np.float32) for row in ([1, 0], [0.95, 0.3122499], [0.6, 0.8]))
    assert repeats("b", near, ["a"], [one]) and not repeats("b", far, ["a"], [one])
    assert repeats("A  a", far, ["a a"], [one]) and not repeats("a", one, [], [])


@given(st.lists(st.text()))
def test_distinct_2_is_a_share(texts: list[str]) -> None:
    share = distinct_2(texts)
    assert 0 <= share <= 1 and (share > 0) == any(word_pairs(text) for text in texts)
    assert distinct_2(texts * 2) == pytest.approx(share / 2)


def test_distinct_2_of_known_texts() -> None:
    assert distinct_2(["we met again", "We met, again!"]) == pytest.approx(0.5)
    assert distinct_2(["one", ""]) == 0
