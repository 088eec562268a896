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
    InverterFolder,
    SpaceName,
    Standing,
    Where,
    fan_out,
    opened,
    reach_database,
    standing,
    task_runner,
)
from .flow import flow
from .runs import progress, publish, run_id, say, telling


@task(name="decode", task_run_name="decode", tags=["validate"], **PART)
def decode_part(vectors: Vectors, seed: int, where: Where) -> Decoded:
    """Decode some vectors."""
    with opened(where) as work:
        return work.space.decode(vectors, seed=seed)


@task(name="validate", task_run_name="validate", tags=["stage", "gate"], **STAGE)
def validate_stage(where: Where, stands_on: Standing, full: bool = False) -> GateReport:
    """Measure what was not measured yet, and stop here unless the gate passes."""
    with telling("validate"), opened(where) as work:
        seed = work.settings.seed

        def decode_parts(parts: Iterable[Vectors]) -> Iterator[Decoded]:
            return fan_out(decode_part, ((part, seed, where) for part in parts))

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
def validate_flow(space: SpaceName = None, full: bool = False, inverter: InverterFolder = None) -> GateReport:
    """Measure text -> vector -> text -> vector on chunks the inverter was not trained on, and judge it.

    A verdict about the same corpus revision, encoder and inverter is not measured again.

    Args:
        space: space to work in; LVM_SPACE unless given.
        full: measure the whole sample, also where a part of it makes the verdict certain.
        inverter: folder of an inverter on the machine of the run, e.g. a fine-tuned one; LVM_INVERTER unless given.

    Raises:
        GateBlocked: if it did not pass; the message says which criterion and what to do.
    """
    reach_database()
    where = Where(space, inverter)
    with opened(where) as work:
        stands_on = standing(work)
    return validate_stage(where, stands_on, full)


def shown(report: GateReport) -> UUID:
    """Publish the evidence in the Prefect UI. Returns the artifact's id."""
    text = markdown.gate_evidence(report.figures, report.verdict)
    about = "The roundtrip gate: does text come back from its vectors? Its verdict, what was measured, examples."
    return cast(UUID, create_markdown_artifact(text, key="roundtrip-gate", description=about))
