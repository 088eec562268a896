"""Results as Markdown and as table rows, for the artifacts of the Prefect UI."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lvm.corpus.documents import Skipped
from lvm.evaluation.roundtrip import RoundtripFigures, SourceFigures
from lvm.report.results import best_model, results
from lvm.report.summary import Summary

_METRICS = ("cosine", "margin", "r1", "r5", "r10", "r50", "mrr")


def ingested(stored: str, skipped: Sequence[Skipped]) -> str:
    """What an ingestion stored, and a table of what it skipped.

    Args:
        stored: in words.
        skipped: the pieces to list.
    """
    rows = "".join(f"| {_cell(each.where)} | {_cell(each.reason)} |\n" for each in skipped)
    return f"{stored}\n\n" + (f"| skipped | reason |\n| --- | --- |\n{rows}" if rows else "")


def gate_evidence(figures: RoundtripFigures, message: str) -> str:
    """The verdict, the figures of the roundtrip gate, and its examples."""
    low, high = figures.interval
    chance = "n/a" if figures.chance is None else f"{figures.chance:.3f}"
    lines = [
        f"**{message}**\n",
        "| measurement | value |",
        "| --- | --- |",
        f"| inverter | {figures.inverter[:12]} |",
        f"| mean roundtrip cosine (95 %) | {figures.mean:.3f} ({low:.3f} to {high:.3f}) |",
        f"| p10 / median | {figures.p10:.3f} / {figures.median:.3f} |",
        f"| chunks measured | {figures.measured} of {figures.drawn}; {figures.n} of them new to the inverter |",
        f"| why no more | {figures.stopped or 'all were measured'} |",
        f"| chance cosine | {chance} |",
        f"| identification R@1 among {figures.pool} | {figures.identify_r1:.3f} |",
        f"| word overlap (F1) | {figures.overlap:.3f} |\n",
        *_by_source(figures.sources),
        "| | cosine | text | decoded |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.kind} | {each.cosine:.3f} | {_cell(each.text)} | {_cell(each.decoded)} |" for each in figures.examples
    ]
    return "\n".join(lines)


def _by_source(sources: Sequence[SourceFigures]) -> list[str]:
    """A table of the gate's chunks by source; nothing if the verdict has no breakdown."""
    if not sources:
        return []
    return [
        "| source | chunks | mean cosine | identification R@1 | |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {_cell(each.source)} | {each.n} | {each.mean:.3f} | {each.identify_r1:.3f} "
            f"| {'' if each.passes else '**fails**'} |"
            for each in sources
        ),
        "",
    ]


def model_rows(summary: Summary) -> list[dict[str, Any]]:
    """Rows of a table: models, then baselines, the floor and the ceiling. What was not measured is None.

    ``nll`` is the text NLL, ``pipeline`` the pipeline cosine, ``pairwise`` the mean cosine between samples of different
    windows, ``r10_drop_reversed`` what R@10 loses if the context is reversed.
    """
    rows = []
    for row in results(summary):
        measured = summary.models.get(row.name) or summary.baselines.get(row.name)
        samples, order = summary.samples.get(row.name), summary.order.get(row.name)
        rows.append(
            {
                "name": row.name,
                **{key: _rounded(getattr(measured, key, None)) for key in _METRICS},
                "nll": _rounded(row.nll),
                "pipeline": _rounded(row.pipeline),
                "pairwise": _rounded(samples.mean_pairwise_cosine if samples else None),
                "r10_drop_reversed": _rounded(order.reversed.r10 if order else None),
                "verdict": row.verdict,
            }
        )
    return rows


def decoded_examples(summary: Summary) -> str:
    """Each example: the end of its context, the true next text, and what each prediction decodes to."""
    lines = []
    for example in summary.examples:
        lines += [f"- … {example.context[-1]}", f"  - **next: {example.truth}**"]
        lines += [f"  - {name}: {text}" for name, text in example.decoded.items()]
    return "\n".join(line.replace("<", "&lt;") for line in lines)


def rollout_examples(summary: Summary) -> str:
    """Texts that the best model wrote on from held-out contexts; empty if it has no rollout."""
    name = best_model(summary)
    report = summary.rollouts.get(name)
    if report is None:
        return ""
    repeated = f"{100 * report.written.repetition:.0f} % of the texts repeat an earlier one of their rollout."
    lines = [f"**{_line(name)}** wrote {report.n} texts of {report.steps} steps. {repeated}\n"]
    for context, texts in zip(report.contexts, report.examples, strict=True):
        lines += [f"- context: … {_line(context)}", *(f"  {i}. {_line(text)}" for i, text in enumerate(texts, 1))]
    return "\n".join(lines)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
