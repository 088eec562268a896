"""Results as Markdown and as table rows, for the artifacts of the Prefect UI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lvm.corpus.documents import Skipped
from lvm.evaluation.roundtrip import RoundtripFigures
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
        f"| mean roundtrip cosine (95 %) | {figures.mean:.3f} ({low:.3f} to {high:.3f}) |",
        f"| p10 / median | {figures.p10:.3f} / {figures.median:.3f} |",
        f"| chunks measured | {figures.n} |",
        f"| chance cosine | {chance} |",
        f"| identification R@1 among {figures.pool} | {figures.identify_r1:.3f} |",
        f"| word overlap (F1) | {figures.overlap:.3f} |\n",
        "| | cosine | text | decoded |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.kind} | {each.cosine:.3f} | {_cell(each.text)} | {_cell(each.decoded)} |" for each in figures.examples
    ]
    return "\n".join(lines)


def model_rows(summary: Summary) -> list[dict[str, Any]]:
    """Rows of a table: models, then baselines."""
    return [
        {"name": name, **{key: round(asdict(figures)[key], 4) for key in _METRICS}}
        for group in (summary.models, summary.baselines)
        for name, figures in group.items()
    ]


def decoded_examples(summary: Summary) -> str:
    """Each example: the end of its context, the true next text, and what each prediction decodes to."""
    lines = []
    for example in summary.examples:
        lines += [f"- … {example.context[-1]}", f"  - **next: {example.truth}**"]
        lines += [f"  - {name}: {text}" for name, text in example.decoded.items()]
    return "\n".join(line.replace("<", "&lt;") for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
