"""A sequence set on disk: every vector once, and where windows begin.

Contract: one sealed safetensors file (see ``files``). It holds the unit vectors of a corpus in document
order, where documents begin, the split of each, and the first row of each window, by split. A window is
``context`` consecutive rows of ONE document and the row that follows. The header says which space, inverter
and corpus revision it belongs to: vectors never travel without their space. Nothing in it is an id of some
database, so the same corpus gives the same file, wherever and in whatever order it was ingested. It is
memory-mapped, so opening a large one costs no memory.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lvm.errors import LvmError, UsageError, first_line
from lvm.files import UNSEALED, CorruptedFile, replacing, seal, verify
from lvm.sequences.split import SPLITS, Split, SplitDocument, split_documents

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FORMAT = "lvm-sequences-2"
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}


class BrokenSequence(LvmError):
    """The vectors handed over are not the documents' chunks, whole and in order."""


class Document(SplitDocument, Protocol):
    """What extraction needs to know of a document (``lvm.store.DocumentRow`` is one)."""

    @property
    def id(self) -> int: ...


class Batch(Protocol):
    """Consecutive vectors in document order (``lvm.store.VectorBatch`` is one)."""

    @property
    def document_ids(self) -> npt.NDArray[Any]: ...
    @property
    def chunk_ids(self) -> npt.NDArray[Any]: ...
    @property
    def positions(self) -> npt.NDArray[Any]: ...
    @property
    def unit(self) -> FloatArray: ...


@dataclass(frozen=True)
class SequenceSet:
    """Windows over the vectors of one corpus in one space.

    Attributes:
        path: the file.
        sha256: digest of the file's content, as its header states it.
        space_name, space: name and fingerprint of the space all vectors are of.
        inverter: sha256 of the inverter that the vectors were validated with; it decides the splits.
        corpus_revision: content hash of the corpus at extraction.
        context: vectors in a window before its target.
        unit: (N, dim) float32, memory-mapped (writes stay in memory, never reach the file).
        document_starts: (D + 1,) int64, rows of document d are ``document_starts[d]:document_starts[d + 1]``.
        document_splits: (D,) uint8, index into ``SPLITS``.
        starts: by split, (n,) int64: a window is rows ``s .. s + context - 1``, its target ``s + context``.
    """

    path: Path
    sha256: str
    space_name: str
    space: str
    inverter: str
    corpus_revision: str
    context: int
    unit: FloatArray
    document_starts: IntArray
    document_splits: npt.NDArray[np.uint8]
    starts: dict[Split, IntArray]

    @property
    def dim(self) -> int:
        return int(self.unit.shape[1])

    @property
    def without_window(self) -> int:
        """Documents too short to have a window (one of one chunk always is)."""
        return int((np.diff(self.document_starts) <= self.context).sum())

    def counts(self) -> dict[str, int]:
        """Figures for a record: vectors, documents, documents_without_window, and windows by split."""
        return {
            "vectors": len(self.unit),
            "documents": len(self.document_splits),
            "documents_without_window": self.without_window,
            **{split: len(self.starts[split]) for split in SPLITS},
        }

    def rows(self, split: Split) -> IntArray:
        """Rows of all documents of a split, those no window reaches included: what retrieval ranks among."""
        chosen = np.flatnonzero(self.document_splits == SPLITS.index(split))
        ranges = [np.arange(self.document_starts[d], self.document_starts[d + 1]) for d in chosen]
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)

    def contexts(self, starts: IntArray) -> FloatArray:
        """(n, context, dim) float32: the vectors before the targets of the given windows (a copy)."""
        rows = np.asarray(starts)[:, None] + np.arange(self.context)
        return np.asarray(self.unit[rows])

    def targets(self, starts: IntArray) -> FloatArray:
        """(n, dim) float32: the vectors the given windows are to predict (a copy)."""
        return np.asarray(self.unit[np.asarray(starts) + self.context])


def extract(
    path: Path,
    batches: Iterable[Batch],
    documents: Sequence[Document],
    *,
    inverter_saw: Collection[str],
    context: int,
    dim: int,
    space_name: str,
    space: str,
    inverter: str,
    corpus_revision: str,
) -> SequenceSet:
    """Write the sequence set of a corpus, in one pass and flat memory, and open it.

    Args:
        path: file to write; an older one is replaced once the new one is whole.
        batches: all vectors, in the order of ``documents``, then of position (``Store.read_vectors``).
        documents: all documents, with the number of their chunks (``Store.documents``).
        inverter_saw: ``sha256`` of documents the inverter was trained on; see ``split_documents``.
        context: vectors in a window before its target, at least 1.
        dim: dimension of the space.
        space_name, space: name and fingerprint of the space.
        inverter: sha256 of the inverter of the passing roundtrip gate.
        corpus_revision: what ``Store.corpus_revision`` says.

    Raises:
        UsageError: if ``context`` is below 1.
        NotEnoughDocuments: if no three documents have a window.
        BrokenSequence: if a document's vectors are missing, doubled or out of order.
        CannotWrite: if the disk is full; an older file stays.
    """
    if context < 1:
        raise UsageError(f"--context {context}: a window needs at least 1 vector before its target")
    splits = split_documents(documents, inverter_saw, context)
    counts = np.array([d.chunk_count for d in documents], dtype=np.int64)
    document_starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    total = int(document_starts[-1])
    small: dict[str, npt.NDArray[Any]] = {
        "document_starts": document_starts,
        "document_splits": np.array([SPLITS.index(s) for s in splits], dtype=np.uint8),
    }
    for split in SPLITS:
        small[f"starts_{split}"] = _window_starts(document_starts, counts, context, [s == split for s in splits])
    metadata = {
        "format": FORMAT,
        "space_name": space_name,
        "space": space,
        "inverter": inverter,
        "corpus_revision": corpus_revision,
        "context": str(context),
        "sha256": UNSEALED,
    }
    header = _header(metadata, total, dim, small)
    with replacing(path) as file:
        digest = hashlib.sha256(header)
        file.write(header)
        row = 0
        for batch in batches:
            _check(batch, row, documents, document_starts, dim)
            data = np.ascontiguousarray(batch.unit, dtype="<f4").data.cast("B")
            digest.update(data)
            file.write(data)
            row += len(batch.unit)
        if row != total:
            raise BrokenSequence(
                f"{row} vectors came for {total} chunks; the corpus is not wholly encoded in space "
                f"{space_name}: run `lvm ingest` again to complete it"
            )
        for array in small.values():
            digest.update(array.tobytes())
            file.write(array.tobytes())
        file.seek(0)
        file.write(seal(header, digest.hexdigest()))
    return load(path)


def load(path: Path) -> SequenceSet:
    """Open a sequence set, checking every byte of it against its checksum, and that its parts fit each other.

    Raises:
        CorruptedFile: if it is missing, cut short, changed, of another format, or has windows that are not exactly
            those of its documents.
    """
    header, offset = verify(path)
    metadata = header.pop("__metadata__")
    if metadata.get("format") != FORMAT:
        raise CorruptedFile(f"{path} is no sequence set of this version; run `lvm extract` again")

    def tensor(name: str, dtype_name: str, dimensions: int) -> npt.NDArray[Any]:
        entry = header.pop(name)
        begin, end = entry["data_offsets"]
        dtype, shape = _DTYPES[dtype_name], tuple(entry["shape"])
        if (entry["dtype"], len(shape), math.prod(shape) * dtype.itemsize) != (dtype_name, dimensions, end - begin):
            raise ValueError(f"{name} is no {dtype_name} array of {dimensions} dimensions")
        if begin == end:  # an empty file range cannot be mapped
            return np.empty(shape, dtype=dtype)
        # copy-on-write: torch wants writable memory, and the file must never change
        return np.memmap(path, dtype=dtype, mode="c", offset=offset + begin, shape=shape)

    try:
        sequences = SequenceSet(
            path=path,
            sha256=metadata["sha256"],
            space_name=metadata["space_name"],
            space=metadata["space"],
            inverter=metadata["inverter"],
            corpus_revision=metadata["corpus_revision"],
            context=int(metadata["context"]),
            unit=tensor("unit", "F32", 2),
            document_starts=np.array(tensor("document_starts", "I64", 1)),
            document_splits=np.array(tensor("document_splits", "U8", 1)),
            starts={split: np.array(tensor(f"starts_{split}", "I64", 1)) for split in SPLITS},
        )
        _check_windows(sequences)
        if header:
            raise ValueError(f"it has an unknown part {min(header)[:40]!r}")
    except KeyError as error:
        raise CorruptedFile(f"{path} lacks {error}; delete it and run `lvm extract` again") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise CorruptedFile(
            f"{path} is no sequence set ({first_line(error)}); delete it and run `lvm extract` again"
        ) from error
    return sequences


def _check_windows(sequences: SequenceSet) -> None:
    """Raise ValueError unless documents cover all rows in order, and windows are exactly those of each split."""
    starts, splits, context = sequences.document_starts, sequences.document_splits, sequences.context
    if context < 1 or sequences.unit.shape[1] < 1:
        raise ValueError(f"windows of {context} vectors of dimension {sequences.unit.shape[1]}")
    if len(starts) != len(splits) + 1 or (splits >= len(SPLITS)).any():
        raise ValueError("its documents and their splits do not fit each other")
    counts = np.diff(starts)
    if starts[0] != 0 or starts[-1] != len(sequences.unit) or (counts < 0).any() or (starts < 0).any():
        raise ValueError("its documents do not cover its vectors")
    for number, split in enumerate(SPLITS):
        expected = _window_starts(starts, counts, context, (splits == number).tolist())
        if not np.array_equal(expected, sequences.starts[split]):
            raise ValueError(f"its windows for {split} are not those of its documents")


def _window_starts(document_starts: IntArray, counts: IntArray, context: int, chosen: Sequence[bool]) -> IntArray:
    """First rows of all windows of the chosen documents; a document of n chunks has max(0, n - context)."""
    runs = [
        np.arange(start, start + n - context, dtype=np.int64)
        for start, n, take in zip(document_starts[:-1], counts, chosen, strict=True)
        if take and n > context
    ]
    return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)


def _header(metadata: dict[str, str], total: int, dim: int, small: dict[str, npt.NDArray[Any]]) -> bytes:
    """The safetensors header: everything's size is known before the first vector is read."""
    names = {dtype: name for name, dtype in _DTYPES.items()}
    end = total * dim * 4
    entries: dict[str, Any] = {
        "__metadata__": metadata,
        "unit": {"dtype": "F32", "shape": [total, dim], "data_offsets": [0, end]},
    }
    for name, array in small.items():
        begin, end = end, end + array.nbytes
        entries[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # tensor data begins aligned
    return len(raw).to_bytes(8, "little") + raw


def _check(batch: Batch, row: int, documents: Sequence[Document], document_starts: IntArray, dim: int) -> None:
    """Rows ``row ...`` must be exactly the chunks that the documents say come next, as unit vectors."""
    count = len(batch.chunk_ids)
    if row + count > document_starts[-1]:
        raise BrokenSequence(
            "more vectors came than the documents have chunks; the corpus changed while it was read: "
            "run `lvm extract` again"
        )
    if batch.unit.shape != (count, dim):
        raise BrokenSequence(
            f"vectors of shape {batch.unit.shape} came where ({count}, {dim}) was expected; "
            "they are of another space: run `lvm ingest` into this one"
        )
    rows = np.arange(row, row + count)
    index = np.searchsorted(document_starts, rows, side="right") - 1
    ids = np.array([documents[i].id for i in np.unique(index)], dtype=np.int64)
    expected = ids[np.unique(index, return_inverse=True)[1]]
    starts = document_starts[index]
    wrong = (batch.document_ids != expected) | (batch.positions != rows - starts)
    if wrong.any():
        at = int(wrong.argmax())
        raise BrokenSequence(
            f"document {int(expected[at])} lacks the vector of its chunk {int(rows[at] - starts[at])}; "
            "it is not wholly encoded: run `lvm ingest` again to complete it"
        )
    broken = ~(np.abs(np.linalg.norm(batch.unit, axis=1) - 1) < 1e-3)  # so that NaN is broken too
    if broken.any():
        raise BrokenSequence(
            f"the vector of chunk {int(batch.chunk_ids[int(broken.argmax())])} is not of norm 1; "
            "clear the space and ingest again"
        )
