"""Row-wise and mean pairwise cosine.

Contract: float32 arrays of unit rows in, float64 figures out. The mean pairwise cosine is the scale for other cosines:
if two random vectors of a space have cosine 0.7, a roundtrip cosine of 0.7 means nothing. If two predictions of a model
have cosine 0.99 on average, the model predicts the same vector for every window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lvm.arrays import FloatArray


def row_cosines(unit: FloatArray, other: FloatArray) -> npt.NDArray[np.float64]:
    """Cosines between equal rows of two arrays.

    Args:
        unit: (n, dim) unit vectors.
        other: (n, dim) unit vectors.

    Returns:
        (n,) float64 in [-1, 1].
    """
    products: npt.NDArray[np.float64] = np.einsum("nd,nd->n", unit, other, dtype=np.float64)
    return products.clip(-1.0, 1.0)


def mean_pairwise_cosine(unit: FloatArray) -> float:
    """Mean cosine between two different rows; NaN for fewer than two rows.

    For vectors of a corpus this is the chance cosine. It is computed from the sum of the rows, in O(n * dim).

    Args:
        unit: (n, dim) unit vectors.
    """
    n = len(unit)
    if n < 2:
        return float("nan")
    rows = unit.astype(np.float64)
    total = rows.sum(axis=0)
    return float((total @ total - np.einsum("nd,nd->", rows, rows)) / (n * (n - 1)))
