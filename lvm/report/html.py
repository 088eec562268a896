"""Small HTML tables for notebooks, with every text in them escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. ``header`` and all cells are plain text."""
    lines = ["<table>", _row(header, "th"), *(_row(row, "td") for row in rows), "</table>"]
    return "\n".join(lines)


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
