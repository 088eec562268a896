"""The end of a run in the terminal: readable in 80 columns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lvm.cli import results
from lvm.report import Summary
from lvm.settings import Settings
from tests.report.example import BASELINES, COSINES, example_summary
from tests.test_terminal import terminal

LONG = "the_nearest_continuation_in_the_training_documents"


def shown(summary: Summary, monkeypatch: pytest.MonkeyPatch, width: int | None = 80) -> list[str]:
    out, file = terminal(monkeypatch, width)
    monkeypatch.setattr(results, "out", out)
    results.show(summary, Settings(artifacts=Path("artifacts")))
    return file.getvalue().splitlines()


def row(lines: list[str], name: str) -> list[str]:
    return next(line.split() for line in lines if line.split()[:1] == [name])


def test_every_row_is_one_line_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(example_summary(), monkeypatch)
    assert lines[0] == "60 documents, 18909 chunks; gate passed: roundtrip 0.840, identification 0.998"
    assert lines[1].split() == ["model", "cosine", "R@10", "NLL", "pipeline", "best", "of", "8", "verdict"]
    assert row(lines, "gru") == ["gru", "0.476*", "0.164*", "4.38*", "0.740", "0.440*", "passed", "3/3"]
    assert row(lines, "transformer") == ["transformer", "0.471", "0.152", "4.43", "0.740", "0.440*", "passed", "3/3"]
    assert row(lines, "mamba2")[-2:] == ["blocked", "0/3"]
    assert row(lines, "nearest_continuation") == ["nearest_continuation", "0.330", "0.101", "5.02", "-", "-"]
    assert row(lines, "best_constant") == ["best_constant", "-", "-", "4.51", "-", "-"]
    assert row(lines, "truth")[:6] == ["truth", "-", "-", "2.51", "0.846", "-"]
    table = lines[3:14]
    assert [line.split()[0] for line in table] == [*COSINES, *BASELINES, "best_constant", "truth"]
    assert all(len(line) <= 80 for line in table)


def test_a_long_name_is_whole_and_so_are_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = example_summary()
    long = replace(summary, baselines={**summary.baselines, LONG: summary.baselines["nearest_continuation"]})
    lines = shown(long, monkeypatch)
    start = lines.index(f"model      {LONG}")
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["cosine", "0.330"],
        ["R@10", "0.101"],
        ["NLL", "-"],
    ]
    assert any(line.startswith(LONG) for line in shown(long, monkeypatch, 160))


def test_a_pipe_gets_tabs_and_json_is_the_summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = shown(example_summary(), monkeypatch, None)
    assert lines[1] == "model\tcosine\tR@10\tNLL\tpipeline\tbest of 8\tverdict"
    assert "gru\t0.476*\t0.164*\t4.38*\t0.740\t0.440*\tpassed 3/3" in lines
    example_summary().write(tmp_path / "summary.json")
    out, file = terminal(monkeypatch, 80)
    monkeypatch.setattr(results, "out", out)
    results.show(example_summary(), Settings(), as_json=True)
    assert json.loads(file.getvalue()) == json.loads((tmp_path / "summary.json").read_text())


def test_examples_have_truth_sample_and_prediction_one_below_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a sentence that goes on and on " * 5
    lines = shown(example_summary(text), monkeypatch)
    start = next(i for i, line in enumerate(lines) if line.startswith("Held-out examples, gru"))
    assert all(len(line) <= 80 for line in lines[start:])
    labels = [line[:13].strip() for line in lines[start + 3 :]]
    assert [label for label in labels if label][:4] == ["context", "truth", "chosen of 8", "point 0.43"]
    assert sum(label == "truth" for label in labels) == results.EXAMPLES
    words = " ".join(line[13:].strip() for line in lines[start + 3 :])
    assert f"gru chose: {text}".strip() in words and f"gru says: {text}".strip() in words
    assert lines[-6:] == [f"artifacts/{name}" for name in ("summary.json", "report.html", *COSINES)]


def test_a_model_without_samples_shows_its_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(replace(example_summary(), decoded_samples={}), monkeypatch)
    assert lines[1].split()[-2:] == ["pipeline", "verdict"] and not any("chosen of" in line for line in lines)
    assert any(line.startswith("point 0.43") for line in lines)


def test_texts_cannot_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(example_summary("\x1b[2Jgone [red]and red[/red]"), monkeypatch)
    assert "\x1b" not in "".join(lines) and any("[red]and red[/red]" in line for line in lines)
