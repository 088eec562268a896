"""Stage 5: models beside the baselines on held-out documents, predictions decoded to text, and the report."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact

from lvm.pipeline.alone import settings_alone
from lvm.pipeline.elsewhere import artifacts_on
from lvm.pipeline.errors import GateBlocked
from lvm.pipeline.evaluate import evaluate
from lvm.pipeline.workspace import Workspace
from lvm.progress import Progress
from lvm.report import Summary, markdown
from lvm.report.questions import summary_plots
from lvm.settings import CONTEXT, Settings
from lvm.store import SequenceSetRecord

from .common import (
    PART,
    STAGE,
    Context,
    InverterFolder,
    Limit,
    SourceName,
    SpaceName,
    Standing,
    TextColumn,
    Where,
    once,
    opened,
    reach_database,
    standing,
)
from .flow import flow
from .runs import progress, publish, run_id, say, telling
from .validate import shown as gate_shown


@task(name="evaluate model", task_run_name="evaluate {name}", tags=["evaluate"], **PART)
def evaluate_part(name: str, work: Callable[[Progress], Any], advance: Progress) -> Any:
    """Decode what one model writes."""
    return work(advance)


def as_task(name: str, work: Callable[[Progress], Any]) -> Callable[[Progress], Any]:
    """The work on one model as a task, in whatever thread it is done."""
    context = copy_context()
    return lambda advance: context.run(lambda: evaluate_part(name, work, advance))


@task(name="evaluate", task_run_name="evaluate", tags=["stage", "gate"], **STAGE)
def evaluate_stage(
    context: int,
    where: Where,
    seconds: dict[str, float],
    stands_on: Standing,
    on: str | None = None,
    limit: int | None = None,
    text_column: str | None = None,
) -> Summary:
    """Figures, decoded predictions, the pipeline gate, summary.json and report.html."""
    with telling("evaluate"), opened(where) as work:
        sequences, record = work.sequences(context)
        try:
            summary = evaluate(
                work,
                sequences,
                on=on,
                limit=limit,
                text_column=text_column,
                seconds=seconds,
                bars=progress,
                part=as_task,
                flow_run_id=run_id(),
            )
        except GateBlocked as error:
            if isinstance(error.report, Summary):
                publish(error, _shown(work, record, error.report))
            elif error.report is not None:  # the gate of the other corpus
                publish(error, gate_shown(error.report))
            say(work, "evaluate", str(error), sequences.corpus_revision)
            raise
        about = f"{len(summary.models)} models beside {len(summary.baselines)} baselines"
        about += "" if summary.on is None else f", on {summary.on}"
        say(work, "evaluate", about, sequences.corpus_revision)
        _shown(work, record, summary)
    return summary


@flow(name="evaluate")
def evaluate_flow(
    context: Context = CONTEXT,
    space: SpaceName = None,
    on: SourceName | None = None,
    limit: Limit = None,
    inverter: InverterFolder = None,
    text_column: TextColumn = None,
) -> Summary:
    """Evaluate every model trained on the sequence set of the corpus as it is now, and write summary and report.

    Args:
        context: vectors before the one to predict.
        space: space to work in; LVM_SPACE unless given.
        on: another corpus to measure on instead, e.g. a folder or file; it is stored apart, and nothing learns it.
        limit: documents of that corpus at most; all unless given.
        inverter: folder of an inverter on the machine of the run, e.g. a fine-tuned one; LVM_INVERTER unless given.
        text_column: column of the text of that corpus, if it is a table or dataset; text unless given.

    Raises:
        GateMissing: if no model is trained on the corpus as it is now.
        GateBlocked: if predictions cannot be decoded; the report is written all the same. If text of the other corpus
            does not come back from its vectors, nothing is measured.
    """
    reach_database()
    where = Where(space, inverter)
    with opened(where) as work:
        stands_on = standing(work)
    return once(evaluate_stage, there(where), context, where, {}, stands_on, on, limit, text_column)


def there(where: Where) -> Callable[[Summary], bool]:
    """Says whether the report of an earlier attempt is still there."""
    settings = settings_alone(where.settings)

    def found(summary: Summary) -> bool:
        folder = artifacts_of(summary, settings)
        return (folder / "summary.json").is_file() and (folder / "report.html").is_file()

    return found


def artifacts_of(summary: Summary, settings: Settings) -> Path:
    """The folder of a summary's files."""
    return settings.artifacts if summary.on is None else artifacts_on(settings, summary.space.name, summary.on)


def _shown(work: Workspace, record: SequenceSetRecord, summary: Summary) -> UUID:
    """Publish the report and the verdicts of the pipeline gate in the Prefect UI. Returns the id of the verdicts."""
    link, settings = None, Settings()  # what is served is the whole folder of artifacts
    if settings.artifacts_url:
        path = artifacts_of(summary, work.settings).relative_to(settings.artifacts).as_posix()
        link = f"{settings.artifacts_url}/{'' if path == '.' else path + '/'}report.html"
    text = markdown.report(summary, summary_plots(summary), _lineage(work, record, summary), link)
    about = "The report of the run: models beside baselines, decoded examples, plots, and the ids of what they are of."
    create_markdown_artifact(text, key="report", description=about)
    about = "The pipeline gate: can the predictions of a model be decoded? The figures and the verdict on every model."
    return cast(
        UUID, create_markdown_artifact(markdown.pipeline_evidence(summary), key="pipeline-gate", description=about)
    )


def _lineage(work: Workspace, record: SequenceSetRecord, summary: Summary) -> dict[str, str]:
    """Ids in the database of what the report is about."""
    runs = {run.sha256: run for run in work.store.training_runs(record.id) if run.sha256 is not None}
    found = {
        "corpus revision": record.corpus_revision[:16],
        "space": f"{summary.space.name} ({summary.space.fingerprint})",
        "roundtrip gate (lvm.gates, gate_id)": str(record.gate_result_id),
        "sequence set (lvm.sequence_set, id)": f"{record.id}, sha256 {record.sha256[:16]}",
    }
    for name, model in summary.models.items():
        run = runs.get(model.checkpoint)
        of = "" if run is None else f"{run.id}, "
        found[f"{name} (lvm.training_runs, training_run_id)"] = f"{of}sha256 {model.checkpoint[:16]}"
    return found
