"""Vectors in files: written with the fingerprint of their space, read from anywhere without trust.

Contract: ``write`` makes a sealed ``.safetensors`` or a ``.jsonl`` that names the space. ``read`` opens these, and
NumPy's ``.npy`` and ``.npz``, which name none unless `lvm extract` exported them. Whatever is wrong with a file is one
named error, and no size that a header claims is allocated before the bytes are there.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from lvm.errors import UsageError, first_line
from lvm.files import UNSEALED, CorruptedFile, replacing, verify, write_sealed
from lvm.spaces.vectors import FloatArray, InvalidVectors, Vectors

WRITTEN, READ = (".safetensors", ".jsonl"), (".safetensors", ".jsonl", ".npy", ".npz")
FORMAT = "lvm-vectors-1"

_MAX_LINE = 4 * 2**20  # bytes of a line of a .jsonl
_MAX_MEMBER_RATIO = 100  # a member of an .npz that unpacks to more times its size is a bomb: vectors hardly shrink
_MAX_SHOWN = 40  # characters of a foreign name in a message


class UnreadableVectors(UsageError):
    """A file of vectors is missing, broken, or holds something else."""


@dataclass(frozen=True)
class VectorFile:
    """What a file holds.

    Attributes:
        fingerprint: of the space that the file says its vectors are of; None if it says nothing.
        raw: (n, dim) float32, not yet checked to be finite.
        norms: (n,) float32 as the file states them, or None: then they are those of ``raw``.
        foreign: whether this project's encoder did not write it, so that nothing but numbers can tell.
    """

    fingerprint: str | None
    raw: FloatArray
    norms: FloatArray | None
    foreign: bool

    def vectors(self, fingerprint: str) -> Vectors:
        """The vectors, as those of the space of ``fingerprint``.

        Raises:
            InvalidVectors: if there are none, or some are zero or not finite.
        """
        if not len(self.raw):
            raise InvalidVectors("the file holds no vectors; give it at least one")
        vectors = Vectors.from_raw(fingerprint, self.raw)
        if self.norms is None:
            return vectors
        if not (np.isfinite(self.norms).all() and (self.norms > 0).all()):
            raise InvalidVectors("a norm in the file is zero, negative or not finite; write it again")
        return Vectors(fingerprint, vectors.unit, self.norms)


def write(path: Path, vectors: Vectors, space_name: str, texts: Sequence[str]) -> None:
    """Write vectors with their fingerprint, all at once or not at all.

    Args:
        path: a ``.safetensors`` (tensors ``unit`` and ``norms``) or a ``.jsonl`` (a line each, with its text).

    Raises:
        CannotWrite: if the disk is full or the folder cannot be written.
    """
    if path.suffix == ".jsonl":
        with replacing(path) as file:
            for line in lines(vectors, texts):
                file.write(line.encode() + b"\n")
        return
    metadata = {"format": FORMAT, "fingerprint": vectors.fingerprint, "space_name": space_name, "sha256": UNSEALED}
    write_sealed(path, safetensors.numpy.save({"unit": vectors.unit, "norms": vectors.norms}, metadata))


def read(path: Path | None, file: IO[bytes]) -> VectorFile:
    """Read a file of vectors.

    Args:
        path: where it is, and by its suffix what it is; None for a stream of .jsonl.
        file: it, opened.

    Raises:
        UnreadableVectors: if it is not what its suffix says.
        InvalidVectors: if it holds no array (n, dim) of numbers.
        CorruptedFile: if a .safetensors is damaged or not of `lvm encode`.
    """
    suffix = ".jsonl" if path is None else path.suffix
    if suffix not in READ:
        raise UnreadableVectors(
            f"{path}: vectors are read from {', '.join(READ)}; `lvm encode --out` writes the first two"
        )
    if suffix == ".jsonl":
        return _jsonl(file)
    assert path is not None
    if suffix == ".safetensors":
        return _safetensors(path)
    return _guarded(path, lambda: _npz(path, file) if suffix == ".npz" else _npy(path, file))


def lines(vectors: Vectors, texts: Sequence[str]) -> Iterator[str]:
    """Lines of a .jsonl: text, fingerprint, norm and vector."""
    for text, unit, norm in zip(texts, vectors.unit, vectors.norms, strict=True):
        row = {"text": text, "space": vectors.fingerprint, "norm": float(norm), "vector": unit.tolist()}
        yield json.dumps(row, ensure_ascii=False)


def _safetensors(path: Path) -> VectorFile:
    try:
        header, _ = verify(path)
        metadata = header["__metadata__"]
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format is {str(metadata['format'])[:_MAX_SHOWN]!r}")
        tensors = safetensors.numpy.load_file(path)
        unit, norms = tensors["unit"], tensors["norms"]
        if unit.dtype != np.float32 or norms.dtype != np.float32 or norms.shape != unit.shape[:1] or unit.ndim != 2:
            raise ValueError(f"unit is {unit.dtype} {unit.shape}, norms are {norms.dtype} {norms.shape}")
        return VectorFile(str(metadata["fingerprint"]), unit, norms, foreign=False)
    except CorruptedFile:
        raise
    except Exception as error:  # a file that proves itself may still hold anything
        raise CorruptedFile(
            f"{path} holds no vectors as `lvm encode` writes them ({first_line(error)[:200]}); encode the texts again"
        ) from error


def _jsonl(file: IO[bytes]) -> VectorFile:
    fingerprint: str | None = None
    rows: list[npt.NDArray[np.float32]] = []
    norms: list[float] = []
    for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE + 1), b""), start=1):
        try:
            if len(line) > _MAX_LINE:
                raise ValueError(f"it is longer than {_MAX_LINE // 2**20} MiB")
            row = json.loads(line)
            named, numbers = row["space"], np.array(row["vector"])
            norm = row.get("norm")
            if not isinstance(named, str):
                raise TypeError("space is not a fingerprint")
            if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
                raise TypeError("vector is not a list of numbers")
            if norm is not None and (isinstance(norm, bool) or not isinstance(norm, int | float)):
                raise TypeError("norm is not a number")
            vector = _float32(numbers)
            norm = float(np.linalg.norm(vector)) if norm is None else float(norm)
        except Exception as error:  # deep nesting, numbers of 400 digits: json and NumPy raise nearly anything
            raise UnreadableVectors(
                f"line {number} is no vector as `lvm encode` writes it ({first_line(error)[:200]}); write it again"
            ) from error
        if fingerprint is not None and named != fingerprint:
            raise InvalidVectors(
                f"line {number} is of space {named[:_MAX_SHOWN]!r}, those before it of {fingerprint[:_MAX_SHOWN]!r}; "
                "a file holds vectors of one space"
            )
        if rows and len(vector) != len(rows[0]):
            raise InvalidVectors(
                f"line {number} has {len(vector)} dimensions, those before it {len(rows[0])}; they must be of one space"
            )
        fingerprint = named
        rows.append(vector)
        norms.append(norm)
    raw = np.stack(rows) if rows else np.empty((0, 0), np.float32)
    return VectorFile(fingerprint, raw, _float32(np.array(norms, np.float64)), foreign=False)


def _npy(path: Path, file: IO[bytes]) -> VectorFile:
    return VectorFile(None, _array(file, path.stat().st_size), None, foreign=True)


def _npz(path: Path, file: IO[bytes]) -> VectorFile:
    """The one array (n, dim) of floats, and the fingerprint that ``lvm extract --export npz`` leaves beside it."""
    with zipfile.ZipFile(file) as archive:
        found: list[str] = []
        fingerprint = None
        for member in archive.infolist():
            if member.file_size > _MAX_MEMBER_RATIO * max(member.compress_size, 1):
                raise ValueError(f"{member.filename[:_MAX_SHOWN]!r} unpacks to {member.file_size} bytes")
            with archive.open(member) as stream:
                shape, _, dtype = _header(stream)
                if member.filename == "space.npy" and shape == () and dtype.kind == "U" and dtype.itemsize <= 1024:
                    fingerprint = str(np.frombuffer(stream.read(dtype.itemsize), dtype)[0])
            if len(shape) == 2 and dtype.kind == "f":
                found.append(member.filename)
        if len(found) != 1:
            names = ", ".join(name[:_MAX_SHOWN] for name in found[:5]) or "none"
            raise ValueError(f"it must hold one array (n, dim) of floats, and holds {len(found)}: {names}")
        with archive.open(found[0]) as stream:
            return VectorFile(fingerprint, _array(stream, archive.getinfo(found[0]).file_size), None, foreign=True)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of an array in NumPy's format."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of the format is not read")


def _array(stream: IO[bytes], size: int) -> FloatArray:
    """(n, dim) float32 of an .npy of ``size`` bytes; what its header claims must be there."""
    shape, columns_first, dtype = _header(stream)
    if dtype.kind != "f" or len(shape) != 2:
        raise ValueError(f"it holds {dtype} of shape {str(shape)[:_MAX_SHOWN]}; vectors are floats of shape (n, dim)")
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape) < 0 or wanted > size:
        raise ValueError(f"its header claims shape {str(shape)[:_MAX_SHOWN]}, and it has {size} bytes")
    data = stream.read(wanted)
    if len(data) != wanted:
        raise ValueError("it is cut short")
    return _float32(np.frombuffer(data, dtype).reshape(shape, order="F" if columns_first else "C"))


def _float32(numbers: npt.NDArray[Any]) -> FloatArray:
    """As float32; what is too large becomes infinite, which ``Vectors.from_raw`` names."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(numbers, dtype=np.float32)


def _guarded(path: Path, work: Callable[[], VectorFile]) -> VectorFile:
    try:
        return work()
    except Exception as error:  # bytes from anywhere: zipfile, zlib and NumPy's header parser raise nearly anything
        raise UnreadableVectors(
            f"{path} cannot be read as vectors ({first_line(error)[:200]}); write it with `lvm encode --out`"
        ) from error
