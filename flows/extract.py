"""Stage 3: ordered vectors become windows, split by document, in one file."""

from __future__ import annotations

import time
from typing import Literal

from prefect import task
from prefect.artifacts import create_table_artifact

from lvm.pipeline.extract import ExtractReport, export_npz, extract
from lvm.sequences import still_there
from lvm.settings import CONTEXT

from .common import (
    STAGE,
    Context,
    InverterFolder,
    SpaceName,
    Standing,
    Where,
    once,
    opened,
    reach_database,
    standing,
)
from .flow import flow
from .runs import say, telling


@task(name="extract", task_run_name="extract", tags=["stage"], **STAGE)
def extract_stage(context: int, where: Where, stands_on: Standing) -> ExtractReport:
    """Write the file and record it behind its gate, unless it is there already."""
    started = time.monotonic()
    with telling("extract"), opened(where) as work:
        sequences = extract(work, context)
        counts = sequences.counts()
        say(work, "extract", f"{counts['vectors']} vectors in {sequences.path}", sequences.corpus_revision)
    about = "The training sequences: stored vectors, documents, and windows by split."
    create_table_artifact([counts], key="sequences", description=about)
    return ExtractReport(counts, sequences.path.resolve(), sequences.sha256, time.monotonic() - started)


@flow(name="extract")
def extract_flow(
    context: Context = CONTEXT,
    export: Literal["npz"] | None = None,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> ExtractReport:
    """Write the sequence set of the corpus as it is now. The same corpus gives the same file.

    Args:
        context: vectors before the one to predict.
        export: npz to write the training windows for notebooks as well.
        space: space to work in; LVM_SPACE unless given.
        inverter: folder of an inverter on the machine of the run, e.g. a fine-tuned one; LVM_INVERTER unless given.

    Raises:
        GateMissing: if no passing verdict stands for this revision of the corpus.
    """
    reach_database()
    where = Where(space, inverter)
    with opened(where) as work:
        stands_on = standing(work)
    report = once(extract_stage, there, context, where, stands_on)
    if export:
        with opened(where) as work:
            export_npz(work, context)
    return report


def there(report: ExtractReport) -> bool:
    """Whether the file of an earlier attempt is still the one it wrote, with all of its vectors."""
    return still_there(report.path, report.sha256)
