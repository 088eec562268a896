"""How vectors lie relative to each other: row by row, and as a crowd.

Contract: float32 arrays of unit rows in, float64 figures out; no space, no model, no text. How crowded a set
is tells what a cosine in it is worth: where any two vectors meet at 0.7, a roundtrip of 0.7 says nothing,
and a model whose predictions are all alike has learned the corpus mean.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lvm.spaces.vectors import FloatArray


def row_cosines(unit: FloatArray, other: FloatArray) -> npt.NDArray[np.float64]:
    """Cosine of each row of ``unit`` (n, dim) to the same row of ``other`` (n, dim): (n,), within [-1, 1]."""
    products: npt.NDArray[np.float64] = np.einsum("nd,nd->n", unit, other, dtype=np.float64)
    return products.clip(-1.0, 1.0)


def crowding(unit: FloatArray) -> float:
    """Mean cosine between two different rows of ``unit`` (n, dim); NaN for fewer than two rows.

    Of corpus vectors it is the chance cosine. Computed from the sum of the rows, so it costs O(n * dim).
    """
    n = len(unit)
    if n < 2:
        return float("nan")
    rows = unit.astype(np.float64)
    total = rows.sum(axis=0)
    return float((total @ total - np.einsum("nd,nd->", rows, rows)) / (n * (n - 1)))
