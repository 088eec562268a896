"""Move a database to another space: encode every stored chunk again, beside the vectors that are there.

Contract: chunks stay as they are. The new space gets vectors of its own for them, whole documents at a time, so a run
that was killed goes on where it stopped. The old space's vectors, gates and models are not touched.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lvm.corpus.readable import UNREADABLE, UnreadableText
from lvm.errors import UsageError
from lvm.gates import UNREADABLE_MIN_SHARE
from lvm.pipeline.ingest import GROUP_CHUNKS, after_loading
from lvm.pipeline.workspace import Workspace, named_stage, reads_corpus
from lvm.progress import Bars
from lvm.store import IngestedDocument, StoredDocument, document_groups


class SameSpace(UsageError):
    """The database is in that space already."""


@dataclass
class ReembedReport:
    """What a move did.

    Attributes:
        documents: documents newly encoded.
        chunks: chunks newly encoded.
        unchanged: documents that were complete in the new space already.
        truncated: chunks longer than the new space's token limit: their vectors stand for their beginning only.
        unreadable: chunks in a writing system that the new space's encoder does not know: their vectors say nothing.
        seconds: wall time.
    """

    documents: int = 0
    chunks: int = 0
    unchanged: int = 0
    truncated: int = 0
    unreadable: int = 0
    seconds: float = 0.0


@named_stage
@reads_corpus
def reembed(old: Workspace, new: Workspace, *, bars: Bars | None = None) -> ReembedReport:
    """Encode all documents of one space in another.

    Args:
        old: the space whose documents are taken.
        new: the space that gets them, in the same database.
        bars: opens progress bars; in the terminal unless given.

    Raises:
        SameSpace: if both are one.
        UnreadableText: if most of the texts are in a writing system that the new space's encoder does not know.
        Busy: if another process writes documents.
    """
    if old.space_id == new.space_id:
        raise SameSpace(f"the documents are in space {new.space.name!r} already; name another with --to")
    report, started = ReembedReport(), time.monotonic()
    store = new.store
    title, total = f"encode in {new.space.name}", old.counts()["chunks"]
    with store.lock("ingest"), store.writer(new.space_id) as writer, (bars or new.bars)(title, total) as advance:
        known = store.known_documents(new.space_id)
        rows = [row for row in store.documents(old.space_id) if _key(row) not in known]
        report.unchanged = len(store.documents(old.space_id)) - len(rows)
        for group in document_groups(rows, GROUP_CHUNKS):
            texts = store.document_chunks([row.id for row in group])
            flat = [text for row in group for text, _ in texts[row.id]]
            unreadable = new.space.unreadable(flat)
            if not report.chunks and unreadable and len(unreadable) >= UNREADABLE_MIN_SHARE * len(flat):
                raise UnreadableText(
                    f"{len(unreadable)} of the first {len(flat)} chunks {UNREADABLE} of space {new.space.name!r} "
                    f"({flat[unreadable[0]][:40]!r}), so different texts would have one vector; nothing was stored: "
                    "name a space whose encoder knows them with --to"
                )
            vectors = new.space.encode(flat, advance)
            documents, start = [], 0
            for row in group:
                chunks = slice(start, start + len(texts[row.id]))
                start = chunks.stop
                counts = [count for _, count in texts[row.id]]
                documents.append(IngestedDocument(row, flat[chunks], counts, vectors[chunks]))
            writer.write_documents(documents)
            report.documents += len(group)
            report.chunks += len(flat)
            report.unreadable += len(unreadable)
            report.truncated += len(new.space.over_limit(flat))
    after_loading(new, report.chunks, bars)
    report.seconds = time.monotonic() - started
    return report


def _key(row: StoredDocument) -> tuple[str, str, str]:
    return row.source, row.external_id, row.sha256
