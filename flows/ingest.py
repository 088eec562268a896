"""Stage 1: documents of a source become chunks and vectors in Postgres."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.common import opened, progress
from lvm.corpus.sources import open_source
from lvm.ingest import IngestReport, ingest


@flow(name="ingest")
def ingest_flow(source: str = "sotu", limit: int | None = None, space: str | None = None) -> IngestReport:
    """Store what is not stored yet; run twice, nothing doubles.

    Args:
        source: ``sotu``, a folder of .txt/.md, a .jsonl file, or ``hf:NAME``.
        limit: how many documents at most.
        space: space to encode in; the setting unless given.
    """
    documents = open_source(source, limit)
    with opened(space) as work, progress("ingest", None) as advance:
        report = ingest(work.store, work.space_id, work.space, documents.name, documents, progress=advance)
        work.store.build_search_index(work.space_id)
    skipped = "".join(f"| {each.where} | {each.reason} |\n" for each in report.listed)
    create_markdown_artifact(
        f"**{report.documents}** documents and **{report.chunks}** chunks stored in {report.seconds:.0f} s, "
        f"{report.unchanged} documents were there already, {sum(report.skipped.values())} pieces skipped.\n\n"
        + (f"| skipped | reason |\n| --- | --- |\n{skipped}" if skipped else ""),
        key="ingest",
    )
    return report
