"""Candidates of a vector: the decoded text first, the nearest next, no text twice, and nothing is encoded for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvm.arrays import FloatArray
from lvm.inversion import inverter as inverter_module
from lvm.inversion.inverter import PrefixInverter, moved
from lvm.inversion.protocol import Candidate, distinct
from lvm.settings import Settings
from lvm.spaces import InvalidDecoding, Space, open_space

TEXTS = [
    "The state of our union is strong.",
    "Congress adjourned without a vote.",
    "We will reduce the debt and lower taxes on every family.",
]


@pytest.fixture
def space() -> Space:
    """A space whose inverter tries few texts."""
    opened = open_space("minilm", Settings(inverter=None))
    assert isinstance(opened.inverter, PrefixInverter)
    opened.inverter.candidates = 6
    return opened


def test_candidates_are_the_texts_that_decoding_tried(space: Space) -> None:
    vectors = space.encode(TEXTS)
    plain = space.decode(vectors, seed=3)
    assert plain.candidates is None and plain.steps is None
    several = space.decode(vectors, 4, seed=3)
    assert several.texts == plain.texts
    np.testing.assert_array_equal(several.vectors.raw, plain.vectors.raw)
    assert several.candidates is not None and len(several.candidates) == len(TEXTS)
    for row, candidates in enumerate(several.candidates):
        texts, cosines = zip(*candidates, strict=True)
        assert 1 <= len(texts) == len(set(texts)) <= 4
        assert texts[0] == plain.texts[row]
        assert list(cosines) == sorted(cosines, reverse=True)
        np.testing.assert_allclose(cosines, space.encode(texts).unit @ vectors.unit[row], atol=5e-3)  # bfloat16
        assert cosines[0] == pytest.approx(float(several.cosine[row]), abs=1e-5)
    assert max(map(len, several.candidates)) > 1
    assert space.decode(vectors, 4, seed=3).candidates == several.candidates


def test_fewer_candidates_are_the_first_of_more(space: Space) -> None:
    vectors = space.encode(TEXTS)
    everything = space.decode(vectors, 6).candidates
    two = space.decode(vectors, 2).candidates
    assert everything is not None and two is not None
    assert [candidates[:2] for candidates in everything] == two


def test_no_text_is_encoded_for_candidates_or_twice(space: Space) -> None:
    raw = space.encode(TEXTS).raw
    encoded: list[list[str]] = []

    def encode(texts: Sequence[str]) -> FloatArray:
        encoded.append(list(texts))
        return space.encode(texts).raw

    space.inverter.decode(raw, encode)
    plain = [*encoded]
    encoded.clear()
    inverted = space.inverter.decode(raw, encode, n_best=6)
    once = [text for batch in plain for text in batch]
    assert encoded == plain and len(once) == len(set(once))
    assert inverted.candidates is not None
    assert {each.text for candidates in inverted.candidates for each in candidates} <= set(once)


def test_cosines_do_not_depend_on_the_norm(space: Space) -> None:
    vectors = space.encode(TEXTS)
    candidates = space.inverter.decode(3 * vectors.unit, lambda batch: space.encode(batch).raw, n_best=6).candidates
    assert candidates is not None
    for unit, of_vector in zip(vectors.unit, candidates, strict=True):
        expected = space.encode([each.text for each in of_vector]).unit @ unit
        np.testing.assert_allclose([each.cosine for each in of_vector], expected, atol=5e-3)


@pytest.mark.parametrize("tries", range(1, 7))
def test_tries_is_the_number_of_texts(tries: int, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    written, write = list[int](), PrefixInverter._write

    def counting(
        inverter: PrefixInverter, vectors: torch.Tensor, copies: int, *rest: torch.Generator
    ) -> list[list[str]]:
        written.append(copies)
        return write(inverter, vectors, copies, *rest)

    monkeypatch.setattr(PrefixInverter, "_write", counting)
    space.decode(space.encode(TEXTS), tries=tries)
    assert sum(written) == tries and len(written) == min(tries, 2) and all(written)


def test_a_moved_vector_is_farther_from_the_mean_at_its_own_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, means = 3 * torch.randn(50, 20, generator=generator), torch.randn(50, 20, generator=generator)
    found = moved(vectors, means)
    torch.testing.assert_close(found.norm(dim=1), vectors.norm(dim=1))
    torch.testing.assert_close(moved(vectors, 7 * means), found)
    cosine = torch.nn.functional.cosine_similarity
    assert (cosine(found, means) < cosine(vectors, means)).all() and (cosine(found, vectors) > 0.8).all()
    torch.testing.assert_close(moved(vectors, vectors), vectors)


def test_the_second_round_brings_texts_nearer(
    minilm: Space, held_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = minilm.encode(held_out[:24])
    two = minilm.decode(vectors).cosine.mean()
    monkeypatch.setattr(inverter_module, "moved", lambda vectors, means: vectors)
    assert two > minilm.decode(vectors).cosine.mean()


@pytest.mark.parametrize("n_best", [0, -1, 7, 10**30, True, 2.0, "2", None])
def test_a_wrong_number_of_candidates_is_one_line(n_best: object, space: Space) -> None:
    for vectors in (space.encode(TEXTS), space.encode(TEXTS)[:0]):
        with pytest.raises(InvalidDecoding, match="n_best") as caught:
            space.decode(vectors, n_best)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_steps_need_a_corrector(space: Space) -> None:
    with pytest.raises(InvalidDecoding, match=r"'minilm' has no corrector"):
        space.decode(space.encode(TEXTS), steps=True)


def test_no_vectors_have_no_candidates(space: Space) -> None:
    decoded = space.decode(space.encode(TEXTS)[:0], 3)
    assert decoded.texts == [] and decoded.candidates == [] and decoded.steps is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-1, 1))), st.integers(1, 6))
def test_distinct_keeps_the_first_of_equal_texts(pairs: list[tuple[str, float]], n_best: int) -> None:
    candidates = [Candidate(*pair) for pair in pairs]
    kept = distinct(candidates, n_best)
    texts = [text for text, _ in pairs]
    assert [each.text for each in kept] == list(dict.fromkeys(texts))[:n_best]
    assert all(each is candidates[texts.index(each.text)] for each in kept)
