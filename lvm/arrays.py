"""Types of NumPy arrays that the whole package uses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""float32 array; docstrings give its shape."""

IntArray = npt.NDArray[np.int64]
"""int64 array; docstrings give its shape."""
