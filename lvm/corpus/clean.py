r"""What Postgres cannot hold is left out of a document or replaced, and said.

Contract: a text is kept. NUL characters are removed. Lone surrogates, which are no characters, become U+FFFD. In ids
both are escaped (``\x00``), so that two ids stay two. Metadata becomes valid ``jsonb``: NaN and infinities are null,
bytes and what is nested too deeply are left out, other values are strings. The result depends on the document alone.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lvm.corpus import documents
from lvm.corpus.documents import Document, Skipped
from lvm.errors import one_line

MAX_NESTING = 100
"""Levels of lists and objects in metadata. Deeper ones are left out: Postgres and Python limit their stacks."""

_LONE = re.compile("[\ud800-\udfff]")

_NULS = "has NUL characters, which were left out"
_SURROGATES = "has characters that are not Unicode, replaced by U+FFFD"
_ID = "has an id that Postgres cannot hold, escaped"
_NUMBERS = "has NaN or infinity in its metadata, stored as null"
_BYTES = "has bytes in its metadata, left out"
_DEEP = "has metadata that is nested too deeply, left out"
_LARGE = f"has metadata longer than {documents.MAX_DOCUMENT_BYTES // 2**20} MiB, left out"


def cleaned(items: Iterator[Document | Skipped]) -> Iterator[Document | Skipped]:
    """Documents as they can be stored, each after what was changed in it.

    Args:
        items: what a source yields.
    """
    for item in items:
        if isinstance(item, Skipped):
            yield replace(item, where=_escaped(item.where))
            continue
        changes: Counter[str] = Counter()
        document = _clean(item, changes)
        for what, count in changes.items():
            yield Skipped(document.external_id, f"{what} ({count})", kept=True)
        yield document


def _clean(document: Document, changes: Counter[str]) -> Document:
    identity = _escaped(document.external_id)
    if identity != document.external_id:
        changes[_ID] += 1
    own_title = document.title != document.external_id
    text, title = _string(document.text, changes), _string(document.title, changes) if own_title else identity
    metadata = _plain(document.metadata, changes, 0) if document.metadata else {}
    if metadata and len(json.dumps(metadata)) > documents.MAX_DOCUMENT_BYTES:
        metadata, changes[_LARGE] = {}, 1
    return (
        Document(document.source, identity, title, text, metadata) if changes else replace(document, metadata=metadata)
    )


def _string(text: str, changes: Counter[str]) -> str:
    if text.isascii():  # most are, and this is the fastest check
        if "\0" not in text:
            return text
    elif "\0" not in text and not _LONE.search(text):
        return text
    if nuls := text.count("\0"):
        changes[_NULS] += nuls
    text, lone = _LONE.subn("\ufffd", text.replace("\0", ""))
    if lone:
        changes[_SURROGATES] += lone
    return text


def _escaped(identity: str) -> str:
    r"""The same string where Postgres can hold it; else its NUL characters and lone surrogates escaped."""
    return _LONE.sub(lambda found: one_line(found[0]), identity.replace("\0", "\\x00"))


def _plain(value: Any, changes: Counter[str], level: int) -> Any:
    """A value as ``jsonb`` can hold it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        changes[_NUMBERS] += 1
        return None
    if isinstance(value, str):
        return _string(value, changes)
    if isinstance(value, bytes | bytearray | memoryview):
        changes[_BYTES] += 1
        return None
    if isinstance(value, dict | list | tuple):
        if level == MAX_NESTING:
            changes[_DEEP] += 1
            return None
        if isinstance(value, dict):
            return {
                _string(key if isinstance(key, str) else str(key), changes): _plain(each, changes, level + 1)
                for key, each in value.items()
            }
        return [_plain(each, changes, level + 1) for each in value]
    return _string(str(value), changes)  # a date, a decimal, an image of a dataset
