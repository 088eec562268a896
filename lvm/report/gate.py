"""The report of the roundtrip gate: its figures and its verdict."""

from __future__ import annotations

from dataclasses import dataclass

from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.gates import Verdict
from lvm.report.html import table


@dataclass(frozen=True)
class GateReport:
    """The current verdict of the roundtrip gate.

    Attributes:
        gate_id: of the verdict in the database.
        corpus_revision: what the verdict is about.
        figures: what was measured.
        verdict: every criterion, its value and its threshold.
        reused: whether the verdict was there already.
    """

    gate_id: int
    corpus_revision: str
    figures: RoundtripFigures
    verdict: Verdict
    reused: bool

    def _repr_html_(self) -> str:
        rows = [
            (each.name, each.figure, f">= {each.threshold:g}", "met" if each.passed else "not met")
            for each in self.verdict.criteria
        ]
        if len(self.figures.sources) > 1:
            rows += [
                (each.source, f"{each.mean:.3f}", f"n = {each.n}", "met" if each.passes else "not met")
                for each in self.figures.sources
            ]
        return table(("criterion", "value", "threshold", "verdict"), rows)
