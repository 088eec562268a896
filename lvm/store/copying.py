"""Postgres' binary COPY format, laid out and read by NumPy: thousands of rows for each Python call.

Format: https://www.postgresql.org/docs/current/sql-copy.html (File Formats, Binary Format); a pgvector value is
two int16 (dimension, 0) and its float4 numbers. Everything is big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"


def _row(*fields: tuple[str, str | tuple[str, int]]) -> np.dtype[np.void]:
    """dtype of a row of fixed-size fields: their count, then each behind its length."""
    layout: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [("count", ">i2")]
    for name, kind in fields:
        layout.append((f"{name}_length", ">i4"))
        if isinstance(kind, tuple):
            layout += [(f"{name}_dim", ">i2"), (f"{name}_zero", ">i2"), (name, kind[0], (kind[1],))]
        else:
            layout.append((name, kind))
    return np.dtype(layout)


def _frame(dtype: np.dtype[np.void], rows: int, fields: int) -> npt.NDArray[np.void]:
    """Rows with counts and lengths filled in."""
    frame = np.zeros(rows, dtype)
    frame["count"] = fields
    for name in dtype.names or ():
        if not name.endswith("_length"):
            continue
        value = name.removesuffix("_length")
        size = dtype[value].itemsize
        if f"{value}_dim" in (dtype.names or ()):
            frame[f"{value}_dim"] = dtype[value].shape[0]
            size += 4
        frame[name] = size
    return frame


def embedding_rows(
    space_id: int,
    chunk_ids: npt.NDArray[np.int64],
    norms: npt.NDArray[np.float32],
    unit: npt.NDArray[np.float32],
) -> bytes:
    """COPY data for ``embedding (space_id, chunk_id, norm, vector)``; unit (n, dim)."""
    dtype = _row(("space", ">i4"), ("chunk", ">i8"), ("norm", ">f4"), ("vector", (">f4", unit.shape[1])))
    frame = _frame(dtype, len(unit), 4)
    frame["space"], frame["chunk"], frame["norm"], frame["vector"] = space_id, chunk_ids, norms, unit
    return HEADER + frame.tobytes() + TRAILER


def chunk_rows(
    ids: npt.NDArray[np.int64],
    document_ids: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int32],
    token_counts: npt.NDArray[np.int32],
    texts: Sequence[str],
) -> bytes:
    """COPY data for ``chunk (id, document_id, position, token_count, text)``."""
    fixed = _row(("id", ">i8"), ("document", ">i8"), ("position", ">i4"), ("tokens", ">i4"))
    frame = _frame(np.dtype([*((n, fixed[n]) for n in fixed.names or ()), ("text_size", ">i4")]), len(texts), 5)
    encoded = [text.encode("utf-8") for text in texts]
    frame["id"], frame["document"], frame["position"], frame["tokens"] = ids, document_ids, positions, token_counts
    frame["text_size"] = [len(text) for text in encoded]
    heads, size = frame.tobytes(), frame.dtype.itemsize
    parts = [HEADER]
    for number, text in enumerate(encoded):
        parts.append(heads[number * size : (number + 1) * size])
        parts.append(text)
    parts.append(TRAILER)
    return b"".join(parts)


def vector_dtype(dim: int) -> np.dtype[np.void]:
    """dtype of a row of (document id, chunk id, position, norm, vector), as read in bulk."""
    return _row(("document", ">i8"), ("chunk", ">i8"), ("position", ">i4"), ("norm", ">f4"), ("vector", (">f4", dim)))


def parse(data: bytes, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Rows of a whole binary COPY, without copying them.

    Raises:
        ValueError: if the data is not such a COPY.
    """
    if not data.startswith(HEADER[:11]) or not data.endswith(TRAILER):
        raise ValueError("not a complete binary COPY")
    body = len(data) - len(HEADER) - len(TRAILER)
    if body % dtype.itemsize:
        raise ValueError(f"{body} bytes are no whole number of rows of {dtype.itemsize}")
    return np.frombuffer(data, dtype, body // dtype.itemsize, len(HEADER))
