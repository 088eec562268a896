"""The end of a run in the terminal: the table of results, held-out examples, and where the files are.

Contract: everything is readable in 80 columns. No row of the table breaks; a name that is too long is cut with an
ellipsis. Figures are complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lvm.cli.common import out
from lvm.settings import Settings

if TYPE_CHECKING:
    from lvm.report import Summary

EXAMPLES = 3
"""Held-out examples in the terminal. The report has more."""

_FIGURE, _VERDICT = len("0.123*"), len("blocked 3/3")


def show(summary: Summary, settings: Settings) -> None:
    """Print the end of a run.

    Args:
        summary: the run.
        settings: say where its files are.
    """
    from lvm.report.results import VERDICT, headline

    out.print(headline(summary))
    out.print(results_table(summary, out.width))
    out.print(
        f"* best of its column, the truth aside. NLL: lower is better. Verdict: {VERDICT[0].lower()}{VERDICT[1:]}",
        style="dim",
    )
    out.print()
    out.print(examples_table(summary))
    folder = settings.artifacts
    if summary.on is not None:
        from lvm.pipeline.elsewhere import artifacts_on

        folder = artifacts_on(settings, summary.space.name, summary.on)
    models = dict.fromkeys(settings.artifacts / name.partition("@")[0] for name in summary.models)
    for path in (folder / "summary.json", folder / "report.html", *models):
        out.print(path)


def results_table(summary: Summary, width: int) -> Table:
    """A row for every model, then baselines, floor and ceiling. A star marks the best value of a column.

    Args:
        summary: the run.
        width: columns of the terminal. Names get what the figures leave, at least eight.
    """
    from lvm.report.results import best, columns, results

    shown, rows = columns(summary), results(summary)
    marked = {column.key: best(rows, column) for column in shown}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    widths = [max(len(column.title), _FIGURE) for column in shown]
    left = width - sum(widths) - _VERDICT - 2 * (len(widths) + 1)  # two spaces between columns
    table.add_column("", no_wrap=True, overflow="ellipsis", max_width=max(left, 8))
    for column, wide in zip(shown, widths, strict=True):
        table.add_column(column.title, no_wrap=True, justify="right", width=wide)
    table.add_column("verdict", no_wrap=True, width=_VERDICT)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        cells = []
        for column in shown:
            is_best = row.name in marked[column.key]
            cells.append(Text(row.text(column) + ("*" if is_best else " "), "bold green" if is_best else ""))
        verdict = Text(row.verdict, "red" if row.passed is False else "green" if row.ahead == 3 else "")
        last_model = row.kind == "model" and (following is None or following.kind != "model")
        table.add_row(row.name, *cells, verdict, style="" if row.kind == "model" else "dim", end_section=last_model)
    return table


def examples_table(summary: Summary) -> Table:
    """Held-out examples of the best model: context, truth, the chosen sample and the point prediction."""
    from lvm.report.results import best_model

    name = best_model(summary)
    samples = summary.decoded_samples.get(name)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.title = f"Held-out examples, {name} (cosine to the truth)"
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for row, example in enumerate(summary.examples[:EXAMPLES]):
        table.add_row("context", f"… {example.context[-1]}", style="dim")
        table.add_row("truth", example.truth, style="bold")
        if samples is not None and row < len(samples.texts):
            table.add_row(f"chosen of {samples.count}", samples.texts[row][0])
        if name in example.decoded:
            table.add_row(f"point {example.cosines[name]:.2f}", example.decoded[name])
        table.add_row("", "")
    return table
