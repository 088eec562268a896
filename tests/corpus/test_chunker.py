"""Chunks: in order, within the limit, nothing lost."""

from __future__ import annotations

import functools

import pytest
import sentencex
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


def test_a_text_that_sentencex_panics_at_is_chunked_too() -> None:
    text = "The car was a Model\u2003T\u2003. It ran for years."
    with pytest.raises(BaseException, match="char boundary"):
        sentencex.segment("en", text)
    chunks, skipped = chunker().split(text)
    assert letters("".join(each.text for each in chunks)) == letters(text) and not skipped


TEXT = """\
The ferry left at 6.40 a.m., as Mrs. O. Lind had warned, and nobody on the quay thought that it would come back
before the ice did, which in that year came early, lay thick until April, and was crossed on foot by everyone
from the schoolmaster to the priest (who had never learned to swim).

“Bring the lamp!” she called. “Bring it now. There is somebody down there; I can hear him, or it, or whatever it
is.” He did not move. 'Not yet,' he said. Prices: wool 3.50, salt 0.80, rope 12.00 per fathom -- the same as
before the war; tar, pitch, nails, lamp oil, candles, flour, dried fish, tobacco, needles, thread, and a small
but growing number of books could be had from Messrs. Berg & Co. only.

1. Rules are short. 2. They are read aloud. See Sec. 4(b), e.g. the part on tolls. Who wrote them? No one
knows...

***

The end came, so people said, because the harbour, the harbourmaster, the harbourmaster's dog and the
harbourmaster's dog's collar had all been painted the same green; but that is another story — one for a longer
evening than this.
"""

CHUNKS = [
    (22, "The ferry left at 6.40 a.m., as Mrs. O. Lind had warned,"),
    (
        23,
        "and nobody on the quay thought that it would come back before the ice did, which in that year came early,",
    ),
    (
        28,
        "lay thick until April, and was crossed on foot by everyone from the schoolmaster to the priest (who "
        "had never learned to swim).",
    ),
    (9, "“Bring the lamp!” she called."),
    (25, "“Bring it now. There is somebody down there; I can hear him, or it, or whatever it is.”"),
    (5, "He did not move."),
    (8, "'Not yet,' he said."),
    (21, "Prices: wool 3.50, salt 0.80, rope 12.00 per fathom --"),
    (25, "the same as before the war; tar, pitch, nails, lamp oil, candles, flour, dried fish, tobacco,"),
    (25, "needles, thread, and a small but growing number of books could be had from Messrs. Berg & Co. only."),
    (2, "1."),
    (4, "Rules are short."),
    (2, "2."),
    (5, "They are read aloud."),
    (18, "See Sec. 4(b), e.g. the part on tolls."),
    (4, "Who wrote them?"),
    (6, "No one knows..."),
    (
        28,
        "The end came, so people said, because the harbour, the harbourmaster, the harbourmaster's dog and "
        "the harbourmaster's",
    ),
    (
        26,
        "dog's collar had all been painted the same green; but that is another story — one for a longer "
        "evening than this.",
    ),
]


def test_a_text_is_chunked_as_ever() -> None:
    """Stored corpora were chunked like this; another way makes another corpus of the same documents."""
    chunks, skipped = chunker().split(TEXT)
    assert [(each.token_count, each.text) for each in chunks] == CHUNKS
    assert [each.reason for each in skipped] == ["no letter or digit: '***'"]
