"""The deployments of ``prefect.yaml``: served from this process (``lvm ui``), or by workers (``lvm deploy``)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runner import Runner
from prefect.settings import PREFECT_HOME
from prefect.states import Cancelled, Crashed
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.importtools import import_object
from prefect.workers.process import ProcessWorker

from lvm.cli.common import err
from lvm.cli.surroundings import UI_LOCK
from lvm.errors import LvmError, one_line
from lvm.files import make_folder
from lvm.service.artifacts import served
from lvm.settings import Settings
from lvm.store import open_store

from .common import PrefectUnavailable, code_version
from .database_url import NoSuchBlock
from .flow import unfit_parameters
from .runs import close, close_dead_commands
from .settings import require_startable

START_SECONDS = 120
"""Seconds that a Prefect server may take to answer."""

NIGHTLY = DeploymentScheduleCreate(
    schedule=CronSchedule(cron="0 2 * * *", timezone="UTC"), slug="nightly", active=False
)
"""Comes with the deployment `pipeline` when it is made. ``prefect.yaml`` has no schedules: they would be put back."""

_SET_BY_PEOPLE = {
    "schedules",
    "parameters",
    "concurrency_limit",
    "concurrency_options",
    "job_variables",
    "tags",
    "paused",
}
"""Fields of a deployment that are set when it is made, and are people's from then on."""


class DeploymentRefused(LvmError):
    """The Prefect server does not take a deployment."""


class _Runner(Runner):
    """Stops at SIGTERM as at Ctrl-C. Prefect's own handler makes a coroutine there and never awaits it."""

    async def start(self, run_once: bool = False, webserver: bool | None = None) -> None:
        self._serving = asyncio.current_task()
        await super().start(run_once, webserver)

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        if self._serving is not None:
            asyncio.get_running_loop().call_soon_threadsafe(self._serving.cancel)  # it wakes the loop, too


def definitions() -> list[dict[str, Any]]:
    """The deployments of ``prefect.yaml``."""
    found: list[dict[str, Any]] = yaml.safe_load(_file("prefect.yaml").read_text())["deployments"]
    return found


def _file(name: str) -> Path:
    """A file about Prefect. A checkout has it at its root, an installed wheel in this package."""
    here = Path(__file__).parent
    return next(path for path in (here / name, here.parent / name) if path.is_file())


def register(apply: Callable[[RunnerDeployment], object], pool: bool = False) -> list[str]:
    """Make the deployments that the Prefect server does not have, and bring the others to this version of the code.

    What people set in the UI stays: schedules, parameters, limits, tags (``_SET_BY_PEOPLE``). A schedule that somebody
    deleted does not come back.

    Args:
        apply: sends a deployment to the server.
        pool: give them to the work pool of ``prefect.yaml``, for workers; else this process serves them.

    Returns:
        One line for each set of parameters that this version does not take. Runs with them will fail.

    Raises:
        DeploymentRefused: if the server refuses one of them.
    """
    remarks: list[str] = []
    with get_client(sync_client=True) as client:
        for definition in definitions():
            flow = import_object(definition["entrypoint"])
            try:
                known = client.read_deployment_by_name(f"{flow.name}/{definition['name']}")
            except ObjectNotFound:
                known = None
            try:
                apply(_deployment(definition, flow, known, pool))
            except (PrefectHTTPStatusError, DeploymentApplyError) as error:
                raise DeploymentRefused(
                    f"the Prefect server does not take the deployment {definition['name']!r} ({_detail(error)})"
                ) from error
            remarks += _outdated(flow, known)
    return remarks


def _deployment(
    definition: dict[str, Any], flow: Flow[Any, Any], known: DeploymentResponse | None, pool: bool
) -> RunnerDeployment:
    """A deployment to send. The server takes no stored parameters that do not fit, unless they are not enforced."""
    work = definition["work_pool"]
    made = RunnerDeployment.from_flow(
        flow,
        name=definition["name"],
        description=definition["description"],
        tags=definition["tags"],
        parameters=definition.get("parameters"),
        version=code_version(),
        concurrency_limit=ConcurrencyLimitConfig(**definition["concurrency_limit"]),
        schedules=[NIGHTLY] if known is None and definition["name"] == "pipeline" else None,
        entrypoint_type=EntrypointType.MODULE_PATH,
        enforce_parameter_schema=known is None or not unfit_parameters(flow, known.parameters),
        work_pool_name=work["name"] if pool else None,
        job_variables=work["job_variables"] if pool else None,
    )
    made.entrypoint = definition["entrypoint"]
    if known is not None:
        made.model_fields_set.difference_update(_SET_BY_PEOPLE)  # Prefect sends what was set
    return made


def _outdated(flow: Flow[Any, Any], known: DeploymentResponse | None) -> Iterator[str]:
    """Say which parameters of a deployment and of its schedules do not fit the flow as it is now."""
    if known is None:
        return
    schedules = {f", schedule {each.slug or each.id}": each.parameters for each in known.schedules}
    for where, parameters in {"": known.parameters, **schedules}.items():
        if unfit := unfit_parameters(flow, parameters):
            yield f"deployment {known.name}{where}: {'; '.join(unfit)}; its runs will fail: edit it in the UI"


def _detail(error: PrefectHTTPStatusError | DeploymentApplyError) -> str:
    if isinstance(error, PrefectHTTPStatusError):
        with suppress(ValueError):
            return one_line(str(error.response.json().get("detail", error)))
    return one_line(str(error))


def deploy() -> list[str]:
    """Give every deployment to the workers of a Prefect server: work pool, deployments, the automation `silent-runs`.

    What is there already keeps what people set in the UI.

    Returns:
        What ``register`` returns.
    """
    pool = definitions()[0]["work_pool"]["name"]
    silent = AutomationCore.model_validate(yaml.safe_load(_file("automations.yaml").read_text()))
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
        if not client.read_automations_by_name(silent.name):
            client.create_automation(silent)
    return register(lambda each: each.apply(), pool=True)


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
        stack.enter_context(server(api))
        try:
            stack.enter_context(open_store(Settings()))  # keeps an embedded server running between runs
        except NoSuchBlock as error:  # it can be made in the UI
            err.print(str(error), soft_wrap=True)
        crash_unattended("the process that ran it is gone")  # runs of an earlier `lvm ui` that was killed
        stack.callback(crash_unattended, "`lvm ui` was stopped")
        reports = stack.enter_context(reports_beside(api))
        runner = _Runner(pause_on_shutdown=False)
        for remark in register(runner.add_deployment):
            err.print(remark, soft_wrap=True)
        announce(f"{api} {reports}")
        stack.callback(announce, "")
        told(api.removesuffix("/api"))
        with suppress(KeyboardInterrupt, asyncio.CancelledError):
            asyncio.run(runner.start())


@contextmanager
def reports_beside(api: str) -> Iterator[str]:
    """Serve the reports of this folder at the next port, and let the runs link to them. Gives the address."""
    url, settings = httpx.URL(api), Settings()
    public = settings.artifacts_url
    names = [httpx.URL(public).host] if public else []
    port = (url.port or 4200) + 1
    with served(settings.artifacts, url.host, port if port < 65_536 else 0, names) as address:
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


@contextmanager
def server(api: str) -> Iterator[None]:
    """Run a Prefect server at this address; stop it at the end of the block.

    Raises:
        PrefectUnavailable: if the address is taken or the server does not come up.
        UsageError: see ``require_startable``.
    """
    require_startable()
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
