"""``lvm doctor``, ``lvm ui``, and ``lvm pack`` for maintainers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lvm.cli.common import AsJson, SpaceName, flows_module, opened, out, prepare_prefect
from lvm.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(doctor)
    app.command()(ui)
    app.command(hidden=True)(pack)


def doctor(
    as_json: AsJson = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="read every row and file: revisions, sequence sets, checkpoints")
    ] = False,
) -> None:
    """Check everything that a run needs. It changes nothing, and says what to do."""
    from lvm.cli.doctor import examine_all

    findings = list(examine_all(Settings(), deep=deep))
    rows = [
        {"verdict": each.verdict, "name": each.name, "found": each.found, "advice": each.advice} for each in findings
    ]
    out.table(rows, prose=("found", "advice"), as_json=as_json)
    if any(each.verdict == "problem" for each in findings):
        raise typer.Exit(1)


def ui(
    host: Annotated[str, typer.Option(help="address to listen on; the UI has no login")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
) -> None:
    """Serve Prefect's UI with every flow in it: run, schedule, watch, retry. Ctrl-C stops it."""
    api = f"http://{host}:{port}/api"
    os.environ |= {"PREFECT_API_URL": api, "PREFECT_UI_URL": api.removesuffix("/api"), "LVM_QUIET": "1"}
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    prepare_prefect(Settings())

    def told(address: str) -> None:
        out.print(f"{address}  (Ctrl-C stops it)")

    flows_module("deployments").serve_all(api, told)
    out.print("stopped")


def pack(
    model: Annotated[str, typer.Argument(help="an evaluated model: lstm, gru, mamba2 or transformer")],
    folder: Annotated[Path, typer.Argument(help="where the files go, e.g. lvm/spaces/minilm/lvm")],
    space: SpaceName = None,
) -> None:
    """Make the folder of the model that a space ships. See CONTRIBUTING.md."""
    with opened(space) as work:
        from lvm.pipeline.pack import for_people, pack

        card = pack(work, model, folder)
    out.print(for_people(card))
    out.print(f"written to {folder}")
