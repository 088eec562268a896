"""Files of many documents, one in each row: JSON lines, CSV and TSV, Parquet, and datasets of the Hugging Face hub.

Contract: a row has its text in column ``text``, or in the one that is named, and optionally ``id`` and ``title``. All
other columns become metadata. Rows stream, in order; memory does not grow with the file. A row that cannot be used is
yielded as ``Skipped``. A column that does not exist is an error that lists those that do, before anything is yielded.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from lvm.corpus import documents
from lvm.corpus.documents import TOO_LONG, Document, Skipped, normalise
from lvm.corpus.encodings import NotText, encoding_of_file, errors_of, is_utf8
from lvm.corpus.errors import NoSuchColumn, SourceNotFound, SourceUnreadable
from lvm.corpus.packed import kind, named_damage, opened, unpacked
from lvm.errors import first_line

TEXT, ID, TITLE = "text", "id", "title"

DELIMITERS = ",;\t|"
"""What may separate the cells of a .csv: the one that its first line has most often. In a .tsv it is the tab."""

_ROWS = 64  # of a Parquet file, read at a time


# -- rows -----------------------------------------------------------------------------------------------------------


def document_of(row: Any, source: str, where: str, text_column: str) -> Document | Skipped:
    """The document of a row, or why there is none.

    Args:
        row: a dict of its columns.
        source: name of the source.
        where: which row it is; also its id if it has none.
        text_column: the column of the text.
    """
    if not isinstance(row, dict):
        return Skipped(where, f"is not a JSON object but {type(row).__name__}")
    text = row.get(text_column)
    if not isinstance(text, str):
        return Skipped(where, f"has no string under {text_column!r} ({_listed(row)})")
    identity = _identity(row.get(ID), where)
    if identity is None:
        return Skipped(where, "has an 'id' that is neither a string nor a whole number")
    if len(text) > documents.MAX_DOCUMENT_BYTES:
        return Skipped(where, TOO_LONG)
    title = row.get(TITLE)
    rest = {key: value for key, value in row.items() if key not in (ID, TITLE, text_column)}
    return Document(source, identity, title if title and isinstance(title, str) else identity, normalise(text), rest)


def _identity(value: Any, where: str) -> str | None:
    """The id of a row. Tables with missing values have floats where whole numbers were: 7.0 is 7."""
    if value is None:
        return where
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None


def _listed(columns: Iterable[Any]) -> str:
    names = [str(name)[:40] for name in columns]
    return (
        f"it has {', '.join(map(repr, names[:20]))}{' and more' if len(names) > 20 else ''}" if names else "it is empty"
    )


def _require(column: str, columns: Iterable[str], what: str) -> None:
    names = list(columns)
    if column not in names:
        raise NoSuchColumn(
            f"{what} has no column {column!r} for the text; {_listed(names)}: name one with --text-column"
        )


# -- text files -----------------------------------------------------------------------------------------------------


def _text_of(path: Path, newline: str = "\n") -> tuple[TextIO, list[Skipped]]:
    """A text file, opened, and what to say about its encoding. ``newline`` is as in ``open``.

    Raises:
        SourceUnreadable: if it is no text.
    """
    try:
        with named_damage(path):
            encoding = encoding_of_file(lambda: unpacked(path))
    except NotText as error:
        raise SourceUnreadable(f"{path.name} {error}; nothing of it was read") from error
    said = [] if is_utf8(encoding) else [Skipped(path.name, f"is not UTF-8, read as {encoding}", kept=True)]
    return opened(path, encoding, errors_of(encoding), newline), said


def _lines(file: TextIO) -> Iterator[tuple[int, str | None]]:
    """Lines with their numbers, from 1. A line that is too long is skipped in blocks and yielded as None."""
    number, limit = 0, documents.MAX_DOCUMENT_BYTES
    while line := file.readline(limit + 1):
        number += 1
        if len(line) <= limit:
            yield number, line
            continue
        while line and not line.endswith(("\n", "\r")):
            line = file.readline(2**20)
        yield number, None


def jsonl(path: Path, source: str, text_column: str) -> Iterator[Document | Skipped]:
    """A file of JSON objects, one a line."""
    file, said = _text_of(path)
    yield from said
    with file, named_damage(path):
        for number, line in _lines(file):
            where = f"{path.name}:{number}"
            if line is None:
                yield Skipped(where, TOO_LONG)
                continue
            line = line.lstrip("\ufeff")  # files that were put together have marks inside
            if not line.strip():
                continue
            twice: Counter[str] = Counter()
            try:
                row = _parsed(line, twice)
            except RecursionError:
                yield Skipped(where, "is JSON that is nested too deeply")
                continue
            except ValueError as error:
                yield Skipped(where, f"is not JSON ({str(error)[:80]})")
                continue
            found = document_of(row, source, where, text_column)
            if isinstance(found, Document):
                for what in twice:
                    yield Skipped(found.external_id, what, kept=True)
            yield found


def _parsed(line: str, said: Counter[str]) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(found)
        if len(row) < len(found):
            said["has a key twice, of which the last counts"] += 1
        return row

    try:
        return json.loads(line, object_pairs_hook=pairs)
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError):
            raise
        # Python converts no longer integers; text keeps their digits
        said["has integers of more than 4,300 digits, kept as text"] += 1
        return json.loads(
            line, object_pairs_hook=pairs, parse_int=lambda digits: int(digits) if len(digits) < 4300 else digits
        )


def delimited(path: Path, source: str, text_column: str) -> Iterator[Document | Skipped]:
    """A .csv or .tsv file whose first row names the columns. A row with more cells than names is skipped."""
    csv.field_size_limit(max(csv.field_size_limit(), documents.MAX_DOCUMENT_BYTES))
    file, said = _text_of(path, newline="")
    yield from said
    with file, named_damage(path):
        lines = _RowLines(file)
        tabs = kind(path) == ".tsv"
        reader = csv.reader(lines, delimiter="\t" if tabs else _delimiter(lines.peek()))
        try:
            names = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise SourceUnreadable(f"the first row of {path.name} cannot be read ({error}); correct it") from error
        _require(text_column, names, path.name)
        if repeated := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
            raise NoSuchColumn(f"{path.name} has several columns {repeated[0]!r}; give each a name of its own")
        while True:
            lines.began = None
            cells, wrong = None, ""
            try:
                cells = next(reader, None)
            except csv.Error as error:
                wrong = f"is not a row of a table ({error})"
            for number in lines.lost:
                yield Skipped(f"{path.name}:{number}", TOO_LONG)
            lines.lost.clear()
            where = f"{path.name}:{lines.began}"
            if lines.ended and lines.began is not None:
                wrong = "opens a quotation mark that is never closed, so that all of the rest is one row"
            if wrong:
                yield Skipped(where, wrong)
            elif cells is None:
                return
            elif any(cell.strip() for cell in cells[len(names) :]):
                about = f"{len(cells)}, not {len(names)}; put cells that hold the delimiter into quotation marks"
                yield Skipped(where, f"has more cells than the first row ({about})")
            elif any(cell.strip() for cell in cells):
                row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
                if row.get(ID) == "":
                    del row[ID]
                yield document_of(row, source, where, text_column)


class _RowLines:
    """The lines of a table for ``csv.reader``, which takes several for one row.

    Attributes:
        began: number of the first line since it was set to None.
        lost: numbers of lines that were left out because they are too long.
        ended: whether there is no further line.
    """

    def __init__(self, file: TextIO) -> None:
        self.began: int | None = None
        self.lost: list[int] = []
        self.ended = False
        self._lines = _lines(file)
        self._peeked: list[str] = []

    def __iter__(self) -> _RowLines:
        return self

    def __next__(self) -> str:
        if self._peeked:
            return self._peeked.pop()
        for number, line in self._lines:
            if line is None:
                self.lost.append(number)
                continue
            self.began = self.began or number
            return line
        self.ended = True
        raise StopIteration

    def peek(self) -> str:
        """The first line, which is read again."""
        self._peeked = list(islice(self, 1))
        return self._peeked[0] if self._peeked else ""


def _delimiter(first: str) -> str:
    """What separates the names of the first line; a comma if it has one column."""
    bare = re.sub(r'"[^"]*"', "", first)
    return max(DELIMITERS, key=bare.count)


# -- Parquet --------------------------------------------------------------------------------------------------------


def parquet(path: Path, source: str, text_column: str) -> Iterator[Document | Skipped]:
    """A Parquet file, read in batches. Columns of bytes, such as images, are not read."""
    import pyarrow
    from pyarrow import parquet as files
    from pyarrow import types

    try:
        with files.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            schema = file.schema_arrow
            _require(text_column, schema.names, path.name)
            holds = schema.field(text_column).type
            holds = holds.value_type if types.is_dictionary(holds) else holds
            if not (types.is_string(holds) or types.is_large_string(holds) or types.is_string_view(holds)):
                raise NoSuchColumn(
                    f"column {text_column!r} of {path.name} holds {holds}, not text; {_listed(schema.names)}: name "
                    "another with --text-column"
                )
            binary = [each.name for each in schema if types.is_binary(each.type) or types.is_large_binary(each.type)]
            for name in binary:
                yield Skipped(path.name, f"has a column of bytes, left out ({name[:80]})", kept=True)
            number = 0
            for batch in file.iter_batches(_ROWS, columns=[name for name in schema.names if name not in binary]):
                for row in batch.to_pylist():
                    number += 1
                    yield document_of(row, source, f"{path.name}:{number}", text_column)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceUnreadable(
            f"{path.name} cannot be read as Parquet ({first_line(error)}); restore that file"
        ) from error


def parquet_size(path: Path, text_column: str, n: int | None) -> int | None:
    """About how many bytes the texts of the first n rows have; None if the file does not say."""
    import pyarrow
    from pyarrow import parquet as files

    try:
        about = files.read_metadata(path)
        columns = [about.schema.column(i).path for i in range(len(about.schema))]
        if text_column not in columns:
            return None
        at = columns.index(text_column)
        total: int = sum(about.row_group(i).column(at).total_uncompressed_size for i in range(about.num_row_groups))
    except (pyarrow.ArrowException, OSError):
        return None
    rows: int = about.num_rows
    return total if n is None else min(total, n * total // max(1, rows))


# -- the Hugging Face hub -------------------------------------------------------------------------------------------

GRAMMAR = "hf:[OWNER/]NAME[/CONFIGURATION][:SPLIT]"


def hub_name(spec: str) -> tuple[str, str | None, str | None]:
    """Dataset, configuration and split of ``hf:[OWNER/]NAME[/CONFIGURATION][:SPLIT]``.

    Two parts are owner and name, as in the hub's own addresses, unless that owner has no such dataset: then they are
    name and configuration. Three name all. In the path of a local folder, what comes after the folder is the
    configuration.

    Raises:
        SourceNotFound: if it is not of that form.
    """
    whole, _, split = spec.removeprefix("hf:").partition(":")
    path, parts = Path(whole), whole.split("/")
    if whole.startswith(("/", "./", "../")):
        if not path.is_dir() and path.parent.is_dir():
            return str(path.parent), path.name, split or None
        return whole, None, split or None
    if not all(parts) or len(parts) > 3:
        raise SourceNotFound(f"{spec!r} names no dataset; write {GRAMMAR}, e.g. hf:wikitext or hf:owner/name/en:train")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split or None


def hugging_face(spec: str, text_column: str) -> Callable[[], Iterator[Document | Skipped]]:
    """Reads a dataset of the Hugging Face hub as a stream."""
    name, configuration, split = hub_name(spec)

    def read() -> Iterator[Document | Skipped]:
        try:
            rows = _loaded(name, configuration, split or "train")
            if rows.column_names:
                _require(text_column, rows.column_names, spec)
            for number, row in enumerate(rows, start=1):
                yield document_of(row, source=spec, where=f"{spec}:{number}", text_column=text_column)
        except NoSuchColumn:
            raise
        except Exception as error:  # datasets has many backends, which raise their own errors
            raise SourceUnreadable(_unreadable(error, name, configuration)) from error

    return read


def _loaded(name: str, configuration: str | None, split: str) -> Any:
    """A dataset as a stream. Where there is none of that owner, ``NAME/CONFIGURATION`` of a name without owner."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load_dataset(name, configuration, split=split, streaming=True)
    except DatasetNotFoundError:
        first, _, second = name.partition("/")
        if configuration is not None or not first or not second:
            raise
        with suppress(DatasetNotFoundError):
            return load_dataset(first, second, split=split, streaming=True)
        raise


def _unreadable(error: Exception, name: str, configuration: str | None) -> str:
    """What is wrong with a dataset, and what to do: configurations and splits are listed."""
    reason = " ".join(str(error).partition("Example of usage")[0].split()) or type(error).__name__
    if configuration is None and "onfig name is missing" in reason:
        found = re.findall(r"'([^']+)'", reason)
        return (
            f"dataset {name!r} has several configurations: {', '.join(found)}; name one, e.g. hf:{name}/{found[0]}"
            if found
            else f"dataset {name!r} has several configurations ({reason}); name one: hf:{name}/CONFIGURATION"
        )
    if "BuilderConfig" in reason:
        return f"dataset {name!r} has no configuration {configuration!r} ({reason}); name another: {GRAMMAR}"
    if "split" in reason.lower():
        return f"dataset {name!r} has no such split ({reason}); name another: {GRAMMAR}"
    return (
        f"dataset {name!r} cannot be read ({first_line(reason)[:300]}); check its name and the network, or download it "
        "and name its .jsonl or .parquet file"
    )
