"""How alike two texts are as words, without any encoder's opinion.

Contract: pure functions of strings. A cosine asks the very encoder that may be the wrong one; these do not.
"""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"\w+")


def same_words_key(text: str) -> str:
    """The text without case and spacing: two texts with one key are the same text to an uncased encoder."""
    return " ".join(text.casefold().split())


def token_f1(text: str, other: str) -> float:
    """F1 of shared words, counted as often as they occur (as SQuAD scores answers); 0 to 1, symmetric.

    Case and punctuation do not count. Texts without a single word are alike (1.0) only if they are equal.
    """
    words, others = (Counter(_WORD.findall(side.casefold())) for side in (text, other))
    if not words or not others:
        return float(text.strip() == other.strip())
    return 2.0 * (words & others).total() / (words.total() + others.total())
