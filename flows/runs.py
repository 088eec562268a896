"""What a run shows in Prefect's UI: its name, its log, its progress, and a gate that blocked it."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from threading import Event, Thread
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import State, get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL
from prefect.states import Crashed, Failed

from lvm.cli.surroundings import TASKS_WRITTEN_EVERY
from lvm.errors import LvmError, one_line
from lvm.pipeline.errors import GateBlocked
from lvm.pipeline.workspace import Workspace
from lvm.progress import Progress, bars
from lvm.settings import Settings
from lvm.terminal import without_login

P = ParamSpec("P")
R = TypeVar("R")

# -- names, and what ends with a run ----------------------------------------------------------------------------


def run_name() -> str:
    """Name of a flow run: its flow, and every parameter that is not the default: ``pipeline sotu limit 60``.

    A name that somebody gave the run stays; Prefect's own are two words with a hyphen.
    """
    context = FlowRunContext.get()
    assert context is not None and context.flow is not None and context.flow_run is not None
    if not re.fullmatch(r"[a-z]+-[a-z]+", context.flow_run.name):
        return context.flow_run.name
    words, defaults = [context.flow.name], inspect.signature(context.flow.fn).parameters
    for name, value in (context.parameters or {}).items():
        if name == "source":
            words.append(value if value.startswith("hf:") else Path(value).name or value)
        elif value is not None and value != defaults[name].default:
            words.append(name if isinstance(value, dict) else f"{name} {value}")
    return one_line(" ".join(words))[:NAME_LENGTH]


NAME_LENGTH = 100
"""Characters of a run's name at most: lists show no more."""


COMMAND_LINE = "command-line"
"""Tag of a run that the command line started."""


def close(client: SyncPrefectClient, run: UUID, why: str) -> None:
    """Close what a flow run left whose process is gone: its running tasks are crashed, its progress bars deleted.

    Args:
        client: of the Prefect server.
        run: id of the flow run.
        why: message of the state.
    """
    going = [StateType.PENDING, StateType.RUNNING]
    for each in client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=going))),
    ):
        client.set_task_run_state(each.id, Crashed(message=why), force=True)
    left = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]), type=ArtifactFilterType(any_=["progress"]))
    for artifact in client.read_artifacts(artifact_filter=left):
        client.delete_artifact(artifact.id)


def close_crashed(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: nothing of a flow run whose process was killed stays *Running*."""
    time.sleep(2 * TASKS_WRITTEN_EVERY)  # until the server has written the task that began last
    with get_client(sync_client=True) as client:
        close(client, flow_run.id, "the process that ran it is gone")


def close_dead_commands(client: SyncPrefectClient) -> None:
    """Crash the runs of commands of this machine whose process is gone.

    A command that ends says so itself, unless it is killed, or its server is: ``timeout`` ends both at once.
    """
    going = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING]))
    mine = FlowRunFilter(state=going, tags=FlowRunFilterTags(all_=[COMMAND_LINE]))
    for run in client.read_flow_runs(flow_run_filter=mine):
        host, _, process = (run.infrastructure_pid or "").rpartition(":")
        if host == platform.node() and not _alive(int(process)):
            why = "the process that ran it is gone"
            client.set_flow_run_state(run.id, Crashed(message=why), force=True)
            close(client, run.id, why)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


# -- gates ------------------------------------------------------------------------------------------------------


BLOCKED = "blocked"
"""Tag of a flow run that a gate stopped."""

BLOCKED_EVENT = "lvm.gate.blocked"
"""Event of a flow run that a gate stopped. Its payload: gate, criterion, value, threshold, space, message, evidence."""


def publish(error: GateBlocked, artifact: UUID) -> None:
    """Note on the error where its evidence can be read in the Prefect UI."""
    error.evidence = f"{without_login(PREFECT_UI_URL.value() or '')}/v2/artifacts/artifact/{artifact}"


def attempt(run: Callable[P, R]) -> Callable[P, R]:
    """Make every attempt of a flow begin clean, and end where people look for it.

    What a killed attempt left open is closed first. A gate that blocks ends the run as *Failed*, the name that the
    lists and filters of the UI know; its message names the gate and links to the evidence. The run gets the tag
    ``BLOCKED`` and sends the event ``BLOCKED_EVENT``. Callers get the error.
    """

    @functools.wraps(run)
    def flow_of_it(*args: P.args, **kwargs: P.kwargs) -> R:
        _begin()
        try:
            return run(*args, **kwargs)
        except GateBlocked as error:
            return cast(R, _blocked(error))

    # Prefect reads the parameters from the signature, and would look for their types in this module
    flow_of_it.__signature__ = inspect.signature(run, eval_str=True)  # type: ignore[attr-defined]
    return flow_of_it


def _begin() -> None:
    """Note the process of a command, and close what an earlier attempt left: tasks, bars, the tag of a gate."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    run = context.flow_run
    with get_client(sync_client=True) as client:
        if COMMAND_LINE in run.tags:
            client.update_flow_run(run.id, infrastructure_pid=f"{platform.node()}:{os.getpid()}")
        if run.run_count < 2:
            return
        if BLOCKED in run.tags:
            client.update_flow_run(run.id, tags=[each for each in run.tags if each != BLOCKED])
        close(client, run.id, "the process of an earlier attempt is gone")


def _blocked(error: GateBlocked) -> State[Any]:
    """The state of a run that a gate stopped. The run is tagged, and the event is sent."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    run, parameters = context.flow_run, context.parameters or {}
    gate = error.verdicts[0].gate
    reason = str(error).replace(f"{gate} gate blocked: ", "")
    message = f"Blocked by the {gate} gate: {reason}"
    message += f". Evidence: {error.evidence}" if error.evidence else ""
    criteria = [each for verdict in error.verdicts for each in verdict.criteria]
    first = next((each for each in criteria if not each.passed), criteria[0])
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, tags=sorted({*run.tags, BLOCKED}))
    emit_event(
        BLOCKED_EVENT,
        resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        payload={
            "gate": gate,
            "criterion": first.name,
            "value": first.value,
            "threshold": first.threshold,
            "space": parameters.get("to") or parameters.get("space") or Settings().space,
            "message": message,
            "evidence": error.evidence,
        },
    )
    return Failed(message=message, data=error)


# -- log and progress -------------------------------------------------------------------------------------------

TELL_SECONDS = 25
"""Seconds between two lines of a stage's log, so that a slow run is told from a dead one."""

_doing: ContextVar[dict[str, str]] = ContextVar("_doing")
"""What the stage does now, by description of the bar."""


class _OneLine(logging.Filter):
    """A named error says in one line what to do. Its traceback, and what Prefect says after the end, are left out."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.exc_info or not isinstance(record.exc_info[1], LvmError):
            return True
        record.exc_info = None
        return record.msg != "Engine execution exited with unexpected exception"


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_OneLine(_name))


def say(work: Workspace, stage: str, message: str, revision: str | None = None) -> None:
    """Log one line that names its stage, space and corpus revision."""
    about = f"space={work.space.name}/{work.space.fingerprint[:8]}" + (f" corpus={revision[:8]}" if revision else "")
    get_run_logger().info("[%s %s] %s", stage, about, one_line(message))


@contextmanager
def telling(stage: str) -> Iterator[None]:
    """Log every ``TELL_SECONDS`` what a stage does, also where it shows no progress."""
    logger, doing, ended, began = get_run_logger(), dict[str, str](), Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(TELL_SECONDS):
            now = "; ".join(list(doing.values())) or "at work"
            logger.info("[%s] %s, %d s", stage, one_line(now), time.monotonic() - began)

    token = _doing.set(doing)
    thread = Thread(target=copy_context().run, args=(tell,), daemon=True)  # the context has the API's address
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _doing.reset(token)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Progress]:
    """A bar in the terminal; in Prefect, a progress artifact while long work goes on whose ``total`` is known."""
    artifact, began = None, time.monotonic()
    doing, shown = _doing.get({}), 0
    doing[description] = description
    try:
        with bars() as shown_bars:
            bar = shown_bars.add_task(description, total=total)

            def advance(count: int) -> None:
                nonlocal shown, artifact
                shown_bars.advance(bar, count)
                done = int(shown_bars.tasks[0].completed)
                doing[description] = f"{description}: {done}" + (f" of {total}" if total else "")
                percent = int(100 * done / total) if total else 0
                if percent >= shown + 10 and time.monotonic() - began > SHOWN_AFTER:
                    shown = percent  # one request for each tenth, not for each batch
                    artifact = artifact or _progress_artifact(description)
                    update_progress_artifact(artifact, float(min(percent, 100)))

            yield advance
    finally:
        doing.pop(description, None)
        if artifact is not None:  # results are what the run is opened for
            _delete(artifact)


SHOWN_AFTER = 2.0
"""Seconds of work after which its progress shows in Prefect."""


def _delete(artifact: UUID) -> None:
    with suppress(Exception), get_client(sync_client=True) as client:
        client.delete_artifact(artifact)


def _progress_artifact(description: str) -> UUID:
    key = "progress-" + "".join(c if c.isalnum() else "-" for c in description.lower()).strip("-")
    about = f"How far the work is: {description}. It goes when the work ends."
    return cast(UUID, create_progress_artifact(0.0, key=key, description=about))


def run_id() -> str | None:
    """Id of the flow run, for the records in the database."""
    identity = flow_run.id
    return str(identity) if identity else None
