"""Results as Markdown, for the artifacts of the Prefect UI.

Contract: all texts are escaped. Pictures are data URIs, so an artifact needs no other file and no server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lvm import gates
from lvm.corpus.documents import Skipped
from lvm.errors import one_line, visible
from lvm.evaluation.roundtrip import RoundtripFigures, SourceFigures
from lvm.gates import Verdict
from lvm.report.page import Plot
from lvm.report.results import VERDICT, best, best_model, columns, headline, results
from lvm.report.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ingested(stored: str, skipped: Sequence[Skipped]) -> str:
    """What an ingestion stored, and a table of what it skipped.

    Args:
        stored: in words.
        skipped: the pieces to list.
    """
    rows = [(_text(each.where), _text(each.reason)) for each in skipped]
    return f"{stored}\n\n" + (_table(("skipped", "reason"), rows) if rows else "")


def gate_evidence(figures: RoundtripFigures, verdict: Verdict) -> str:
    """The verdict of the roundtrip gate: its criteria, everything that was measured, and examples."""
    low, high = figures.interval
    chance = "n/a" if figures.chance is None else f"{figures.chance:.3f}"
    criteria = [
        (each.name, each.figure, f"{each.threshold:g}", "met" if each.passed else "**not met**")
        for each in verdict.criteria
    ]
    measured = [
        ("inverter", figures.inverter[:12]),
        ("mean roundtrip cosine (95 %)", f"{figures.mean:.3f} ({low:.3f} to {high:.3f})"),
        ("p10 / median", f"{figures.p10:.3f} / {figures.median:.3f}"),
        ("chunks measured", f"{figures.measured} of {figures.drawn}; {figures.n} of them new to the inverter"),
        ("why no more", figures.stopped or "all were measured"),
        ("chance cosine", chance),
        (f"identification R@1 among {figures.pool}", f"{figures.identify_r1:.3f}"),
        ("word overlap (F1)", f"{figures.overlap:.3f}"),
    ]
    examples = [(each.kind, f"{each.cosine:.3f}", _text(each.text), _text(each.decoded)) for each in figures.examples]
    return "\n".join(
        [
            f"**{_text(verdict.message)}**\n",
            _table(("criterion", "value", "at least", ""), criteria),
            _table(("measurement", "value"), measured),
            *_by_source(figures.sources),
            _table(("", "cosine", "text", "decoded"), examples),
        ]
    )


def _by_source(sources: Sequence[SourceFigures]) -> list[str]:
    """A table of the gate's chunks by source; nothing if the verdict has no breakdown."""
    rows = [
        (
            _text(each.source),
            str(each.n),
            f"{each.mean:.3f}",
            f"{each.identify_r1:.3f}",
            "" if each.passes else "**fails**",
        )
        for each in sources
    ]
    return [_table(("source", "chunks", "mean cosine", "identification R@1", ""), rows)] if rows else []


def pipeline_evidence(summary: Summary) -> str:
    """The verdicts of the pipeline gate on every model, with the figures that it judged."""
    verdicts = {
        name: gates.judge_pipeline(each.pipeline_cosine, each.norm_error) for name, each in summary.models.items()
    }
    rows = [
        (
            _text(name),
            f"{each.pipeline_cosine:.3f}",
            f"{each.norm_error:.1e}",
            "passed" if verdicts[name].passed else "**blocked**",
        )
        for name, each in summary.models.items()
    ]
    least, most = f"at least {gates.PIPELINE_MIN_COSINE:g}", f"at most {gates.MAX_NORM_ERROR:g}"
    return "\n".join(
        [
            *(
                f"**{_text(name)}: {_text(verdict.message)}**\n"
                for name, verdict in verdicts.items()
                if not verdict.passed
            ),
            "Pipeline cosine: between a prediction and the vector of its decoded text, the mean over held-out windows. "
            "Norm error: largest difference between the norm of a prediction and 1.\n",
            _table(("model", f"pipeline cosine ({least})", f"norm error ({most})", "verdict"), rows),
        ]
    )


def report(summary: Summary, plots: Iterable[Plot], lineage: Mapping[str, str], link: str | None) -> str:
    """All results of a run on one page: models beside baselines, decoded examples, plots, and where they come from.

    Args:
        summary: the results.
        plots: in order.
        lineage: ids in the database by what they identify.
        link: address of ``report.html``; None if nothing serves it.
    """
    whole = f"[All figures and plots: report.html]({link})" if link else "`report.html` in the artifacts has more."
    parts = [
        f"## Models beside the baselines\n\n{_text(headline(summary))}\n\n{whole}\n",
        model_table(summary),
        f"## Decoded examples\n\n{decoded_examples(summary)}\n",
    ]
    if written := rollout_examples(summary):
        parts.append(f"## Texts that go on\n\n{written}\n")
    parts += [f"## {plot.title}\n\n{plot.meaning}\n\n{picture(plot.title, plot.figure)}\n" for plot in plots]
    rows = [(what, _code(identity)) for what, identity in lineage.items()]
    parts.append("## Where it comes from\n\n" + _table(("", "id"), rows))
    return "\n".join(parts)


def model_table(summary: Summary) -> str:
    """The table of results. Bold: the best value of a column, and the model whose predictions are best as text."""
    shown, rows = columns(summary), results(summary)
    marked, winner = {column.key: best(rows, column) for column in shown}, best_model(summary)
    cells = [
        (
            f"**{_text(row.name)}** (best)" if row.name == winner else _text(row.name),
            *(_bold(row.text(column), row.name in marked[column.key]) for column in shown),
            row.verdict,
        )
        for row in rows
    ]
    meanings = "".join(f"- {column.title}: {column.meaning}\n" for column in shown)
    header = ("", *(column.title for column in shown), "verdict")
    return f"{_table(header, cells)}\n{meanings}- verdict: {VERDICT}\n"


def decoded_examples(summary: Summary) -> str:
    """Each example: the end of its context, the true next text, and what each prediction decodes to."""
    lines = []
    for example in summary.examples:
        lines += [f"- … {_text(example.context[-1])}", f"  - **next: {_text(example.truth)}**"]
        lines += [f"  - {_text(name)}: {_text(text)}" for name, text in example.decoded.items()]
    return "\n".join(lines)


def rollout_examples(summary: Summary) -> str:
    """Texts that the best model wrote on from held-out contexts; empty if it has no rollout."""
    name = best_model(summary)
    rollout = summary.rollouts.get(name)
    if rollout is None:
        return ""
    repeated = f"{100 * rollout.written.repetition:.0f} % of the texts repeat an earlier one of their rollout."
    lines = [f"**{_text(name)}** wrote {rollout.n} texts of {rollout.steps} steps. {repeated}\n"]
    for context, texts in zip(rollout.contexts, rollout.examples, strict=True):
        lines += [f"- context: … {_text(context)}", *(f"  {i}. {_text(text)}" for i, text in enumerate(texts, 1))]
    return "\n".join(lines)


def picture(title: str, figure: Figure) -> str:
    """A plot as a picture inside the text."""
    from lvm.report.plots import png_uri  # importing matplotlib takes half a second

    return f"![{_text(title)}]({png_uri(figure)})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _text(text: str) -> str:
    """A text from elsewhere as Markdown that shows it as it is: one line, no markup, no HTML."""
    shown = " ".join(visible(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    shown = re.sub(r"[\\`*_\[\]|~]", r"\\\g<0>", shown)
    return re.sub(r"^(\d*)([-+=#>.)])", r"\1\\\2", shown)  # else it begins a list, a heading or a quotation


def _code(text: str) -> str:
    """A name or an id in fixed width."""
    return _text(text) if "`" in text or "|" in text else f"`{one_line(text)}`"
