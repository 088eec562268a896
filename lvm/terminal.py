"""The console that prints all output of the project, and the one way to print a table.

Contract: text from documents, models or files cannot control the terminal: ``Terminal`` escapes what it prints, and no
markup is read. Nothing is cut. Lines of text are left whole, so that paths can be copied. A table is for people in a
terminal, tab-separated lines in a pipe, and JSON if the command was asked for it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lvm.errors import one_line, visible

Cell = str | int | float | bool | None | Text
"""What stands in a table: a number as a number, and text. ``Text`` has a style of its own."""

VERDICTS = {
    **dict.fromkeys(("ok", "passed", "passes"), "green"),
    "warning": "yellow",
    **dict.fromkeys(("problem", "blocked", "blocks"), "bold red"),
}
"""The colours of verdicts."""

_GAP = 2  # columns of the terminal between two columns of a table
_PROSE = 20  # the narrowest column that text is wrapped to


def without_login(address: str) -> str:
    """An HTTP address, or a message with addresses, without user name and password. A password may have an @ or a /."""
    return re.sub(r"(^(?!\S*//)|//)\S*@", r"\1", address)


class Terminal(Console):
    """A console that escapes control characters. ``[red]`` and ``:smile:`` are plain text."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, force_jupyter=False)  # plain text there too

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print like rich, but leave lines of text whole: the terminal wraps them."""
        if soft_wrap is None:
            soft_wrap = bool(objects) and all(isinstance(each, str | Text | Path) for each in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)

    def table(self, rows: Sequence[Mapping[str, Cell]], *, prose: Collection[str] = (), as_json: bool = False) -> None:
        """Print rows.

        A terminal shows a table whose columns are as wide as what is in them; only ``prose`` is wrapped. If that does
        not fit, every row is a list of names and values, as by ``\\x auto`` in psql. A pipe gets a line of names and
        a line for each row, with tabs between. Control characters are escaped, floats have three decimals.

        Args:
            rows: values by name, the same names in all rows; no row prints nothing.
            prose: names of the columns that hold sentences.
            as_json: print a JSON array of objects instead, with full numbers.
        """
        if as_json:
            self.json([{name: _raw(value) for name, value in row.items()} for row in rows])
        elif not rows:
            return
        elif not self.is_terminal:
            self._lines(
                "\t".join(cells) for cells in [[*rows[0]], *([_shown(each) for each in row.values()] for row in rows)]
            )
        elif (table := _table(rows, prose, self.width)) is not None:
            self.print(table)
        else:
            wide = max(map(cell_len, rows[0]))
            for number, row in enumerate(rows):
                if number:
                    self.print()
                for name, value in row.items():
                    if _shown(value):
                        self.print(Text(name.ljust(wide + _GAP), "bold"), _styled(value, name not in prose), sep="")

    def json(self, value: Any) -> None:
        """Print a value as JSON, in ASCII."""
        self._lines([json.dumps(value, indent=1)])

    def _lines(self, lines: Iterable[str]) -> None:
        """Print lines as they are: rich would expand tabs."""
        for line in lines:
            print(line, file=self.file)

    def render_str(self, text: str, *args: Any, **kwargs: Any) -> Text:
        """Turn a string into rich text. Text is escaped before its width is measured, so that columns line up."""
        return super().render_str(visible(text), *args, **kwargs)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything that is printed. ``control`` segments come from rich itself, which moves the cursor."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def _table(rows: Sequence[Mapping[str, Cell]], prose: Collection[str], width: int) -> Table | None:
    """The rows as a table; None if it does not fit into the width."""
    names = [*rows[0]]
    needed = {name: max(cell_len(name), *(cell_len(_shown(row[name])) for row in rows)) for name in names}
    widths = {name: min(each, _PROSE) if name in prose else each for name, each in needed.items()}
    left = width - sum(widths.values()) - _GAP * (len(names) - 1)
    if left < 0:
        return None
    longest = max(needed, key=lambda name: needed[name] - widths[name])
    widths[longest] = min(needed[longest], widths[longest] + left)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
    for name in names:
        numbers = not any(isinstance(row[name], str | bool | Text) for row in rows)
        table.add_column(
            Text(name),
            justify="right" if numbers else "left",
            no_wrap=name not in prose,
            overflow="fold",
            width=widths[name],
        )
    for row in rows:
        table.add_row(*(_styled(row[name], name not in prose) for name in names))
    return table


def _styled(value: Cell, may_be_verdict: bool) -> Text:
    """A cell for the terminal."""
    shown = _shown(value)
    if isinstance(value, Text):
        return Text(shown, value.style)
    return Text(shown, VERDICTS.get(shown, "") if may_be_verdict else "")


def _shown(value: Cell) -> str:
    """A cell as text of one line."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else one_line(str(value))


def _raw(value: Cell) -> Any:
    """A cell as JSON has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.plain if isinstance(value, Text) else value
