"""Promise: text that is stored or given never steers the terminal; it is shown, escaped."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from lvm.cli.common import show_hits
from lvm.corpus.documents import Document
from lvm.errors import LvmError, one_line, visible
from lvm.progress import bar
from lvm.settings import Settings
from lvm.store import Hit
from lvm.terminal import Terminal
from tests.cli.test_cli import lvm

CLEAR, TITLE, BIDI = "\x1b[2J", "\x1b]0;pwned\x07", "\u202egpj.exe"
HOSTILE = f"a{CLEAR}b{TITLE}c\rd\x9bAe{BIDI}f\x7f\udc80"


def printed(*objects: object, **options: object) -> str:
    console = Terminal()
    console.file = io.StringIO()
    console.print(*objects, **options)  # type: ignore[arg-type]
    return console.file.getvalue()


def steers(text: str) -> bool:
    return any(each in text for each in ("\x1b", "\x07", "\r", "\x9b", "\u202e", "\x7f", "\udc80"))


def test_what_steers_is_written_out() -> None:
    assert visible("\x1b[2J\r\u202e\x9b\udc80") == r"\x1b[2J\x0d\u202e\x9b\udc80"
    assert visible("naïve 漢字 👩‍👩‍👧 tab\tline\n") == "naïve 漢字 👩‍👩‍👧 tab\tline\n"
    assert one_line("two\nlines\u2028") == r"two\x0alines\u2028"


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Z", "L"])))
def test_nothing_that_steers_is_left(text: str) -> None:
    left = {unicodedata.category(each) for each in one_line(text) if each not in "\u200c\u200d"}
    assert not left & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(one_line(text).splitlines()) <= 1
    assert one_line(one_line(text)) == one_line(text)
    one_line(text).encode()


def test_every_named_error_is_one_line_wherever_it_is_shown() -> None:
    error = LvmError(f"{HOSTILE}\nwith a second line")
    assert not steers(str(error)) and "\n" not in str(error) and r"\x1b[2J" in str(error)


@pytest.mark.parametrize(
    "thing", [HOSTILE, Text(HOSTILE), Path(HOSTILE), [HOSTILE]], ids=["text", "rich text", "path", "list"]
)
def test_whatever_is_printed(thing: object) -> None:
    shown = printed(thing, soft_wrap=True)
    assert not steers(shown) and r"\x1b[2J" in shown.replace("\\\\", "\\")


def test_in_tables_where_markup_is_text_too() -> None:
    table = Table("title", "text")
    table.add_row(HOSTILE, "[red]not red[/] [/nothing] [link=http://evil]here[/link] :smile:")
    table.title = HOSTILE
    console = Terminal()
    console.file, console.width = io.StringIO(), 300
    console.print(table)
    shown = console.file.getvalue()
    assert not steers(shown)
    assert "[red]not red[/] [/nothing] [link=http://evil]here[/link] :smile:" in shown
    assert len({len(line) for line in shown.splitlines()[1:-1]}) == 1, "columns are as wide as what is shown"


def test_hits(capsys: pytest.CaptureFixture[str]) -> None:
    show_hits([Hit(1, HOSTILE, "[/x]" + HOSTILE, 0, 0.5)])
    shown = capsys.readouterr().out
    assert "0.500" in shown and not steers(shown)


def test_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVM_QUIET", "0")
    with bar(f"train {CLEAR}[red]", 3) as advance:
        advance(3)
    shown = capsys.readouterr().err
    assert r"train \x1b[2J[red]" in shown and CLEAR not in shown


@pytest.mark.parametrize(
    "arguments",
    [["ingest", f"no/such/{HOSTILE[:-1]}"], [f"fro{CLEAR}bnicate"], ["next", "x", "--model", f"gru{TITLE}"]],
    ids=["source", "command", "model"],
)
def test_errors_are_one_line_without_control_characters(
    arguments: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LVM_QUIET", "1")
    assert lvm(monkeypatch, *arguments) == 2
    said = capfd.readouterr().err
    assert not steers(said) and r"\x1b" in said and "Traceback" not in said


def test_skipped_files_are_named_harmlessly(tmp_path: Path) -> None:
    from lvm.corpus.sources import open_source

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / f"{CLEAR}.txt").write_text("")
    (tmp_path / "texts" / "good.txt").write_text("A text. And more of it.")
    (skipped,) = (each for each in open_source(str(tmp_path / "texts")) if not isinstance(each, Document))
    assert CLEAR in skipped.where
    assert not steers(printed(f"{skipped.where}: {skipped.reason}"))


RUN = "import sys; from lvm.cli import main; sys.argv = ['lvm', *sys.argv[1:]]; main()"


@pytest.mark.parametrize("terminal", [True, False])
def test_encode_writes_data_to_a_pipe_and_shows_it_to_a_terminal(terminal: bool, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(f"the right{BIDI} text\n")
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if not terminal:
        ours, theirs = ours, theirs
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "encode", str(tmp_path / "texts.txt")],
        stdout=theirs,
        env={**os.environ, "LVM_QUIET": "1"},
    )
    os.close(theirs)
    data = b""
    try:
        while block := os.read(ours, 1 << 16):
            data += block
    except OSError:  # a terminal whose other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert ("\u202e".encode() in data) is not terminal
    assert (rb"\u202e" in data) is terminal
