"""A sequence set: the vectors of a corpus and the windows over them, in one file.

Contract: the file is a sealed safetensors file (see ``lvm.files``). It holds the unit vectors of the corpus in document
order, the first row and the split of every document, the first rows of all windows by split, and checksums of the
vectors by block. A window is ``context`` consecutive rows of ONE document and the row after them. The header names
space, inverter and corpus revision. The file holds no database ids, so the same corpus gives the same file, independent
of the database and of the order of ingestion.

The digest in the header covers all but the vectors, and so their checksums too. Opening reads none of the vectors; they
are memory-mapped and checked as they are read (``lvm.sequences.rows``).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lvm.arrays import FloatArray, IntArray
from lvm.errors import LvmError, UsageError, first_line
from lvm.files import UNSEALED, CorruptedFile, replacing, seal, verify
from lvm.sequences.rows import DIGEST_BYTES, BlockDigests, CheckedRows, ChosenRows, Digests, block_count
from lvm.sequences.split import SPLITS, Split, only_test_split, split_documents

if TYPE_CHECKING:
    from lvm.store import StoredDocument, VectorBatch

FORMAT = "lvm-sequences-3"

_WITHOUT_BLOCKS = "lvm-sequences-2"
"""The format of version 0.1.0. It has no checksums by block, so all of it is checked when it is opened."""

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}


class BrokenSequence(LvmError):
    """The vectors do not match the chunks of the documents: some are missing, repeated or out of order."""


@dataclass(frozen=True)
class SequenceSet:
    """Windows over the vectors of one corpus in one space.

    Attributes:
        path: the file.
        sha256: digest of the content, from the header. It covers the checksums of the vectors' blocks.
        space_name: name of the space.
        space: fingerprint of the space.
        inverter: sha256 of the inverter of the roundtrip gate. Its training documents decide the splits.
        corpus_revision: content hash of the corpus at extraction.
        context: vectors in a window before the target.
        unit: (N, dim) float32 unit vectors, memory-mapped, and checked when they are read.
        document_starts: (D + 1,) int64. Rows of document d are ``document_starts[d]:document_starts[d + 1]``.
        document_splits: (D,) uint8, indices into ``SPLITS``.
        starts: first rows of the windows, (n,) int64 by split. The window at s has rows ``s .. s + context - 1``, and
            its target is row ``s + context``.
    """

    path: Path
    sha256: str
    space_name: str
    space: str
    inverter: str
    corpus_revision: str
    context: int
    unit: CheckedRows
    document_starts: IntArray
    document_splits: npt.NDArray[np.uint8]
    starts: dict[Split, IntArray]

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.unit.shape[1]

    @property
    def only_test(self) -> bool:
        """Whether all documents are in the test split: the set measures models and trains none."""
        return bool((self.document_splits == SPLITS.index("test")).all())

    @property
    def without_window(self) -> int:
        """Number of documents that are too short for a window."""
        return int((np.diff(self.document_starts) <= self.context).sum())

    def counts(self) -> dict[str, int]:
        """Counts by name: ``vectors``, ``documents``, ``documents_without_window``, and windows by split."""
        return {
            "vectors": len(self.unit),
            "documents": len(self.document_splits),
            "documents_without_window": self.without_window,
            **{split: len(self.starts[split]) for split in SPLITS},
        }

    def rows(self, split: Split) -> IntArray:
        """Rows of all documents of a split, with documents that are too short for a window: (n,) int64.

        Retrieval ranks these rows.
        """
        chosen = np.flatnonzero(self.document_splits == SPLITS.index(split))
        ranges = [np.arange(self.document_starts[d], self.document_starts[d + 1]) for d in chosen]
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)

    def pool(self, split: Split) -> ChosenRows:
        """Vectors of all documents of a split, read when they are indexed: those of ``rows``."""
        return ChosenRows(self.unit, self.rows(split))

    def contexts(self, starts: IntArray) -> FloatArray:
        """Contexts of windows, copied: (n, context, dim) float32.

        Args:
            starts: (n,) first rows of the windows.

        Raises:
            CorruptedFile: if vectors changed since they were written.
        """
        rows = np.asarray(starts)[:, None] + np.arange(self.context)
        return self.unit[rows]

    def targets(self, starts: IntArray) -> FloatArray:
        """Targets of windows, copied: (n, dim) float32.

        Args:
            starts: (n,) first rows of the windows.

        Raises:
            CorruptedFile: if vectors changed since they were written.
        """
        return self.unit[np.asarray(starts) + self.context]

    def documents_of(self, rows: IntArray) -> IntArray:
        """Numbers of the documents that rows belong to: (n,) int64, from 0.

        Args:
            rows: (n,) rows, such as the first ones of windows.
        """
        return np.searchsorted(self.document_starts, rows, side="right") - 1


def first_windows(starts: IntArray) -> IntArray:
    """Places of the first window of every document in the first rows of windows: (documents,) int64.

    Between the windows of two documents there is a gap of ``context`` rows or more.

    Args:
        starts: (n,) first rows of the windows of whole documents, sorted; n at least 1.
    """
    return np.flatnonzero(np.diff(starts, prepend=starts[0] - 2) != 1)


def extract(
    path: Path,
    batches: Iterable[VectorBatch],
    documents: Sequence[StoredDocument],
    *,
    trained_documents: Collection[str],
    context: int,
    dim: int,
    space_name: str,
    space: str,
    inverter: str,
    corpus_revision: str,
    only_test: bool = False,
) -> SequenceSet:
    """Write the sequence set of a corpus and open it. Vectors are streamed, so memory stays constant.

    Args:
        path: the file. An existing file is replaced.
        batches: all vectors, in the order of ``documents`` and of positions (``Store.read_vectors``).
        documents: all documents, with their numbers of chunks (``Store.documents``).
        trained_documents: ``sha256`` of documents that the inverter was trained on; see ``split_documents``.
        context: vectors in a window before the target, at least 1.
        dim: dimension of the space.
        space_name: name of the space.
        space: fingerprint of the space.
        inverter: sha256 of the inverter of the passing roundtrip gate.
        corpus_revision: result of ``Store.corpus_revision``.
        only_test: put all documents into the test split, for a corpus that models are only measured on.

    Raises:
        UsageError: if ``context`` is below 1.
        NotEnoughDocuments: if fewer than three documents have a window; with ``only_test``, if none has.
        BrokenSequence: if vectors of a document are missing, repeated or out of order.
        CannotWrite: if the disk is full. The old file is intact.
    """
    if context < 1:
        raise UsageError(f"--context {context} is too small; a window needs at least 1 vector before its target")
    splits = (
        only_test_split(documents, context) if only_test else split_documents(documents, trained_documents, context)
    )
    counts = np.array([d.chunk_count for d in documents], dtype=np.int64)
    document_starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    total = int(document_starts[-1])
    small: dict[str, npt.NDArray[Any]] = {
        "document_starts": document_starts,
        "document_splits": np.array([SPLITS.index(s) for s in splits], dtype=np.uint8),
    }
    for split in SPLITS:
        small[f"starts_{split}"] = _window_starts(document_starts, counts, context, [s == split for s in splits])
    small["blocks"] = np.zeros((block_count(total, dim), DIGEST_BYTES), dtype=np.uint8)  # filled while writing
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
        file.write(header)
        row, blocks = 0, BlockDigests(dim)
        for batch in batches:
            _check(batch, row, documents, document_starts, dim)
            data = np.ascontiguousarray(batch.unit, dtype="<f4").data.cast("B")
            blocks.update(data)
            file.write(data)
            row += len(batch.unit)
        if row != total:
            raise BrokenSequence(
                f"there are {row} vectors for {total} chunks; the corpus is not completely encoded in space "
                f"{space_name}: run `lvm ingest` again to complete it"
            )
        small["blocks"][:] = blocks.finish()
        digest = hashlib.sha256(header)
        for array in small.values():
            digest.update(array.tobytes())
            file.write(array.tobytes())
        file.seek(0)
        file.write(seal(header, digest.hexdigest()))
    return load(path)


def load(path: Path) -> SequenceSet:
    """Open a sequence set. All but the vectors is checked against the checksum, and the windows against the documents.

    Vectors are checked when they are read; those of a file of version 0.1.0 are checked here.

    Raises:
        CorruptedFile: if the file is missing, cut short, changed, of another format, or its windows are not those of
            its documents.
    """
    header, offset = verify(path, left_out={FORMAT: "unit"})
    metadata = header.pop("__metadata__")
    if metadata.get("format") not in (FORMAT, _WITHOUT_BLOCKS):
        raise CorruptedFile(f"{path} is not a sequence set of this version; run `lvm extract` again")

    def tensor(name: str, dtype_name: str, dimensions: int) -> npt.NDArray[Any]:
        entry = header.pop(name)
        begin, end = entry["data_offsets"]
        dtype, shape = _DTYPES[dtype_name], tuple(entry["shape"])
        if (entry["dtype"], len(shape), math.prod(shape) * dtype.itemsize) != (dtype_name, dimensions, end - begin):
            raise ValueError(f"{name} is not a {dtype_name} array of {dimensions} dimensions")
        if begin == end:  # an empty file range cannot be mapped
            return np.empty(shape, dtype=dtype)
        # copy-on-write, because torch needs writable memory and the file must not change
        return np.memmap(path, dtype=dtype, mode="c", offset=offset + begin, shape=shape)

    try:
        unit = tensor("unit", "F32", 2)
        digests = None if metadata["format"] == _WITHOUT_BLOCKS else np.array(tensor("blocks", "U8", 2))
        sequences = SequenceSet(
            path=path,
            sha256=metadata["sha256"],
            space_name=metadata["space_name"],
            space=metadata["space"],
            inverter=metadata["inverter"],
            corpus_revision=metadata["corpus_revision"],
            context=int(metadata["context"]),
            unit=_checked_rows(unit, digests, path),
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
            f"{path} is not a sequence set ({first_line(error)}); delete it and run `lvm extract` again"
        ) from error
    return sequences


def still_there(path: Path, sha256: str) -> bool:
    """Whether a file is the sequence set of this digest, with all of its vectors. Reads all of it."""
    try:
        found = load(path)
        found.unit.check()
    except CorruptedFile:
        return False
    return found.sha256 == sha256


def _checked_rows(unit: FloatArray, digests: Digests | None, path: Path) -> CheckedRows:
    """The vectors with the digests of their blocks. Raises ValueError if they do not fit each other."""
    if unit.shape[1] < 1:
        raise ValueError("its vectors have no dimension")
    if digests is not None and digests.shape != (block_count(*unit.shape), DIGEST_BYTES):
        raise ValueError("its vectors and their checksums do not fit each other")
    return CheckedRows(unit, digests, path)


def _check_windows(sequences: SequenceSet) -> None:
    """Raise ValueError unless documents cover all rows in order and windows are exactly those of the documents."""
    starts, splits, context = sequences.document_starts, sequences.document_splits, sequences.context
    if context < 1:
        raise ValueError(f"windows of {context} vectors")
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
    """First rows of all windows of the chosen documents. A document of n chunks has max(0, n - context) windows."""
    runs = [
        np.arange(start, start + n - context, dtype=np.int64)
        for start, n, take in zip(document_starts[:-1], counts, chosen, strict=True)
        if take and n > context
    ]
    return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)


def _header(metadata: dict[str, str], total: int, dim: int, small: dict[str, npt.NDArray[Any]]) -> bytes:
    """The safetensors header. All sizes are known before the first vector is read."""
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
    raw += b" " * (-len(raw) % 8)  # tensor data must start at a multiple of 8
    return len(raw).to_bytes(8, "little") + raw


def _check(
    batch: VectorBatch, row: int, documents: Sequence[StoredDocument], document_starts: IntArray, dim: int
) -> None:
    """Check that a batch holds unit vectors of the next chunks of the documents, from row ``row`` on.

    Raises:
        BrokenSequence: if it does not.
    """
    count = len(batch.chunk_ids)
    if row + count > document_starts[-1]:
        raise BrokenSequence(
            "there are more vectors than chunks of the documents; the corpus changed while it was read: "
            "run `lvm extract` again"
        )
    if batch.unit.shape != (count, dim):
        raise BrokenSequence(
            f"vectors have shape {batch.unit.shape} instead of ({count}, {dim}); "
            "they are of another space: run `lvm ingest` for this space"
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
            "it is not completely encoded: run `lvm ingest` again to complete it"
        )
    broken = ~(np.abs(np.linalg.norm(batch.unit, axis=1) - 1) < 1e-3)  # written so that NaN counts as broken
    if broken.any():
        raise BrokenSequence(
            f"the vector of chunk {int(batch.chunk_ids[int(broken.argmax())])} has not norm 1, so the stored vectors "
            "are damaged; run `lvm clear` and ingest again"
        )
