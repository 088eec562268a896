"""``lvm encode``, ``lvm decode`` and ``lvm serve``: files, pipes and sockets around the one encoding path."""

from __future__ import annotations

import io
import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from lvm.errors import UsageError, one_line, visible
from lvm.settings import Settings
from lvm.spaces import Space, SpaceMismatch, open_space, vector_files
from lvm.spaces.registry import open_statistics
from lvm.spaces.statistics import CHUNKS, Statistics, demand
from lvm.spaces.vector_files import WRITTEN, VectorFile
from lvm.spaces.vectors import require
from lvm.terminal import bar

TEXTS_AT_ONCE, VECTORS_AT_ONCE = 4096, 64


class NoSuchFile(UsageError):
    """A file that was named is not there, or is not what it must be."""


class CannotListen(UsageError):
    """The address cannot be served on."""


def encode(source: Path | None, output: Path | None, space_name: str | None, settings: Settings) -> None:
    """Encode a text a line; an empty line is refused, so that row i is always line i.

    Raises:
        NoSuchFile: if the file cannot be read or the output has another suffix than .safetensors or .jsonl.
        UsageError: for an empty line or no line at all.
    """
    if output is not None and output.suffix not in WRITTEN:
        raise NoSuchFile(f"--out {output}: vectors are written as {' or '.join(WRITTEN)}, which name their space")
    texts = _lines(source)
    space = open_space(space_name or settings.space, settings)
    with bar("encode", len(texts)) as advance:
        vectors = space.encode(texts, advance)
    cut = space.over_limit(texts)
    if cut:
        sys.stderr.write(f"{len(cut)} texts are longer than {space.max_tokens} tokens and were cut there: ")
        sys.stderr.write(f"line {', '.join(str(row + 1) for row in cut[:10])}{' ...' if len(cut) > 10 else ''}\n")
    if output is not None:
        vector_files.write(output, vectors, space.name, texts)
        return
    shown = visible if sys.stdout.isatty() else str  # a pipe gets the text as it is
    for line in vector_files.lines(vectors, texts):
        sys.stdout.write(shown(line) + "\n")


def decode(
    source: Path | None, space_name: str | None, settings: Settings, vectors_of: str | None = None
) -> Iterator[str]:
    """Texts of the vectors in a file, or in the lines of a stream as ``encode`` writes them.

    Args:
        vectors_of: fingerprint of the space that the file's vectors are of, typed out, for a file that does not say.

    Raises:
        NoSuchFile, UnreadableVectors, CorruptedFile: if the file cannot be read.
        SpaceMismatch: if the file, or ``vectors_of``, names another space, or nobody says which.
        ForeignVectors: if an array from elsewhere cannot be of the space, judged from its numbers.
        InvalidVectors: for vectors of another dimension, NaN or zero.
    """
    space = open_space(space_name or settings.space, settings)
    held = _vectors(source)
    _same(held, vectors_of, space)
    if held.fingerprint is None and vectors_of is None:
        raise SpaceMismatch(
            f"{source} does not say which space its vectors are of; only if you know, type it out: "
            f"--vectors-of FINGERPRINT (`lvm spaces` shows them, `lvm check {source}` says whether it can be)"
        )
    vectors = require(held.vectors(space.fingerprint), space.name, space.fingerprint, space.dim)
    if held.foreign:
        demand(vectors, statistics(space, settings), space.name)
    with bar("decode", len(vectors)) as advance:
        for start in range(0, len(vectors), VECTORS_AT_ONCE):
            part = vectors[start : start + VECTORS_AT_ONCE]
            yield from space.decode(part, seed=settings.seed + start, progress=advance).texts


def check(source: Path, space_name: str | None, settings: Settings) -> str:
    """Whether the vectors in a file can be of a space, judged from their numbers alone; the answer in one line.

    Raises:
        NoSuchFile, UnreadableVectors, CorruptedFile: if the file cannot be read.
        SpaceMismatch: if it names another space.
        ForeignVectors: if they cannot be of the space.
        InvalidVectors: for NaN or zero vectors, or none.
    """
    space = open_space(space_name or settings.space, settings)
    held = _vectors(source)
    _same(held, None, space)
    return demand(held.vectors(space.fingerprint), statistics(space, settings), space.name).message


def statistics(space: Space, settings: Settings) -> Statistics:
    """How the space's vectors lie; where that has to be measured first, a bar says so."""
    with bar(f"measure how vectors of {space.name} lie, once", CHUNKS) as advance:
        return open_statistics(space, settings, advance)


def _same(held: VectorFile, vectors_of: str | None, space: Space) -> None:
    """What the file says, and what was typed out, must be this space."""
    for said, by in ((held.fingerprint, "the file says"), (vectors_of, "--vectors-of says")):
        if said is not None and said != space.fingerprint:
            raise SpaceMismatch(
                f"{by} that these vectors are of space {said[:40]!r}, this is {space.name!r} ({space.fingerprint}); "
                "vectors of one are noise to the other: encode the texts again, or name their space with --space"
            )


def serve(host: str, port: int, space_name: str | None, settings: Settings) -> None:
    """Serve until it is stopped.

    Raises:
        CannotListen: if the port is taken, or the address is not loopback and no token is set.
    """
    import uvicorn

    from lvm.connections import BoundedConnection
    from lvm.serve import build

    if not _loopback(host) and settings.token is None:
        raise CannotListen(f"{host} can be reached from other machines; set LVM_TOKEN, which callers must then send")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise CannotListen(f"{host}:{port} cannot be listened on ({error.strerror or error}); use --port") from error
    space = open_space(space_name or settings.space, settings)
    sys.setswitchinterval(0.0005)  # the encoder's threads wait no longer than this for the one that talks to clients
    space.probe()  # the weights are loaded before the first client waits for them
    statistics(space, settings)
    name = one_line(space.name)
    sys.stderr.write(f"space {name} ({space.fingerprint}) on http://{host}:{port}, described at /docs\n")
    uvicorn.run(build(space, settings), host=host, port=port, log_level="warning", http=BoundedConnection, ws="none")


def _loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _open(source: Path | None) -> IO[bytes]:
    if source is None:
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        return source.open("rb")
    except OSError as error:
        raise NoSuchFile(f"{source} cannot be read ({error.strerror}); name an existing file") from error


def _lines(source: Path | None) -> list[str]:
    with _open(source) as file:
        try:
            texts = [line.rstrip("\r\n") for line in io.TextIOWrapper(file, encoding="utf-8")]
        except UnicodeDecodeError as error:
            raise NoSuchFile(f"the texts are not UTF-8 (byte {error.start}); save them as UTF-8") from error
    if empty := next((row for row, text in enumerate(texts, start=1) if not text.strip()), None):
        raise UsageError(f"line {empty} is empty; give one text a line, so that row i is line i")
    if not texts:
        raise UsageError("there is no text to encode; give one a line")
    return texts


def _vectors(source: Path | None) -> VectorFile:
    with _open(source) as file:
        return vector_files.read(source, file)
