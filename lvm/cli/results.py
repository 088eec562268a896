"""The end of a run in the terminal: the table of results, held-out examples, and where the files are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lvm.cli.common import out
from lvm.settings import Settings
from lvm.terminal import Cell

if TYPE_CHECKING:
    from lvm.report import Summary
    from lvm.report.results import Result

EXAMPLES = 3
"""Held-out examples in the terminal. The report has more."""


def show(summary: Summary, settings: Settings, as_json: bool = False) -> None:
    """Print the end of a run.

    Args:
        summary: the run.
        settings: say where its files are.
        as_json: print ``summary.json`` instead.
    """
    from lvm.report.results import VERDICT, best_model, headline

    if as_json:
        out.json(summary.as_json())
        return
    out.print(headline(summary))
    out.table(results_rows(summary))
    out.print(
        f"* best of its column, the truth aside. NLL: lower is better. Verdict: {VERDICT[0].lower()}{VERDICT[1:]}",
        style="dim",
    )
    out.print()
    out.print(f"Held-out examples, {best_model(summary)} (cosine to the truth)", style="italic")
    out.table(example_rows(summary), prose=("text",))
    folder = settings.artifacts
    if summary.on is not None:
        from lvm.pipeline.elsewhere import artifacts_on

        folder = artifacts_on(settings, summary.space.name, summary.on)
    models = dict.fromkeys(settings.artifacts / name.partition("@")[0] for name in summary.models)
    for path in (folder / "summary.json", folder / "report.html", *models):
        out.print(path)


def results_rows(summary: Summary) -> list[dict[str, Cell]]:
    """A row for every model, then baselines, floor and ceiling. A star marks the best value of a column."""
    from lvm.report.results import best, columns, results

    shown, rows = columns(summary), results(summary)
    marked = {column.key: best(rows, column) for column in shown}

    def cells(row: Result) -> dict[str, Cell]:
        style = "" if row.kind == "model" else "dim"
        found: dict[str, Cell] = {"model": Text(row.name, style)}
        for column in shown:
            is_best = row.name in marked[column.key]
            found[column.title] = Text(row.text(column) + "*" * is_best, "bold green" if is_best else style)
        found["verdict"] = Text(row.verdict, "red" if row.passed is False else "green" if row.ahead == 3 else "")
        return found

    return [cells(row) for row in rows]


def example_rows(summary: Summary) -> list[dict[str, Cell]]:
    """Held-out examples of the best model: context, truth, the chosen sample and the point prediction."""
    from lvm.report.results import best_model

    name = best_model(summary)
    samples = summary.decoded_samples.get(name)
    rows: list[dict[str, Cell]] = []
    for row, example in enumerate(summary.examples[:EXAMPLES]):
        rows.append({"kind": Text("context", "dim"), "text": Text(f"… {example.context[-1]}", "dim")})
        rows.append({"kind": Text("truth", "bold"), "text": Text(example.truth, "bold")})
        if samples is not None and row < len(samples.texts):
            rows.append({"kind": f"chosen of {samples.count}", "text": samples.texts[row][0]})
        if name in example.decoded:
            rows.append({"kind": f"point {example.cosines[name]:.2f}", "text": example.decoded[name]})
    return rows
