"""Stage 5: models beside the baselines on held-out documents, predictions decoded to text, and the report."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from lvm.pipeline.elsewhere import artifacts_on
from lvm.pipeline.errors import GateBlocked
from lvm.pipeline.evaluate import evaluate
from lvm.report import Summary, markdown
from lvm.settings import CONTEXT, Settings

from .common import (
    STAGE,
    Context,
    Limit,
    SourceName,
    SpaceName,
    Standing,
    gated,
    once,
    opened,
    progress,
    publish,
    reach_database,
    run_id,
    say,
    standing,
)
from .flow import flow
from .validate import shown as gate_shown


@task(name="evaluate", **STAGE)
def evaluate_stage(
    context: int,
    space: str | None,
    seconds: dict[str, float],
    stands_on: Standing,
    on: str | None = None,
    limit: int | None = None,
) -> Summary:
    """Figures, decoded predictions, the pipeline gate, summary.json and report.html."""
    with opened(space) as work:
        sequences, _ = work.sequences(context)
        try:
            summary = evaluate(
                work, sequences, on=on, limit=limit, seconds=seconds, bars=progress, flow_run_id=run_id()
            )
        except GateBlocked as error:
            if isinstance(error.report, Summary):
                publish(error, _shown(error.report))
            elif error.report is not None:  # the gate of the other corpus
                publish(error, gate_shown(error.report))
            say(work, "evaluate", str(error), sequences.corpus_revision)
            raise
        about = f"{len(summary.models)} models beside {len(summary.baselines)} baselines"
        about += "" if summary.on is None else f", on {summary.on}"
        say(work, "evaluate", about, sequences.corpus_revision)
    _shown(summary)
    return summary


@flow(name="evaluate")
@gated
def evaluate_flow(
    context: Context = CONTEXT, space: SpaceName = None, on: SourceName | None = None, limit: Limit = None
) -> Summary:
    """Evaluate every model trained on the sequence set of the corpus as it is now, and write summary and report.

    Args:
        context: vectors before the one to predict.
        space: space to work in; LVM_SPACE unless given.
        on: another corpus to measure on instead, e.g. a .jsonl file; it is stored apart, and nothing learns it.
        limit: documents of that corpus at most; all unless given.

    Raises:
        GateMissing: if no model is trained on the corpus as it is now.
        GateBlocked: if predictions cannot be decoded; the report is written all the same. If text of the other corpus
            does not come back from its vectors, nothing is measured.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work)
    return once(evaluate_stage, there, context, space, {}, stands_on, on, limit)


def there(summary: Summary) -> bool:
    """Whether the report of an earlier attempt is still there."""
    artifacts = Settings().artifacts
    if summary.on is not None:
        artifacts = artifacts_on(Settings(), summary.space.name, summary.on)
    return (artifacts / "summary.json").is_file() and (artifacts / "report.html").is_file()


def _shown(summary: Summary) -> UUID:
    """Publish the results in the Prefect UI. Returns the id of the decoded examples."""
    create_table_artifact(markdown.model_rows(summary), key="models")
    if texts := markdown.rollout_examples(summary):
        create_markdown_artifact(texts, key="rollouts")
    return cast(UUID, create_markdown_artifact(markdown.decoded_examples(summary), key="decoded-examples"))
