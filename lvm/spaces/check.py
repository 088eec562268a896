"""Check whether vectors can be of a space, from their numbers alone.

Contract: ``check`` compares a batch of vectors with the ``Statistics`` of a space's encoder. The fingerprint of the
batch does not count. A batch that fails is not of the space. A batch that passes may be of the space: docs/spaces.md
lists what the check detects and what it cannot detect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lvm import gates
from lvm.arrays import FloatArray
from lvm.encoding.vectors import SpaceMismatch, Vectors
from lvm.spaces.statistics import Statistics

_PATH_COSINE = 0.8  # cosine to the mean direction of another path from which on the message names the path
_PAIRWISE_VECTORS = 20  # vectors from which on the message has their mean pairwise cosine


class ForeignVectors(SpaceMismatch):
    """Vectors cannot be of the space that they are declared to be of."""


@dataclass(frozen=True)
class Check:
    """Result of a check.

    Attributes:
        n: number of vectors.
        distance: mean distance to the space; NaN if the dimensions differ.
        foreign: indices of the vectors beyond ``gates.FOREIGN_DISTANCE``.
        faults: reasons why the vectors are not of the space, in words; empty if they can be.
        message: the result in one line.
    """

    n: int
    distance: float
    foreign: tuple[int, ...]
    faults: tuple[str, ...]
    message: str

    @property
    def passed(self) -> bool:
        """Whether the vectors can be of the space."""
        return not self.faults


def check(vectors: Vectors, statistics: Statistics, space_name: str) -> Check:
    """Check dimension, norms, zero dimensions and distances of a batch of vectors.

    Args:
        vectors: at least one vector.
        statistics: statistics of the space's encoder.
        space_name: name of the space, for the message.
    """
    space, n = f"{space_name!r} ({statistics.fingerprint})", len(vectors)
    if vectors.unit.shape[1] != statistics.dim:
        fault = f"they have {vectors.unit.shape[1]} dimensions and {space_name!r} has {statistics.dim}"
        return Check(n, float("nan"), tuple(range(n)), (fault,), _refused(space, n, [fault], space_name))
    distances = statistics.distances(vectors.unit)
    foreign, mean = np.flatnonzero(distances > gates.FOREIGN_DISTANCE), float(distances.mean())
    faults = [*_norm_faults(vectors.norms, statistics), *_zero_faults(vectors.unit)]
    if len(foreign) > gates.FOREIGN_MAX_SHARE * n:
        faults.append(
            f"{len(foreign)} of {n} lie beyond distance {gates.FOREIGN_DISTANCE:g} (mean {mean:.2f}, "
            f"{space_name!r} itself {statistics.own_distance:.2f}){_explanation(vectors.unit[foreign], statistics)}"
        )
    if faults:
        message = _refused(space, n, faults, space_name)
    else:
        message = f"these {n} vectors can be of {space}: mean distance {mean:.2f}"
        message += f" ({space_name!r} itself {statistics.own_distance:.2f}, foreign from {gates.FOREIGN_DISTANCE:g})"
        if len(foreign):
            message += f"; {len(foreign)} of them lie beyond, the first is row {foreign[0]}"
        if statistics.any_distance < gates.FOREIGN_DISTANCE:
            message += "; a rotation of this space could not be told from it"
    return Check(n, mean, tuple(foreign.tolist()), tuple(faults), message)


def demand(vectors: Vectors, statistics: Statistics, space_name: str) -> Check:
    """``check``, with an error if the vectors cannot be of the space.

    Args:
        vectors: at least one vector.
        statistics: statistics of the space's encoder.
        space_name: name of the space, for the message.

    Raises:
        ForeignVectors: if they cannot; the message has the reasons.
    """
    result = check(vectors, statistics, space_name)
    if not result.passed:
        raise ForeignVectors(result.message)
    return result


def _refused(space: str, n: int, faults: Sequence[str], space_name: str) -> str:
    return (
        f"these {n} vectors are not of {space}: {'; '.join(faults)}. "
        f"Encode the texts with `lvm encode --space {space_name}`"
    )


def _norm_faults(norms: FloatArray, statistics: Statistics) -> Iterator[str]:
    """A fault if the median norm is neither 1 nor in the encoder's range. Unit vectors are valid in every space."""
    low, median, high = (float(norm) for norm in statistics.norms)
    measured, margin = float(np.median(norms)), gates.FOREIGN_NORM_MARGIN
    if abs(measured - 1) > margin and not low * (1 - margin) <= measured <= high * (1 + margin):
        reason = "not normalised" if abs(median - 1) < margin else "scaled or of another path"
        yield f"their median length is {measured:.3g} where the encoder gives {median:.3g}: {reason}"


def _zero_faults(unit: FloatArray) -> Iterator[str]:
    """A fault if many dimensions are zero in all vectors."""
    zero = int((~unit.any(axis=0)).sum())
    if zero > gates.FOREIGN_ZERO_SHARE * unit.shape[1]:
        yield f"{zero} of {unit.shape[1]} dimensions are zero in all of them: cut or padded"


def _explanation(unit: FloatArray, statistics: Statistics) -> str:
    """What foreign vectors may be, as far as their numbers show it: an ending for the message."""
    total = unit.sum(axis=0, dtype=np.float64)
    length, n = float(np.linalg.norm(total)), len(unit)
    if len(statistics.paths) and length > 0:
        cosines = statistics.paths @ total / length
        if cosines.max() >= _PATH_COSINE:
            name = statistics.path_names[int(cosines.argmax())]
            return f", and point where the same weights with {name} do (cosine {cosines.max():.2f})"
    if n < _PAIRWISE_VECTORS:
        return ""
    pairwise = (length**2 - n) / (n * (n - 1))
    if abs(pairwise - statistics.chance) < 0.1:
        return (
            f", but their mean pairwise cosine {pairwise:.2f} is that of its own: as after a rotation, a permutation, "
            "a linear layer, or from another model"
        )
    return f", and their mean pairwise cosine is {pairwise:.2f} where that of its own is {statistics.chance:.2f}"
