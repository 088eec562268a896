"""What the terminal gets to see: text without control characters, and progress bars on stderr.

Contract: stored and given text never steers the terminal. ``Terminal`` is the one console that the project prints by;
it escapes what it prints. Bars are silent with ``LVM_QUIET=1``; on stderr, so that output can be piped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from lvm.errors import visible
from lvm.settings import Settings


def without_login(address: str) -> str:
    """An http address without the name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", address)


class Terminal(Console):
    """A console that shows control characters instead of obeying them, and takes ``[red]`` and ``:smile:`` for text."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, *args: Any, **kwargs: Any) -> Text:
        """Text to be laid out: here, so that columns are as wide as what is shown."""
        return super().render_str(visible(text), *args, **kwargs)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is printed comes through here; ``control`` segments are rich's own, for moving bars."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def bars() -> Progress:
    """Bars with description, count, time passed and time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Terminal(stderr=True),
        disable=Settings().quiet,
    )


@contextmanager
def bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """One bar; call it with the number of items done since the last call."""
    with bars() as shown:
        task = shown.add_task(visible(description), total=total)
        yield lambda count: shown.advance(task, count)
