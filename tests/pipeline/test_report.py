"""The report of a real run: what ``evaluate`` measures is in the summary, on the page and in the evidence alike."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

import lvm
from lvm.pipeline.figures import Measured
from lvm.report import Summary, markdown
from lvm.settings import Settings
from lvm.store import Store
from tests.flows.corpora import write_unseen
from tests.pipeline.small import shrink
from tests.store.toy import set_gate_size


def test_measured_figures_have_the_names_and_types_of_the_summary() -> None:
    """The summary takes them by name, where mypy does not look."""
    summary = {field.name: field.type for field in fields(Summary)}
    measured = {field.name: field.type for field in fields(Measured)}
    assert measured and measured.items() <= summary.items()


def test_a_report_has_leads_lengths_and_rollouts(
    settings: Settings, database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    set_gate_size(database, 24)
    corpus = str(write_unseen(tmp_path / "texts", documents=6, characters=2000))
    with lvm.open_workspace() as work:
        lvm.ingest(work, corpus)
        gate = lvm.validate(work)
        sequences = lvm.extract(work, context=3)
        model = lvm.train(work, sequences, "gru", epochs=1, loss="cosine", head="energy")
        try:
            summary = lvm.evaluate(work, sequences, [model])
        except lvm.GateBlocked as blocked:  # one epoch may be too few; the report is there all the same
            assert isinstance(blocked.report, Summary)
            summary = blocked.report

    (lead,) = summary.leads.values()
    for figure, key in ((lead.cosine, "cosine"), (lead.r10, "r10")):
        best = max(getattr(each, key) for each in summary.baselines.values())
        assert getattr(summary.baselines[figure.over], key) == pytest.approx(best, abs=1e-6)
        assert figure.value == pytest.approx(getattr(summary.models["gru"], key) - best, abs=1e-6)
        assert figure.interval[0] <= figure.value <= figure.interval[1]
    lengths = summary.roundtrip_by_length
    assert sum(group.n for group in lengths) == gate.figures.n
    assert sum(group.n * group.mean for group in lengths) == pytest.approx(gate.figures.n * gate.figures.mean, abs=1e-3)
    assert len(summary.rollouts["gru"].contexts) == len(summary.rollouts["gru"].examples) == 1
    written = json.loads((settings.artifacts / "summary.json").read_text(), parse_constant=pytest.fail)
    assert written["order"]["gru"]["reversed"]["cosine_interval"]
    page = (settings.artifacts / "report.html").read_text()
    assert page.count("<svg") == 7 and "best of 2" in page and "best_constant" in page
    assert markdown.rollout_examples(summary).count("- context") == 1
    assert all(f"| {name} |" in markdown.model_table(summary) for name in ("**gru** (best)", "ridge", "truth"))
