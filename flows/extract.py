"""Stage 3: ordered vectors become windows, split by document, in one file."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.common import opened, passing_gate
from lvm.errors import UsageError
from lvm.files import CorruptedFile
from lvm.sequences import SequenceSet, export_npz, extract, load
from lvm.settings import Settings
from lvm.store import GateRow
from lvm.workspace import Workspace


def sequences_path(settings: Settings, context: int) -> Path:
    """Where the sequence set of a context length is."""
    return settings.artifacts / "sequences" / f"ctx{context}.safetensors"


def npz_path(settings: Settings, context: int) -> Path:
    """Where its export for notebooks goes."""
    return settings.artifacts / f"training_sequences_ctx{context}.npz"


@flow(name="extract")
def extract_flow(context: int = 5, export: str | None = None, space: str | None = None) -> dict[str, int]:
    """Write the sequence set of the corpus as it is; the same corpus gives the same file.

    Args:
        context: vectors before the one to predict.
        export: ``npz`` to write the training windows for notebooks as well.
        space: space of the vectors; the setting unless given.

    Raises:
        GateMissing: if no passing verdict stands for this revision of the corpus.
    """
    if export not in (None, "npz"):
        raise UsageError(f"--export {export!r} is not known; there is npz")
    with opened(space) as work:
        store, encoder, gate = work.store, work.space, passing_gate(work)
        path = sequences_path(work.settings, context)
        sequences = _same(path, encoder.fingerprint, gate)
        if sequences is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            sequences = extract(
                path,
                store.read_vectors(work.space_id),
                store.documents(work.space_id),
                inverter_saw=encoder.trained_documents,
                context=context,
                dim=encoder.dim,
                space_name=encoder.name,
                space=encoder.fingerprint,
                gate_id=gate.id,
                corpus_revision=gate.corpus_revision,
            )
        record(work, gate, sequences)
    if export:
        export_npz(sequences, npz_path(work.settings, context))
    create_table_artifact([sequences.counts()], key="sequences")
    return sequences.counts()


def record(work: Workspace, gate: GateRow, sequences: SequenceSet) -> int:
    """Id of the sequence set in the database, recorded behind its gate if it was not."""
    path = str(sequences.path.resolve())
    return work.store.record_sequence_set(
        work.space_id, gate.corpus_revision, gate.id, sequences.context, sequences.counts(), path, sequences.sha256
    )


def _same(path: Path, space: str, gate: GateRow) -> SequenceSet | None:
    """The file that is there, if it is whole and about this very corpus."""
    try:
        sequences = load(path)
    except (CorruptedFile, FileNotFoundError):
        return None
    asked = (space, gate.id, gate.corpus_revision)
    return sequences if (sequences.space, sequences.gate_id, sequences.corpus_revision) == asked else None
