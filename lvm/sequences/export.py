"""Export windows as NumPy's ``.npz``, for notebooks.

Contract: contexts and targets are written in full, so a vector is written up to ``context + 1`` times. Writing is
streamed, so memory stays constant.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lvm.arrays import IntArray
from lvm.files import replacing
from lvm.sequences.sequence_set import SequenceSet
from lvm.sequences.split import Split

_WINDOWS_AT_ONCE = 1024


def export_npz(sequences: SequenceSet, chunk_ids: IntArray, path: Path, split: Split = "train") -> int:
    """Write the windows of a split.

    The file holds ``context_sequences`` (n, context, dim) float32, ``target_vectors`` (n, dim) float32,
    ``context_chunk_ids`` (n, context) int64, ``target_chunk_ids`` (n,) int64, and ``space``, the fingerprint of the
    space.

    Args:
        sequences: the sequence set.
        chunk_ids: (N,) int64, chunk id in the database for every row of the sequence set (``Store.chunk_ids``).
        path: the file. An existing file is replaced.
        split: the split to write.

    Returns:
        The number of windows.

    Raises:
        CannotWrite: if the disk is full. The old file is intact.
    """
    starts = sequences.starts[split]
    window = np.arange(sequences.context)
    members: dict[str, tuple[tuple[int, ...], str, Callable[[IntArray], npt.NDArray[Any]]]] = {
        "context_sequences": ((sequences.context, sequences.dim), "<f4", sequences.contexts),
        "target_vectors": ((sequences.dim,), "<f4", sequences.targets),
        "context_chunk_ids": (
            (sequences.context,),
            "<i8",
            lambda s: chunk_ids[s[:, None] + window],
        ),
        "target_chunk_ids": ((), "<i8", lambda s: chunk_ids[s + sequences.context]),
    }
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, (shape, dtype, take) in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": dtype, "fortran_order": False, "shape": (len(starts), *shape)}
                np.lib.format.write_array_header_1_0(member, header)
                for at in range(0, len(starts), _WINDOWS_AT_ONCE):
                    part = take(starts[at : at + _WINDOWS_AT_ONCE])
                    member.write(np.ascontiguousarray(part, dtype=dtype).data.cast("B"))
        with archive.open("space.npy", "w") as member:
            np.lib.format.write_array(member, np.array(sequences.space))
    return len(starts)
