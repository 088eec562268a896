"""``lvm ...``: a thin door to the flows. The one place in the library that knows them, and only when it needs one.

Every named error is one line on stderr; exit code 2 for a wrong request, 1 for failed work, 130 for Ctrl-C.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from lvm.errors import LvmError, UsageError, visible
from lvm.settings import Settings
from lvm.terminal import Terminal

if TYPE_CHECKING:
    from lvm.report import Summary
    from lvm.spaces import Space

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Latent vector models, end to end.")
db = typer.Typer(no_args_is_help=True, help="The database.")
inverter = typer.Typer(no_args_is_help=True, help="Train or adapt the inverter of a space.")
app.add_typer(db, name="db")
app.add_typer(inverter, name="inverter")
spaces_app = typer.Typer()
app.add_typer(spaces_app, name="spaces")
out, err = Terminal(), Terminal(stderr=True)

DEFAULT_LIMIT = 60
"""Documents of the default run: what two cores without bfloat16 finish in a quarter of an hour."""

Source = Annotated[str, typer.Argument(help="sotu, a folder of .txt/.md, a .jsonl file, or hf:NAME")]
Limit = Annotated[int | None, typer.Option(help="how many documents at most")]
Context = Annotated[int, typer.Option(help="vectors before the one to predict")]
SpaceName = Annotated[str | None, typer.Option("--space", help="space; default: LVM_SPACE")]
Model = Annotated[str, typer.Option(help="lstm, gru, mamba2, transformer, or all")]
Epochs = Annotated[int, typer.Option(min=1, help="at most; training stops early")]
LossName = Annotated[str, typer.Option("--loss", help="cosine, infonce, or mix")]
Device = Annotated[str | None, typer.Option(help="torch device: cpu, cuda, ...")]


def prepare_prefect(settings: Settings) -> None:
    """Settings Prefect reads when it is imported: state in our home, calm logs, nothing sent anywhere.

    Raises:
        UsageError: if the home folder cannot be made; Prefect would wait two minutes for a server that cannot start.
    """
    from lvm.store.server import own_home

    folder = (settings.home / "prefect").expanduser().resolve()
    try:
        home = own_home(settings)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.parent == home:  # no link to somewhere else
            folder.chmod(0o700)  # parameters, results and logs of runs
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({error.strerror}); set LVM_HOME to a folder you own") from error
    os.environ.setdefault("PREFECT_HOME", str(folder))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


def _flow(name: str) -> Any:
    """A flow by name, with Prefect set up before it is imported."""
    prepare_prefect(Settings())
    from importlib import import_module

    flow = getattr(import_module(f"flows.{name}"), f"{name}_flow")
    return partial(import_module("flows.common").call, flow)


def _loss(name: str) -> str:
    from lvm.training import LOSSES

    if name not in LOSSES:
        raise UsageError(f"--loss {name!r} is not known; there is {', '.join(LOSSES)}")
    return name


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="sotu, a folder of .txt/.md, a .jsonl file, or hf:NAME")] = "sotu",
    limit: Annotated[int | None, typer.Option(help="documents at most; default for sotu: the first 60")] = None,
    context: Context = 5,
    model: Model = "all",
    epochs: Epochs = 20,
    loss: LossName = "mix",
    space: SpaceName = None,
) -> None:
    """Everything: ingest, validate, extract, train, evaluate. Run again, it goes on where it stopped."""
    if source == "sotu" and limit is None:
        limit = DEFAULT_LIMIT
    pipeline = _flow("pipeline")
    summary = pipeline(
        source=source, limit=limit, context=context, model=model, epochs=epochs, loss=_loss(loss), space=space
    )
    show(summary, Settings())


@app.command()
def ingest(source: Source, limit: Limit = None, space: SpaceName = None) -> None:
    """Store a source's documents, chunks and vectors; what is stored already stays as it is."""
    report = _flow("ingest")(source=source, limit=limit, space=space)
    rate = report.chunks / report.seconds if report.seconds else 0
    out.print(
        f"{report.documents} documents, {report.chunks} chunks in {report.seconds:.1f} s ({rate:.0f} chunks/s); "
        f"{report.unchanged} documents were there already"
    )
    for reason, count in report.skipped.items():
        out.print(f"skipped {count}: {reason}")
    for each in report.listed[:10]:
        out.print(f"  {each.where}: {each.reason}")


@app.command()
def validate(space: SpaceName = None) -> None:
    """Measure the roundtrip gate and judge it."""
    report = _flow("validate")(space=space)
    seen = report.evidence
    out.print(
        f"gate {report.gate_id} passed{' before, and stands' if report.reused else ''}: "
        f"roundtrip cosine {seen['mean']:.3f} (n = {seen['n']}), "
        f"identification R@1 {seen['identify_r1']:.3f}, chance {seen['chance']:.3f}"
    )


@app.command()
def extract(
    context: Context = 5,
    export: Annotated[str | None, typer.Option(help="npz: windows for notebooks")] = None,
    space: SpaceName = None,
) -> None:
    """Windows of consecutive vectors, split by document."""
    report = _flow("extract")(context=context, export=export, space=space)
    out.print(", ".join(f"{name} {count}" for name, count in report.counts.items()))


@app.command()
def train(
    model: Model = "all",
    epochs: Epochs = 20,
    device: Device = None,
    loss: LossName = "mix",
    context: Context = 5,
    space: SpaceName = None,
) -> None:
    """Train models behind the gate; a killed run goes on from its last epoch."""
    results = _flow("train")(model=model, epochs=epochs, device=device, loss=_loss(loss), context=context, space=space)
    for name, result in results.items():
        out.print(
            f"{name}: best epoch {result.best.epoch} of {len(result.history)}, validation cosine "
            f"{result.best.cosine:.3f}, R@10 {result.best.r10:.3f}, {result.seconds:.0f} s; {result.checkpoint}"
        )


@app.command()
def evaluate(context: Context = 5, space: SpaceName = None) -> None:
    """Models beside the baselines, decoded predictions, summary.json and report.html."""
    show(_flow("evaluate")(context=context, space=space), Settings())


@app.command()
def reembed(
    to: Annotated[str, typer.Option("--to", help="the space to move to")],
    space: Annotated[str | None, typer.Option(help="the space to move from; default: LVM_SPACE")] = None,
) -> None:
    """Encode what is stored in another space, beside the old one, and measure the new one's gate."""
    report = _flow("reembed")(to=to, space=space)
    out.print(
        f"{report.documents} documents, {report.chunks} chunks in {report.seconds:.1f} s; {report.unchanged} documents "
        f"were there already; {report.truncated} chunks are longer than the token limit of {to} and were cut there"
    )
    out.print(f"space {to} passed its gate; to work in it: export LVM_SPACE={to}. The old space is as it was.")


@app.command()
def clear(confirm: Annotated[str, typer.Option(help="name of the database")] = "") -> None:
    """Empty the database and remove the project's artifacts; only when the database's name is typed out."""
    cleared = _flow("clear")(confirm=confirm)
    rows = ", ".join(f"{count} {table}" for table, count in cleared.rows.items())
    out.print(f"removed {rows}; and {cleared.files} files")
    for each in cleared.left[:20]:
        out.print(f"left: {each}", soft_wrap=True)
    if len(cleared.left) > 20:
        out.print(f"left: {len(cleared.left) - 20} more")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="read every row and file: revisions, sequence sets, checkpoints")
    ] = False,
) -> None:
    """Is everything there that a run needs? It looks, changes nothing, and says what to do."""
    import json
    from dataclasses import asdict

    from lvm.doctor import examine_all

    table = Table("", "", "found", "to do")
    colours = {"ok": "green", "warning": "yellow", "problem": "bold red"}
    findings = list(examine_all(Settings(), deep=deep))
    for each in findings:
        table.add_row(Text(each.verdict, colours[each.verdict]), each.name, each.found, each.advice)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in findings], indent=1))
    else:
        out.print(table)
    if any(each.verdict == "problem" for each in findings):
        raise typer.Exit(1)


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="address to listen on; the UI asks nobody who they are")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
) -> None:
    """Prefect's UI with every flow in it: run, schedule, watch, retry. Ctrl-C stops it."""
    api = f"http://{host}:{port}/api"
    os.environ |= {"PREFECT_API_URL": api, "PREFECT_UI_URL": api.removesuffix("/api"), "LVM_QUIET": "1"}
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    prepare_prefect(Settings())
    from importlib import import_module

    def told(address: str) -> None:
        out.print(f"{address}  (Ctrl-C stops it)")

    import_module("flows.deployments").serve_all(api, told)
    out.print("stopped")


@app.command()
def search(query: Annotated[str, typer.Argument(metavar="TEXT")], k: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """The stored chunks nearest to a text."""
    from lvm.workspace import open_workspace

    with open_workspace(Settings()) as work:
        _hits(work.store.search(work.space_id, work.space.encode([query]), k))


@app.command(name="next")
def next_(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...")],
    model: Annotated[str, typer.Option(help="which trained model")] = "gru",
    k: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """What comes after these sentences: decoded, and the nearest stored chunks."""
    from lvm.inference import open_model, predict_next
    from lvm.workspace import open_workspace

    settings = Settings()
    with open_workspace(settings) as work:
        found = predict_next(work.space, open_model(model, work.space, settings, work), texts, settings.seed)
        out.print(Text(model, "bold"), f"({found.cosine:.3f}): ", end="")
        out.print(found.text)
        _hits(work.store.search(work.space_id, found.query, k))


def _hits(hits: Any) -> None:
    table = Table("cosine", "text", "document")
    for hit in hits:
        table.add_row(f"{hit.cosine:.3f}", hit.text, f"{hit.title}, {hit.position}")
    out.print(table)


@spaces_app.callback(invoke_without_command=True)
def spaces(context: typer.Context) -> None:
    """The spaces there are; ``compare`` crosses two of them."""
    if context.invoked_subcommand:
        return
    from lvm.spaces import open_space
    from lvm.spaces.registry import configured, corrector_source, inverter_source
    from lvm.spaces.weights import WeightsNotHere
    from lvm.store import open_store

    settings = Settings()
    table = Table("space", "fingerprint", "dim", "max tokens", "encoder", "inverter", "last gate")
    table.columns[1].no_wrap = True
    for column in table.columns[4:6]:
        column.overflow = "fold"
    with open_store(settings) as store:
        for name, config in configured(settings).items():
            number = store.space_id(name)
            gate = store.latest_gate(number) if number is not None else None
            verdict = "" if gate is None else f"{'passed' if gate.passed else 'blocked'}, {gate.value:.3f}"
            inverter_at = "\n+ ".join(
                filter(None, (inverter_source(config, settings), corrector_source(config, settings)))
            )
            try:
                space = open_space(name, settings, fetch=False)
            except WeightsNotHere:
                missing = f"{config.encoder}: not here, `lvm spaces fetch {name}`"
                table.add_row(name, "", "", str(config.max_tokens), missing, inverter_at, verdict)
            else:
                sizes = (space.fingerprint, str(space.dim), str(space.max_tokens))
                table.add_row(name, *sizes, str(space.encoder.folder), inverter_at, verdict)
    out.print(table)


@spaces_app.command(name="fetch")
def spaces_fetch(name: Annotated[str, typer.Argument(help="a space, see `lvm spaces`")]) -> None:
    """Fetch a space's weights, so that it opens without a network from then on."""
    from lvm.spaces import open_space

    space = open_space(name, Settings())
    own = "its own" if space.inverter_encoder == space.fingerprint else "another encoder's"
    out.print(f"space {name} ({space.fingerprint}) is here; its inverter is {own}")


@spaces_app.command(name="compare")
def spaces_compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="SPACE SPACE...", help="spaces, or one with changes: minilm:pooling=cls,normalize=false"
        ),
    ],
    source: Annotated[str, typer.Option(help="where the texts come from, see ingest")] = "sotu",
    chunks: Annotated[int, typer.Option(min=2, help="how many texts")] = 200,
) -> None:
    """Encode by each path, decode with the inverter of each: the matrix of roundtrip cosines, and where they part."""
    from lvm.evaluation.crossing import cross, unseen
    from lvm.spaces.diagnosis import diagnose as compare
    from lvm.terminal import bar

    settings = Settings()
    opened = {name: _space(name, settings) for name in names}
    if len(opened) < 2:
        raise UsageError("comparing takes two different spaces; see `lvm spaces`")
    texts = unseen(opened.values(), source, chunks, settings.seed)
    with bar("decode", None) as advance:
        found = cross(opened, texts, seed=settings.seed, progress=advance)
    table = Table("encoded by", "decoded by inverter of", "roundtrip cosine", "chance", "identification R@1", "gate")
    for cell in found:
        if cell.found is None:
            table.add_row(cell.encoded_by, cell.decoded_by, "other dimension", "", "", Text("blocks", "red"))
            continue
        verdict = Text("passes", "green") if cell.found.verdict.passed else Text("blocks", "red")
        figures = (cell.found.mean, cell.found.chance, cell.found.identify_r1)
        table.add_row(cell.encoded_by, cell.decoded_by, *(f"{figure:.3f}" for figure in figures), verdict)
    out.print(table)
    out.print(f"{len(texts)} texts that no inverter here is known to have been trained on")
    first, *others = names
    for other in others:
        message = compare(opened[first].encoder, opened[other].encoder, (first, other)).message
        out.print(message, soft_wrap=True)


@app.command()
def diagnose(
    first: Annotated[str, typer.Argument(help="a space, or one with changes: minilm:pooling=cls,normalize=false")],
    second: str,
) -> None:
    """At which step two encoders part."""
    from lvm.spaces.diagnosis import diagnose as compare

    settings = Settings()
    found = compare(_space(first, settings).encoder, _space(second, settings).encoder, (first, second))
    table = Table("step", "same", "measured")
    for step in found.steps:
        table.add_row(step.name, Text("yes") if step.same else Text("no", "bold red"), step.detail)
    out.print(table)
    out.print(found.message)


def _space(spec: str, settings: Settings) -> Space:
    """``minilm`` or ``minilm:pooling=cls,normalize=false,layer=5,max_tokens=16``."""
    from lvm.spaces import Space, open_space
    from lvm.spaces.encoder import TextEncoder

    name, _, changes = spec.partition(":")
    space = open_space(name, settings)
    asked: dict[str, Any] = {}
    for change in filter(None, changes.split(",")):
        key, _, value = change.partition("=")
        kinds: dict[str, Callable[[str], Any]] = {
            "pooling": str,
            "layer": int,
            "max_tokens": int,
            "projection": lambda value: str(Path(value).absolute()),
            "normalize": lambda value: value.lower() == "true",
        }
        try:
            asked[key] = kinds[key](value)
        except (KeyError, ValueError) as error:
            raise UsageError(f"{change!r} is no change of a recipe; there is {', '.join(kinds)}") from error
    if asked.get("pooling", "mean") not in ("mean", "cls", "max", "pooler"):
        raise UsageError(f"pooling {asked['pooling']!r} is not known; there is mean, cls, max, pooler")
    if not asked:
        return space
    encoder = TextEncoder(space.encoder.folder, replace(space.encoder.recipe, **asked), settings.device)
    return Space(spec, encoder, lambda: space.inverter)


@app.command()
def encode(
    source: Annotated[
        Path | None, typer.Argument(help="a file with a text a line; standard input unless given")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help=".safetensors or .jsonl; standard output (.jsonl) unless given")
    ] = None,
    space: SpaceName = None,
) -> None:
    """Texts, one a line, to vectors, in a file that carries the fingerprint of their space."""
    from lvm import door

    door.encode(source, output, space, Settings())


@app.command()
def decode(
    source: Annotated[
        Path | None,
        typer.Argument(help=".safetensors, .jsonl, .npy or .npz; standard input (.jsonl) unless given"),
    ] = None,
    space: SpaceName = None,
    vectors_of: Annotated[
        str | None,
        typer.Option(help="fingerprint of the space the vectors are of, for an .npy or .npz, which do not say"),
    ] = None,
) -> None:
    """Vectors to texts, one a line. Those of another space are refused."""
    from lvm import door

    shown = visible if sys.stdout.isatty() else str  # a pipe gets the text as it is
    for text in door.decode(source, space, Settings(), vectors_of):
        typer.echo(shown(text))


@app.command()
def check(
    source: Annotated[Path, typer.Argument(help=".safetensors, .jsonl, .npy or .npz")],
    space: SpaceName = None,
) -> None:
    """Can these vectors be of the space at all? Judged from the numbers alone, without their texts."""
    from lvm import door

    typer.echo(door.check(source, space, Settings()))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    space: SpaceName = None,
) -> None:
    """Encode, decode and continue texts over HTTP; /docs describes it. Beyond this machine it needs LVM_TOKEN."""
    from lvm import door

    door.serve(host, port, space, Settings())


@inverter.command(name="train")
def inverter_train(
    source: Source = "sotu",
    epochs: Annotated[float | None, typer.Option(min=0.01, help="passes over the corpus; 1.8, a corrector 1")] = None,
    folder: Annotated[Path | None, typer.Option(help="where it goes; default: LVM_HOME/inverters/SPACE")] = None,
    space: SpaceName = None,
    corrector: Annotated[
        bool, typer.Option("--corrector", help="a corrector on top of the space's inverter instead")
    ] = False,
) -> None:
    """Train an inverter from MiniLM's weights on a corpus, or a corrector; every tenth document is held out."""
    if corrector:
        _make_inverter(source, epochs or 1.0, folder, space, "corrector")
    else:
        _make_inverter(source, epochs or 1.8, folder, space, "inverter")


@inverter.command(name="finetune")
def inverter_finetune(
    source: Source,
    epochs: Annotated[float, typer.Option(min=0.01, help="passes over the corpus")] = 3.0,
    folder: Annotated[Path | None, typer.Option(help="where it goes; default: LVM_HOME/inverters/SPACE-SOURCE")] = None,
    space: SpaceName = None,
) -> None:
    """Adapt the space's inverter to your own text; every tenth document is held out."""
    _make_inverter(source, epochs, folder, space, "finetuned")


def _make_inverter(
    source: str,
    epochs: float,
    folder: Path | None,
    space: str | None,
    kind: Literal["inverter", "finetuned", "corrector"],
) -> None:
    from lvm.make_inverter import make_inverter

    made = make_inverter(source, epochs, folder, Settings(), space, kind=kind, command=" ".join(sys.argv[1:]))
    table = Table("held-out chunks", "roundtrip cosine, mean", "median", "identification R@1", "seconds", "gate")
    for name, figures in made.figures.items():
        table.add_row(
            f"{name} ({figures['n']})",
            f"{figures['mean']:.3f}",
            f"{figures['median']:.3f}",
            f"{figures['identify_r1']:.3f}",
            f"{figures['seconds']:.0f}",
            "passes" if figures["passed"] else "blocks",
        )
    out.print(table)
    variable = "LVM_CORRECTOR" if kind == "corrector" else "LVM_INVERTER"
    out.print(f"{made.minutes:.1f} minutes; saved to {made.folder}. To use it: export {variable}={made.folder}")


@db.command(name="start")
def db_start() -> None:
    """Start the embedded server and leave it running."""
    from lvm.store import server

    settings = Settings()
    if settings.database_url is not None:
        raise UsageError("LVM_DATABASE_URL is set, so the embedded server is not used; start your own server instead")
    server.start(settings, keep=True)
    out.print(f"running in {server.folder(settings)}")


@db.command(name="stop")
def db_stop() -> None:
    """Stop the embedded server."""
    from lvm.store import server

    out.print("stopped" if server.stop(Settings()) else "it was not running")


@db.command(name="url")
def db_url() -> None:
    """Print the database's URL, without its password."""
    from lvm.store import server

    url = server.without_secrets(server.database_url(Settings()))
    typer.echo(visible(url.set(drivername="postgresql").render_as_string()))


@db.command(name="migrate")
def db_migrate() -> None:
    """Bring the database to the newest schema."""
    from lvm.store import open_store

    with open_store(Settings()) as store:
        out.print(f"database {store.database_name!r} is at the newest schema")


@db.command(name="psql", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def db_psql(context: typer.Context) -> None:
    """Open psql on the database; further arguments are psql's."""
    from lvm.store import open_store, server

    settings = Settings()
    with open_store(settings):
        url = server.database_url(settings).set(drivername="postgresql")
        environment = {**os.environ, "PGOPTIONS": "-csearch_path=lvm,public"}
        if password := server.password(url):  # arguments can be read by every user of the machine
            environment["PGPASSWORD"] = password
        target = server.without_secrets(url).render_as_string()
        done = subprocess.run([server.psql(), target, *context.args], env=environment, check=False)
    raise typer.Exit(done.returncode)


def show(summary: Summary, settings: Settings) -> None:
    """The end of a run: verdicts, decoded predictions, where things are."""
    from lvm.report import verdicts

    table = Table("stage", "metric", "value", "target", "verdict", title="Results")
    for row in verdicts(summary):
        verdict = Text("") if row.passed is None else Text("met", "green") if row.passed else Text("not met", "red")
        table.add_row(row.stage, row.metric, row.value, row.target, verdict)
    out.print(table)
    model = max(summary.models, key=lambda name: summary.models[name]["cosine"])
    examples = Table("what came next", f"decoded prediction of {model}", "cosine", title="Held-out examples")
    for example in summary.examples:
        examples.add_row(example["truth"], example["decoded"][model], f"{example['cosines'][model]:.2f}")
    out.print(examples)
    for path in ("summary.json", "report.html", *summary.models):
        out.print(settings.artifacts / path)


def main() -> None:
    """Entry point: runs a command and turns errors into one line and an exit code."""
    try:
        code = app(standalone_mode=False)
        if isinstance(code, int):  # what a command ended with: typer gives it back instead of raising it
            sys.exit(code)
    except LvmError as error:
        err.print(Text(type(error).__name__, "bold red"), end=": ")
        err.print(str(error), soft_wrap=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("stopped; run the same command again and it goes on from where it was")
        sys.exit(130)
    except Exception as error:
        from typer._click.exceptions import ClickException  # typer carries its own click and exports no base class

        if isinstance(error, ClickException):
            error.message = visible(error.message)
            error.show()
            sys.exit(error.exit_code)
        raise
