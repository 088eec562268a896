"""Progress bars in the terminal: on stderr, so that what a command prints can be piped; silent with ``LVM_QUIET=1``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lvm.settings import Settings


def bars() -> Progress:
    """Bars with description, count, time passed and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=Settings().quiet,
    )


@contextmanager
def bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """One bar; call it with the number of items done since the last call."""
    with bars() as shown:
        task = shown.add_task(description, total=total)
        yield lambda count: shown.advance(task, count)
