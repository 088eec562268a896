"""Progress of long work: a callback, and bars in the terminal.

Contract: bars go to stderr, so that output can be piped. ``LVM_QUIET=1`` turns them off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from lvm.errors import visible
from lvm.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Progress = Callable[[int], None]
"""Called with the number of items finished since the last call."""

Bars = Callable[[str, int | None], AbstractContextManager[Progress]]
"""Opens a bar, given a description and the number of items (None if unknown). ``bar`` below is one."""


def bars(quiet: bool | None = None) -> RichProgress:
    """Bars with description, count, time passed and time left.

    Args:
        quiet: show none; ``LVM_QUIET`` unless given.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    from lvm.terminal import Terminal

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Terminal(stderr=True),
        disable=Settings().quiet if quiet is None else quiet,
    )


@contextmanager
def bar(description: str, total: int | None, quiet: bool | None = None) -> Iterator[Progress]:
    """One bar.

    Args:
        description: what is being done.
        total: items in all; None if unknown.
        quiet: show no bar; ``LVM_QUIET`` unless given.
    """
    with bars(quiet) as shown:
        task = shown.add_task(visible(description), total=total)
        yield lambda count: shown.advance(task, count)
