"""Promotion: the model that answers in next, write and serve where none is named."""

from __future__ import annotations

from typing import Annotated

from prefect import task
from prefect.artifacts import create_table_artifact
from pydantic import Field

from lvm.pipeline.promote import Promoted, promote, versions

from .common import PART, InverterFolder, SpaceName, Where, opened, reach_database
from .flow import flow
from .runs import run_id, say

Version = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(@[0-9a-f]+)?$")]
Reason = Annotated[str, Field(min_length=1)]


@task(name="promote", task_run_name="promote", tags=["stage"], **PART)
def promote_stage(model: str | None, reason: str | None, back: bool, where: Where) -> Promoted:
    """Promote a model, or go back. A retry finds the model promoted already."""
    with opened(where) as work:
        promoted = promote(work, model, reason=reason, back=back, flow_run_id=run_id())
        say(work, "promote", str(promoted))
        create_table_artifact(
            [
                {
                    "model": each.run.version,
                    "is": ", ".join(each.marks),
                    "text NLL": "" if each.text_nll is None else f"{each.text_nll:.3f}",
                }
                for each in versions(work)
            ],
            key="versions",
            description="Versions of the models of this space; lower text NLL is better.",
        )
    return promoted


@flow(name="promote")
def promote_flow(
    model: Version | None = None,
    reason: Reason | None = None,
    back: bool = False,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> Promoted:
    """Make a model the champion of its space, which answers in next, write and serve where no model is named.

    Args:
        model: gru, or gru@1a2b3c for a version; the artifact versions of an earlier run lists them.
        reason: why, if it is worse than the champion or was not measured beside it; no reason overrides a gate.
        back: go back to the champion before, instead of naming a model.
        space: space to work in; LVM_SPACE unless given.
        inverter: folder of an inverter on the machine of the run, e.g. a fine-tuned one; LVM_INVERTER unless given.

    Raises:
        GateMissing: if the model is not evaluated on the corpus as it is now.
        PromotionRefused: if its gates did not pass, or it is worse than the champion and no reason is given.
    """
    reach_database()
    return promote_stage(model, reason, back, Where(space, inverter))
