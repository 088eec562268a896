"""The table of results: rows, best values and verdicts, the same in terminal, report and notebook."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvm.evaluation.nll import TextNll
from lvm.report import Summary, results
from lvm.report.results import best, best_model, columns, headline
from tests.report.example import BASELINES, COSINES, example_summary


@pytest.fixture
def summary() -> Summary:
    return example_summary()


def test_models_come_first_then_baselines_floor_and_ceiling(summary: Summary) -> None:
    rows = results(summary)
    assert [row.name for row in rows] == [*COSINES, *BASELINES, "best_constant", "truth"]
    kinds = ["model"] * 4 + ["baseline"] * 5 + ["floor", "ceiling"]
    assert [row.kind for row in rows] == kinds
    assert rows[-2].nll == 4.51 and rows[-2].cosine is None
    assert rows[-1].nll == 2.51 and rows[-1].pipeline == 0.846
    copied = next(row for row in rows if row.name == "copy_last")
    assert (copied.cosine, copied.r10, copied.nll, copied.pipeline) == (0.301, 0.085, 5.18, 0.841)


def test_the_best_value_is_marked_and_the_truth_is_none(summary: Summary) -> None:
    rows = results(summary)
    found = {column.key: best(rows, column) for column in columns(summary)}
    assert found["cosine"] == found["r10"] == found["nll"] == {"gru"}
    assert found["pipeline"] == {"copy_last"}
    assert found["best_of"] == set(COSINES), "equal values are all marked"
    assert best(rows[:1], columns(summary)[0]) == set(), "one value is not the best of any"


@pytest.mark.parametrize(
    ("cosine", "r10", "nll", "pipeline", "verdict"),
    [
        (0.48, 0.14, 4.4, 0.7, "passed 3/3"),
        (0.47, 0.14, 4.4, 0.7, "passed 2/3"),
        (0.48, 0.13, 4.4, 0.7, "passed 2/3"),
        (0.48, 0.14, 4.6, 0.7, "passed 2/3"),
        (0.10, 0.01, 9.9, 0.7, "passed 0/3"),
        (0.48, 0.14, 4.4, 0.599, "blocked 3/3"),
        (0.48, 0.14, 4.4, float("nan"), "blocked 3/3"),
        (0.48, 0.14, float("nan"), 0.7, "passed 2/3"),
    ],
)
def test_verdicts(summary: Summary, cosine: float, r10: float, nll: float, pipeline: float, verdict: str) -> None:
    model = replace(summary.models["gru"], cosine=cosine, r10=r10, pipeline_cosine=pipeline)
    measured = {**summary.text_nll, "gru": TextNll(nll, (nll, nll), 8)}
    (row,) = (
        each for each in results(replace(summary, models={"gru": model}, text_nll=measured)) if each.ahead is not None
    )
    assert row.verdict == verdict


def test_an_output_that_is_no_unit_vector_is_blocked(summary: Summary) -> None:
    model = replace(summary.models["gru"], norm_error=1e-3)
    assert results(replace(summary, models={"gru": model}))[0].verdict == "blocked 3/3"


def test_the_best_model_is_the_one_worth_most_as_text(summary: Summary) -> None:
    assert best_model(summary) == "gru"
    lstm = {**summary.text_nll, "lstm": TextNll(3.9, (3.8, 4.0), 8)}
    assert best_model(replace(summary, text_nll=lstm)) == "lstm"
    higher = {**summary.models, "mamba2": replace(summary.models["mamba2"], cosine=0.9)}
    assert best_model(replace(summary, text_nll={}, models=higher)) == "mamba2"


def test_the_headline_says_what_the_gate_says(summary: Summary) -> None:
    expected = "60 documents, 18909 chunks; gate passed: roundtrip 0.840, identification 0.998"
    assert headline(summary) == expected and len(expected) <= 80
    for change in ({"identify_r1": 0.5}, {"mean": 0.5}, {"n": 5}, {"inverter_encoder": "0" * 16}):
        blocked = replace(summary, roundtrip=replace(summary.roundtrip, **change))  # type: ignore[arg-type]
        assert "gate blocked" in headline(blocked)


def test_a_notebook_shows_the_table(summary: Summary) -> None:
    shown = summary._repr_html_()
    assert "\n<table>" in shown and shown.count("<tr>") == 1 + len(results(summary))
    assert "<td>0.476*</td>" in shown and "<td>blocked 0/3</td>" in shown
    few = replace(summary, models={"gru": summary.models["gru"]})
    assert repr(few) == "Summary(space='minilm', documents=60, gru R@10 0.164)"


def test_without_samples_there_is_no_column_for_them(summary: Summary) -> None:
    assert [column.title for column in columns(summary)] == ["cosine", "R@10", "NLL", "pipeline", "best of 8"]
    assert [column.title for column in columns(replace(summary, decoded_samples={}))][-1] == "pipeline"
