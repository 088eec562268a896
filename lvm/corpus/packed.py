"""Files as streams of bytes or text, unpacked where they are packed with gzip.

Contract: nothing is unpacked to disk, and readers bound what they take: a small file can hold gigabytes.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from lvm.corpus.errors import SourceUnreadable
from lvm.errors import first_line

PACKED_SUFFIX = ".gz"

DAMAGED = (OSError, EOFError, zlib.error)
"""What a file raises that cannot be read or unpacked."""


def is_packed(path: Path) -> bool:
    """Whether the name of a file says that it is packed."""
    return path.suffix.lower() == PACKED_SUFFIX


def kind(path: Path) -> str:
    """Suffix of what a file holds, in lower case: that of ``texts.jsonl.gz`` is ``.jsonl``."""
    return (path.with_suffix("") if is_packed(path) else path).suffix.lower()


def unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked."""
    return cast(BinaryIO, gzip.open(path, "rb")) if is_packed(path) else path.open("rb")


def opened(path: Path, encoding: str, errors: str, newline: str = "\n") -> TextIO:
    """The text of a file, unpacked. See ``open`` for what ``newline`` makes of line ends."""
    return io.TextIOWrapper(unpacked(path), encoding=encoding, errors=errors, newline=newline)


@contextmanager
def named_damage(path: Path) -> Iterator[None]:
    """Name a file that cannot be read to its end.

    Raises:
        SourceUnreadable: for it.
    """
    try:
        yield
    except DAMAGED as error:
        raise SourceUnreadable(f"{path.name} {why(error)}; restore that file") from error


def why(error: BaseException) -> str:
    """What one of ``DAMAGED`` means, after the name of the file."""
    if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
        return f"is a damaged {PACKED_SUFFIX} file ({first_line(error)})"
    return f"cannot be read ({getattr(error, 'strerror', None) or first_line(error)})"


def unpacked_size(path: Path) -> int:
    """About how many bytes a file has when it is unpacked. A packed one says so at its end, up to 4 GiB."""
    size = path.stat().st_size
    if not is_packed(path) or size < 4:
        return size
    with path.open("rb") as file:
        file.seek(-4, io.SEEK_END)
        return max(size, int.from_bytes(file.read(4), "little"))
