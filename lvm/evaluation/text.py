"""Similarity of two texts by their words.

Contract: pure functions of strings. They use no encoder, so a wrong encoder cannot change them, unlike a cosine.
"""

from __future__ import annotations

import re
from collections import Counter

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
