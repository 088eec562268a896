"""What a source yields: documents, and what it had to leave out.

Contract: a document's identity is (source, external_id); its ``sha256`` says whether its text changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


def normalise(text: str) -> str:
    """Line ends as LF and no byte order mark; nothing else about a text is changed."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class Document:
    """One ordered text of a source.

    Attributes:
        source: name of the source, e.g. ``sotu``.
        external_id: its id there, unique within the source.
        title: for people.
        text: the whole text, normalised.
        metadata: anything JSON can hold.
    """

    source: str
    external_id: str
    title: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hex sha256 of the normalised text."""
        return hashlib.sha256(normalise(self.text).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why; skipped things are counted and listed, never silent."""

    where: str
    reason: str
