"""The vectors of a sequence set on disk, checked block by block.

Contract: the file holds a SHA-256 of every block of vectors. A block is checked the first time that one of its rows is
read, and no row of a changed block is returned. Blocks that nobody reads cost nothing. Memory does not grow with the
file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lvm.arrays import FloatArray, IntArray
from lvm.files import CorruptedFile

BLOCK_BYTES = 4 << 20
"""Largest size of a block of more than one row. It is part of the format."""

DIGEST_BYTES = 32

Digests = npt.NDArray[np.uint8]
"""(blocks, 32) uint8, a SHA-256 by block."""


def rows_of_a_block(dim: int) -> int:
    """Rows of all blocks but the last, for vectors of a dimension of at least 1."""
    return max(1, BLOCK_BYTES // (4 * dim))


def block_count(rows: int, dim: int) -> int:
    """Number of blocks of so many vectors."""
    return -(-rows // rows_of_a_block(dim))


class BlockDigests:
    """Digests of blocks of vectors that arrive in batches of any size.

    Args:
        dim: dimension of the vectors.
    """

    def __init__(self, dim: int) -> None:
        self._size = self._left = rows_of_a_block(dim) * 4 * dim
        self._current = hashlib.sha256()
        self._done = bytearray()

    def update(self, data: memoryview) -> None:
        """Add the bytes of the next vectors."""
        while data:
            part, data = data[: self._left], data[self._left :]
            self._current.update(part)
            self._left -= len(part)
            if not self._left:
                self._close()

    def finish(self) -> Digests:
        """Digests of all blocks: (blocks, 32) uint8."""
        if self._left < self._size:
            self._close()
        return np.frombuffer(self._done, np.uint8).reshape(-1, DIGEST_BYTES)

    def _close(self) -> None:
        self._done += self._current.digest()
        self._current, self._left = hashlib.sha256(), self._size


class CheckedRows:
    """Unit vectors in a file: (N, dim) float32, indexed like an array by a slice or by an array of rows.

    A slice is a view of the memory-mapped file; an array of rows gives a copy. Changes of a view stay in memory and do
    not reach the file. ``np.asarray`` gives all rows, checked and memory-mapped.

    Args:
        rows: (N, dim) float32, memory-mapped.
        digests: of the blocks of ``rows``; None if they were checked already.
        path: the file, for messages.
    """

    def __init__(self, rows: FloatArray, digests: Digests | None, path: Path) -> None:
        self._rows, self._digests, self._path = rows, digests, path
        self._size = rows_of_a_block(rows.shape[1])
        self._checked = np.full(block_count(*rows.shape), digests is None)
        self._whole = bool(self._checked.all())

    @property
    def shape(self) -> tuple[int, int]:
        """Number and dimension of the vectors."""
        return self._rows.shape[0], self._rows.shape[1]

    @property
    def nbytes(self) -> int:
        """Size of the vectors in the file."""
        return self._rows.nbytes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | IntArray) -> FloatArray:
        """The rows, checked.

        Raises:
            CorruptedFile: if the block of a row was changed.
        """
        if not self._whole:
            if isinstance(rows, slice):
                span = range(len(self))[rows]
                low, high = (min(span[0], span[-1]), max(span[0], span[-1])) if span else (0, -1)
                self._check(np.arange(low // self._size, high // self._size + 1))
            else:
                self._check(np.unique(np.asarray(rows) % len(self) // self._size))
        return np.asarray(self._rows[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self[:], dtype=dtype, copy=copy)

    def check(self) -> None:
        """Check all blocks that were not checked yet.

        Raises:
            CorruptedFile: if a block was changed.
        """
        self[:]

    def _check(self, blocks: IntArray) -> None:
        """Check those of the blocks that were not checked yet."""
        assert self._digests is not None
        for block in blocks[~self._checked[blocks]].tolist():
            first = block * self._size
            data = np.ascontiguousarray(self._rows[first : first + self._size]).data.cast("B")
            if hashlib.sha256(data).digest() != self._digests[block].tobytes():
                last = min(first + self._size, len(self)) - 1
                raise CorruptedFile(
                    f"{self._path} cannot be used: its vectors {first} to {last} changed since they were written; run "
                    "`lvm extract` again"
                )
            self._checked[block] = True
        self._whole = bool(self._checked.all())


@dataclass(frozen=True)
class ChosenRows:
    """Some rows of a sequence set, as an array that is read when it is indexed.

    Attributes:
        unit: all vectors.
        rows: (n,) int64, the chosen rows.
    """

    unit: CheckedRows
    rows: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | IntArray) -> FloatArray:
        """Copies of the vectors at these places of ``rows``."""
        return self.unit[self.rows[places]]
