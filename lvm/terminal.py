"""The console that prints all output of the project.

Contract: text from documents, models or files cannot control the terminal: ``Terminal`` escapes what it prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from lvm.errors import visible


def without_login(address: str) -> str:
    """An HTTP address without user name and password."""
    return re.sub(r"//[^/@]*@", "//", address)


class Terminal(Console):
    """A console that escapes control characters. ``[red]`` and ``:smile:`` are plain text."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, force_jupyter=False)  # plain text there too

    def render_str(self, text: str, *args: Any, **kwargs: Any) -> Text:
        """Turn a string into rich text. Text is escaped before its width is measured, so that columns line up."""
        return super().render_str(visible(text), *args, **kwargs)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything that is printed. ``control`` segments come from rich itself, which moves the cursor."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
