"""``lvm write`` and ``lvm next``: a line a text, notes on stderr, and one line for every wrong request."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import lvm
from lvm.pipeline.errors import NoModel
from lvm.pipeline.generate import Writing
from lvm.pipeline.predict import Prediction, best_model
from lvm.store import Store
from tests.cli.test_cli import lvm as run
from tests.conftest import fresh_database
from tests.pipeline.small import small_corpus

pytestmark = pytest.mark.usefixtures("nothing_shipped")

TEXT = "The state of our union is strong."


@pytest.fixture(scope="module")
def trained(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of artifacts of a database with a trained ``gru``; the environment names both."""
    folder = tmp_path_factory.mktemp("write")
    with fresh_database(postgres) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVM_DATABASE_URL", url)
        patch.setenv("LVM_HOME", str(folder / "home"))
        patch.setenv("LVM_ARTIFACTS", str(folder / "artifacts"))
        patch.setenv("LVM_QUIET", "1")
        patch.delenv("PREFECT_API_URL", raising=False)
        with lvm.open_workspace() as work:
            lvm.train(work, small_corpus(work, folder / "texts"), "gru", epochs=1, head="point")
        yield folder / "artifacts"


def test_texts_go_to_stdout_and_notes_to_stderr(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "write", TEXT, "--steps", "2") == 0
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert 1 <= len(lines) <= 2 and all(lines)
    first, last = said.err.splitlines()
    assert re.fullmatch("model gru@[0-9a-f]{12}, space minilm", first) and last.startswith(f"{len(lines)} texts; ")
    with lvm.open_workspace() as work:
        assert [step.text for step in lvm.write(work, "gru", TEXT, steps=2)] == lines
        assert lvm.predict_next(work, "gru", [TEXT]).text == lines[0]
        assert best_model(work).name == "gru"


def test_json_lines_carry_scores_and_candidates(
    trained: Path, sampling: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["write", TEXT, "--steps", "2", "--samples", "4", "--seed", "7", "--json", "--model", "gru"]
    assert run(monkeypatch, *arguments) == 0
    out = capfd.readouterr().out
    steps = [json.loads(line) for line in out.splitlines()]
    assert [step["step"] for step in steps] == [1, 2][: len(steps)] and any(step["candidates"] for step in steps)
    for step in steps:
        assert {"text", "score", "cosine", "candidates"} <= set(step) and len(step["candidates"]) <= 3
        assert all(set(each) == {"text", "score", "cosine"} for each in step["candidates"])
    assert run(monkeypatch, *arguments) == 0 and capfd.readouterr().out == out, "equal calls write equal texts"


def test_standard_input_of_ten_thousand_words_or_one(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ends = ["We met in the old town.", "The harbour froze.", "Nobody came."]
    written = {}
    for name, text in {
        "long": "Ten words of it stand in each of these sentences. " * 1000 + " ".join(ends),
        "its end": " ".join(ends),
        "word": "Peace",
    }.items():
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        assert run(monkeypatch, "write", "-", "--steps", "1") == 0
        written[name] = capfd.readouterr().out
    assert written["long"] == written["its end"] and all(written.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["write", TEXT, "--samples", "0"], "InvalidOption: samples is 0"),
        (["write", TEXT, "--steps", "0"], "InvalidOption: steps is 0"),
        (["write", TEXT, "--temperature", "-1"], "InvalidOption: temperature is -1.0"),
        (["write", TEXT, "--temperature", "nan"], "InvalidOption: temperature is nan"),
        (["write", TEXT, "--seed", "-1"], "InvalidOption: seed is -1"),
        (["write", TEXT, "--samples", "5"], "NoSamples: model 'gru' predicts one vector"),
        (["write", TEXT, "--model", "lstm"], "NoModel: no model 'lstm'"),
        (["write", TEXT, "--model", "../gru"], "NoModel: no model '../gru'"),
        (["write", TEXT, "--space", "gtr"], "UnknownSpace: "),
        (["write", ""], "NothingToContinue: "),
        (["write", "..."], "NothingToContinue: "),
        (["write", "a \udcff text"], "UsageError: the text is not UTF-8"),
        (["next", TEXT, "--samples", "0"], "InvalidOption: samples is 0"),
        (["next", TEXT, "--samples", "5"], "NoSamples: model 'gru' predicts one vector"),
        (["next", TEXT, "--temperature", "inf"], "InvalidOption: temperature is inf"),
        (["next", "a \udcff text"], "UsageError: the text is not UTF-8"),
    ],
    ids=lambda value: " ".join(value[2:]).encode("ascii", "replace") if isinstance(value, list) else "",
)
def test_wrong_requests_are_one_line(
    arguments: list[str],
    said: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *arguments) == 2
    shown = capfd.readouterr()
    lines = [line for line in shown.err.splitlines() if not line.startswith("model gru")]
    assert not shown.out and len(lines) == 1 and lines[0].startswith(said), shown.err


def test_standard_input_that_is_not_utf8_is_one_line(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for data, said in ((b"a \xff text", "(byte 2)"), (b"", "NothingToContinue")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert run(monkeypatch, "write", "-") == 2
        shown = capfd.readouterr()
        assert said in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_no_model_is_one_line(
    settings: object, database: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "write", TEXT) == 2
    said = capfd.readouterr().err
    assert said.startswith("NoModel: ") and "lvm train" in said and said.count("\n") == 1


def test_next_shows_several_ways_to_go_on(
    trained: Path, sampling: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "next", TEXT, "--samples", "4", "--k", "2") == 0
    out = capfd.readouterr().out
    scores = [float(line.split()[1]) for line in out.splitlines() if line.startswith("score ")]
    assert 1 < len(scores) <= 4 and scores == sorted(scores, reverse=True)
    assert out.count("cosine\ttext\t") == len(scores), "each with its stored chunks"
    assert run(monkeypatch, "next", TEXT) == 0
    assert capfd.readouterr().out.startswith("gru (")


def test_the_best_model_is_recorded_and_of_this_space(trained: Path, tmp_path: Path) -> None:
    with lvm.open_workspace() as work:
        elsewhere = work.settings.model_copy(update={"artifacts": tmp_path})
        with lvm.open_workspace(work.space, elsewhere) as other, pytest.raises(NoModel, match="lvm train"):
            best_model(other)
        folder = tmp_path / "gru"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"torn")
        with lvm.open_workspace(work.space, elsewhere) as other, pytest.raises(lvm.LvmError, match="cannot be used"):
            best_model(other)


def test_ctrl_c_ends_with_what_was_written(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    step = Writing.__next__

    def interrupted(writing: Writing) -> Prediction:
        if writing.texts:
            raise KeyboardInterrupt
        return step(writing)

    monkeypatch.setattr(Writing, "__next__", interrupted)
    assert run(monkeypatch, "write", TEXT) == 130
    shown = capfd.readouterr()
    assert shown.out.count("\n") == 1 and shown.err.splitlines()[1].startswith("Stopped: 1 texts are written")
    assert shown.err.count("\n") == 2


def test_a_text_is_there_before_the_next_one_and_a_signal_ends_it(trained: Path) -> None:
    slow = """
import time
from lvm.pipeline.generate import Writing
step = Writing.__next__
def slowly(writing):
    if writing.texts:
        time.sleep(300)
    return step(writing)
Writing.__next__ = slowly
from lvm.cli import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "write", TEXT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip(), "it is flushed"
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 130 and not rest and "Traceback" not in said
    assert said.splitlines()[-1].startswith("Stopped: 1 texts are written")
