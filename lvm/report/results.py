"""The table of results: a row for every model, then the baselines, the floor and the ceiling.

Contract: the terminal, ``report.html`` and notebooks show these rows, in this order, with the same best values. A value
that was not measured is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

from lvm import gates
from lvm.evaluation.decoding import TRUTH
from lvm.evaluation.nll import BEST_CONSTANT
from lvm.report.html import table
from lvm.report.summary import Summary

NONE = "-"
"""What tables show for a value that was not measured."""


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        key: name of the field of ``Result``.
        title: short title.
        meaning: one sentence.
        digits: decimals.
        lower: whether lower is better.
    """

    key: str
    title: str
    meaning: str
    digits: int = 3
    lower: bool = False


@dataclass(frozen=True)
class Result:
    """A row.

    Attributes:
        name: of the model or baseline, ``best_constant`` or ``truth``.
        kind: ``floor`` is the best constant vector, ``ceiling`` the true vector.
        cosine: mean cosine of the prediction to the true next vector.
        r10: R@10.
        nll: text NLL.
        pipeline: mean cosine between prediction and decoded text.
        best_of: mean cosine to the truth of the decoded sample that is nearest to it.
        passed: whether a model passes the pipeline gate.
        ahead: on how many of cosine, R@10 and text NLL a model is better than every baseline and the floor.
    """

    name: str
    kind: Literal["model", "baseline", "floor", "ceiling"]
    cosine: float | None = None
    r10: float | None = None
    nll: float | None = None
    pipeline: float | None = None
    best_of: float | None = None
    passed: bool | None = None
    ahead: int | None = None

    @property
    def verdict(self) -> str:
        """``passed 2/3``: the pipeline gate, and ``ahead`` of three. Empty for what is no model."""
        if self.passed is None:
            return ""
        return f"{'passed' if self.passed else 'blocked'} {self.ahead}/3"

    def value(self, column: Column) -> float | None:
        """The value in a column."""
        value: float | None = getattr(self, column.key)
        return value

    def text(self, column: Column) -> str:
        """The value in a column as text."""
        value = self.value(column)
        return NONE if value is None else f"{value:.{column.digits}f}"


def columns(summary: Summary) -> list[Column]:
    """The columns of figures; without the last one if no model has samples."""
    found = [
        Column("cosine", "cosine", "Mean cosine of the prediction to the vector of the true next chunk."),
        Column(
            "r10", "R@10", "Share of windows whose true next chunk is among the ten nearest of all held-out chunks."
        ),
        Column("nll", "NLL", "Nats per token of the true next chunk, given the prediction.", digits=2, lower=True),
        Column("pipeline", "pipeline", "Mean cosine between the prediction and the vector of its decoded text."),
    ]
    if summary.decoded_samples:
        count = max(each.count for each in summary.decoded_samples.values())
        meaning = (
            f"Mean cosine to the truth of the nearest of {count} decoded samples: what a perfect choice would give."
        )
        found.append(Column("best_of", f"best of {count}", meaning))
    return found


VERDICT = (
    f"The pipeline gate (pipeline cosine >= {gates.PIPELINE_MIN_COSINE:g}), and on how many of cosine, R@10 "
    "and NLL the model is ahead of every baseline."
)


def results(summary: Summary) -> list[Result]:
    """The rows: models, baselines, the floor, the ceiling."""

    def nll(name: str) -> float | None:
        return _finite(summary.text_nll[name].nll) if name in summary.text_nll else None

    def pipeline(name: str) -> float | None:
        return _finite(summary.decoding[name].pipeline.mean) if name in summary.decoding else None

    baselines = [
        Result(name, "baseline", _finite(each.cosine), _finite(each.r10), nll(name), pipeline(name))
        for name, each in summary.baselines.items()
    ]
    floor = [Result(BEST_CONSTANT, "floor", nll=nll(BEST_CONSTANT))] if BEST_CONSTANT in summary.text_nll else []
    ceiling = [Result(TRUTH, "ceiling", nll=nll(TRUTH), pipeline=pipeline(TRUTH))]
    ceiling = ceiling if {TRUTH} & {*summary.text_nll, *summary.decoding} else []
    models = []
    for name, figures in summary.models.items():
        own = Result(
            name,
            "model",
            cosine=_finite(figures.cosine),
            r10=_finite(figures.r10),
            nll=nll(name),
            pipeline=_finite(figures.pipeline_cosine),
            best_of=_finite(summary.decoded_samples[name].best_of.mean) if name in summary.decoded_samples else None,
            passed=gates.judge_pipeline(figures.pipeline_cosine, figures.norm_error).passed,
        )
        ahead = sum(_ahead(own, baselines + floor, column) for column in columns(summary)[:3])
        models.append(replace(own, ahead=ahead))
    return models + baselines + floor + ceiling


def best(rows: Sequence[Result], column: Column) -> set[str]:
    """Names of the rows with the best value of a column as it is shown. The ceiling does not count."""
    values = {row.name: value for row in rows if row.kind != "ceiling" and (value := row.value(column)) is not None}
    if len(values) < 2:
        return set()
    wanted = round((min if column.lower else max)(values.values()), column.digits)
    return {name for name, value in values.items() if round(value, column.digits) == wanted}


def best_model(summary: Summary) -> str:
    """Name of the model whose predictions are worth most as text: the lowest text NLL, or else the highest cosine."""

    def worth(name: str) -> tuple[float, float]:
        measured = summary.text_nll.get(name)
        return (measured.nll if measured else math.inf, -summary.models[name].cosine)

    return min(summary.models, key=worth)


def headline(summary: Summary) -> str:
    """The corpus and its roundtrip gate in one line."""
    corpus, gate = summary.corpus, summary.roundtrip
    same = gate.inverter_encoder == gate.space
    passed = gates.judge_roundtrip(gate.mean, gate.identify_r1, gate.n, same).passed
    where = "" if summary.on is None else f"measured on {summary.on}, models were trained elsewhere: "
    missing = "".join(f"; left out {count}: {why}" for why, count in summary.left_out.items())
    return (
        f"{where}{corpus.documents} documents, {corpus.chunks} chunks{missing}; gate "
        f"{'passed' if passed else 'blocked'}: roundtrip {gate.mean:.3f}, identification {gate.identify_r1:.3f}"
    )


def notebook_table(summary: Summary) -> str:
    """The corpus and the table as HTML, for notebooks. A star marks the best value of a column."""
    shown, rows = columns(summary), results(summary)
    marked = {column.key: best(rows, column) for column in shown}
    cells = [
        (row.name, *(row.text(each) + "*" * (row.name in marked[each.key]) for each in shown), row.verdict)
        for row in rows
    ]
    return f"<p>{escape(headline(summary))}</p>\n" + table(("", *(column.title for column in shown), "verdict"), cells)


def _ahead(model: Result, others: Sequence[Result], column: Column) -> bool:
    """Whether a model is better in a column than all others that have a value there. Without a value it is not."""
    own, values = model.value(column), [value for each in others if (value := each.value(column)) is not None]
    if own is None or not values:
        return False
    return own < min(values) if column.lower else own > max(values)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
