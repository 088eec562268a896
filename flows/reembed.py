"""Move to another space: encode what is stored again, then measure the new space's own gate."""

from __future__ import annotations

from dataclasses import asdict

from prefect import task
from prefect.artifacts import create_table_artifact

from lvm.pipeline.reembed import ReembedReport, reembed
from lvm.pipeline.workspace import open_workspace

from .common import PART, SpaceName, TargetSpace, Where, opened, reach_database, standing, task_runner
from .flow import flow
from .runs import progress, telling
from .validate import validate_stage


@task(name="reembed", task_run_name="reembed", tags=["stage"], **PART)
def reembed_stage(to: str, space: str | None) -> ReembedReport:
    """Encode what the new space has no vectors of yet."""
    with telling("reembed"), opened(Where(space)) as old, open_workspace(to, old.settings) as new:
        report = reembed(old, new, bars=progress)
    about = f"What was encoded again for space {to}."
    create_table_artifact([asdict(report)], key="reembed", description=about)
    return report


@flow(name="reembed", task_runner=task_runner())
def reembed_flow(to: TargetSpace, space: SpaceName = None) -> ReembedReport:
    """Give another space vectors of every stored chunk. The old space stays as it is.

    Args:
        to: space to move to.
        space: space to move from; LVM_SPACE unless given.

    Raises:
        GateBlocked: if the new space does not pass its roundtrip gate; the old space is unchanged.
    """
    reach_database()
    report = reembed_stage(to, space)
    with opened(Where(to)) as new:
        now = standing(new)
    validate_stage(Where(to), now, wait_for=[report])
    return report
