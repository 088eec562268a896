"""Windows written out for notebooks: every context and target in full, as NumPy's ``.npz``.

Contract: streamed, so that memory stays flat though each vector is written ``context + 1`` times.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lvm.files import replacing
from lvm.sequences.sequence_set import IntArray, SequenceSet
from lvm.sequences.split import Split

_WINDOWS = 1024


def export_npz(sequences: SequenceSet, chunk_ids: IntArray, path: Path, split: Split = "train") -> int:
    """Write the windows of a split to ``path`` and return how many there are.

    The file holds ``context_sequences`` (N, context, dim) float32, ``target_vectors`` (N, dim) float32,
    ``context_chunk_ids`` (N, context) int64, ``target_chunk_ids`` (N,) int64, and ``space``, the
    fingerprint of the space the vectors are of.

    Args:
        chunk_ids: (N,) int64, ids of the chunks of all rows of the set in a database (``Store.chunk_ids``).

    Raises:
        CannotWrite: if the disk is full; an older file stays.
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
                for at in range(0, len(starts), _WINDOWS):
                    member.write(np.ascontiguousarray(take(starts[at : at + _WINDOWS]), dtype=dtype).data.cast("B"))
        with archive.open("space.npy", "w") as member:
            np.lib.format.write_array(member, np.array(sequences.space))
    return len(starts)
