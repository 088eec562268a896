"""Atomic writing of files, and safetensors files with a checksum of themselves ("sealed" files).

Contract: a file is written under a temporary name in the same folder, flushed to the disk and renamed. So no reader
sees half a file, and a failed write leaves the old file as it was. The header of a sealed file holds a SHA-256 over the
whole file, computed with 64 zeros in place of the digest. A format may leave one tensor out, if another tensor holds
its checksums. No second file is needed that could get lost. Any safetensors reader opens a sealed file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lvm.errors import LvmError

UNSEALED = "0" * 64
"""Value of the header's ``sha256`` while the file is hashed."""

_BLOCK = 1 << 20
_MAX_HEADER = 100 * 1024 * 1024  # safetensors' own limit


class CannotWrite(LvmError):
    """A file could not be written: disk full or no permission. The old file is intact."""


class CorruptedFile(LvmError):
    """A file is cut short, changed, or not written by this project."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing. At the end of the block it replaces ``path`` atomically; on an error it is removed.

    Raises:
        CannotWrite: if the disk is full, the folder cannot be written, another process writes the same file, or a
            link or another user's file has the temporary name. ``path`` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # a fixed name, so that the next run overwrites a killed run's file
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
        left = "the old file is intact" if os.path.lexists(path) else "nothing was written there"
        raise CannotWrite(
            f"could not write {path}: {error.strerror or error}; {left}, free disk space or correct the path or its "
            "permissions and run the same command again"
        ) from error


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents with mode 700. Existing folders keep their mode."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _open_unshared(temporary: Path, path: Path) -> int:
    """Open the temporary file. Refuse links, pipes, files with a second name, and files of another user."""
    try:
        # O_NONBLOCK: opening a pipe must not wait; the pipe is refused below
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):  # a link, or a socket
            raise _planted(temporary, path) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise _planted(temporary, path)
    return descriptor


def _planted(temporary: Path, path: Path) -> CannotWrite:
    return CannotWrite(
        f"{path} was not written: {temporary} is a link, not a regular file, or another user's; "
        "nothing was changed, remove it and run the same command again"
    )


def _only_writer(file: IO[bytes], temporary: Path, path: Path) -> None:
    """Lock the temporary file for this process. The operating system drops the lock when the process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = os.path.samestat(temporary.lstat(), os.fstat(file.fileno()))
    except (BlockingIOError, FileNotFoundError):
        locked = False
    if not locked:  # another process holds the lock, or has just renamed the file
        raise CannotWrite(f"another process is writing {path}; wait for it to end, then run this again")


def in_order(data: bytes) -> bytes:
    """The same safetensors file with a sorted header: its writer orders metadata at random."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensor data must start at a multiple of 8
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def seal(header: bytes, digest: str) -> bytes:
    """The header with ``UNSEALED`` replaced by ``digest``.

    Raises:
        ValueError: if the header does not hold ``UNSEALED`` exactly once.
    """
    if header.count(_field(UNSEALED)) != 1:
        raise ValueError("a header to seal holds the unsealed digest exactly once")
    return header.replace(_field(UNSEALED), _field(digest))


def write_sealed(path: Path, data: bytes) -> str:
    """Seal a safetensors file and write it atomically.

    Args:
        path: where to write it.
        data: the file, with ``sha256: UNSEALED`` in its metadata.

    Returns:
        sha256 of the content.

    Raises:
        CannotWrite: if the disk is full. The old file is intact.
    """
    data = in_order(data)
    digest = hashlib.sha256(data).hexdigest()
    size = 8 + int.from_bytes(data[:8], "little")
    with replacing(path) as file:
        file.write(seal(data[:size], digest))
        file.write(memoryview(data)[size:])
    return digest


def verify(path: Path, left_out: Mapping[str, str] | None = None) -> tuple[dict[str, Any], int]:
    """Check every byte of a sealed file against its digest.

    The digest protects against accidents, not against an attacker: a changed file can be sealed again. So the caller
    must check the values in the header. ``verify`` guarantees that the header is a dictionary, that its metadata are
    strings, and that every tensor lies inside the file.

    Args:
        path: the file.
        left_out: by format, the tensor whose bytes are not part of the digest. They are not read; the caller must check
            them against another tensor.

    Returns:
        The safetensors header, and the offset in bytes at which tensor data begins.

    Raises:
        CorruptedFile: if the file is missing, cut short, or its digest does not match.
    """
    try:
        require_regular(path)
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size <= _MAX_HEADER:
                raise CorruptedFile(_corrupted(path, "it does not begin like a safetensors file"))
            raw = file.read(size)
            header = json.loads(raw)
            stated = header["__metadata__"]["sha256"]
            digest = hashlib.sha256(size.to_bytes(8, "little"))
            digest.update(raw.replace(_field(stated), _field(UNSEALED)))
            _check_header(header, os.fstat(file.fileno()).st_size - 8 - size)
            tensor = (left_out or {}).get(header["__metadata__"].get("format"))
            begin, end = header[tensor]["data_offsets"] if tensor else (0, 0)
            _hash(file, digest, begin)
            file.seek(8 + size + end)
            _hash(file, digest)
    except OSError as error:
        raise CorruptedFile(_corrupted(path, error.strerror or str(error))) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptedFile(_corrupted(path, "its header cannot be read")) from error
    if digest.hexdigest() != stated:
        raise CorruptedFile(_corrupted(path, "its checksum does not match"))
    return header, 8 + size


def _hash(file: IO[bytes], digest: hashlib._Hash, count: int | None = None) -> None:
    """Hash the next ``count`` bytes of a file; all that follow unless given."""
    while block := file.read(_BLOCK if count is None else min(_BLOCK, count)):
        digest.update(block)
        count = None if count is None else count - len(block)


def require_regular(path: Path) -> None:
    """Refuse a pipe or a device in place of a file: opening it would wait for a writer.

    Raises:
        OSError: if the file is missing, or there is something else.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_header(header: dict[str, Any], length: int) -> None:
    """Raise ValueError unless metadata are strings and every tensor lies within ``length`` bytes of data."""
    for name, entry in header.items():
        if name == "__metadata__":
            for key, value in entry.items():
                if not isinstance(value, str):
                    raise ValueError(f"metadata {key} is not a string")
                (key + value).encode()  # raises for lone surrogates, which cannot be printed
            continue
        begin, end = entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (begin, end, *entry["shape"])) or not begin <= end <= length:
            raise ValueError(f"tensor {name} is not inside the file")


def _field(digest: str) -> bytes:
    """The bytes of the digest in a header. They cannot match inside nested JSON: quotes are escaped there."""
    return b'"sha256":"' + digest.encode() + b'"'


def _corrupted(path: Path, why: str) -> str:
    return f"{path} cannot be used: {why}; delete it and run the command that writes it again"


def _sync_folder(folder: Path) -> None:
    """Flush the folder, so that the rename survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
