"""Which texts an encoder can read: those whose words its vocabulary has.

Contract: what a vocabulary lacks becomes one unknown token, so all texts of an unknown writing system have nearly the
same vector. Letters and digits decide; signs and emoji do not count. Byte-level tokenizers know every text.
"""

from __future__ import annotations

import json

from tokenizers import Encoding, Tokenizer
from tokenizers.models import Unigram

from lvm.errors import UsageError
from lvm.gates import UNREADABLE_MIN_SHARE

UNREADABLE = "is in a writing system, or of words, that the encoder does not know"

ADVICE = "work in a space whose encoder knows it (--space or LVM_SPACE; docs/spaces.md says how to add one)"


class UnreadableText(UsageError):
    """A text of which the encoder knows next to nothing: its vector would not tell it from others."""


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """Id of a tokenizer's unknown token; None if it has none."""
    model = tokenizer.model
    if isinstance(model, Unigram):  # only its JSON has the id
        described = json.loads(tokenizer.to_str())["model"]
        return None if described.get("byte_fallback") else described.get("unk_id")
    token = getattr(model, "unk_token", None)
    return None if token is None or getattr(model, "byte_fallback", False) else tokenizer.token_to_id(token)


def is_unreadable(text: str, encoding: Encoding, unknown: int | None) -> bool:
    """Whether the encoder does not know half of a text's letters and digits.

    Args:
        text: the text.
        encoding: its tokens.
        unknown: id of the unknown token; None if there is none.
    """
    if unknown is None:
        return False
    ids = encoding.ids
    if unknown not in ids:
        return not ids and any(map(str.isalnum, text))  # the tokenizer dropped every letter
    letters = sum(map(str.isalnum, text))
    lost = sum(
        sum(map(str.isalnum, text[start:end]))
        for each, (start, end) in zip(ids, encoding.offsets, strict=True)
        if each == unknown
    )
    return lost > 0 and lost >= UNREADABLE_MIN_SHARE * letters
