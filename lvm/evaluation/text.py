"""Similarity of two texts by their words.

Contract: pure functions of strings. They use no encoder, so a wrong encoder cannot change them, unlike a cosine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

_WORD = re.compile(r"\w+")


def same_words_key(text: str) -> str:
    """A key that is equal for texts that differ only in case and white space: the same text for an uncased encoder."""
    return " ".join(text.casefold().split())


def token_f1(text: str, other: str) -> float:
    """F1 of shared words with their multiplicity, 0 to 1, as in SQuAD (Rajpurkar et al., 2016).

    Case and punctuation do not count. If a text has no word, the result is 1 for equal texts and 0 otherwise.
    """
    words, others = (Counter(_WORD.findall(side.casefold())) for side in (text, other))
    if not words or not others:
        return float(text.strip() == other.strip())
    return 2.0 * (words & others).total() / (words.total() + others.total())


def word_pairs(text: str) -> list[tuple[str, str]]:
    """The pairs of neighbouring words of a text, in order. Case and punctuation do not count."""
    return list(pairwise(_WORD.findall(text.casefold())))


def distinct_2(texts: Iterable[str]) -> float:
    """Share of different pairs among all pairs of neighbouring words in texts (Li et al., 2016), 0 to 1.

    It is low if the texts repeat themselves or each other; 0 if no text has two words.
    """
    pairs = [pair for text in texts for pair in word_pairs(text)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0
