"""A table is whole: for people at any width, for programs in a pipe and as JSON. Text is never markup."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.text import Text

from lvm.terminal import Cell, Terminal

PATH = "/somewhere/far/away/in/the/file/system/of/this/machine/where/weights/are/kept/for/all"
SENTENCE = "a sentence that goes on and on, until it is longer than one line of eighty columns can ever hold"
ROWS: list[dict[str, Cell]] = [
    {"space": "minilm", "dim": 384, "cosine": 0.87468, "gate": "passed", "here": True, "said": SENTENCE},
    {
        "space": "gtr-base-st",
        "dim": None,
        "cosine": float("nan"),
        "gate": "blocked",
        "here": False,
        "said": "[/b] [red]",
    },
]


def terminal(monkeypatch: pytest.MonkeyPatch, width: int | None = None) -> tuple[Terminal, io.StringIO]:
    """A terminal of this width, or a pipe."""
    monkeypatch.setenv("TERM", "dumb")  # no colours
    monkeypatch.setenv("TTY_COMPATIBLE", "0" if width is None else "1")
    found, file = Terminal(), io.StringIO()
    found.file = file
    if width is not None:
        found.width, found.height = width, 25
    return found, file


def shown(monkeypatch: pytest.MonkeyPatch, width: int | None, rows: Any = ROWS, **options: Any) -> list[str]:
    out, file = terminal(monkeypatch, width)
    out.table(rows, prose=("said",), **options)
    return file.getvalue().splitlines()


def test_only_sentences_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 80)
    assert all(len(line) <= 80 for line in lines) and not any("…" in line for line in lines)
    assert lines[0].split() == ["space", "dim", "cosine", "gate", "here", "said"]
    assert lines[2].split()[:5] == ["minilm", "384", "0.875", "passed", "yes"]
    (cut,) = (line for line in lines if line.startswith("gtr-base-st"))
    assert cut.split() == ["gtr-base-st", "blocked", "no", "[/b]", "[red]"]
    words = [line[lines[0].index("said") :].strip() for line in lines[2:-1]]
    assert " ".join(words) == SENTENCE


def test_what_is_too_wide_is_a_list_of_names_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"space": "gtr-base-st", "encoder": PATH}, {"space": "minilm", "encoder": "here"}]
    assert shown(monkeypatch, 80, rows) == [
        "space    gtr-base-st",
        f"encoder  {PATH}",
        "",
        "space    minilm",
        "encoder  here",
    ]
    assert shown(monkeypatch, 120, rows)[0].split() == ["space", "encoder"]


def test_a_pipe_gets_tabs_between_whole_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*ROWS, {**ROWS[0], "said": Text("two\nlines\tand \x1b[2J", "bold")}]
    lines = [line.split("\t") for line in shown(monkeypatch, None, rows)]
    assert lines == [
        ["space", "dim", "cosine", "gate", "here", "said"],
        ["minilm", "384", "0.875", "passed", "yes", SENTENCE],
        ["gtr-base-st", "", "", "blocked", "no", "[/b] [red]"],
        ["minilm", "384", "0.875", "passed", "yes", r"two\x0alines\x09and \x1b[2J"],
    ]


@pytest.mark.parametrize("width", [80, None])
def test_json_has_full_values(width: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads("\n".join(shown(monkeypatch, width, as_json=True)))
    assert found == [ROWS[0], {**ROWS[1], "cosine": None}]
    assert shown(monkeypatch, width, [], as_json=True) == ["[]"] and shown(monkeypatch, width, []) == []


def test_a_line_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (80, None):
        out, file = terminal(monkeypatch, width)
        out.print(f"saved to {PATH} and {PATH}")
        assert file.getvalue() == f"saved to {PATH} and {PATH}\n"
