"""``Vectors``: an array of vectors with the fingerprint of the encoder that made it.

Contract: no array of vectors passes a public function, a file or a socket without this fingerprint. Directions and
norms are separate: models predict directions, and an inverter reads a direction scaled to the space's median norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lvm.arrays import FloatArray
from lvm.errors import LvmError


class InvalidVectors(LvmError):
    """Vectors have a wrong shape, are NaN, infinite or zero, or are a bare array."""


class SpaceMismatch(LvmError):
    """Vectors of one space were given to another space, or an encoder is not the one of its space."""


@dataclass(frozen=True)
class Vectors:
    """A batch of vectors of one space.

    Attributes:
        fingerprint: fingerprint of the encoder that made them.
        unit: (n, dim) float32, rows of norm 1.
        norms: (n,) float32, norms of the encoder's output, before normalisation.
    """

    fingerprint: str
    unit: FloatArray
    norms: FloatArray

    @classmethod
    def from_raw(cls, fingerprint: str, raw: FloatArray) -> Vectors:
        """Split the output of an encoder into directions and norms.

        Args:
            fingerprint: fingerprint of the encoder.
            raw: (n, dim) float32, or what NumPy makes an array of.

        Raises:
            InvalidVectors: if a row is zero or not finite, it is no array of numbers with two dimensions, or the
                fingerprint is no string.
        """
        try:
            array = np.asarray(raw)
        except (TypeError, ValueError):  # a tensor of a GPU; rows of different lengths
            array = np.array(None)
        if not isinstance(fingerprint, str) or array.dtype.kind not in "fiu":
            raise InvalidVectors(
                "vectors need the fingerprint of their space, a string, and a NumPy array of numbers, not "
                f"{type(fingerprint).__name__} and {type(raw).__name__}: Vectors.from_raw(fingerprint, array)"
            )
        raw = array
        if raw.ndim != 2:
            raise InvalidVectors(f"expected an array (n, dim), got shape {raw.shape}; pass one row per text")
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow gives infinity, which is refused below
            norms = np.linalg.norm(raw, axis=1)
        bad = ~np.isfinite(norms) | (norms < 1e-12)
        if bad.any():
            raise InvalidVectors(
                f"{int(bad.sum())} of {len(raw)} vectors are zero or not finite (first: row {int(bad.argmax())}); "
                "the whole batch is refused, check the texts or the weights that made them"
            )
        unit = raw / norms[:, None]
        return cls(fingerprint, np.ascontiguousarray(unit, dtype=np.float32), norms.astype(np.float32))

    @classmethod
    def joined(cls, parts: Sequence[Vectors]) -> Vectors:
        """The vectors of at least one part, one after the other. All parts are of one space.

        Raises:
            SpaceMismatch: if the parts are of different spaces.
        """
        fingerprints = {part.fingerprint for part in parts}
        if len(fingerprints) != 1:
            raise SpaceMismatch(f"vectors of {len(fingerprints)} spaces cannot be joined; encode all with one space")
        return cls(
            fingerprints.pop(),
            np.concatenate([part.unit for part in parts]),
            np.concatenate([part.norms for part in parts]),
        )

    @property
    def raw(self) -> FloatArray:
        """(n, dim) float32, the vectors with their norms, as the encoder made them."""
        return np.asarray(self.unit * self.norms[:, None], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.unit)

    def __repr__(self) -> str:
        n, dim = self.unit.shape
        return f"Vectors(n={n}, dim={dim}, space={self.fingerprint})"

    def __getitem__(self, rows: slice | list[int]) -> Vectors:
        """Select rows."""
        return Vectors(self.fingerprint, self.unit[rows], self.norms[rows])


def require(vectors: Vectors, space_name: str, fingerprint: str, dim: int) -> Vectors:
    """Return the vectors if fingerprint and shape are those of a space.

    Args:
        vectors: the vectors to check.
        space_name: name of the space, for messages.
        fingerprint: fingerprint of the space.
        dim: dimension of the space.

    Raises:
        SpaceMismatch: if the vectors name another space.
        InvalidVectors: if they are a bare array, or of another dimension.
    """
    if not isinstance(vectors, Vectors):
        raise InvalidVectors(
            f"space {space_name!r} takes Vectors, which name their space, not a bare {type(vectors).__name__}; encode "
            "texts with the space, or name the space of the array: Vectors.from_raw(fingerprint, array)"
        )
    if vectors.fingerprint != fingerprint:
        raise SpaceMismatch(
            f"these vectors are of space {str(vectors.fingerprint)[:40]!r}, not of {space_name!r} ({fingerprint}); "
            f"vectors of one space mean nothing in another: encode the texts again with {space_name!r}"
        )
    if vectors.unit.ndim != 2 or vectors.unit.shape[1] != dim or vectors.norms.shape != (len(vectors.unit),):
        raise InvalidVectors(
            f"vectors of shape {vectors.unit.shape} with norms of shape {vectors.norms.shape} cannot be of space "
            f"{space_name!r}, whose vectors are (n, {dim}); check the program that made them"
        )
    return vectors
