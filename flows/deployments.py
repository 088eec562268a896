"""The deployments of ``prefect.yaml``, served by this process: what ``lvm ui`` runs beside its Prefect server."""

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

from flows.common import PrefectUnavailable
from lvm import code_version
from lvm.files import make_folder
from lvm.settings import Settings
from lvm.store import open_store

START_SECONDS = 120
"""How long a Prefect server may take to answer."""


def definitions() -> list[dict[str, Any]]:
    """The deployments of ``prefect.yaml``: in a checkout at its root, in an installed wheel inside this package."""
    here = Path(__file__).parent
    file = next(path for path in (here / "prefect.yaml", here.parent / "prefect.yaml") if path.is_file())
    found: list[dict[str, Any]] = yaml.safe_load(file.read_text())["deployments"]
    return found


def deployment(asked: dict[str, Any], chosen: Mapping[str, bool]) -> RunnerDeployment:
    """One of them, to be served from this installation.

    Args:
        asked: its part of ``prefect.yaml``.
        chosen: by slug, the schedules that the Prefect server has, and whether they are active.
    """
    file, name = asked["entrypoint"].split(":")
    flow: Flow[Any, Any] = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
    return RunnerDeployment.from_flow(
        flow,
        name=asked["name"],
        description=asked["description"],
        tags=asked["tags"],
        parameters=asked.get("parameters"),
        version=code_version(),
        concurrency_limit=ConcurrencyLimitConfig(**asked["concurrency_limit"]),
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=each["cron"], timezone=each["timezone"]),
                active=chosen.get(each["slug"], each["active"]),
                slug=each["slug"],
            )
            for each in asked.get("schedules", [])
        ],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def serve_all(api: str, told: Callable[[str], None]) -> None:
    """Serve every deployment until Ctrl-C or SIGTERM.

    Args:
        api: URL of the Prefect server's API.
        told: called with the address of the UI once runs can be started there.

    Raises:
        PrefectUnavailable: if another one does so in this folder, or the server does not come up.
    """
    with ExitStack() as stack:
        stack.enter_context(alone(PREFECT_HOME.value()))
        stack.enter_context(open_store(Settings()))  # an embedded server then stays up between runs
        stack.enter_context(server(api))
        crash_unattended("the process that ran it is gone")  # killed, an `lvm ui` leaves its runs as they are
        stack.callback(crash_unattended, "`lvm ui` was stopped")
        runner = Runner(pause_on_shutdown=False)
        add_deployments(runner)
        told(api.removesuffix("/api"))
        with suppress(KeyboardInterrupt, TerminationSignal):
            asyncio.run(runner.start())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else serves runs of the Prefect database in this folder: two would take each other's for dead.

    Raises:
        PrefectUnavailable: if somebody does.
    """
    make_folder(folder)
    with (folder / "lvm-ui.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed process lets go of it
        except BlockingIOError as error:
            raise PrefectUnavailable(
                f"an `lvm ui` with its data in {folder} runs already; "
                "use it, stop it, or set LVM_HOME to another folder"
            ) from error
        yield


def crash_unattended(why: str) -> None:
    """Call crashed what this server's runner ran and nobody runs any more, so that it can be retried.

    Args:
        why: message of the state.
    """
    going = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    with get_client(sync_client=True) as client:
        if client.api_healthcheck() is not None:
            return  # the server went first; the next `lvm ui` tells it
        for run in client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=going))),
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=["lvm"])),
        ):
            if run.work_pool_name is None and run.state is not None:  # a worker's own are its affair
                cancelled = run.state.is_cancelling()
                client.set_flow_run_state(run.id, Cancelled(message=why) if cancelled else Crashed(message=why))


def add_deployments(runner: Runner) -> None:
    """Tell the Prefect server of every deployment; a schedule that somebody activated or paused stays so."""
    with get_client(sync_client=True) as client:
        chosen = {
            each.name: {one.slug: one.active for one in each.schedules if one.slug}
            for each in client.read_deployments()
        }
    for asked in definitions():
        runner.add_deployment(deployment(asked, chosen.get(asked["name"], {})))


@contextmanager
def server(api: str) -> Iterator[None]:
    """A Prefect server at this address, stopped at the end of the block.

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
        # in a group of its own: Ctrl-C stops the runs first, the server after them
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
