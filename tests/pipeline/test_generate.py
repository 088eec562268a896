"""Text that goes on: what is taken, what is appended, why it stops, and what is refused before the first text."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.pipeline.generate import REASONS, Writing
from lvm.pipeline.predict import InvalidOption, NothingToContinue, candidates, check_options, predict
from lvm.spaces import SpaceMismatch
from lvm.training import NoSamples
from tests.evaluation.conftest import FakeSpace
from tests.evaluation.storyteller import Storyteller


class Sentences:
    """Cuts at full stops."""

    def split(self, text: str) -> tuple[list[Any], list[Any]]:
        return [SimpleNamespace(text=part.strip()) for part in text.split(".") if part.strip()], []


@pytest.fixture
def story() -> list[str]:
    """40 different sentences of five words."""
    rng = np.random.default_rng(7)
    return [" ".join(f"w{w}" for w in rng.integers(0, 5000, 5)) for _ in range(40)]


@pytest.fixture
def space(story: list[str]) -> Any:
    space = FakeSpace(story)
    space.chunker = Sentences  # type: ignore[attr-defined]
    return space


@pytest.fixture
def model(space: Any, story: list[str]) -> Any:
    return Storyteller(space.encode(story).unit, space.fingerprint)


def test_every_text_is_the_context_of_the_next(space: Any, model: Any, story: list[str]) -> None:
    writing = Writing(space, model, story[0], steps=4)
    assert [step.text for step in writing] == story[1:5] == writing.texts
    assert writing.ended == "steps" and list(writing) == [] and set(REASONS) >= {writing.ended}
    assert space.seeds == [0, 1, 2, 3], "one decoding a text"
    assert "texts=4" in repr(writing)


def test_a_step_carries_its_figures(space: Any, model: Any, story: list[str]) -> None:
    model.samples, model.favourite = True, 2
    step = next(Writing(space, model, story[0], samples=3))
    assert step.text == story[2] and step.score == pytest.approx(1) and step.cosine == pytest.approx(1)
    assert [each.text for each in step.others] != [] and {each.text for each in step.others} == {story[1], story[3]}
    assert step.others[0].score >= step.others[1].score
    np.testing.assert_allclose(step.encoded.unit, space.encode([step.text]).unit, atol=1e-6)


def test_a_text_is_made_when_it_is_asked_for(space: Any, model: Any, story: list[str]) -> None:
    writing = Writing(space, model, story[0], steps=1000)
    assert space.seeds == [] and writing.ended is None
    next(writing)
    assert len(space.seeds) == 1


def test_a_repetition_ends_it(space: Any, model: Any, story: list[str]) -> None:
    model.unit = model.unit[:3]  # a story of three sentences, told in a circle
    writing = Writing(space, model, story[0])
    assert [step.text for step in writing] == [story[1], story[2], story[0]] and writing.ended == "repetition"


def test_the_next_best_is_taken_where_the_best_repeats(space: Any, model: Any, story: list[str]) -> None:
    model.unit, model.samples, model.favourite = model.unit[:6], True, 6  # it likes best what it said last
    writing = Writing(space, model, story[0], samples=6)
    steps = list(writing)
    assert sorted(step.text for step in steps) == sorted(story[:6]) and writing.ended == "repetition"
    assert len(steps[-1].others) == 5


def test_texts_of_known_words_only_end_it(space: Any, model: Any) -> None:
    texts = ["a b c d e f", "p q x y", "a b", "x y", "q r"]  # the third and the fourth bring no new pair
    space.library, model.unit = texts, space.encode(texts).unit
    writing = Writing(space, model, texts[-1])
    assert [step.text for step in writing] == texts[:3] and writing.ended == "nothing_new"


def test_equal_texts_are_one_candidate(space: Any, model: Any, story: list[str]) -> None:
    model.samples = True
    space.slip = lambda _: "always the same"
    found = predict(space, model, [story[0]], samples=5)
    assert found.text == "always the same" and found.others == ()


def test_only_the_last_chunks_count_and_few_are_repeated(space: Any, model: Any, story: list[str]) -> None:
    seen: list[np.ndarray] = []
    step = model.predict
    model.predict = lambda contexts: (seen.append(contexts), step(contexts))[1]
    long = ". ".join(story * 50)
    assert next(Writing(space, model, long)).text == story[0]
    assert next(Writing(space, model, story)).text == story[0], "consecutive texts, as well"
    assert next(Writing(space, model, "Word")).text in story
    np.testing.assert_array_equal(seen[0], seen[1])
    assert seen[2].shape == (1, 3, 64) and (seen[2][0] == seen[2][0, 0]).all()
    two = next(Writing(space, model, f"{story[3]}. {story[7]}"))
    assert two.text == story[8]
    np.testing.assert_array_equal(seen[3][0, 0], seen[3][0, 1])
    np.testing.assert_allclose(seen[3][0, 1:], space.encode([story[3], story[7]]).unit, atol=1e-6)


@pytest.mark.parametrize("text", ["", "  \n", "...", "!? -", [], [""]])
def test_no_text_is_named_at_once(text: Any, space: Any, model: Any) -> None:
    with pytest.raises(NothingToContinue, match="letter or a digit"):
        Writing(space, model, text)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"steps": 0}, "steps"), ({"steps": -3}, "steps"), ({"samples": 0}, "samples"), ({"samples": -1}, "samples"),
        ({"temperature": -0.1}, "temperature"), ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"), ({"temperature": 10.5}, "temperature"), ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
    ],
)  # fmt: skip
def test_impossible_options_are_named_at_once(option: dict[str, Any], said: str, space: Any, model: Any) -> None:
    model.samples = True
    with pytest.raises(InvalidOption, match=f"^{said} is "):
        Writing(space, model, "a text", **option)
    assert space.seeds == []


def test_a_model_that_does_not_sample_says_so_at_once(space: Any, model: Any) -> None:
    with pytest.raises(NoSamples, match=r"'storyteller' predicts one vector .* not 2 ways"):
        Writing(space, model, "a text", samples=2)
    assert next(Writing(space, model, "a text", samples=1)).others == ()


def test_a_model_of_another_space_is_refused(space: Any, model: Any) -> None:
    model.space = "0" * 64
    with pytest.raises(SpaceMismatch, match="train it again"):
        Writing(space, model, "a text")


@given(st.integers(), st.floats(), st.integers())
def test_options_are_either_possible_or_named(samples: int, temperature: float, seed: int) -> None:
    possible = samples >= 1 and 0 <= temperature <= 10 and 0 <= seed < 2**63
    try:
        check_options(None, samples, temperature, seed)
    except InvalidOption as error:
        assert not possible and "\n" not in str(error)
    else:
        assert possible


def test_candidates_are_ranked(space: Any, model: Any, story: list[str]) -> None:
    from lvm.evaluation.rollout import propose

    model.samples = True
    context = space.encode(story[:3]).unit[None]
    ranked = candidates(propose(space, model, context, samples=6))
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)
    assert ranked[0].text == story[3] and len(ranked) == 6
