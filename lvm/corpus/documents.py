"""What a source yields: documents, and records of what was skipped.

Contract: (source, external_id) identifies a document. ``sha256`` changes if and only if the text changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

MAX_DOCUMENT_BYTES = 16 * 2**20
"""A longer text file, line or row is skipped, because a document is held in memory as a whole."""

TOO_LONG = f"is longer than {MAX_DOCUMENT_BYTES // 2**20} MiB; split it"


def normalise(text: str) -> str:
    """Convert line ends to LF and remove a byte order mark. Nothing else is changed."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class DocumentInfo:
    """A document without its text.

    Attributes:
        source: name of the source, e.g. ``sotu``.
        external_id: its id there, unique within the source.
        title: for people.
        sha256: hex digest of the normalised text.
        metadata: anything JSON can hold.
    """

    source: str
    external_id: str
    title: str
    sha256: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """One ordered text of a source.

    Attributes:
        source: name of the source, e.g. ``sotu``.
        external_id: id of the document, unique within the source.
        title: title for display.
        text: the whole text, normalised.
        metadata: JSON-serialisable values.
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

    @property
    def info(self) -> DocumentInfo:
        """The document without its text."""
        return DocumentInfo(self.source, self.external_id, self.title, self.sha256, self.metadata)


@dataclass(frozen=True)
class Skipped:
    """A document, file, line or piece of text that was left out. Everything skipped is counted and reported.

    Attributes:
        where: which part of the source.
        reason: why, in words that follow ``where`` as a sentence. What stands in brackets or after a colon is about
            this one: reports count by what stands before.
        count: how many files are meant.
        kept: whether the document itself was kept: then the reason is how it was read, or what was left out of it.
    """

    where: str
    reason: str
    count: int = 1
    kept: bool = False
