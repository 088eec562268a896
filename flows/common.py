"""What every flow needs: parameters, retries, kept results, fan-out."""

from __future__ import annotations

import functools
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import httpx
from prefect import State, Task, tags, task
from prefect.cache_policies import INPUTS, NO_CACHE, RUN_ID
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field, WithJsonSchema

import lvm
from lvm.cli.surroundings import what_to_do
from lvm.errors import LvmError, UsageError, first_line
from lvm.pipeline.workspace import Workspace, open_workspace
from lvm.settings import Settings, chosen
from lvm.spaces import Space, available_spaces, open_space, registry
from lvm.store import DatabaseUnavailable, open_store
from lvm.store.errors import RETRY_SECONDS
from lvm.store.server import without_secrets
from lvm.terminal import without_login

from .runs import COMMAND_LINE

P = ParamSpec("P")
R = TypeVar("R")


class PrefectUnavailable(LvmError):
    """No Prefect server could be started or reached."""


# -- parameters, as the form in the UI shows them; the docstrings describe them ---------------------------------


SourceName = Annotated[str, Field(min_length=1)]
Limit = Annotated[int | None, Field(ge=1)]
TextColumn = Annotated[str | None, Field(min_length=1)]
_ONE_SPACE = {"type": "string", "enum": available_spaces(Settings())}
SpaceName = Annotated[str | None, WithJsonSchema({"anyOf": [_ONE_SPACE, {"type": "null"}]})]
TargetSpace = Annotated[str, WithJsonSchema(_ONE_SPACE)]
InverterFolder = Annotated[str | None, Field(min_length=1)]
Context = Annotated[int, Field(ge=1, le=512)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
ModelName = Literal["all", "lstm", "gru", "mamba2", "transformer"]


def call(flow: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow for the command line. The run and its tasks have the tags of the command line.

    Raises:
        UsageError: if a parameter is not what the flow takes.
        PrefectUnavailable: if the Prefect server is not there, or goes away.
    """
    api = without_login(PREFECT_API_URL.value() or "")
    try:
        with tags("lvm", COMMAND_LINE):
            return flow(*args, **kwargs)
    except (RuntimeError, httpx.HTTPError, JSONDecodeError) as error:  # the last from what is no Prefect server
        unreachable = ("Failed to reach API", "Found incompatible versions", "Timed out while attempting to connect")
        if isinstance(error, RuntimeError) and not str(error).startswith(unreachable):
            raise
        cause = error.__cause__ or error
        reason = without_login(first_line(cause))
        status = getattr(getattr(cause, "response", None), "status_code", None)
        advice = what_to_do(PREFECT_API_URL.value(), Settings(), status)
        raise PrefectUnavailable(
            f"the Prefect server at {api or 'this machine'} cannot be used ({reason}); nothing that was stored is "
            f"lost: {advice}; then run the same command again; `lvm doctor` says more"
        ) from error
    except ImportError as error:
        if "SOCKS" not in str(error):
            raise
        raise PrefectUnavailable(
            "a proxy variable names a SOCKS proxy, and no request can be sent, to this machine neither, without the "
            "package socksio; install it (pip install socksio), or unset the variable (ALL_PROXY, HTTP_PROXY)"
        ) from error
    except ParameterTypeError as error:
        wrong = [line.removeprefix(" - ") for line in str(error).splitlines()[1:]]
        named = (f"--{each} (given {kwargs.get(each.split(':')[0])!r})" for each in wrong)
        raise UsageError("; ".join(named)) from error


# -- kept results -----------------------------------------------------------------------------------------------


@functools.cache
def code_version() -> str:
    """Version and digest of the project's code. A retry does not reuse results of other code."""
    digest = hashlib.sha256()
    for folder in (Path(lvm.__file__).parent, Path(__file__).parent):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder.parent).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{lvm.__version__}+{digest.hexdigest()[:12]}"


@dataclass(frozen=True)
class Standing:
    """What a stage's result depends on besides its parameters. A retry reuses the result while all of it is the same.

    Attributes:
        code: version of the project's code.
        database: URL of the database, without its password.
        artifacts: folder of the results.
        seed: of everything random.
        space: fingerprint of the encoder.
        inverter: digest of the inverter; empty for ingestion.
        corpus: revision of the corpus; empty for ingestion, which changes it.
    """

    code: str
    database: str
    artifacts: str
    seed: int
    space: str
    inverter: str
    corpus: str


def standing(work: Workspace, corpus: bool = True) -> Standing:
    """What results depend on now; without inverter and corpus for ingestion."""
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


_RETRIES: dict[str, Any] = {
    "retries": len(RETRY_SECONDS),
    "retry_delay_seconds": list(RETRY_SECONDS),
    "retry_condition_fn": _unreachable,
}
"""Retry only DatabaseUnavailable: everything else fails again, gates included."""

STAGE: dict[str, Any] = {
    **_RETRIES,
    "persist_result": True,
    "result_serializer": "json",
    "cache_policy": INPUTS + RUN_ID,
}
"""Options of a stage: its result is kept. A retry reuses it while parameters and ``Standing`` are the same."""

PART: dict[str, Any] = {**_RETRIES, "cache_policy": NO_CACHE, "persist_result": False}
"""Options of a piece of a stage, which may run elsewhere. Its result is in the database, so Prefect keeps nothing."""


def once(stage: Task[..., R], stands: Callable[[R], bool], *args: Any, after: object = None) -> R:
    """The stage's result. A kept one is reused only while ``stands`` says that its files are still there.

    Args:
        stage: the task.
        stands: whether a result can be reused.
        args: its arguments.
        after: result of the stage before it: the graph of the run draws an arrow.
    """
    result = stage(*args, wait_for=[after])
    return result if stands(result) else stage.with_options(refresh_cache=True)(*args, wait_for=[after])


# -- the workspace ----------------------------------------------------------------------------------------------


@task(task_run_name="reach database", **_RETRIES)
def reach_database() -> None:
    """Wait for a database that does not answer yet."""
    open_store(Settings()).close()


@dataclass(frozen=True)
class Where:
    """Where a run works. What is None is as the settings say.

    Attributes:
        space: name of the space.
        inverter: folder of the inverter.
        source_only: the source to work on alone.
    """

    space: str | None = None
    inverter: str | None = None
    source_only: str | None = None

    @property
    def settings(self) -> Settings:
        """The settings of a stage.

        Raises:
            UsageError: if the inverter is no folder.
        """
        return chosen(self.inverter, self.source_only)


@contextmanager
def opened(where: Where) -> Iterator[Workspace]:
    """The workspace of a stage. The space is opened once in each process."""
    settings = where.settings
    with open_workspace(_space(where, settings), settings) as workspace:
        yield workspace


def _space(where: Where, settings: Settings) -> Space:
    name = where.space or settings.space
    config = registry.configured(settings).get(name)
    return _open_space(name, where, settings.model_dump_json(), config.model_dump_json() if config else "")


@functools.lru_cache(maxsize=2)
def _open_space(name: str, where: Where, settings: str, config: str) -> Space:
    return open_space(name, where.settings)


# -- fan-out ----------------------------------------------------------------------------------------------------


def task_runner() -> TaskRunner[Any]:
    """What runs the pieces of a stage: threads of this process, or a Ray cluster.

    Raises:
        UsageError: if Ray is wanted and not installed.
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
    """Results of a piece of work for each tuple of arguments, in order. No more pieces start than workers can take.

    One worker in this process needs no thread, so Ctrl-C and a cancellation reach the work itself.
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
    """What Ray keeps free for a piece: its threads, and a GPU if it uses one."""
    if settings.runner == "threads":
        return nullcontext()
    from prefect_ray.context import remote_options

    reserved: AbstractContextManager[Any] = remote_options(
        num_cpus=settings.threads or 1, num_gpus=int(settings.device.startswith("cuda"))
    )
    return reserved
