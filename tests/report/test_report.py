"""The report: hostile text stays text, figures are whole, and verdicts say what was met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm.report import Summary, render, verdicts, write
from lvm.report.plots import comparison, document_map, png, roundtrip_histogram

HOSTILE = '<script>alert("x")</script> & "quotes"'


def figures(cosine: float, r10: float) -> dict[str, float]:
    names = ("margin", "r1", "r5", "r50", "mrr")
    return {"n": 10, "cosine": cosine, "r10": r10, "norm_error": 1e-7, **dict.fromkeys(names, 0.1)}


@pytest.fixture
def summary() -> Summary:
    spread = {"mean": 0.7, "median": 0.71}
    decoded: dict[str, Any] = {"n": 8, "pipeline": spread, "to_truth": spread, "to_random": spread}
    return Summary(
        space={"name": "minilm", "fingerprint": "f" * 16, "dim": 384, "inverter": "a" * 64},
        corpus={"documents": 2, "chunks": 30, "revision": "b" * 64},
        roundtrip={
            "mean": 0.84,
            "n": 40,
            "pool": 40,
            "chance": 0.1,
            "identify_r1": 0.8,
            "examples": [{"kind": "best", "cosine": 0.9, "text": HOSTILE, "decoded": HOSTILE}],
        },
        baselines={"copy_last": figures(0.3, 0.2)},
        models={"gru": {**figures(0.4, 0.1), "pipeline_cosine": 0.59, "seconds": 3.0}},
        decoding={"gru": decoded},
        examples=[{"context": [HOSTILE], "truth": HOSTILE, "decoded": {"gru": HOSTILE}, "cosines": {"gru": 0.5}}],
        seed=0,
    )


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
