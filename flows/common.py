"""What every stage needs: its parameters, the opened database and space, what a retry may reuse, progress, fan-out."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, cast
from uuid import UUID

import httpx
from prefect import Flow, State, Task, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import INPUTS, NO_CACHE, RUN_ID
from prefect.exceptions import ParameterTypeError
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL
from prefect.states import Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field, WithJsonSchema

from lvm import code_version
from lvm.errors import LvmError, UsageError, first_line, one_line
from lvm.settings import Settings
from lvm.spaces import Space, available_spaces, open_space, registry
from lvm.store import DatabaseUnavailable, open_store
from lvm.store.server import without_secrets
from lvm.terminal import bars, without_login
from lvm.workspace import Workspace, open_workspace

P = ParamSpec("P")
R = TypeVar("R")


class GateBlocked(LvmError):
    """A gate did not pass; what comes after does not start.

    Attributes:
        evidence: id of the artifact that shows what was measured.
    """

    def __init__(self, message: str, evidence: UUID | None = None) -> None:
        super().__init__(message)
        self.evidence = evidence


class PrefectUnavailable(LvmError):
    """No Prefect server could be started or reached."""


# -- parameters, as the form in the UI shows them; the docstrings say what they mean ----------------------------


SourceName = Annotated[str, Field(min_length=1)]
Limit = Annotated[int | None, Field(ge=1)]
_ONE_SPACE = {"type": "string", "enum": available_spaces(Settings())}
SpaceName = Annotated[str | None, WithJsonSchema({"anyOf": [_ONE_SPACE, {"type": "null"}]})]
TargetSpace = Annotated[str, WithJsonSchema(_ONE_SPACE)]
Context = Annotated[int, Field(ge=1, le=512)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
ModelName = Literal["all", "lstm", "gru", "mamba2", "transformer"]


def call(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow for the command line.

    Raises:
        UsageError: if a parameter is not what the flow takes.
        PrefectUnavailable: if the Prefect server is not there, or goes away.
    """
    api = without_login(PREFECT_API_URL.value() or "")
    try:
        return flow(*args, **kwargs)
    except (RuntimeError, httpx.HTTPError) as error:
        said = ("Failed to reach API", "Found incompatible versions", "Timed out while attempting to connect")
        if isinstance(error, RuntimeError) and not str(error).startswith(said):
            raise
        reason = first_line(error.__cause__ or error)
        raise PrefectUnavailable(
            f"the Prefect server at {api or 'this machine'} cannot be used ({reason}); nothing that was stored is "
            "lost: start it, or unset PREFECT_API_URL, and run the same command again; `lvm doctor` looks closer"
        ) from error
    except ParameterTypeError as error:
        wrong = [line.removeprefix(" - ") for line in str(error).splitlines()[1:]]
        named = (f"--{each} (given {kwargs.get(each.split(':')[0])!r})" for each in wrong)
        raise UsageError("; ".join(named)) from error


# -- what a retry may reuse -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """What a stage's result rests on besides its parameters; while all of it is the same, a retry reuses the result.

    Attributes:
        code: version of the project's code.
        database, artifacts, seed: the settings that decide where a result goes and what it is.
        space, inverter: fingerprint of the encoder, and the inverter's digest.
        corpus: revision of what is stored; empty for ingestion, which changes it.
    """

    code: str
    database: str
    artifacts: str
    seed: int
    space: str
    inverter: str
    corpus: str


def standing(work: Workspace, corpus: bool = True) -> Standing:
    """How things stand now; without the corpus for the stage that writes it."""
    return Standing(
        code=code_version(),
        database=without_secrets(work.store.engine.url).render_as_string(),
        artifacts=str(work.settings.artifacts.resolve()),
        seed=work.settings.seed,
        space=work.space.fingerprint,
        inverter=work.space.inverter.sha256 if corpus else "",
        corpus=work.store.corpus_revision(work.space_id) if corpus else "",
    )


def _unreachable(task: Any, run: Any, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), DatabaseUnavailable)


_PATIENT: dict[str, Any] = {"retries": 3, "retry_delay_seconds": [2, 5, 15], "retry_condition_fn": _unreachable}
"""Only a database that went away is tried again by itself: a gate never changes its mind."""

STAGE: dict[str, Any] = {
    **_PATIENT,
    "persist_result": True,
    "result_serializer": "json",
    "cache_policy": INPUTS + RUN_ID,
}
"""Of a stage: its result is kept, and a retry of the same run takes it while inputs and standing are the same."""

PART: dict[str, Any] = {**_PATIENT, "cache_policy": NO_CACHE, "persist_result": False}
"""Of a piece of a stage that may run elsewhere; what it did is in the database, so nothing of it is kept."""


def once(stage: Task[P, R], stands: Callable[[R], bool], *args: P.args, **kwargs: P.kwargs) -> R:
    """The stage's result, reused by a retry while what it left behind is still there, as ``stands`` tells."""
    result = stage(*args, **kwargs)
    return result if stands(result) else stage.with_options(refresh_cache=True)(*args, **kwargs)


def gated(run: Callable[P, R]) -> Callable[P, R]:
    """A flow that a gate blocks ends in a state of that name, with the way to the evidence; callers get the error."""

    @functools.wraps(run)
    def flow_of_it(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return run(*args, **kwargs)
        except GateBlocked as error:
            where = f"{PREFECT_UI_URL.value()}/v2/artifacts/artifact/{error.evidence}"
            return cast(R, Failed(name="Blocked", message=f"{error}. Evidence: {where}", data=error))

    # Prefect reads the parameters from the signature, and would look for their types in this module
    flow_of_it.__signature__ = inspect.signature(run, eval_str=True)  # type: ignore[attr-defined]
    return flow_of_it


# -- the opened database and space ------------------------------------------------------------------------------


@task(**_PATIENT)
def reach_database() -> None:
    """Wait for a database that does not answer yet."""
    open_store(Settings()).close()


@contextmanager
def opened(space_name: str | None = None) -> Iterator[Workspace]:
    """The workspace of a stage, once its database answers."""
    settings = Settings()
    with open_workspace(settings, space_name, _space(space_name or settings.space, settings)) as workspace:
        yield workspace


def _space(name: str, settings: Settings) -> Space:
    """A space, opened once for all stages and shards of this process."""
    config = registry.configured(settings).get(name)
    return _open_space(name, settings.model_dump_json(), config.model_dump_json() if config else "")


@functools.lru_cache(maxsize=2)
def _open_space(name: str, settings: str, config: str) -> Space:
    return open_space(name, Settings())


# -- many things at a time --------------------------------------------------------------------------------------


def task_runner() -> TaskRunner[Any]:
    """Where the pieces of a stage run: threads of this process, or a Ray cluster.

    Raises:
        UsageError: if Ray is asked for and not installed.
    """
    settings = Settings()
    if settings.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=settings.workers)
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise UsageError("LVM_RUNNER=ray needs Ray; install it: pip install 'lvm[ray]'") from error
    cpus = settings.workers * (settings.threads or 1)
    own = {} if settings.ray_address else {"num_cpus": cpus, "include_dashboard": False}
    runner: TaskRunner[Any] = RayTaskRunner(address=settings.ray_address, init_kwargs=own)
    return runner


def fan_out(piece: Task[..., R], arguments: Iterable[tuple[Any, ...]]) -> Iterator[R]:
    """Results of a piece of work for each of its arguments, in order; no more are begun than workers can take.

    One worker in this process needs no thread: so Ctrl-C and a cancellation reach the work itself.
    """
    settings = Settings()
    if settings.runner == "threads" and settings.workers == 1:
        for each in arguments:
            yield piece(*each)
        return
    begun: deque[Any] = deque()
    for each in arguments:
        with _reserved(settings):
            begun.append(piece.submit(*each))
        if len(begun) > settings.workers:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _reserved(settings: Settings) -> AbstractContextManager[Any]:
    """What Ray keeps free for a piece: the threads that it computes with, and a GPU if it uses one."""
    if settings.runner == "threads":
        return nullcontext()
    from prefect_ray.context import remote_options

    reserved: AbstractContextManager[Any] = remote_options(
        num_cpus=settings.threads or 1, num_gpus=int(settings.device.startswith("cuda"))
    )
    return reserved


# -- what people see --------------------------------------------------------------------------------------------


def say(work: Workspace, stage: str, message: str, revision: str | None = None) -> None:
    """A line in the run's log that says by itself which stage, space and corpus it is about."""
    about = f"space={work.space.name}/{work.space.fingerprint[:8]}" + (f" corpus={revision[:8]}" if revision else "")
    get_run_logger().info("[%s %s] %s", stage, about, one_line(message))


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar in the terminal and a progress artifact in Prefect; call it with the number of items done."""
    artifact = (
        cast(UUID, create_progress_artifact(0.0, key=_key(description), description=description)) if total else None
    )
    shown = 0
    with bars() as shown_bars:
        bar = shown_bars.add_task(description, total=total)

        def advance(count: int) -> None:
            nonlocal shown
            shown_bars.advance(bar, count)
            percent = int(100 * shown_bars.tasks[0].completed / total) if total else 0
            if artifact is not None and percent >= shown + 10:  # the server need not hear of every batch
                shown = percent
                update_progress_artifact(artifact, float(min(percent, 100)))

        yield advance
        if artifact is not None:
            update_progress_artifact(artifact, 100.0)


def _key(description: str) -> str:
    return "progress-" + "".join(c if c.isalnum() else "-" for c in description.lower()).strip("-")


def run_id() -> str | None:
    """Id of the flow run, for lineage in the database."""
    identity = flow_run.id
    return str(identity) if identity else None
