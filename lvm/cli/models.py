"""``lvm models`` and ``lvm promote``: the versions of models, and which one answers where none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvm.cli.common import AsJson, InverterFolder, SpaceName, opened, out, run_stage
from lvm.errors import UsageError
from lvm.terminal import Cell

if TYPE_CHECKING:
    from lvm.pipeline.promote import Promoted
    from lvm.pipeline.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(models)
    app.command()(promote)


def models(space: SpaceName = None, as_json: AsJson = False, inverter: InverterFolder = None) -> None:
    """List the versions of trained models: which is the latest, which answers, and whether its file is there."""
    with opened(space, inverter) as work:
        from lvm.pipeline.promote import versions

        rows: list[dict[str, Cell]] = [
            {
                "model": each.run.version,
                "run": each.run.id,
                "trained": f"{each.run.finished_at:%Y-%m-%d %H:%M}" if each.run.finished_at else None,
                "context": each.run.hyperparameters.get("context"),
                "text NLL": each.text_nll,
                "is": ", ".join(each.marks),
            }
            for each in versions(work)
        ]
    if not rows and not as_json:
        out.print("no model is trained in this space")
    out.table(rows, as_json=as_json)


def promote(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="gru, or gru@1a2b3c for a version; see `lvm models`")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="why, if it is worse than the champion or was not measured beside it")
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="go back to the champion before")] = False,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> None:
    """Make a model the champion, which answers in next, write and serve. It must have passed its gates."""
    if back == (model is not None):
        raise UsageError("name one model to promote, or go back to the champion before with --back")

    def direct(work: Workspace) -> Promoted:
        from lvm.pipeline.promote import promote

        return promote(work, model, reason=reason, back=back)

    where: dict[str, Any] = {"space": space, "inverter": inverter}
    out.print(str(run_stage("promote", direct, **where, model=model, reason=reason, back=back)), soft_wrap=True)
