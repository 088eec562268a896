"""Files that are whole or absent, and sealed safetensors that can tell when a byte of them has changed.

Contract: a file is written beside its place, flushed to the disk and renamed, so that no reader ever
meets half of one and a failed write leaves its predecessor alone. The header of a sealed one carries a SHA-256 over the
whole file (the 64 characters of the digest itself counted as zeros), so that one file proves itself:
no second file that could get lost or be from another moment. Any safetensors reader opens it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lvm.errors import LvmError

UNSEALED = "0" * 64
"""What stands in the header's ``sha256`` while the file is hashed."""

_BLOCK = 1 << 20
_MAX_HEADER = 100 * 1024 * 1024  # safetensors' own limit


class CannotWrite(LvmError):
    """A file could not be written (disk full, no permission). What was there before is untouched."""


class CorruptedFile(LvmError):
    """A file is not what was written: cut short, changed, or not of this project."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of ``path`` at the end of the block, all at once or not at all.

    Raises:
        CannotWrite: if the disk is full, the folder cannot be written, another process is writing the same file, or
            something that is not ours stands where it is written first; ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # a fixed name: a killed run's leftover is overwritten
    try:
        make_folder(path.parent)
        with os.fdopen(_open_unshared(temporary, path), "r+b") as file:
            _only_writer(file, temporary, path)
            try:
                if os.fstat(file.fileno()).st_size:
                    file.truncate(0)
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise CannotWrite(
            f"could not write {path}: {error.strerror or error}; "
            "what was there before is intact, make room or access and run the same command again"
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder and what is missing above it, for their owner only; a folder that exists keeps its mode."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _open_unshared(temporary: Path, path: Path) -> int:
    """Open the temporary file; never through a link, never a pipe, never a file that has another name or owner."""
    try:
        # O_NONBLOCK: a pipe opens at once, to be refused below
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):  # a link, or a socket
            raise _planted(temporary, path) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise _planted(temporary, path)
    return descriptor


def _planted(temporary: Path, path: Path) -> CannotWrite:
    return CannotWrite(
        f"{path} was not written: {temporary} is a link, no regular file, or another user's; "
        "nothing was changed, remove it and run the same command again"
    )


def _only_writer(file: IO[bytes], temporary: Path, path: Path) -> None:
    """Lock the temporary file for this process; the lock ends with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.path.samestat(temporary.lstat(), os.fstat(file.fileno()))
    except (BlockingIOError, FileNotFoundError):
        mine = False
    if not mine:  # or another process finished with it just now
        raise CannotWrite(f"another process is writing {path}; wait for it to end, then run this again")


def in_order(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: its writer orders metadata by a hash that is random."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensor data begins aligned
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def seal(header: bytes, digest: str) -> bytes:
    """The header with its zeros replaced by ``digest``; exactly one place must be open."""
    if header.count(_field(UNSEALED)) != 1:
        raise ValueError("a header to seal holds the unsealed digest exactly once")
    return header.replace(_field(UNSEALED), _field(digest))


def write_sealed(path: Path, data: bytes) -> str:
    """Write a safetensors file whose metadata has ``sha256: UNSEALED``, sealed and all at once.

    Returns:
        the content's sha256.

    Raises:
        CannotWrite: if the disk is full; what was there before is intact.
    """
    data = in_order(data)
    digest = hashlib.sha256(data).hexdigest()
    size = 8 + int.from_bytes(data[:8], "little")
    with replacing(path) as file:
        file.write(seal(data[:size], digest))
        file.write(memoryview(data)[size:])
    return digest


def verify(path: Path) -> tuple[dict[str, Any], int]:
    """Check a sealed file byte by byte.

    A seal can be made anew by whoever changes a file, so the caller checks what the header says. It may rely on this:
    the header is a dictionary, its metadata are strings, and every tensor lies inside the file.

    Returns:
        the safetensors header, and the offset in bytes at which tensor data begins.

    Raises:
        CorruptedFile: if the file is missing, cut short, or its digest does not match.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size <= _MAX_HEADER:
                raise CorruptedFile(_corrupted(path, "it does not begin like a safetensors file"))
            raw = file.read(size)
            header = json.loads(raw)
            stated = header["__metadata__"]["sha256"]
            digest = hashlib.sha256(size.to_bytes(8, "little"))
            digest.update(raw.replace(_field(stated), _field(UNSEALED)))
            length = 0
            while block := file.read(_BLOCK):
                digest.update(block)
                length += len(block)
            _check_header(header, length)
    except OSError as error:
        raise CorruptedFile(_corrupted(path, error.strerror or str(error))) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptedFile(_corrupted(path, "its header cannot be read")) from error
    if digest.hexdigest() != stated:
        raise CorruptedFile(_corrupted(path, "its checksum does not match"))
    return header, 8 + size


def _check_header(header: dict[str, Any], length: int) -> None:
    """Raise ValueError unless metadata are plain text and tensors lie within ``length`` bytes of data."""
    for name, entry in header.items():
        if name == "__metadata__":
            for key, value in entry.items():
                if not isinstance(value, str):
                    raise ValueError(f"metadata {key} is no text")
                (key + value).encode()  # raises for lone surrogates, which could not be printed
            continue
        begin, end = entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (begin, end, *entry["shape"])) or not begin <= end <= length:
            raise ValueError(f"tensor {name} is not inside the file")


def _field(digest: str) -> bytes:
    """The digest as it stands in a header; inside a nested JSON text its quotes would be escaped."""
    return b'"sha256":"' + digest.encode() + b'"'


def _corrupted(path: Path, why: str) -> str:
    return f"{path} cannot be used: {why}; delete it and run the command that makes it again"


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
