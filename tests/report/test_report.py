"""The report: hostile text stays text, figures are whole, and verdicts say what was met."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from lvm.corpus.documents import Skipped
from lvm.evaluation.decoding import DecodedExample, Spread
from lvm.evaluation.retrieval import RetrievalMetrics
from lvm.evaluation.roundtrip import Example, RoundtripFigures
from lvm.report import Summary, markdown, render, verdicts, write
from lvm.report.plots import comparison, document_map, png, roundtrip_histogram
from lvm.report.summary import CorpusFigures, DecodingFigures, ModelFigures, SpaceFigures

HOSTILE = '<script>alert("x")</script> & "quotes"'


def figures(cosine: float, r10: float) -> RetrievalMetrics:
    return RetrievalMetrics(
        n=10, pool=12, cosine=cosine, copy_cosine=0.3, margin=0.1, r1=0.1, r5=0.1, r10=r10, r50=0.1, mrr=0.1,
        norm_error=1e-7,
    )  # fmt: skip


@pytest.fixture
def summary() -> Summary:
    spread = Spread(0.7, 0.71, 8)
    return Summary(
        space=SpaceFigures("minilm", "f" * 16, 384, "a" * 64),
        corpus=CorpusFigures(2, 30, 30, "b" * 64, {"train": 20}, 5),
        roundtrip=RoundtripFigures(
            space="f" * 16, inverter="a" * 64, inverter_encoder="f" * 16, seed=0, n=40, mean=0.84, p10=0.7,
            median=0.85, interval=(0.8, 0.88), chance=0.1, identify_r1=0.8, pool=40, drawn=40, overlap=0.5,
            seconds=3.0, seen=[], examples=[Example("best", 1, HOSTILE, HOSTILE, 0.9)],
        ),
        baselines={"copy_last": figures(0.3, 0.2)},
        models={"gru": ModelFigures(**asdict(figures(0.4, 0.1)), pipeline_cosine=0.59, seconds=3.0)},
        decoding={"gru": DecodingFigures("model", 8, 0.7, spread, spread, spread, spread)},
        examples=[DecodedExample([HOSTILE], HOSTILE, {"gru": HOSTILE}, {"gru": 0.5})],
        seed=0,
    )  # fmt: skip


def test_no_text_becomes_markup(summary: Summary) -> None:
    page = render(summary, {HOSTILE: roundtrip_histogram([0.8, 0.9], 0.1)})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_verdicts_compare_with_the_targets(summary: Summary) -> None:
    met = {(row.stage, row.metric.split(" (")[0].split(",")[0]): row.passed for row in verdicts(summary)}
    assert met["validate", "roundtrip cosine"] is True
    assert met["validate", "identification R@1 of 40"] is False
    assert met["evaluate gru", "cosine"] is True
    assert met["evaluate gru", "R@10"] is False
    assert met["decode gru", "pipeline cosine"] is False
    assert met["decode gru", "norm error"] is True


def test_files_are_whole_and_replace_what_was_there(summary: Summary, tmp_path: Path) -> None:
    for _ in range(2):
        summary.write(tmp_path / "deep" / "summary.json")
        write(summary, {}, tmp_path / "deep" / "report.html")
    read = json.loads((tmp_path / "deep" / "summary.json").read_text())
    assert read["models"]["gru"]["cosine"] == 0.4 and read["seeds"] == {"all": 0}
    assert read["versions"]["torch"] and read["examples"][0]["truth"] == HOSTILE
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["report.html", "summary.json"]


def test_plots_are_pictures() -> None:
    path = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    for figure in (
        comparison({"gru": figures(0.4, 0.1), "ridge": figures(0.3, 0.2)}, ["gru"]),
        document_map(path, {"gru": path[0]}, "a path"),
        roundtrip_histogram([0.5, -0.2], None),
    ):
        assert png(figure).startswith(b"\x89PNG") and len(png(figure)) > 5000


def test_a_notebook_shows_the_verdicts_as_a_table(summary: Summary) -> None:
    shown = summary._repr_html_()
    assert shown.startswith("<table>") and "not met" in shown and shown.count("<tr>") == 1 + len(verdicts(summary))
    assert repr(summary) == "Summary(space='minilm', documents=2, gru R@10 0.100)"


def test_markdown_for_the_prefect_ui(summary: Summary) -> None:
    hostile = replace(summary.roundtrip, examples=[Example("best", 1, "a | b\n<i>", "c", 0.5)])
    evidence = markdown.gate_evidence(hostile, "blocked")
    assert "| best | 0.500 | a \\| b &lt;i> | c |" in evidence and "0.840 (0.800 to 0.880)" in evidence
    assert [row["name"] for row in markdown.model_rows(summary)] == ["gru", "copy_last"]
    assert "<script" not in markdown.decoded_examples(summary)
    assert "| a.txt | is empty |" in markdown.ingested("**1** document", [Skipped("a.txt", "is empty")])
