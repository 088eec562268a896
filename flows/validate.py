"""Stage 2: the roundtrip gate. Later stages start only behind a verdict that passed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact

from lvm.pipeline.errors import GateBlocked
from lvm.pipeline.validate import validate
from lvm.report import markdown
from lvm.report.gate import GateReport
from lvm.spaces import Decoded, Vectors

from .common import (
    PART,
    STAGE,
    SpaceName,
    Standing,
    fan_out,
    gated,
    opened,
    progress,
    publish,
    reach_database,
    run_id,
    say,
    standing,
    task_runner,
)
from .flow import flow


@task(name="decode", **PART)
def decode_part(vectors: Vectors, seed: int, space: str | None) -> Decoded:
    """Decode some vectors."""
    with opened(space) as work:
        return work.space.decode(vectors, seed=seed)


@task(name="validate", **STAGE)
def validate_stage(space: str | None, stands_on: Standing, full: bool = False) -> GateReport:
    """Measure what was not measured yet, and stop here unless the gate passes."""
    with opened(space) as work:
        seed = work.settings.seed

        def decode_parts(parts: Iterable[Vectors]) -> Iterator[Decoded]:
            return fan_out(decode_part, ((part, seed, space) for part in parts))

        try:
            report = validate(work, full=full, decode_parts=decode_parts, bars=progress, flow_run_id=run_id())
        except GateBlocked as error:
            if isinstance(error.report, GateReport):
                publish(error, shown(error.report))
                say(work, "validate", str(error), error.report.corpus_revision)
            raise
        say(work, "validate", report.verdict.message, report.corpus_revision)
    shown(report)
    return report


@flow(name="validate", task_runner=task_runner())
@gated
def validate_flow(space: SpaceName = None, full: bool = False) -> GateReport:
    """Measure text -> vector -> text -> vector on chunks the inverter was not trained on, and judge it.

    A verdict about the same corpus revision, encoder and inverter is not measured again.

    Args:
        space: space to work in; LVM_SPACE unless given.
        full: measure the whole sample, also where a part of it makes the verdict certain.

    Raises:
        GateBlocked: if it did not pass; the message says which criterion and what to do.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work)
    return validate_stage(space, stands_on, full)


def shown(report: GateReport) -> UUID:
    """Publish the evidence in the Prefect UI. Returns the artifact's id."""
    text = markdown.gate_evidence(report.figures, report.verdict.message)
    return cast(UUID, create_markdown_artifact(text, key="roundtrip-gate"))
