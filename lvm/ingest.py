"""Documents in, vectors stored: chunk and encode here, write in a thread beside it.

Contract: a source is cut into shards of consecutive documents, which one process or many may take. Inside a shard whole
documents are committed in groups of about ``GROUP_CHUNKS`` chunks, so memory stays flat and a crash loses at most the
group in hand; documents that are complete already are not encoded again. Where a shard or a group ends depends on the
texts alone, so the same vectors come out however often the work was interrupted and whoever did it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from lvm.corpus.documents import Document, Skipped
from lvm.spaces.space import Space
from lvm.store import IngestedDocument, Store

GROUP_CHUNKS = 2048
"""Chunks encoded and committed together."""

SHARD_CHARACTERS = 500_000
"""Characters of a shard: about 4,000 chunks."""

LISTED_SKIPS = 100
"""Skipped pieces kept by name; all are counted."""


@dataclass
class IngestReport:
    """What an ingestion did.

    Attributes:
        documents, chunks: newly stored.
        unchanged: documents that were complete already.
        skipped: how many pieces were left out, by reason; ``listed`` names the first of them.
        seconds: wall time.
        corpus_revision: of the space afterwards, where it was asked for.
    """

    source: str
    documents: int = 0
    chunks: int = 0
    unchanged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    listed: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0
    corpus_revision: str = ""

    def add(self, other: IngestReport) -> None:
        """Count what another shard did."""
        self.documents += other.documents
        self.chunks += other.chunks
        self.unchanged += other.unchanged
        for reason, count in other.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
        self.listed += other.listed[: LISTED_SKIPS - len(self.listed)]

    def skip(self, skipped: Skipped) -> None:
        """Count a skipped piece, and list it while the list is short."""
        reason = skipped.reason.split(":")[0].split(" (")[0]
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        if len(self.listed) < LISTED_SKIPS:
            self.listed.append(skipped)


@dataclass(frozen=True)
class _Chunked:
    document: Document
    texts: list[str]
    token_counts: list[int]


def ingest(
    store: Store,
    space_id: int,
    space: Space,
    source: str,
    items: Iterable[Document | Skipped],
    run: Callable[[Iterable[list[Document]]], Iterable[IngestReport]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Store every document of a source that is not stored yet.

    Args:
        space_id: id of ``space`` in ``store``.
        source: name of the source.
        items: documents and what the source left out (``lvm.corpus.sources.Source``).
        run: ingests shards, in whatever process; here, one after the other, unless given.
        progress: called with the number of chunks encoded, by shards that are ingested here.

    Raises:
        Busy: if another process ingests into this database.
    """
    report, started = IngestReport(source), time.monotonic()
    with store.lock("ingest"):
        shards = _shards(items, report)
        done = run(shards) if run else (ingest_shard(store, space_id, space, shard, progress) for shard in shards)
        for each in done:
            report.add(each)
    report.seconds = time.monotonic() - started
    return report


def ingest_shard(
    store: Store,
    space_id: int,
    space: Space,
    documents: list[Document],
    progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Store those of a shard's documents that are not stored yet; whoever calls it holds the lock of ``ingest``."""
    report, started = IngestReport(documents[0].source), time.monotonic()
    known = store.known_documents(space_id, [each.external_id for each in documents])
    with store.writer(space_id) as writer, ThreadPoolExecutor(1) as thread:
        pending: Future[int] | None = None
        for group in _groups(_chunked(documents, space, known, report)):
            encoded = _encode(group, space, progress)
            if pending is not None:
                pending.result()  # one group is written while the next is encoded; no third waits in memory
            pending = thread.submit(writer.write_documents, encoded)
            report.documents += len(group)
            report.chunks += sum(len(each.texts) for each in group)
        if pending is not None:
            pending.result()
    report.seconds = time.monotonic() - started
    return report


def _shards(items: Iterable[Document | Skipped], report: IngestReport) -> Iterator[list[Document]]:
    """Consecutive documents of about ``SHARD_CHARACTERS`` together."""
    shard: list[Document] = []
    characters = 0
    for item in items:
        if isinstance(item, Skipped):
            report.skip(item)
            continue
        shard.append(item)
        characters += len(item.text)
        if characters >= SHARD_CHARACTERS:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard


def _chunked(
    documents: list[Document], space: Space, known: set[tuple[str, str, str]], report: IngestReport
) -> Iterator[_Chunked]:
    chunker = space.chunker()
    for item in documents:
        if (item.source, item.external_id, item.sha256) in known:
            report.unchanged += 1
            continue
        chunks, skipped = chunker.split(item.text)
        for piece in skipped:
            report.skip(Skipped(f"{item.external_id}, {piece.where}", piece.reason))
        if chunks:
            yield _Chunked(item, [chunk.text for chunk in chunks], [chunk.token_count for chunk in chunks])
        else:
            report.skip(Skipped(item.external_id, "has no chunk with a letter or a digit"))


def _groups(chunked: Iterable[_Chunked]) -> Iterator[list[_Chunked]]:
    group: list[_Chunked] = []
    chunks = 0
    for each in chunked:
        group.append(each)
        chunks += len(each.texts)
        if chunks >= GROUP_CHUNKS:
            yield group
            group, chunks = [], 0
    if group:
        yield group


def _encode(group: list[_Chunked], space: Space, progress: Callable[[int], None] | None) -> list[IngestedDocument]:
    vectors = space.encode([text for each in group for text in each.texts], progress)
    documents = []
    start = 0
    for each in group:
        rows = slice(start, start + len(each.texts))
        start = rows.stop
        documents.append(IngestedDocument(each.document, each.texts, each.token_counts, vectors[rows]))
    return documents
