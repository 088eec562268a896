"""``report.html``: the results of a run on one page.

Contract: the page is self-contained, and all texts in it are escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from lvm.files import replacing
from lvm.report.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(summary: Summary, figures: Mapping[str, Figure]) -> str:
    """Render the page.

    Args:
        summary: the results.
        figures: figures by caption, in order.

    Returns:
        HTML.
    """
    from lvm.report.plots import png  # importing matplotlib takes half a second, and most commands do not need it

    template = files("lvm.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    images = {caption: png(figure, data_uri=True) for caption, figure in figures.items()}
    return environment.from_string(template).render(s=summary, images=images)


def write(summary: Summary, figures: Mapping[str, Figure], path: Path) -> None:
    """Write the page, atomically.

    Args:
        summary: the results.
        figures: figures by caption, in order.
        path: the file.

    Raises:
        CannotWrite: if the disk is full.
    """
    with replacing(path) as file:
        file.write(render(summary, figures).encode())
