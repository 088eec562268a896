"""The report: hostile text stays text, the page is whole without network, and files are whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lvm.corpus.documents import Skipped
from lvm.evaluation.decoding import Spread
from lvm.evaluation.lengths import by_length
from lvm.evaluation.roundtrip import Example, SourceFigures
from lvm.gates import judge_roundtrip
from lvm.report import Plot, Summary, markdown, render, write
from lvm.report import summary as summary_module
from lvm.report.plots import (
    document_map,
    png,
    png_uri,
    roundtrip_by_length,
    roundtrip_histogram,
    svg,
    training_curves,
)
from lvm.report.questions import summary_plots
from lvm.training import EpochReport
from tests.report.example import COSINES, HOSTILE, example_summary


@pytest.fixture
def summary() -> Summary:
    return example_summary(HOSTILE)


class Page(HTMLParser):
    """What a browser would make of the page: tags, and addresses that it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_no_text_becomes_markup(summary: Summary) -> None:
    page = render(
        summary, [Plot(HOSTILE, HOSTILE, document_map(np.eye(4, dtype=np.float32), {HOSTILE: np.ones(4)}, HOSTILE))]
    )
    assert Page(page).tags.count("script") == page.count("<script") == 1
    assert page.count("&lt;script&gt;") >= 80, "each of its texts is there"


def test_the_page_loads_nothing(summary: Summary) -> None:
    page = render(summary, summary_plots(summary))
    assert [each for each in Page(page).loads if not each.startswith("#")] == []
    assert not re.search(r"https?://|@import|url\((?!#)|fetch\(|import\(", page)
    assert page.count("<svg") == 3 and "prefers-color-scheme: dark" in page


def test_the_first_table_has_every_row_and_marks_the_best(summary: Summary) -> None:
    page = render(summary, [])
    table = page[page.index("<table") : page.index("</table>")]
    for name in (*COSINES, "copy_last", "nearest_continuation", "best_constant", "truth"):
        assert f">{name}<" in table
    assert re.search(r'class="n best" data-value="0.476">0.476', table)
    assert "blocked 0/3" in table and table.count("passed 3/3") == 3


def test_the_gates_sources_are_shown_if_there_are_several(summary: Summary) -> None:
    good, bad = SourceFigures("sotu", 160, 0.87, 1.0), SourceFigures(HOSTILE, 40, 0.31, 0.4)
    title = "Is each source understood?"
    verdict = judge_roundtrip(0.84, 0.95, 200, True)
    assert title not in render(summary, []) and "| source |" not in markdown.gate_evidence(summary.roundtrip, verdict)
    figures = replace(summary.roundtrip, sources=[bad, good])
    page = render(replace(summary, roundtrip=figures), [])
    table = page[page.index(title) :]
    assert HOSTILE not in table and table.index("0.310") < table.index("fails") < table.index("sotu")
    evidence = markdown.gate_evidence(figures, verdict)
    assert "**fails** |" in evidence and HOSTILE not in evidence


def test_figures_that_were_not_measured_are_dashes(summary: Summary) -> None:
    bare = replace(summary, text_nll={}, samples={}, decoded_samples={}, order={}, rollouts={}, leads={})
    assert summary_plots(bare) == []
    page = render(bare, [])
    assert "best of" not in page and "nan" not in re.sub(r"<script>.*", "", page, flags=re.S).lower()


def test_files_are_whole_and_replace_what_was_there(summary: Summary, tmp_path: Path) -> None:
    for seed in (1, 0):
        replace(summary, seed=seed).write(tmp_path / "deep" / "summary.json")
        write(summary, [], tmp_path / "deep" / "report.html")

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads((tmp_path / "deep" / "summary.json").read_text(), parse_constant=refuse)
    again = Summary.read(tmp_path / "deep" / "summary.json")
    assert again is not None
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "deep" / "summary.json").read_bytes()
    replace(summary, seed=float("nan")).write(tmp_path / "lacking.json")  # type: ignore[arg-type]
    assert Summary.read(tmp_path / "lacking.json") is Summary.read(tmp_path / "none.json") is None
    assert read["models"]["gru"]["cosine"] == 0.476 and read["seeds"] == {"all": 0}
    assert read["samples"]["ridge"]["within"] is None and read["text_nll"]["gru"]["nll"] == 4.38
    assert read["leads"]["gru"]["r10"]["over"] == "recency_mean"
    assert read["versions"]["torch"] and read["examples"][0]["truth"] == HOSTILE
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["report.html", "summary.json"]


def test_figures_that_do_not_exist_are_read_as_they_were_written(summary: Summary, tmp_path: Path) -> None:
    """Else a run would evaluate again, whenever one chunk is as long as no other."""
    nan = float("nan")
    name, decoded = next(iter(summary.decoding.items()))
    lacking = replace(
        summary,
        roundtrip_by_length=by_length([5, 9, 9, 12], [0.7, 0.8, 0.9, 0.9], 2),
        decoding={**summary.decoding, name: replace(decoded, overlap=Spread(nan, nan, 0), distinct_2=nan)},
        roundtrip=replace(summary.roundtrip, chance=None),
    )
    assert any(np.isnan(group.interval).all() for group in lacking.roundtrip_by_length)
    lacking.write(tmp_path / "summary.json")
    read = Summary.read(tmp_path / "summary.json")
    assert read is not None and repr(vars(read)) == repr(vars(lacking))
    assert read.roundtrip.chance is None and np.isnan(read.decoding[name].overlap.mean)


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "PACKAGES", ("torch", "no-such-package"))
    found = summary_module.versions()
    assert found["no-such-package"] == "not installed" and found["torch"][0].isdigit()


def test_keys_of_the_summary_stay() -> None:
    old = {"space", "corpus", "roundtrip", "baselines", "models", "decoding", "examples", "seed", "seconds", "versions"}
    assert old <= set(vars(example_summary()))


def test_plots_are_pictures(summary: Summary) -> None:
    path = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    history = [EpochReport(1, 0.5, 0.4, 0.1, 0.1, 0.001, 2.0, True)]
    tokens, cosines = [3, 9, 30], [0.9, 0.8, 0.4]
    for figure in (
        *(plot.figure for plot in summary_plots(summary)),
        document_map(path, {"gru": path[0]}, "a path"),
        roundtrip_histogram([0.5, -0.2], None),
        roundtrip_by_length(by_length(tokens, cosines), tokens, cosines),
        training_curves({"gru": history}),
        training_curves({}),
    ):
        assert png(figure).startswith(b"\x89PNG") and len(png(figure)) > 5000
        drawn = svg(figure)
        assert drawn.startswith("<svg") and "currentColor" in drawn and "#010203" not in drawn
        ids = re.findall(r' id="([^"]+)"', drawn)
        assert len(ids) == len(set(ids)) and all(f"#{each}" in drawn for each in ids)
    assert png_uri(roundtrip_histogram([0.5], 0.1)).startswith("data:image/png;base64,iVBOR")


def test_markdown_for_the_prefect_ui(summary: Summary) -> None:
    hostile = replace(summary.roundtrip, examples=[Example("best", 1, "a | b\n<i>", "c", 0.5)])
    verdict = judge_roundtrip(0.84, 0.85, 107, True)
    evidence = markdown.gate_evidence(hostile, verdict)
    assert "| best | 0.500 | a \\| b &lt;i> | c |" in evidence and "0.840 (0.830 to 0.850)" in evidence
    assert "| identification R@1 | 0.850 | 0.9 | **not met** |" in evidence
    assert "roundtrip gate blocked: identification R@1 0.850 &lt; 0.9 (decoded texts do not identify" in evidence
    assert "| sampled chunks | 107 | 20 | met |" in evidence, "a count has no decimals"
    assert "| a.txt | is empty |" in markdown.ingested("**1** document", [Skipped("a.txt", "is empty")])


def test_verdicts_of_the_pipeline_gate_show_their_numbers_passed_or_not(summary: Summary) -> None:
    shown = markdown.pipeline_evidence(summary)
    assert "| gru | 0.740 | 1.0e-07 | passed |" in shown and shown.count("passed |") == 3
    (blocked,) = (name for name, each in summary.models.items() if each.pipeline_cosine < 0.6)
    assert f"**{blocked}: pipeline gate blocked: pipeline cosine" in shown and "| **blocked** |" in shown


def test_the_report_for_the_prefect_ui(summary: Summary) -> None:
    shown = markdown.report(summary, summary_plots(summary), {"gate": "7"}, "http://127.0.0.1:4201/report.html")
    assert "(http://127.0.0.1:4201/report.html)" in shown and "| gate | `7` |" in shown
    assert "| **gru** (best) | **0.476** | **0.164** | **4.38** |" in shown and "| truth | - |" in shown
    assert shown.count("](data:image/png;base64,") == 3, "the plots are inside"
    assert "<script" not in shown and "**next: " in shown
    assert "`report.html` in the artifacts" in markdown.report(summary, [], {}, None)


def test_rollouts_for_the_prefect_ui(summary: Summary) -> None:
    shown = markdown.rollout_examples(summary)
    assert shown.startswith("**gru** wrote 12 texts of 5 steps") and "<script" not in shown
    assert shown.count("- context: …") == 2 and shown.count("  5. ") == 2
    assert markdown.rollout_examples(replace(summary, rollouts={})) == ""


def test_epochs_are_whole_numbers() -> None:
    history = [EpochReport(epoch, 0.5, 0.4, 0.1, 0.1, 0.001, 2.0, True) for epoch in (1, 2, 3)]
    for axis in training_curves({"gru": history}).axes:
        assert all(float(tick).is_integer() for tick in axis.get_xticks())
