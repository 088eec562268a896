"""Write vectors to files with the fingerprint of their space, and read vectors from untrusted files.

Contract: ``write`` makes a sealed ``.safetensors`` or a ``.jsonl`` file. Both name the space. ``read`` opens these, and
NumPy's ``.npy`` and ``.npz``, which do not name a space unless `lvm extract` wrote them. Every broken file is a named
error. Memory is allocated only for bytes that the file really has, not for sizes that its header claims.
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

from lvm.arrays import FloatArray
from lvm.encoding.vectors import InvalidVectors, Vectors
from lvm.errors import UsageError, first_line
from lvm.files import UNSEALED, CorruptedFile, replacing, verify, write_sealed

WRITTEN, READ = (".safetensors", ".jsonl"), (".safetensors", ".jsonl", ".npy", ".npz")
FORMAT = "lvm-vectors-1"

_MAX_LINE = 4 * 2**20  # bytes of a line of a .jsonl
_MAX_MEMBER_RATIO = 100  # largest compression of an .npz member; vectors hardly compress, so more is a zip bomb
_MAX_SHOWN = 40  # characters of a name from the file in a message


class UnreadableVectors(UsageError):
    """A file of vectors is broken, of an unknown type, or holds something else."""


@dataclass(frozen=True)
class VectorFile:
    """The content of a file.

    Attributes:
        fingerprint: fingerprint of the space that the file names; None if it names none.
        raw: (n, dim) float32; may hold NaN, infinity or zero rows.
        norms: (n,) float32, the norms in the file; None if ``raw`` has the norms itself.
        foreign: whether the file may come from another program, so that its vectors need the check of
            ``lvm.spaces.check``.
    """

    fingerprint: str | None
    raw: FloatArray
    norms: FloatArray | None
    foreign: bool

    def vectors(self, fingerprint: str) -> Vectors:
        """The vectors, declared to be of a space.

        Args:
            fingerprint: fingerprint of the space.

        Raises:
            InvalidVectors: if there are no vectors, or some are zero or not finite.
        """
        if not len(self.raw):
            raise InvalidVectors("the file holds no vectors; it must have at least one")
        vectors = Vectors.from_raw(fingerprint, self.raw)
        if self.norms is None:
            return vectors
        if not (np.isfinite(self.norms).all() and (self.norms > 0).all()):
            raise InvalidVectors("a norm in the file is zero, negative or not finite; write it again")
        return Vectors(fingerprint, vectors.unit, self.norms)


def write(path: Path, vectors: Vectors, space_name: str, texts: Sequence[str]) -> None:
    """Write vectors and their fingerprint, atomically.

    Args:
        path: a ``.safetensors`` file (tensors ``unit`` and ``norms``), or a ``.jsonl`` file (one line per vector).
        vectors: n vectors.
        space_name: name of their space.
        texts: the n texts of the vectors, written to ``.jsonl`` only.

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
        path: the file; its suffix decides the format. None for a stream of .jsonl.
        file: the opened file or stream.

    Raises:
        UnreadableVectors: if the content does not match the suffix.
        InvalidVectors: if lines differ in space or dimension.
        CorruptedFile: if a .safetensors is damaged, or `lvm encode` did not write it.
    """
    suffix = ".jsonl" if path is None else path.suffix
    if suffix not in READ:
        raise UnreadableVectors(
            f"{path} has an unknown suffix; vectors are read from {', '.join(READ)}, `lvm encode --out` writes the "
            "first two"
        )
    if suffix == ".jsonl":
        return _jsonl(file)
    assert path is not None
    if suffix == ".safetensors":
        return _safetensors(path)
    return _guarded(path, lambda: _npz(path, file) if suffix == ".npz" else _npy(path, file))


def lines(vectors: Vectors, texts: Sequence[str]) -> Iterator[str]:
    """Lines of a .jsonl file, without line ends: text, fingerprint, norm and vector."""
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
    except Exception as error:  # a sealed file may still hold anything
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
        except Exception as error:  # deep nesting, numbers of 400 digits: json and NumPy raise many kinds of errors
            raise UnreadableVectors(
                f"line {number} is not a vector as `lvm encode` writes it ({first_line(error)[:200]}); write it again"
            ) from error
        if fingerprint is not None and named != fingerprint:
            raise InvalidVectors(
                f"line {number} is of space {named[:_MAX_SHOWN]!r}, earlier lines are of {fingerprint[:_MAX_SHOWN]!r}; "
                "a file holds vectors of one space, split it"
            )
        if rows and len(vector) != len(rows[0]):
            raise InvalidVectors(
                f"line {number} has {len(vector)} dimensions, earlier lines have {len(rows[0])}; a file holds vectors "
                "of one space, split it"
            )
        fingerprint = named
        rows.append(vector)
        norms.append(norm)
    raw = np.stack(rows) if rows else np.empty((0, 0), np.float32)
    return VectorFile(fingerprint, raw, _float32(np.array(norms, np.float64)), foreign=False)


def _npy(path: Path, file: IO[bytes]) -> VectorFile:
    return VectorFile(None, _array(file, path.stat().st_size), None, foreign=True)


def _npz(path: Path, file: IO[bytes]) -> VectorFile:
    """The only array (n, dim) of floats, and the fingerprint that ``lvm extract --export npz`` writes next to it."""
    with zipfile.ZipFile(file) as archive:
        arrays: list[str] = []
        fingerprint = None
        for member in archive.infolist():
            if member.file_size > _MAX_MEMBER_RATIO * max(member.compress_size, 1):
                raise ValueError(f"{member.filename[:_MAX_SHOWN]!r} unpacks to {member.file_size} bytes")
            with archive.open(member) as stream:
                shape, _, dtype = _header(stream)
                if member.filename == "space.npy" and shape == () and dtype.kind == "U" and dtype.itemsize <= 1024:
                    fingerprint = str(np.frombuffer(stream.read(dtype.itemsize), dtype)[0])
            if len(shape) == 2 and dtype.kind == "f":
                arrays.append(member.filename)
        if len(arrays) != 1:
            names = ", ".join(name[:_MAX_SHOWN] for name in arrays[:5]) or "none"
            raise ValueError(f"it must hold one array (n, dim) of floats, but holds {len(arrays)}: {names}")
        with archive.open(arrays[0]) as stream:
            return VectorFile(fingerprint, _array(stream, archive.getinfo(arrays[0]).file_size), None, foreign=True)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and type of an array in NumPy's format."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of NumPy's format is not supported")


def _array(stream: IO[bytes], size: int) -> FloatArray:
    """Read an array (n, dim) in NumPy's format from a stream of ``size`` bytes, as float32."""
    shape, columns_first, dtype = _header(stream)
    if dtype.kind != "f" or len(shape) != 2:
        raise ValueError(f"it holds {dtype} of shape {str(shape)[:_MAX_SHOWN]}; vectors are floats of shape (n, dim)")
    length = math.prod(shape) * dtype.itemsize
    if min(shape) < 0 or length > size:
        raise ValueError(f"its header claims shape {str(shape)[:_MAX_SHOWN]}, but it has {size} bytes")
    data = stream.read(length)
    if len(data) != length:
        raise ValueError("it is cut short")
    return _float32(np.frombuffer(data, dtype).reshape(shape, order="F" if columns_first else "C"))


def _float32(numbers: npt.NDArray[Any]) -> FloatArray:
    """Convert to float32. Numbers that are too large become infinite, which ``Vectors.from_raw`` refuses."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(numbers, dtype=np.float32)


def _guarded(path: Path, work: Callable[[], VectorFile]) -> VectorFile:
    try:
        return work()
    except Exception as error:  # on damaged bytes zipfile, zlib and NumPy's header parser raise many kinds of errors
        raise UnreadableVectors(
            f"{path} cannot be read as vectors ({first_line(error)[:200]}); write it with `lvm encode --out`"
        ) from error
