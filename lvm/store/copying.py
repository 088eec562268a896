"""Postgres' binary COPY format, written and read by NumPy: one Python call handles thousands of rows.

Format: https://www.postgresql.org/docs/current/sql-copy.html (File Formats, Binary Format); a pgvector value is
two int16 (dimension, 0) and its float4 numbers. Everything is big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import psycopg

from lvm.arrays import FloatArray, IntArray

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"


def _row(*fields: tuple[str, str | tuple[str, int]]) -> np.dtype[np.void]:
    """dtype of a row of fixed-size fields: the number of fields, then length and value of every field."""
    layout: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [("count", ">i2")]
    for name, kind in fields:
        layout.append((f"{name}_length", ">i4"))
        if isinstance(kind, tuple):
            layout += [(f"{name}_dim", ">i2"), (f"{name}_zero", ">i2"), (name, kind[0], (kind[1],))]
        else:
            layout.append((name, kind))
    return np.dtype(layout)


def _fill(frame: npt.NDArray[np.void], fields: int) -> None:
    """Set the number of fields and their lengths."""
    frame["count"] = fields
    dtype = frame.dtype
    for name in dtype.names or ():
        if not name.endswith("_length"):
            continue
        value = name.removesuffix("_length")
        size = dtype[value].itemsize
        if f"{value}_dim" in (dtype.names or ()):
            frame[f"{value}_dim"], frame[f"{value}_zero"] = dtype[value].shape[0], 0
            size += 4
        frame[name] = size


def embedding_rows(
    space_id: int,
    chunk_ids: IntArray,
    norms: FloatArray,
    unit: Sequence[FloatArray],
) -> memoryview:
    """COPY data for ``embedding (space_id, chunk_id, norm, vector)``.

    Args:
        space_id: the space of all rows.
        chunk_ids: (n,) int64.
        norms: (n,) float32.
        unit: arrays of (n_i, dim) float32, n rows together. They are copied once, into the result.
    """
    dtype = _row(("space", ">i4"), ("chunk", ">i8"), ("norm", ">f4"), ("vector", (">f4", unit[0].shape[1])))
    data = np.empty(len(HEADER) + len(norms) * dtype.itemsize + len(TRAILER), np.uint8)
    data[: len(HEADER)], data[-len(TRAILER) :] = np.frombuffer(HEADER, np.uint8), np.frombuffer(TRAILER, np.uint8)
    frame = data[len(HEADER) : -len(TRAILER)].view(dtype)
    _fill(frame, 4)
    frame["space"], frame["chunk"], frame["norm"] = space_id, chunk_ids, norms
    start = 0
    for part in unit:
        frame["vector"][start : start + len(part)] = part
        start += len(part)
    return data.data


def chunk_rows(
    ids: IntArray,
    document_ids: IntArray,
    positions: npt.NDArray[np.int32],
    token_counts: npt.NDArray[np.int32],
    texts: Sequence[str],
) -> bytes:
    """COPY data for ``chunk (id, document_id, position, token_count, text)``.

    Args:
        ids: (n,) int64.
        document_ids: (n,) int64.
        positions: (n,) int32.
        token_counts: (n,) int32.
        texts: n texts.
    """
    fixed = _row(("id", ">i8"), ("document", ">i8"), ("position", ">i4"), ("tokens", ">i4"))
    frame = np.empty(len(texts), [*((n, fixed[n]) for n in fixed.names or ()), ("text_size", ">i4")])
    _fill(frame, 5)
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
    """dtype of a row of (document id, chunk id, position, norm, vector), as ``read_vectors`` reads it."""
    return _row(("document", ">i8"), ("chunk", ">i8"), ("position", ">i4"), ("norm", ">f4"), ("vector", (">f4", dim)))


CHUNK_KEYS = _row(("document", ">i8"), ("chunk", ">i8"), ("position", ">i4"))
"""dtype of a row of (document id, chunk id, position), as ``chunk_ids`` reads it."""


def receive(copy: psycopg.Copy) -> bytearray:
    """All data of a ``COPY ... TO STDOUT (FORMAT binary)``.

    psycopg's ``read`` takes a row and costs microseconds. Rows that libpq has received are taken from libpq itself;
    psycopg waits for more, and ends the copy.
    """
    take = copy.connection.pgconn.get_copy_data
    data = bytearray()
    while row := copy.read():
        data += row
        while row[-2:] != TRAILER:  # psycopg itself must find the end
            size, row = take(1)
            if size <= 0:
                break
            data += row
    return data


def parse(data: bytes | bytearray, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """The rows of a binary COPY as a view of its bytes.

    Args:
        data: the whole COPY, header and trailer included.
        dtype: of a row.

    Raises:
        ValueError: if the data is no complete COPY of such rows.
    """
    if not data.startswith(HEADER[:11]) or not data.endswith(TRAILER):
        raise ValueError("not a complete binary COPY")
    body = len(data) - len(HEADER) - len(TRAILER)
    if body % dtype.itemsize:
        raise ValueError(f"{body} bytes are not a whole number of rows of {dtype.itemsize} bytes")
    return np.frombuffer(data, dtype, body // dtype.itemsize, len(HEADER))
