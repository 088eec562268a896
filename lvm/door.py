"""``lvm encode``, ``lvm decode`` and ``lvm serve``: files, pipes and sockets around the one encoding path."""

from __future__ import annotations

import io
import ipaddress
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from lvm.errors import UsageError
from lvm.files import replacing
from lvm.settings import Settings
from lvm.spaces import InvalidVectors, SpaceMismatch, open_space
from lvm.spaces.vectors import FloatArray
from lvm.terminal import bar

TEXTS_AT_ONCE, VECTORS_AT_ONCE = 4096, 64


class NoSuchFile(UsageError):
    """A file that was named is not there, or is not what it must be."""


class CannotListen(UsageError):
    """The address cannot be served on."""


def encode(source: Path | None, output: Path | None, space_name: str | None, settings: Settings) -> None:
    """Encode a text a line; an empty line is refused, so that row i is always line i.

    Raises:
        NoSuchFile: if the file cannot be read or the output has another suffix than .npy or .jsonl.
        UsageError: for an empty line or no line at all.
    """
    if output is not None and output.suffix not in (".npy", ".jsonl"):
        raise NoSuchFile(f"--out {output}: vectors are written as .npy or .jsonl")
    texts = _lines(source)
    space = open_space(space_name or settings.space, settings)
    with bar("encode", len(texts)) as advance:
        vectors = space.encode(texts, advance)
    cut = space.over_limit(texts)
    if cut:
        sys.stderr.write(f"{len(cut)} texts are longer than {space.max_tokens} tokens and were cut there: ")
        sys.stderr.write(f"line {', '.join(str(row + 1) for row in cut[:10])}{' ...' if len(cut) > 10 else ''}\n")
    if output is not None and output.suffix == ".npy":
        with replacing(output) as file:
            np.save(file, vectors.unit)
        return
    rows = (
        json.dumps(
            {"text": text, "space": space.fingerprint, "norm": float(norm), "vector": unit.tolist()}, ensure_ascii=False
        )
        for text, unit, norm in zip(texts, vectors.unit, vectors.norms, strict=True)
    )
    if output is None:
        for row in rows:
            sys.stdout.write(row + "\n")
        return
    with replacing(output) as file:
        for row in rows:
            file.write(row.encode() + b"\n")


def decode(source: Path | None, space_name: str | None, settings: Settings) -> Iterator[str]:
    """Texts of the vectors in an .npy, or in the lines of a .jsonl as ``encode`` writes them.

    Raises:
        NoSuchFile: if the file cannot be read.
        SpaceMismatch: if a line names another space.
        InvalidVectors: for vectors of another dimension, NaN or zero.
    """
    space = open_space(space_name or settings.space, settings)
    vectors = _vectors(source, space.fingerprint)
    if vectors.ndim != 2 or vectors.shape[1] != space.dim or not len(vectors):
        raise InvalidVectors(f"vectors of shape {vectors.shape}; space {space.name!r} decodes (n, {space.dim})")
    with bar("decode", len(vectors)) as advance:
        for start in range(0, len(vectors), VECTORS_AT_ONCE):
            part = vectors[start : start + VECTORS_AT_ONCE]
            yield from space.decode(part, seed=settings.seed + start, progress=advance).texts


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
    sys.stderr.write(f"space {space.name} ({space.fingerprint}) on http://{host}:{port}, described at /docs\n")
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


def _vectors(source: Path | None, fingerprint: str) -> FloatArray:
    with _open(source) as file:
        if source is not None and source.suffix == ".npy":
            try:
                array = np.load(file, allow_pickle=False)
                return np.asarray(array, dtype=np.float32)
            except (ValueError, EOFError, TypeError) as error:
                raise NoSuchFile(f"{source} is no .npy of numbers ({error}); write it with `lvm encode`") from error
        rows = []
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                named, vector = row["space"], np.asarray(row["vector"], dtype=np.float32)
            except (ValueError, KeyError, TypeError) as error:
                raise NoSuchFile(f"line {number} is no vector as `lvm encode` writes it ({error})") from error
            if named != fingerprint:
                raise SpaceMismatch(f"line {number} is of space {named}, this is {fingerprint}; encode the text again")
            rows.append(vector)
        try:
            return np.stack(rows) if rows else np.empty((0, 0), np.float32)
        except ValueError as error:
            raise InvalidVectors("the vectors of the lines differ in dimension; they must be of one space") from error
