"""Vectors that know their space.

Contract: no array of vectors is handed from one room to another without the fingerprint of the space
that made it. Directions and norms are kept apart: models predict directions, and an inverter gets a
direction back at its space's own typical norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lvm.errors import LvmError

FloatArray = npt.NDArray[np.float32]


class InvalidVectors(LvmError):
    """Vectors that cannot be worked with: wrong shape, NaN, infinite, or zero."""


class SpaceMismatch(LvmError):
    """Vectors of one space were handed to another, or an encoder is not the one its space was made with."""


@dataclass(frozen=True)
class Vectors:
    """A batch of vectors of one space.

    Attributes:
        fingerprint: of the encoder that made them.
        unit: (n, dim) float32, rows of norm 1.
        norms: (n,) float32, the norms the encoder gave them before they were made unit length.
    """

    fingerprint: str
    unit: FloatArray
    norms: FloatArray

    @classmethod
    def from_raw(cls, fingerprint: str, raw: FloatArray) -> Vectors:
        """Split raw encoder output (n, dim) into directions and norms.

        Raises:
            InvalidVectors: if a row is zero or not finite, or the array is not two-dimensional.
        """
        if raw.ndim != 2:
            raise InvalidVectors(f"expected an array (n, dim), got shape {raw.shape}; pass one row per text")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and named below
            norms = np.linalg.norm(raw, axis=1)
        bad = ~np.isfinite(norms) | (norms < 1e-12)
        if bad.any():
            raise InvalidVectors(
                f"{int(bad.sum())} of {len(raw)} vectors are zero or not finite (first: row {int(bad.argmax())}); "
                "nothing was kept of this batch, check the texts or the weights that made them"
            )
        unit = raw / norms[:, None]
        return cls(fingerprint, np.ascontiguousarray(unit, dtype=np.float32), norms.astype(np.float32))

    @property
    def raw(self) -> FloatArray:
        """(n, dim) vectors as the encoder made them."""
        return np.asarray(self.unit * self.norms[:, None], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.unit)

    def __getitem__(self, rows: slice | list[int]) -> Vectors:
        """Some of the rows, still of their space."""
        return Vectors(self.fingerprint, self.unit[rows], self.norms[rows])


def require(vectors: Vectors, space_name: str, fingerprint: str, dim: int) -> Vectors:
    """The same vectors, proven to be of this space as far as their fingerprint says.

    Raises:
        SpaceMismatch: if they name another space.
        InvalidVectors: if they are a bare array, or of another dimension.
    """
    if not isinstance(vectors, Vectors):
        raise InvalidVectors(
            f"space {space_name!r} takes Vectors, which name the space that made them, not a bare "
            f"{type(vectors).__name__}; encode with it, or say whose they are: Vectors.from_raw(fingerprint, array)"
        )
    if vectors.fingerprint != fingerprint:
        raise SpaceMismatch(
            f"these vectors are of space {str(vectors.fingerprint)[:40]!r}, not of {space_name!r} ({fingerprint}); "
            f"vectors of one are noise to the other: encode the texts again with {space_name!r}"
        )
    if vectors.unit.ndim != 2 or vectors.unit.shape[1] != dim or vectors.norms.shape != (len(vectors.unit),):
        raise InvalidVectors(
            f"vectors of shape {vectors.unit.shape} with norms of shape {vectors.norms.shape} cannot be of space "
            f"{space_name!r}, whose vectors are (n, {dim}); check what made them"
        )
    return vectors
