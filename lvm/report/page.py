"""``report.html``: the results of a run on one page.

Contract: the page is self-contained: it loads nothing, and its script only sorts and filters what is there. All texts
in it are escaped. Without the script it is complete.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvm.files import replacing
from lvm.report import results
from lvm.report.summary import Summary

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plot:
    """A plot of the page.

    Attributes:
        title: the question it answers.
        meaning: what its figures mean, in a sentence or two.
        figure: the plot.
    """

    title: str
    meaning: str
    figure: Figure


def render(summary: Summary, plots: Sequence[Plot]) -> str:
    """Render the page.

    Args:
        summary: the results.
        plots: in order.

    Returns:
        HTML.
    """
    from markupsafe import Markup

    from lvm.report.plots import svg  # importing matplotlib takes half a second, and most commands do not need it

    template = files("lvm.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    rows, columns = results.results(summary), results.columns(summary)
    page = _environment().from_string(template)
    return page.render(
        s=summary,
        rows=rows,
        columns=columns,
        best={column.key: results.best(rows, column) for column in columns},
        best_model=results.best_model(summary),
        headline=results.headline(summary),
        verdict=results.VERDICT,
        plots=[(plot.title, plot.meaning, Markup(svg(plot.figure)), plot.figure.get_figwidth() > 8) for plot in plots],
        zip=zip,
    )


def write(summary: Summary, plots: Sequence[Plot], path: Path) -> None:
    """Write the page, atomically.

    Args:
        summary: the results.
        plots: in order.
        path: the file.

    Raises:
        CannotWrite: if the disk is full.
    """
    with replacing(path) as file:
        file.write(render(summary, plots).encode())


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    return environment


def _number(value: Any, digits: int = 3, sign: bool = False) -> str:
    """A figure as text; a dash for one that does not exist."""
    if value is None or not math.isfinite(value):
        return results.NONE
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
