"""Stage 3, extract: ordered vectors become windows, split by document, in one file.

Contract: the file is of the corpus as it is now and is recorded behind the passing gate. The same corpus gives the same
file.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from lvm.files import CorruptedFile
from lvm.pipeline.errors import GateMissing
from lvm.pipeline.workspace import Workspace, named_stage, reads_corpus
from lvm.sequences import SequenceSet
from lvm.sequences import export_npz as write_npz
from lvm.sequences import extract as write_sequences
from lvm.settings import CONTEXT

log = logging.getLogger(__name__)

SHORT = 0.1
"""Share of documents without a window from which on the user is told."""


@dataclass(frozen=True)
class ExtractReport:
    """A sequence set on disk.

    Attributes:
        counts: vectors, documents, documents_without_window, and windows by split.
        path: the file.
        sha256: of its content.
        seconds: wall time.
    """

    counts: dict[str, int]
    path: Path
    sha256: str
    seconds: float


@named_stage
@reads_corpus
def extract(work: Workspace, context: int = CONTEXT, *, only_test: bool = False) -> SequenceSet:
    """Write the sequence set of the corpus as it is now, unless it is there already.

    Args:
        work: its vectors are taken.
        context: vectors in a window before the one to predict.
        only_test: put all documents into the test split, for a corpus that models are only measured on.

    Raises:
        GateMissing: if no passing verdict stands for the corpus as it is now.
        NotEnoughDocuments: if fewer than three documents are long enough; with ``only_test``, if none is.
        CannotWrite: if the disk is full; an older file stays.
    """
    gate = work.passing_gate()
    try:
        found = work.sequences(context)[0]
        if found.only_test == only_test:
            found.unit.check()
            return found
    except (GateMissing, CorruptedFile):
        pass
    store, space, path = work.store, work.space, work.sequences_path(context)
    sequences = write_sequences(
        path,
        store.read_vectors(work.space_id),
        store.documents(work.space_id),
        trained_documents=space.trained_documents,
        context=context,
        dim=space.dim,
        space_name=space.name,
        space=space.fingerprint,
        inverter=space.inverter.sha256,
        corpus_revision=gate.corpus_revision,
        only_test=only_test,
    )
    counts = sequences.counts()
    if counts["documents_without_window"] > SHORT * counts["documents"]:
        log.warning(
            "%d of %d documents have at most %d chunks and so no window; a shorter --context uses more of them",
            counts["documents_without_window"],
            counts["documents"],
            context,
        )
    store.record_sequence_set(gate, work.inverter_id, context, counts, str(path.resolve()), sequences.sha256)
    return sequences


@named_stage
def export_npz(work: Workspace, context: int = CONTEXT) -> Path:
    """Write the training windows as a NumPy .npz for notebooks: ``training_sequences_ctx{context}.npz``.

    Raises:
        GateMissing: if the sequence set is not there.
        CannotWrite: if the disk is full.
    """
    sequences, _ = work.sequences(context)
    path = work.settings.artifacts / f"training_sequences_ctx{context}.npz"
    write_npz(sequences, work.store.chunk_ids(work.space_id), path)
    return path
