"""Another corpus, which models are only measured on: ingested, gated and extracted apart from the one they learn from.

Contract: the other corpus has a database of its own beside the models' (``lvm.store.beside``) and a folder of its own
below the artifacts, so nothing of it reaches training windows, and revision, verdict and models stay as they are. It
holds exactly the documents of its source that are new to models and inverter, all in the test split, behind a roundtrip
gate of its own. What an earlier call finished is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lvm.corpus.documents import Document, Skipped
from lvm.corpus.sources import Source, open_source
from lvm.pipeline.alone import words_of
from lvm.pipeline.errors import GateBlocked
from lvm.pipeline.extract import extract
from lvm.pipeline.ingest import ingest
from lvm.pipeline.validate import validate
from lvm.pipeline.workspace import Workspace, register
from lvm.progress import Bars
from lvm.sequences import SequenceSet, only_test_split
from lvm.settings import Settings
from lvm.store import Gate, Store, key_of, open_beside

FOLDER = "on"
"""Folder below ``LVM_ARTIFACTS`` that has one folder for each other corpus."""

FOLDER_NAME = r"[a-z0-9-]+-[0-9a-f]{12}"
"""Pattern of the names in there."""

IN_TRAINING = "is in the corpus that models are trained on"
KNOWN_TO_INVERTER = "is one that the inverter was trained on"


@dataclass(frozen=True)
class OtherCorpus:
    """A corpus that models are only measured on.

    Attributes:
        source: name of its source.
        work: its own database and artifacts, with the space of the models.
        sequences: its windows, all in the test split.
        gate: its own passing roundtrip gate.
        left_out: number of documents that are not new to models or inverter, by reason.
    """

    source: str
    work: Workspace
    sequences: SequenceSet
    gate: Gate
    left_out: dict[str, int]


def artifacts_on(settings: Settings, space: str, source: str) -> Path:
    """Folder of the summary, the report and the sequence sets of another corpus.

    Args:
        settings: of the models.
        space: name of the space.
        source: name of the source: ``Source.name``, or ``Summary.on``.
    """
    return settings.artifacts / FOLDER / f"{words_of(source)}-{key_of(space, source)}"


@contextmanager
def other_corpus(
    work: Workspace,
    source: str | Path,
    context: int,
    *,
    limit: int | None = None,
    text_column: str | None = None,
    bars: Bars | None = None,
    flow_run_id: str | None = None,
) -> Iterator[OtherCorpus]:
    """Prepare a source for measuring: store what is new, measure its gate, write its windows.

    Args:
        work: database and space of the models; it does not change.
        source: what ``lvm.corpus.sources.open_source`` takes.
        context: vectors in a window before the one to predict.
        limit: documents at most; all unless given.
        text_column: column of the text in a table or dataset; ``text`` unless given.
        bars: opens progress bars; in the terminal unless given.
        flow_run_id: id of the Prefect run, for the record.

    Raises:
        SourceNotFound: if the source does not exist.
        SourceUnreadable: if the source cannot be read.
        InvalidLimit: if the limit is below 1.
        NothingUsable: if the source has no usable document that is new to models and inverter.
        NotEnoughDocuments: if all documents are too short for a window.
        GateBlocked: if its gate does not pass; ``report`` has the figures.
        NotAllowed: if this database user may not create the database, or it belongs to somebody else.
        Busy: if another process measures on this corpus.
    """
    found = open_source(str(source), limit, text_column)
    store = open_beside(work.store, key_of(work.space.name, found.name), f"{found.name} in space {work.space.name}")
    with _beside(work, store, found.name) as other, store.lock("evaluate"):
        left_out = _ingest(work, other, found, bars)
        only_test_split(store.documents(other.space_id), context)  # refuse short documents before the gate decodes any
        try:
            validate(other, bars=bars, flow_run_id=flow_run_id)
        except GateBlocked as blocked:
            message = f"nothing was measured on {found.name}: {blocked}"
            raise GateBlocked(message, blocked.verdicts, blocked.report) from blocked
        sequences = extract(other, context, only_test=True)
        yield OtherCorpus(found.name, other, sequences, other.passing_gate(), left_out)


def _beside(work: Workspace, store: Store, source: str) -> Workspace:
    """The workspace of another corpus. It closes the store."""
    settings = work.settings.model_copy(update={"artifacts": artifacts_on(work.settings, work.space.name, source)})
    try:
        return Workspace(settings, store, work.space, register(store, work.space))
    except BaseException:
        store.close()
        raise


def _ingest(work: Workspace, other: Workspace, source: Source, bars: Bars | None) -> dict[str, int]:
    """Make the other corpus what the source has now and is new. Returns how many documents were left out, by reason."""
    trained_on = {sha256 for _, _, sha256 in work.store.known_documents(work.space_id)}
    kept: set[tuple[str, str]] = set()

    def new() -> Iterator[Document | Skipped]:
        for item in source.read():
            if isinstance(item, Document) and item.sha256 in trained_on:
                yield Skipped(item.external_id, IN_TRAINING)
            elif isinstance(item, Document) and item.sha256 in work.space.trained_documents:
                yield Skipped(item.external_id, KNOWN_TO_INVERTER)
            else:
                yield item

    def recorded() -> Iterator[Document | Skipped]:
        for item in replace(source, read=new):
            if isinstance(item, Document):
                kept.add((item.source, item.external_id))
            yield item

    report = ingest(other, recorded(), bars=bars)
    other.store.keep_documents(kept)  # documents that left the source, or that models were trained on since
    return {reason: report.skipped[reason] for reason in (IN_TRAINING, KNOWN_TO_INVERTER) if reason in report.skipped}
