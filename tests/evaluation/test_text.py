from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.evaluation.text import same_words_key, token_f1


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        ("The state of the Union is strong.", "the state of the union is STRONG", 1.0),
        ("peace and war", "war and peace", 1.0),
        ("a b c d", "a b x y", 0.5),
        ("the the the", "the", 0.5),  # repetition does not buy overlap
        ("alpha", "omega", 0.0),
        ("...", "!!!", 0.0),
        ("...", " ... ", 1.0),
        ("", "words", 0.0),
    ],
)
def test_token_f1(text: str, other: str, expected: float) -> None:
    assert token_f1(text, other) == pytest.approx(expected)


@given(st.text(), st.text())
def test_token_f1_is_symmetric_and_within_0_and_1(text: str, other: str) -> None:
    assert token_f1(text, other) == token_f1(other, text)
    assert 0.0 <= token_f1(text, other) <= 1.0
    assert token_f1(text, text) == 1.0


def test_texts_that_differ_in_case_and_spacing_have_one_key() -> None:
    assert same_words_key("Thank  YOU.\n") == same_words_key("thank you.")
    assert same_words_key("thank you.") != same_words_key("thank you")
