"""Promise: chunking takes time in proportion to the length of a text, whatever the text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil, log2
from typing import Any

import pytest
import sentencex

from lvm.corpus import chunker as module
from lvm.corpus.chunker import Chunker
from lvm.settings import Settings
from lvm.spaces import Space, open_space

CHARACTERS = 60_000
PATTERNS = {
    "opening quotes": "\u201c", "single quotes": "\u2018", "guillemets": "\u00ab", "backticks": "`", "apostrophes": "'",
    "straight quotes": '"', "quotes and words": "\u201ca ", "quoted sentences": '"Go. ', "parentheses": "(",
    "parenthesised sentences": "(Go. ", "brackets": "[", "dots": ".", "dots and spaces": ". ", "questions": '?" ',
    "spaces": " ", "tabs": "\t", "lines": "\n", "paragraphs": "a\n\n", "wide spaces": "\u2003",
    "line separators": "\u2028",
    "one word": "a", "initials": "A. ", "abbreviations": "Mr. ", "digits": "1", "versions": "1.1.", "list": "1. ",
    "families": "\U0001f469\u200d\U0001f467\u200d", "joiners": "\u200d", "accents": "\u0301", "ideographs": "\u6f22",
    "addresses": "a@b.c ", "links": "http://a.b/", "dashes": "-", "semicolons": "; ", "ellipses": "\u2026",
    "a panic each time": "The T\u2003. ", "words": "word ", "words and commas": "word, ", "controls": "\x01",
}  # fmt: skip


@pytest.fixture(scope="module")
def space() -> Space:
    return open_space("minilm", Settings(inverter=None))


class Counting:
    """A tokenizer that counts the characters it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.characters = tokenizer, 0

    def encode_batch(self, texts: Sequence[str], **options: Any) -> Any:
        self.characters += sum(map(len, texts))
        return self.tokenizer.encode_batch(texts, **options)

    def encode(self, text: str, **options: Any) -> Any:
        return self.encode_batch([text], **options)[0]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_no_character_is_worked_on_more_often_in_a_longer_text(
    pattern: str, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (pattern * CHARACTERS)[:CHARACTERS]
    segmented: list[int] = []
    segment = sentencex.segment

    def counted(language: str, part: str) -> list[str]:
        segmented.append(len(part))
        return list(segment(language, part))

    monkeypatch.setattr(module.sentencex, "segment", counted)
    chunker = space.chunker()
    counting = chunker._tokenizer = Counting(chunker._tokenizer)  # type: ignore[assignment]
    began = time.monotonic()
    chunker.split(text)
    assert max(segmented) <= module._WINDOW, "sentencex is quadratic where quotes stay open"
    assert sum(segmented) <= 4 * len(text), "every window brings the next half a window further; a panic, it twice"
    # a block is halved until its pieces fit: each level once
    levels = ceil(log2(module._BLOCK / chunker.max_tokens)) + 3
    assert counting.characters <= levels * len(text)
    assert time.monotonic() - began < 60


def test_four_hundred_thousand_quotes_are_no_obstacle(space: Space) -> None:
    """They took more than 100 seconds, and twice as many four times as long."""
    began = time.monotonic()
    chunks, skipped = Chunker(space.tokenizer, space.max_tokens).split("\u201c" * 400_000)
    assert not chunks and sum(each.reason.startswith("no letter") for each in skipped) == len(skipped)
    assert time.monotonic() - began < 60


def test_a_long_paragraph_is_cut_between_its_sentences(space: Space) -> None:
    sentences = [f"Sentence number {number} says nothing new about the harbour." for number in range(2000)]
    chunks, skipped = space.chunker().split(" ".join(sentences))
    assert [each.text for each in chunks] == sentences and not skipped


def test_nothing_is_lost_where_a_window_ends(space: Space) -> None:
    text = " ".join(f"w{number}" for number in range(9000)) + " " + "x" * 25_000 + " the end"
    chunks, skipped = space.chunker().split(text)
    assert "".join(each.text for each in chunks).replace(" ", "") == text.replace(" ", "") and not skipped
