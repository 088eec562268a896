"""Stage 3: ordered vectors become windows, split by document, in one file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.common import (
    STAGE,
    Context,
    SpaceName,
    Standing,
    once,
    opened,
    reach_database,
    say,
    standing,
)
from lvm.files import CorruptedFile
from lvm.sequences import export_npz, extract, load
from lvm.settings import Settings
from lvm.workspace import GateMissing


def npz_path(settings: Settings, context: int) -> Path:
    """Where its export for notebooks goes."""
    return settings.artifacts / f"training_sequences_ctx{context}.npz"


@dataclass(frozen=True)
class ExtractReport:
    """A sequence set that is there.

    Attributes:
        counts: vectors, documents, documents_without_window, and windows by split.
        path, sha256: the file, and the digest of its content.
        seconds: wall time.
    """

    counts: dict[str, int]
    path: Path
    sha256: str
    seconds: float


@task(name="extract", **STAGE)
def extract_stage(context: int, space: str | None, stands_on: Standing) -> ExtractReport:
    """Write the file unless it is there and of this very corpus, and record it behind its gate."""
    started = time.monotonic()
    with opened(space) as work:
        store, encoder, gate, path = work.store, work.space, work.passing_gate(), work.sequences_path(context)
        try:
            sequences, _ = work.sequences(context)
        except GateMissing:
            sequences = extract(
                path,
                store.read_vectors(work.space_id),
                store.documents(work.space_id),
                inverter_saw=encoder.trained_documents,
                context=context,
                dim=encoder.dim,
                space_name=encoder.name,
                space=encoder.fingerprint,
                inverter=encoder.inverter.sha256,
                corpus_revision=gate.corpus_revision,
            )
            store.record_sequence_set(
                gate,
                work.inverter_id,
                context,
                sequences.counts(),
                str(path.resolve()),
                sequences.sha256,
            )
        say(work, "extract", f"{sequences.counts()['vectors']} vectors in {path}", gate.corpus_revision)
    create_table_artifact([sequences.counts()], key="sequences")
    return ExtractReport(sequences.counts(), path.resolve(), sequences.sha256, time.monotonic() - started)


@flow(name="extract")
def extract_flow(context: Context = 5, export: Literal["npz"] | None = None, space: SpaceName = None) -> ExtractReport:
    """Write the sequence set of the corpus as it is; the same corpus gives the same file.

    Args:
        context: vectors before the one to predict.
        export: npz to write the training windows for notebooks as well.
        space: space to work in; LVM_SPACE unless given.

    Raises:
        GateMissing: if no passing verdict stands for this revision of the corpus.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work)
    report = once(extract_stage, there, context, space, stands_on)
    if export:
        with opened(space) as work:
            sequences, _ = work.sequences(context)
            export_npz(sequences, work.store.chunk_ids(work.space_id), npz_path(work.settings, context))
    return report


def there(report: ExtractReport) -> bool:
    """Whether the file of an earlier attempt is still the one it wrote."""
    try:
        return load(report.path).sha256 == report.sha256
    except CorruptedFile:
        return False
