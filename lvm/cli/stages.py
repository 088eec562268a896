"""The stages of the pipeline as commands, and ``lvm run``, which runs all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lvm.cli.common import (
    SOURCES,
    AsJson,
    ConfigFile,
    Context,
    Device,
    Epochs,
    HeadName,
    InverterFolder,
    Limit,
    LossName,
    Model,
    Set,
    Source,
    SpaceName,
    TextColumn,
    err,
    flow,
    opened,
    out,
    prefect_starting,
    run_stage,
    without_garbage_collection,
    workspace_opened,
)
from lvm.cli.results import show
from lvm.cli.surroundings import prefect_api
from lvm.errors import UsageError
from lvm.settings import CONTEXT, Settings, chosen, expanded
from lvm.terminal import Cell

if TYPE_CHECKING:
    from lvm.pipeline.extract import ExtractReport
    from lvm.pipeline.workspace import Workspace
    from lvm.report import Summary
    from lvm.training import TrainConfig, TrainResult

DEFAULT_LIMIT = 60
"""Documents of the default run: two cores without bfloat16 finish them in five to twenty minutes."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (run, ingest, sources, remove, validate, extract, train, evaluate, reembed, clear):
        app.command()(command)


def run(
    source: Annotated[str, typer.Argument(help=SOURCES)] = "sotu",
    limit: Annotated[int | None, typer.Option(min=1, help="documents at most; for sotu 60 unless given")] = None,
    context: Context = CONTEXT,
    model: Model = "all",
    epochs: Epochs = None,
    loss: LossName = None,
    head: HeadName = None,
    assignments: Set = None,
    config: ConfigFile = None,
    space: SpaceName = None,
    as_json: AsJson = False,
    inverter: InverterFolder = None,
    source_only: Annotated[
        bool, typer.Option("--source-only", help="work on this source alone, whatever else is stored")
    ] = False,
    text_column: TextColumn = None,
) -> None:
    """Everything: ingest, validate, extract, train, evaluate. Run again, it goes on where it stopped."""
    settings = chosen(inverter, source if source_only else None)
    _require_source(source, limit, text_column)
    if source == "sotu" and limit is None:
        limit = DEFAULT_LIMIT
    if not settings.quiet:
        err.print("starting: the database and Prefect take some seconds")
    with without_garbage_collection():
        # The server takes longest to start, so it starts first. Options that can be wrong are checked before it.
        server = None if model != "all" or assignments or config or loss or head else prefect_starting()
        options, _ = _options(model, assignments, config, epochs=epochs, loss=loss, head=head)
        pipeline = flow("pipeline", server or prefect_starting())
    folder = None if inverter is None else str(expanded(inverter).absolute())
    with workspace_opened(space, folder, source if source_only else None):
        summary = pipeline(
            source=source,
            limit=limit,
            context=context,
            model=model,
            space=space,
            inverter=folder,
            source_only=source_only,
            text_column=text_column,
            **options,
        )
    show(summary, _where_files_are(settings), as_json)


def _require_source(source: str, limit: int | None, text_column: str | None) -> None:
    """Refuse a source that cannot be opened, before a database or Prefect is started for it."""
    from lvm.corpus.sources import open_source

    open_source(source, limit, text_column)


def _where_files_are(settings: Settings) -> Settings:
    """The settings with the folder of artifacts that a stage writes to."""
    from lvm.pipeline.alone import settings_alone

    return settings_alone(settings)


def ingest(
    source: Source,
    limit: Limit = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="also remove stored documents that the folder or file does not have any more")
    ] = False,
    confirm: Annotated[str, typer.Option(help="name of the source, if --sync would remove documents")] = "",
    space: SpaceName = None,
    text_column: TextColumn = None,
) -> None:
    """Store a source's documents, chunks and vectors; what is stored already stays as it is."""
    _require_source(source, limit, text_column)

    def direct(work: Workspace) -> Any:
        from lvm.pipeline.ingest import ingest

        return ingest(work, source, limit, text_column=text_column, sync=sync, confirm=confirm)

    given: dict[str, Any] = {"source": source, "limit": limit, "text_column": text_column}
    report = run_stage("ingest", direct, space=space, **given, sync=sync, confirm=confirm)
    out.print(str(report))
    for what, counts in (("noted", report.noted), ("skipped", report.skipped)):
        for reason, count in counts.items():
            out.print(f"{what} {count}: {reason}")
    for each in report.listed[:10]:
        out.print(f"  {each.where}: {each.reason}")


def sources(space: SpaceName = None, as_json: AsJson = False, inverter: InverterFolder = None) -> None:
    """List the stored sources, and what the last gate measured of each."""
    with opened(space, inverter) as work:
        from lvm.pipeline.sources import sources

        found = sources(work)
    rows: list[dict[str, Cell]] = [
        {
            "source": each.stored.name,
            "documents": each.stored.documents,
            "chunks": each.stored.chunks,
            "gate": each.gate_id if each.figures else None,
            "current": each.current if each.figures else None,
            "measured": each.figures.n if each.figures else None,
            "cosine": each.figures.mean if each.figures else None,
            "identified": each.figures.identify_r1 if each.figures else None,
        }
        for each in found
    ]
    if not rows and not as_json:
        out.print("nothing is stored yet: lvm ingest SOURCE")
    out.table(rows, as_json=as_json)


def remove(
    source: Annotated[str, typer.Argument(help="the source as `lvm sources` names it, or as it was ingested")],
    confirm: Annotated[str, typer.Option(help="name of the source as `lvm sources` shows it")] = "",
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> None:
    """Remove a source with its vectors of every space; only when its name is typed out."""

    def direct(work: Workspace) -> Any:
        from lvm.pipeline.sources import remove

        return remove(work, source, confirm=confirm)

    if not confirm:  # it says what would go, and is no run
        with opened(space, inverter) as work:
            direct(work)
    out.print(str(run_stage("remove", direct, space=space, inverter=inverter, source=source, confirm=confirm)))


def validate(
    full: Annotated[bool, typer.Option("--full", help="measure the whole sample, even if a part is enough")] = False,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> None:
    """Measure the roundtrip gate and judge it. It ends when the verdict is certain."""

    def direct(work: Workspace) -> Any:
        from lvm.pipeline.validate import validate

        return validate(work, full=full)

    report = run_stage("validate", direct, space=space, inverter=inverter, full=full)
    figures = report.figures
    chance = "" if figures.chance is None else f", chance {figures.chance:.3f}"
    out.print(
        f"gate {report.gate_id} passed{' (measured earlier, still valid)' if report.reused else ''}: "
        f"roundtrip cosine {figures.mean:.3f} (n = {figures.n}), "
        f"identification R@1 {figures.identify_r1:.3f}{chance}, inverter {figures.inverter[:12]}"
    )
    out.print(figures.extent)
    for each in figures.sources if len(figures.sources) > 1 else ():
        out.print(f"{each}{'' if each.passes else ': it would not pass alone'}")


def extract(
    context: Context = CONTEXT,
    export: Annotated[str | None, typer.Option(help="npz: windows for notebooks")] = None,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> None:
    """Write windows of consecutive vectors, split by document."""
    if export not in (None, "npz"):
        raise UsageError(f"--export {export!r} is not known; there is npz")

    def direct(work: Workspace) -> dict[str, int]:
        from lvm.pipeline.extract import export_npz, extract

        sequences = extract(work, context)
        if export:
            export_npz(work, context)
        return sequences.counts()

    found = run_stage("extract", direct, space=space, inverter=inverter, context=context, export=export)
    counts = found if isinstance(found, dict) else cast("ExtractReport", found).counts
    out.print(", ".join(f"{name} {count}" for name, count in counts.items()))


def train(
    model: Model = "all",
    epochs: Epochs = None,
    device: Device = None,
    loss: LossName = None,
    head: HeadName = None,
    assignments: Set = None,
    config: ConfigFile = None,
    context: Context = CONTEXT,
    space: SpaceName = None,
    inverter: InverterFolder = None,
) -> None:
    """Train models. It needs a passing gate; a killed run resumes after its last epoch."""
    options, configs = _options(model, assignments, config, device, epochs=epochs, loss=loss, head=head)

    def direct(work: Workspace) -> dict[str, TrainResult | None]:
        from lvm.pipeline.train import train

        sequences, _ = work.sequences(context)
        return {name: train(work, sequences, name, each).report for name, each in configs.items()}

    where: dict[str, Any] = {"space": space, "inverter": inverter}
    results = run_stage("train", direct, **where, model=model, device=device, context=context, **options)
    for name, result in results.items():
        out.print(
            f"{name}@{result.sha256[:12]}: best epoch {result.best.epoch} of {len(result.history)}, validation cosine "
            f"{result.best.cosine:.3f}, R@10 {result.best.r10:.3f}, {result.seconds:.0f} s; {result.checkpoint}"
        )


def evaluate(
    context: Context = CONTEXT,
    on: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="measure on another corpus instead; it is stored apart, nothing learns it"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="documents of --on at most")] = None,
    space: SpaceName = None,
    as_json: AsJson = False,
    inverter: InverterFolder = None,
    text_column: TextColumn = None,
) -> None:
    """Compare models with baselines, decode predictions, and write summary.json and report.html."""
    if limit is not None and on is None:
        raise UsageError("--limit counts documents of another corpus; name it with --on SOURCE")
    if text_column is not None and on is None:
        raise UsageError("--text-column is of another corpus; name it with --on SOURCE")
    if on is not None:
        _require_source(on, limit, text_column)

    def direct(work: Workspace) -> Summary:
        from lvm.pipeline.evaluate import evaluate

        sequences, _ = work.sequences(context)
        return evaluate(work, sequences, on=on, limit=limit, text_column=text_column)

    given: dict[str, Any] = {"on": on, "limit": limit, "text_column": text_column}
    summary = run_stage("evaluate", direct, space=space, inverter=inverter, context=context, **given)
    show(summary, _where_files_are(Settings()), as_json)


def reembed(
    to: Annotated[str, typer.Option("--to", help="the space to move to")],
    space: Annotated[str | None, typer.Option(help="the space to move from; default: LVM_SPACE")] = None,
) -> None:
    """Encode what is stored in another space, beside the old one, and measure the new one's gate."""

    def direct(old: Workspace) -> Any:
        from lvm.pipeline.reembed import reembed
        from lvm.pipeline.validate import validate
        from lvm.pipeline.workspace import open_workspace

        with open_workspace(to, old.settings) as new:
            report = reembed(old, new)
            validate(new)
        return report

    report = run_stage("reembed", direct, space=space, to=to)
    out.print(
        f"{report.documents} documents, {report.chunks} chunks in {report.seconds:.1f} s; {report.unchanged} documents "
        f"were there already; {report.truncated} chunks are longer than the token limit of {to} and were cut there"
        + (f"; {report.unreadable} are in a writing system that its encoder does not know" if report.unreadable else "")
    )
    out.print(f"space {to} passed its gate; to work in it: export LVM_SPACE={to}. The old space is as it was.")


def clear(confirm: Annotated[str, typer.Option(help="name of the database")] = "") -> None:
    """Empty the database and remove the project's artifacts; only when the database's name is typed out."""
    if confirm and prefect_api(Settings()):
        cleared = flow("clear")(confirm=confirm)
    else:
        from lvm.pipeline.clear import clear

        cleared = clear(confirm)
    rows = ", ".join(f"{count} {table}" for table, count in cleared.rows.items())
    out.print(f"removed {rows}; and {cleared.files} files")
    for each in cleared.left[:20]:
        out.print(f"left: {each}")
    if len(cleared.left) > 20:
        out.print(f"left: {len(cleared.left) - 20} more")


def _options(
    model: str, assignments: list[str] | None, file: Path | None, device: str | None = None, **named: Any
) -> tuple[dict[str, Any], dict[str, TrainConfig]]:
    """The hyperparameters of a command, checked: as parameters of a flow, and as a configuration for each model."""
    from lvm.pipeline.train import architectures, default_config
    from lvm.training import configured, from_command_line

    names = architectures(model)
    options = from_command_line(names, assignments or [], file, **named)
    configs = configured(names, options, default_config(Settings(), device))
    own = {name: options.pop(name) for name in named if name in options}
    return {**own, "options": options or None}, configs
