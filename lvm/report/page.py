"""``report.html``: one self-contained page that a person can read, with every text in it escaped."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from lvm.files import replacing
from lvm.report.plots import png
from lvm.report.summary import Summary, verdicts


def render(summary: Summary, figures: Mapping[str, Figure]) -> str:
    """The page. ``figures`` by caption, in the order they appear."""
    template = files("lvm.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    images = {caption: png(figure, data_uri=True) for caption, figure in figures.items()}
    return environment.from_string(template).render(s=summary, rows=verdicts(summary), images=images)


def write(summary: Summary, figures: Mapping[str, Figure], path: Path) -> None:
    """Write the page, whole or not at all."""
    with replacing(path) as file:
        file.write(render(summary, figures).encode())
