"""Stage 3: ordered vectors become windows, split by document, in one file."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.common import GateMissing, opened
from lvm.errors import UsageError
from lvm.sequences import CorruptedFile, SequenceSet, export_npz, extract, load
from lvm.settings import Settings


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
    with opened(space) as (settings, store, encoder, space_id):
        revision = store.corpus_revision(space_id)
        gate = store.passing_gate(space_id, revision)
        if gate is None:
            raise GateMissing(
                f"no passing roundtrip gate stands for the corpus as it is now in space {encoder.name!r}; "
                "run `lvm validate` first"
            )
        path = sequences_path(settings, context)
        sequences = _same(path, encoder.fingerprint, gate.id, revision)
        if sequences is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            sequences = extract(
                path,
                store.read_vectors(space_id),
                store.documents(space_id),
                inverter_saw=encoder.trained_documents,
                context=context,
                dim=encoder.dim,
                space_name=encoder.name,
                space=encoder.fingerprint,
                gate_id=gate.id,
                corpus_revision=revision,
            )
        store.record_sequence_set(
            space_id, revision, gate.id, context, sequences.counts(), str(path.resolve()), sequences.sha256
        )
    if export:
        export_npz(sequences, npz_path(settings, context))
    create_table_artifact([sequences.counts()], key="sequences")
    return sequences.counts()


def _same(path: Path, space: str, gate_id: int, revision: str) -> SequenceSet | None:
    """The file that is there, if it is whole and about this very corpus."""
    try:
        sequences = load(path)
    except (CorruptedFile, FileNotFoundError):
        return None
    asked = (space, gate_id, revision)
    return sequences if (sequences.space, sequences.gate_id, sequences.corpus_revision) == asked else None
