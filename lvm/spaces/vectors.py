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
        space: fingerprint of the space that made them.
        unit: (n, dim) float32, rows of norm 1.
        norms: (n,) float32, the norms the encoder gave them before they were made unit length.
    """

    space: str
    unit: FloatArray
    norms: FloatArray

    @classmethod
    def from_raw(cls, space: str, raw: FloatArray) -> Vectors:
        """Split raw encoder output (n, dim) into directions and norms.

        Raises:
            InvalidVectors: if a row is zero or not finite, or the array is not two-dimensional.
        """
        if raw.ndim != 2:
            raise InvalidVectors(f"expected an array (n, dim), got shape {raw.shape}; pass one row per text")
        norms = np.linalg.norm(raw, axis=1)
        bad = ~np.isfinite(norms) | (norms < 1e-12)
        if bad.any():
            raise InvalidVectors(
                f"{int(bad.sum())} of {len(raw)} vectors are zero or not finite (first: row {int(bad.argmax())}); "
                "nothing was kept of this batch, check the texts or the weights that made them"
            )
        unit = raw / norms[:, None]
        return cls(space, np.ascontiguousarray(unit, dtype=np.float32), norms.astype(np.float32))

    @property
    def raw(self) -> FloatArray:
        """(n, dim) vectors as the encoder made them."""
        return np.asarray(self.unit * self.norms[:, None], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.unit)
