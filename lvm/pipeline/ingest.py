"""Stage 1, ingest: documents of a source become chunks and vectors in the database.

Contract: a source is cut into shards of consecutive documents, which one process or many ingest. Inside a shard, whole
documents are committed in groups of about ``GROUP_CHUNKS`` chunks. So memory stays flat, and a crash loses at most one
group. Documents that are stored already are not encoded again. The texts alone decide where a shard or group ends, so
the vectors do not depend on interruptions or on the number of processes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from lvm.corpus.clean import cleaned
from lvm.corpus.documents import Document, Skipped
from lvm.corpus.readable import ADVICE, UNREADABLE, UnreadableText
from lvm.corpus.sources import NoSuchColumn, Source, open_source
from lvm.devices import give_back_memory
from lvm.errors import UsageError
from lvm.evaluation.choosing import NothingToMeasure
from lvm.gates import UNREADABLE_MIN_SHARE
from lvm.pipeline import sources
from lvm.pipeline.alone import OneSourceOnly
from lvm.pipeline.sources import NotSyncable
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.progress import Bars, Progress
from lvm.sequences import split_documents
from lvm.spaces import Space
from lvm.store import Busy, IndexNotBuilt, IngestedDocument

log = logging.getLogger(__name__)

GROUP_CHUNKS = 2048
"""Chunks encoded and committed together."""

SHARD_CHARACTERS = 500_000
"""Characters of a shard: about 4,000 chunks."""

LISTED_SKIPS = 100
"""Skipped pieces that a report lists by name. All are counted."""

SAMPLE, SAMPLE_CHARACTERS = 128, 400
"""Pieces of the first shard, and characters of a piece, by which a corpus that cannot be read is refused."""

UNREADABLE_DOCUMENT = f"for the most part {UNREADABLE}"
"""Why a document is left out of which the encoder knows less than half."""


@dataclass
class IngestReport:
    """What an ingestion did.

    Attributes:
        documents: documents newly stored.
        chunks: chunks newly stored.
        unchanged: documents that were complete already.
        characters: of all documents, whether they were stored or not; progress counts them.
        skipped: how many files, documents and pieces were left out, by reason; ``listed`` names the first of them.
        noted: in how many documents something was changed or left out, by what it is; ``listed`` names them too.
        moved: documents that a sync gave the names that they have in the source now; they were stored under others.
        removed: documents that a sync removed, because the source does not have them any more.
        seconds: wall time.
        corpus_revision: of the space afterwards; empty for a shard.
    """

    source: str
    documents: int = 0
    chunks: int = 0
    unchanged: int = 0
    characters: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    listed: list[Skipped] = field(default_factory=list)
    moved: int = 0
    removed: int = 0
    seconds: float = 0.0
    corpus_revision: str = ""

    def __str__(self) -> str:
        rate = self.chunks / self.seconds if self.seconds else 0
        return (
            f"{self.documents} documents, {self.chunks} chunks in {self.seconds:.1f} s ({rate:.0f} chunks/s); "
            f"{self.unchanged} documents were there already"
            f"{f', {self.moved} of them under another name' if self.moved else ''}"
            f"{f'; {self.removed} that the source does not have any more were removed' if self.removed else ''}"
        )

    def add(self, other: IngestReport) -> None:
        """Count what another shard did."""
        self.documents += other.documents
        self.chunks += other.chunks
        self.unchanged += other.unchanged
        self.characters += other.characters
        for reason, count in other.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
        for reason, count in other.noted.items():
            self.noted[reason] = self.noted.get(reason, 0) + count
        self.listed += other.listed[: LISTED_SKIPS - len(self.listed)]

    def skip(self, skipped: Skipped) -> None:
        """Count what was skipped, or noted of a document that was kept, and list it while the list is short."""
        reason = skipped.reason.split(":")[0].split(" (")[0]
        counts = self.noted if skipped.kept else self.skipped
        counts[reason] = counts.get(reason, 0) + skipped.count
        if len(self.listed) < LISTED_SKIPS:
            self.listed.append(skipped)


T = TypeVar("T")

RunShards = Callable[[Iterable[list[Document]]], Iterable[IngestReport]]
"""Ingests shards, each by ``ingest_shard``, and gives their reports."""


@dataclass(frozen=True)
class _Chunked:
    document: Document
    texts: list[str]
    token_counts: list[int]


class NotDocuments(UsageError):
    """What is given is neither the name of a source nor documents."""


def _checked(source: Any) -> Iterator[Document | Skipped]:
    """The same documents, looked at one by one.

    Raises:
        NotDocuments: for the first item that is no document.
    """
    advice = "give a folder, a file or another source, or lvm.corpus.documents.Document for each text"
    if not isinstance(source, Iterable):
        raise NotDocuments(f"something of type {type(source).__name__} is no source; {advice}")
    for number, item in enumerate(source, start=1):
        if not isinstance(item, Document | Skipped):
            raise NotDocuments(f"item {number} is of type {type(item).__name__}, not a document; {advice}")
        yield item


@named_stage
def ingest(
    work: Workspace,
    source: str | Path | Iterable[Document | Skipped] = "sotu",
    limit: int | None = None,
    *,
    text_column: str | None = None,
    sync: bool = False,
    confirm: str = "",
    run: RunShards | None = None,
    bars: Bars | None = None,
) -> IngestReport:
    """Store a source's documents, chunks and vectors. Documents that are stored already are left alone.

    Args:
        work: where they go.
        source: what ``lvm.corpus.sources.open_source`` takes, or documents.
        limit: documents at most; all unless given.
        text_column: column of the text in a table or dataset; ``text`` unless given.
        sync: also remove stored documents that are not in the folder or file any more. Documents that were renamed,
            alone or with their folder, get the new names and are not encoded again.
        confirm: name of the source, typed out; needed where ``sync`` removes something.
        run: ingests shards, in this process or others; here, one after the other, unless given.
        bars: opens progress bars; in the terminal unless given.

    Raises:
        SourceNotFound: if the source does not exist.
        SourceUnreadable: if the source cannot be read.
        InvalidLimit: if the limit is below 1.
        NoSuchColumn: if the source has no such column.
        NothingUsable: if the source has no usable document.
        NotDocuments: if it is neither a source nor documents, e.g. a list of texts.
        UnreadableText: if most of the source is in a writing system that the encoder does not know: most of its first
            ``SHARD_CHARACTERS``. Nothing was stored then.
        OneSourceOnly: if the workspace works on another source alone.
        NotSyncable: if what vanished from the source cannot be known.
        NotConfirmed: if ``sync`` would remove documents and ``confirm`` is not the name; the message lists them.
        TrainingActive: if ``sync`` would remove or rename documents while a training run is active.
        Busy: if another process ingests into this database, or reads what ``sync`` would remove.
    """
    if isinstance(source, str | Path):
        documents: Iterable[Document | Skipped] = open_source(str(source), limit, text_column)
    elif text_column is not None:
        raise NoSuchColumn("documents have no columns; leave text_column out")
    else:
        documents = cleaned(islice(_checked(source), limit))
    if work.settings.source_only is not None:
        documents = _of_one(documents, work.settings.source_only)
    if sync and not isinstance(documents, Source):
        raise NotSyncable("a sync compares with a folder or file; name one, or leave sync out")
    name = documents.name if isinstance(documents, Source) else "documents"
    total = documents.size() if isinstance(documents, Source) else None
    report, started = IngestReport(name), time.monotonic()
    with (bars or work.bars)("ingest", total) as advance, work.store.lock("ingest"):
        shards = _shards(documents, report)
        first = list(islice(shards, 1))
        if first:
            _require_readable(first[0], work.space, name)
        if sync and isinstance(documents, Source):
            changed = sources.sync(work.store, documents, confirm)
            report.moved, report.removed = len(changed.moves), len(changed.vanished)
        shards = chain(first, shards)
        if run is None:
            for shard in shards:
                report.add(ingest_shard(work, shard, advance))
        else:
            for done in run(shards):
                report.add(done)
                advance(done.characters)
        advance(max(0, (total or 0) - report.characters))  # the total is an estimate, in bytes
    report.seconds = time.monotonic() - started
    give_back_memory()
    if unreadable := report.skipped.get(UNREADABLE_DOCUMENT, 0):
        log.warning(
            "%d documents of %s were left out, because each %s; %s", unreadable, name, UNREADABLE_DOCUMENT, ADVICE
        )
    after_loading(work, report.chunks, bars)
    report.corpus_revision = work.store.corpus_revision(work.space_id)
    return report


@named_stage
def require_trainable(work: Workspace, context: int) -> None:
    """Refuse a corpus on which no model can be trained. This is known before the gate, which takes minutes.

    Args:
        work: its corpus and space are looked at.
        context: vectors in a window before the one to predict.

    Raises:
        NothingToMeasure: if the inverter was trained on every document.
        NotEnoughDocuments: if fewer than three documents have a window.
    """
    documents, trained = work.store.documents(work.space_id), work.space.trained_documents
    if documents and all(each.sha256 in trained for each in documents):
        raise NothingToMeasure(
            f"the inverter of space {work.space.name!r} was trained on all {len(documents)} documents that are stored, "
            "so a roundtrip measures nothing; ingest more of the source (a larger limit), or text that is new to it"
        )
    split_documents(documents, trained, context)


def after_loading(work: Workspace, written: int, bars: Bars | None = None) -> None:
    """Vacuum the tables and build the search index. Only fast search needs the index, so its failure is only logged.

    Args:
        work: the space that was loaded.
        written: number of vectors that were written.
        bars: opens progress bars; in the terminal unless given.
    """
    work.store.vacuum(written)
    try:
        build_index(work, bars)
    except IndexNotBuilt as error:
        log.warning("%s", error)
    except Busy:  # another process ingests, and builds the index when it is done
        pass


@named_stage
def build_index(work: Workspace, bars: Bars | None = None) -> bool:
    """Build the search index of a space if it is large enough and has none. Its bar counts vectors.

    Args:
        work: the space.
        bars: opens progress bars; in the terminal unless given.

    Returns:
        Whether an index was built.

    Raises:
        IndexNotBuilt: if the server has no memory, disk space or time for it.
        Busy: if another process ingests into this database.
    """
    vectors = work.store.vectors_to_index(work.space_id)
    if not vectors:
        return False
    with work.store.lock("ingest"), (bars or work.bars)("index", vectors) as advance:
        return work.store.build_search_index(work.space_id, advance)


def ingest_shard(work: Workspace, documents: list[Document], progress: Progress | None = None) -> IngestReport:
    """Store the documents of a shard that are not stored yet. The caller holds the lock ``ingest``.

    Args:
        work: where they go.
        documents: of one source.
        progress: called with the number of characters of documents that are done.
    """
    report, started = IngestReport(documents[0].source), time.monotonic()
    report.characters = sum(len(each.text) for each in documents)
    told = 0

    def done(characters: int) -> None:
        nonlocal told
        told += characters
        if progress:
            progress(characters)

    known = work.store.known_documents(work.space_id, [each.external_id for each in documents])
    with work.store.writer(work.space_id) as writer, ThreadPoolExecutor(1) as thread:
        pending: Future[int] | None = None
        chunked = _chunked(documents, work.space, known, report)
        for group in _together(chunked, lambda each: len(each.texts), GROUP_CHUNKS):
            encoded = _encode(group, work.space, done)
            if pending is not None:
                pending.result()  # one group is written while the next is encoded; no third waits in memory
            pending = thread.submit(writer.write_documents, encoded)
            report.documents += len(group)
            report.chunks += sum(len(each.texts) for each in group)
        if pending is not None:
            pending.result()
    done(report.characters - told)  # documents that were there already
    report.seconds = time.monotonic() - started
    return report


def _of_one(documents: Iterable[Document | Skipped], source: str) -> Iterable[Document | Skipped]:
    """The same documents, if all are of this source."""

    def refused(name: str) -> OneSourceOnly:
        return OneSourceOnly(
            f"this workspace works on source {source!r} alone, so nothing of {name!r} was stored; unset "
            "LVM_SOURCE_ONLY, or name that source there"
        )

    def checked() -> Iterator[Document | Skipped]:
        for item in documents:
            if isinstance(item, Document) and item.source != source:
                raise refused(item.source)
            yield item

    if isinstance(documents, Source):
        if documents.name != source:
            raise refused(documents.name)
        return documents
    return checked()


def _shards(items: Iterable[Document | Skipped], report: IngestReport) -> Iterator[list[Document]]:
    """Consecutive documents of about ``SHARD_CHARACTERS`` together. Skipped pieces are counted in the report."""

    def documents() -> Iterator[Document]:
        for item in items:
            if isinstance(item, Skipped):
                report.skip(item)
            else:
                yield item

    return _together(documents(), lambda document: len(document.text), SHARD_CHARACTERS)


def _together(items: Iterable[T], size: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Consecutive items in groups. A group ends with the item that brings its size to ``limit`` or more."""
    group: list[T] = []
    total = 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= limit:
            yield group
            group, total = [], 0
    if group:
        yield group


def _require_readable(shard: list[Document], space: Space, source: str) -> None:
    """Refuse a corpus whose beginning the encoder cannot read. Pieces from all over it are looked at.

    Raises:
        UnreadableText: if so.
    """
    text = "\n".join(each.text for each in shard)
    step = max(SAMPLE_CHARACTERS, len(text) // SAMPLE)
    starts = range(0, len(text), step)
    pieces = [text[start : start + SAMPLE_CHARACTERS] for start in starts]
    pieces = [piece for piece in pieces if any(map(str.isalnum, piece))]
    unreadable = space.unreadable(pieces)
    if unreadable and len(unreadable) >= UNREADABLE_MIN_SHARE * len(pieces):
        example = " ".join(pieces[unreadable[0]].split())[:40]
        raise UnreadableText(
            f"{100 * len(unreadable) / len(pieces):.0f} % of source {source!r} {UNREADABLE} ({example!r}), so "
            f"different texts would have one vector in space {space.name!r}; nothing was stored: {ADVICE}"
        )


def _chunked(
    documents: list[Document], space: Space, known: set[tuple[str, str, str]], report: IngestReport
) -> Iterator[_Chunked]:
    chunker = space.chunker()
    for item in documents:
        if (item.source, item.external_id, item.sha256) in known:
            report.unchanged += 1
            continue
        chunks, skipped = chunker.split(item.text)
        unreadable = sum(piece.reason.startswith(UNREADABLE) for piece in skipped)
        if unreadable and unreadable >= UNREADABLE_MIN_SHARE * (unreadable + len(chunks)):
            # what is left of it would be read as consecutive
            report.skip(Skipped(item.external_id, f"{UNREADABLE_DOCUMENT} ({unreadable} of its pieces)"))
            continue
        for piece in skipped:
            report.skip(Skipped(f"{item.external_id}, {piece.where}", piece.reason))
        if chunks:
            yield _Chunked(item, [chunk.text for chunk in chunks], [chunk.token_count for chunk in chunks])
        else:
            report.skip(Skipped(item.external_id, "has no chunk with a letter or a digit"))


def _encode(group: list[_Chunked], space: Space, progress: Progress) -> list[IngestedDocument]:
    texts = [text for each in group for text in each.texts]
    characters = sum(len(each.document.text) for each in group)
    vectors = space.encode(texts, lambda count: progress(characters * count // len(texts)))
    documents = []
    start = 0
    for each in group:
        rows = slice(start, start + len(each.texts))
        start = rows.stop
        documents.append(IngestedDocument(each.document.info, each.texts, each.token_counts, vectors[rows]))
    return documents
