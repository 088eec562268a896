"""Every figure of a summary is a row, with its interval and its number of windows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from lvm.report.rows import rows
from tests.report.example import NLL, example_summary

RUNS = {"lstm": 1, "gru": 2, "mamba2": 3, "transformer": 4}


def figures(value: Any) -> int:
    """Numbers inside a value of ``summary.json``, without ends of intervals and without what is no figure."""
    if isinstance(value, dict):
        left_out = ("n", "seed", "seeds", "seen", "examples")
        return sum(figures(each) for key, each in value.items() if key not in left_out and "interval" not in key)
    if isinstance(value, list):
        return sum(map(figures, value))
    return int(isinstance(value, int | float) and not isinstance(value, bool))


def test_every_figure_of_the_file_is_a_row_of_its_own(tmp_path: Path) -> None:
    summary = replace(example_summary(), left_out={"known": 2})
    summary.write(tmp_path / "summary.json")
    file = json.loads((tmp_path / "summary.json").read_text())
    del file["space"]  # no figure but the dimension
    found = rows(summary, RUNS)
    assert len(found) == figures(file) > 400
    assert len({(row.name, row.metric) for row in found}) == len(found)
    assert all(math.isfinite(row.value) for row in found)


def test_figures_have_short_names_intervals_and_kinds() -> None:
    found = {(row.name, row.metric): row for row in rows(example_summary(), RUNS)}
    nll = found["gru", "text_nll"]
    assert (nll.value, nll.kind, nll.n, nll.training_run_id) == (NLL["gru"], "model", 256, 2)
    assert (nll.low, nll.high) == (NLL["gru"] - 0.07, NLL["gru"] + 0.08)
    assert found["gru", "cosine"].value == 0.476 and found["gru", "cosine"].n == 2458
    assert found["gru", "decoding.pipeline"].value == found["gru", "pipeline_cosine"].value == 0.74
    lead = found["gru", "leads.r10"]
    assert lead.low is not None and lead.low < lead.value < (lead.high or 0)
    drop = found["gru", "order.left_out.1.cosine"]
    assert drop.low is not None and drop.n == 1024
    assert found["gru", "rollouts.written.cosine.1"].value == 0.36
    assert found["roundtrip", "roundtrip"].value == 0.84 and found["roundtrip", "roundtrip"].kind == "gate"
    assert found["run", "corpus.sequences.test"].value == 2458
    kinds = {name: found[name, "text_nll"].kind for name in ("ridge", "best_constant", "truth")}
    assert kinds == {"ridge": "baseline", "best_constant": "floor", "truth": "ceiling"}
    assert all((row.kind == "model") == (row.training_run_id is not None) for row in found.values())
