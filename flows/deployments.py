"""Serve the deployments of ``prefect.yaml`` from this process, beside a Prefect server: ``lvm ui``."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import TerminationSignal
from prefect.runner import Runner
from prefect.settings import PREFECT_HOME
from prefect.states import Cancelled, Crashed
from prefect.types.entrypoint import EntrypointType

from lvm.cli.common import UI_LOCK
from lvm.files import make_folder
from lvm.service.artifacts import served
from lvm.settings import Settings
from lvm.store import open_store

from .common import PrefectUnavailable, code_version
from .runs import close, close_dead_commands

START_SECONDS = 120
"""Seconds that a Prefect server may take to answer."""


def definitions() -> list[dict[str, Any]]:
    """The deployments of ``prefect.yaml``. A checkout has the file at its root, an installed wheel in this package."""
    here = Path(__file__).parent
    file = next(path for path in (here / "prefect.yaml", here.parent / "prefect.yaml") if path.is_file())
    found: list[dict[str, Any]] = yaml.safe_load(file.read_text())["deployments"]
    return found


def deployment(definition: dict[str, Any], chosen: Mapping[str, bool]) -> RunnerDeployment:
    """A deployment to be served from this installation.

    Args:
        definition: its part of ``prefect.yaml``.
        chosen: whether the schedules that the Prefect server has are active, by slug.
    """
    module, name = definition["entrypoint"].removeprefix("flows").split(":")
    flow: Flow[Any, Any] = getattr(import_module(module, __package__), name)
    return RunnerDeployment.from_flow(
        flow,
        name=definition["name"],
        description=definition["description"],
        tags=definition["tags"],
        parameters=definition.get("parameters"),
        version=code_version(),
        concurrency_limit=ConcurrencyLimitConfig(**definition["concurrency_limit"]),
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=each["cron"], timezone=each["timezone"]),
                active=chosen.get(each["slug"], each["active"]),
                slug=each["slug"],
            )
            for each in definition.get("schedules", [])
        ],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def serve_all(api: str, told: Callable[[str], None]) -> None:
    """Serve every deployment until Ctrl-C or SIGTERM.

    Args:
        api: URL of the Prefect server's API.
        told: called with the address of the UI as soon as runs can be started there.

    Raises:
        PrefectUnavailable: if another `lvm ui` serves this folder, or the server does not come up.
    """
    with ExitStack() as stack:
        announce = stack.enter_context(alone(PREFECT_HOME.value()))
        stack.enter_context(open_store(Settings()))  # keeps an embedded server running between runs
        stack.enter_context(server(api))
        crash_unattended("the process that ran it is gone")  # runs of an earlier `lvm ui` that was killed
        stack.callback(crash_unattended, "`lvm ui` was stopped")
        reports = stack.enter_context(reports_beside(api))
        runner = Runner(pause_on_shutdown=False)
        add_deployments(runner)
        announce(f"{api} {reports}")
        stack.callback(announce, "")
        told(api.removesuffix("/api"))
        with suppress(KeyboardInterrupt, TerminationSignal):
            asyncio.run(runner.start())


@contextmanager
def reports_beside(api: str) -> Iterator[str]:
    """Serve the reports of this folder at the next port, and let the runs link to them. Gives the address."""
    url, settings = httpx.URL(api), Settings()
    public = settings.artifacts_url
    names = [httpx.URL(public).host] if public else []
    with served(settings.artifacts, url.host, (url.port or 4200) + 1, names) as address:
        os.environ["LVM_ARTIFACTS_URL"] = public or address
        yield public or address


@contextmanager
def alone(folder: Path) -> Iterator[Callable[[str], None]]:
    """Let no other `lvm ui` serve the Prefect database in this folder: each would mark the other's runs crashed.

    Gives a function that announces the addresses of the Prefect API and of the reports, so that other commands show
    their runs there.

    Raises:
        PrefectUnavailable: if another one serves already.
    """
    make_folder(folder)
    with (folder / UI_LOCK).open("a+") as lock:
        for attempt in range(10):  # a command that looks for a running `lvm ui` holds the lock for an instant
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock of a killed process is free
                break
            except BlockingIOError as error:
                if attempt == 9:
                    raise PrefectUnavailable(
                        f"an `lvm ui` with its data in {folder} runs already; "
                        "use it, stop it, or set LVM_HOME to another folder"
                    ) from error
                time.sleep(0.1)

        def announce(addresses: str) -> None:
            lock.truncate(0)
            lock.write(addresses)
            lock.flush()

        announce("")
        yield announce


def crash_unattended(why: str) -> None:
    """Mark runs whose process is gone as crashed, so that they can be retried.

    Args:
        why: message of the state.
    """
    going = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    with get_client(sync_client=True) as client:
        if client.api_healthcheck() is not None:
            return  # the server is gone already; the next `lvm ui` marks them
        close_dead_commands(client)
        for run in client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=going))),
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=["lvm"])),
        ):
            if run.work_pool_name is None and run.state is not None:  # runs of a work pool belong to its worker
                cancelled = run.state.is_cancelling()
                client.set_flow_run_state(run.id, Cancelled(message=why) if cancelled else Crashed(message=why))
                close(client, run.id, why)


def add_deployments(runner: Runner) -> None:
    """Register every deployment. A schedule that a user activated or paused stays so."""
    with get_client(sync_client=True) as client:
        chosen = {
            each.name: {one.slug: one.active for one in each.schedules if one.slug}
            for each in client.read_deployments()
        }
    for each in definitions():
        runner.add_deployment(deployment(each, chosen.get(each["name"], {})))


@contextmanager
def server(api: str) -> Iterator[None]:
    """Run a Prefect server at this address; stop it at the end of the block.

    Raises:
        PrefectUnavailable: if the address is taken or the server does not come up.
    """
    host, _, port = api.removeprefix("http://").removesuffix("/api").rpartition(":")
    if _answers(api):
        raise PrefectUnavailable(
            f"a Prefect server answers at {api} already, perhaps of an `lvm ui` that was killed; "
            "stop it (pkill -f 'prefect server start'), or give another --port"
        )
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", port]
    log = (Settings().home / "prefect" / "server.log").resolve()
    with log.open("w") as out:
        # its own process group: Ctrl-C stops the runs first, then the server
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ.copy(), start_new_session=True)
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(api):
            if process.poll() is not None or time.monotonic() > until:
                lines = log.read_text(errors="replace").strip().splitlines()
                raise PrefectUnavailable(
                    f"the Prefect server did not come up at {api} ({lines[-1] if lines else 'no output'}); "
                    f"see {log}, or give another --port"
                )
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
