"""Chunks: in order, within the limit, nothing lost."""

from __future__ import annotations

import functools

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lvm.corpus.chunker import Chunker
from lvm.settings import Settings
from lvm.spaces import open_space


@functools.cache
def chunker() -> Chunker:
    return open_space("minilm", Settings(inverter=None)).chunker()


@functools.cache
def tokenizer() -> Tokenizer:
    return open_space("minilm", Settings(inverter=None)).tokenizer


def letters(text: str) -> str:
    return "".join(c for c in text if c.isalnum())


def test_sentences_become_chunks_in_order() -> None:
    chunks, skipped = chunker().split("The first sentence is here. The second one follows! Is there a third?\n\nYes.")
    assert [each.text for each in chunks] == [
        "The first sentence is here.",
        "The second one follows!",
        "Is there a third?",
        "Yes.",
    ]
    assert not skipped


def test_a_long_sentence_is_cut_where_a_reader_would_pause() -> None:
    first = "The report of the Secretary of the Treasury shows the receipts and the expenditures of the year;"
    second = "and it will be for the wisdom of Congress to decide which of the several taxes shall be continued."
    chunks, _ = chunker().split(f"{first} {second}")
    assert [each.text for each in chunks] == [first, second]


def test_a_sentence_without_end_is_cut_within_the_limit() -> None:
    sentence = ", ".join(f"and in the year {year} nothing was done" for year in range(1800, 1830)) + "."
    chunks, _ = chunker().split(sentence)
    assert len(chunks) > 3
    assert all(0 < each.token_count <= 31 for each in chunks)
    assert letters("".join(each.text for each in chunks)) == letters(sentence)


def test_words_without_end_are_cut_too() -> None:
    chunks, _ = chunker().split("ab" * 5000)
    assert all(each.token_count <= 31 for each in chunks)
    assert letters("".join(each.text for each in chunks)) == "ab" * 5000


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=400))
def test_any_text_is_chunked_within_the_limit_and_what_is_left_out_is_listed(text: str) -> None:
    chunks, skipped = chunker().split(text)
    for each in chunks:
        assert 0 < each.token_count <= 31
        assert each.text == each.text.strip() and each.text
        assert len(tokenizer().encode(each.text, add_special_tokens=False).ids) == each.token_count
    assert all(each.reason for each in skipped)
    if not skipped:
        assert letters("".join(each.text for each in chunks)) == letters(text)


def test_one_hundred_thousand_sentences_in_one_line() -> None:
    chunks, _ = chunker().split("This goes on and on. " * 20_000)
    assert len(chunks) == 20_000
