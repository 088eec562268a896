"""``lvm doctor``; ``lvm ui``, ``deploy`` and ``notify`` for Prefect; and ``lvm pack`` for maintainers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lvm.cli.common import AsJson, SpaceName, err, flows_module, opened, out, path
from lvm.cli.surroundings import exempt, prefect_api, prepare_prefect
from lvm.errors import UsageError
from lvm.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(doctor)
    app.command()(ui)
    app.command()(deploy)
    app.command()(notify)
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
    exempt(host)
    os.environ |= {"PREFECT_API_URL": api, "PREFECT_UI_URL": api.removesuffix("/api"), "LVM_QUIET": "1"}
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    prepare_prefect(Settings())

    def told(address: str) -> None:
        out.print(f"{address}  (Ctrl-C stops it)")

    flows_module("deployments").serve_all(api, told)
    out.print("stopped")


def deploy() -> None:
    """Give every flow to the workers of the Prefect server PREFECT_API_URL. It keeps what people set there."""
    if not prefect_api(Settings()):
        raise UsageError(
            "no Prefect server is named; set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api. "
            "On one machine, `lvm ui` is enough"
        )
    prepare_prefect(Settings())
    deployments = flows_module("deployments")
    for remark in flows_module("common").call(deployments.deploy):
        err.print(remark, soft_wrap=True)
    names = ", ".join(each["name"] for each in deployments.definitions())
    pool = deployments.definitions()[0]["work_pool"]["name"]
    out.print(f"work pool {pool}: {names}", soft_wrap=True)
    out.print(f"start a worker: prefect worker start --pool {pool} --type process", soft_wrap=True)


def notify(url: Annotated[str, typer.Argument(help="webhook to call, https://...")]) -> None:
    """Call a webhook when a run fails, crashes, or is blocked by a gate. Done again, it changes the address."""
    if not url.startswith(("http://", "https://")):
        raise UsageError("this is not the address of a webhook; one begins with https:// or http://")
    if not prefect_api(Settings()):
        raise UsageError("no Prefect server is there to call it; start `lvm ui`, or set PREFECT_API_URL")
    prepare_prefect(Settings())
    names = flows_module("common").call(flows_module("notifications").notify, url)
    out.print(f"automations {', '.join(names)}: switch them on and off in the UI, under Automations", soft_wrap=True)


def pack(
    model: Annotated[str, typer.Argument(help="an evaluated model: lstm, gru, mamba2 or transformer")],
    folder: Annotated[Path, typer.Argument(parser=path, help="where the files go, e.g. lvm/spaces/minilm/lvm")],
    space: SpaceName = None,
) -> None:
    """Make the folder of the model that a space ships. See CONTRIBUTING.md."""
    with opened(space) as work:
        from lvm.pipeline.pack import for_people, pack

        card = pack(work, model, folder)
    out.print(for_people(card))
    out.print(f"written to {folder}")
