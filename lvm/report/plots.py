"""Figures for the report and for Prefect.

Contract: functions return matplotlib figures. They use no display and no pyplot. ``svg`` renders them for light and
dark pages, ``png`` on white.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lvm import gates
from lvm.arrays import FloatArray
from lvm.evaluation.decoding import TRUTH
from lvm.evaluation.lengths import LengthFigures
from lvm.evaluation.nll import BEST_CONSTANT, TextNll
from lvm.evaluation.retrieval import Lead, RetrievalMetrics
from lvm.evaluation.rollout import RolloutReport
from lvm.store import PastFigure
from lvm.training import EpochReport

_COLOURS = ("#4c82cc", "#d0634a", "#479a68", "#9a6cba", "#b58f33", "#6c8090", "#c26a9a", "#4a9aa8")
"""Readable on white and on black."""

_GREY = "#8b949c"
_INK = "#010203"
"""Lines and texts. ``svg`` replaces it by the colour of the page's text."""


def _figure(columns: int = 1, height: float = 3.2, width: float = 4.4) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns + 0.4, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, i + 1, facecolor="none") for i in range(columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[:].set_color(_INK)
        axis.tick_params(colors=_INK, labelsize=9)
        for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
            text.set(color=_INK, fontsize=10)
    return figure, axes


def _legend(axis: Axes) -> None:
    axis.legend(frameon=False, fontsize=8, labelcolor=_INK)


def roundtrip_histogram(cosines: Sequence[float], chance: float | None) -> Figure:
    """Histogram of roundtrip cosines, with the gate's threshold, the mean and the chance cosine.

    Args:
        cosines: roundtrip cosines, at least one.
        chance: the chance cosine, or None.
    """
    figure, (axis,) = _figure(width=6)
    axis.hist(cosines, bins=40, range=(min(0.0, *cosines), 1.0), color=_COLOURS[0], alpha=0.85)
    axis.axvline(gates.ROUNDTRIP_MIN_COSINE, color=_COLOURS[1], label=f"threshold {gates.ROUNDTRIP_MIN_COSINE}")
    axis.axvline(float(np.mean(cosines)), color=_INK, linestyle="--", label=f"mean {np.mean(cosines):.3f}")
    if chance is not None:
        axis.axvline(chance, color=_GREY, linestyle=":", label=f"chance {chance:.3f}")
    axis.set(xlabel="roundtrip cosine", ylabel="chunks")
    _legend(axis)
    return figure


def roundtrip_by_length(groups: Sequence[LengthFigures], tokens: Sequence[int], cosines: Sequence[float]) -> Figure:
    """Roundtrip cosine by length of the chunk: all chunks as points, means of groups with 95 % intervals.

    Args:
        groups: result of ``lvm.evaluation.lengths.by_length``.
        tokens: token counts of n chunks.
        cosines: their n roundtrip cosines.
    """
    figure, (axis,) = _figure(width=6)
    axis.scatter(tokens, cosines, s=7, color=_COLOURS[0], alpha=0.35, linewidths=0)
    centre = [(group.shortest + group.longest) / 2 for group in groups]
    half = [(group.longest - group.shortest) / 2 for group in groups]
    means = [group.mean for group in groups]
    axis.errorbar(
        centre, means, xerr=half, yerr=_reach(means, [group.interval for group in groups]), fmt="o", color=_INK,
        capsize=3, markersize=4, label="mean of a fifth of the chunks",
    )  # fmt: skip
    axis.axhline(gates.ROUNDTRIP_MIN_COSINE, color=_COLOURS[1], label=f"threshold {gates.ROUNDTRIP_MIN_COSINE}")
    axis.set(xlabel="tokens of the chunk", ylabel="roundtrip cosine")
    _legend(axis)
    return figure


def training_curves(histories: Mapping[str, Sequence[EpochReport]]) -> Figure:
    """Training loss, validation cosine and validation R@10 by epoch.

    Args:
        histories: reports of all epochs by name of the model.
    """
    figure, axes = _figure(3, width=3.6)
    for colour, (name, history) in zip(_COLOURS, histories.items(), strict=False):
        epochs = [report.epoch for report in history]
        for axis, value in zip(axes, ("loss", "cosine", "r10"), strict=True):
            axis.plot(epochs, [getattr(report, value) for report in history], color=colour, label=name, marker=".")
    for axis, title in zip(axes, ("training loss", "validation cosine", "validation R@10"), strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if histories:
        _legend(axes[0])
    return figure


def comparison(
    models: Mapping[str, RetrievalMetrics], baselines: Mapping[str, RetrievalMetrics], leads: Mapping[str, Lead]
) -> Figure:
    """Cosine and R@10 of models and baselines, beside a line at the best baseline.

    The interval of a model is that of its paired difference to the best baseline: where it does not reach the line,
    the model is ahead, or behind.

    Args:
        models: metrics of the models by name.
        baselines: metrics of at least one baseline by name.
        leads: leads of the models by name.
    """
    names = [*models, *baselines][::-1]
    figure, axes = _figure(2, height=0.9 + 0.28 * len(names))
    for axis, key, title in zip(axes, ("cosine", "r10"), ("cosine to the next chunk", "R@10"), strict=True):
        axis.axvline(max(getattr(each, key) for each in baselines.values()), color=_GREY, linestyle="--", linewidth=1)
        for place, name in enumerate(names):
            value, colour = getattr((models.get(name) or baselines[name]), key), _GREY
            if name in models:
                colour = _COLOURS[0]
                low, high = getattr(leads[name], key).interval
                over = value - getattr(leads[name], key).value
                axis.plot([over + low, over + high], [place, place], color=colour, linewidth=5, alpha=0.35)
            axis.plot([value], [place], "o", color=colour, markersize=5)
            axis.annotate(
                f"{value:.3f}", (value, place), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7,
                color=_INK,
            )  # fmt: skip
        axis.set(title=title, yticks=range(len(names)), yticklabels=names, ylim=(-0.6, len(names) - 0.2))
        axis.margins(x=0.12)
        axis.xaxis.set_major_locator(MaxNLocator(6))
    axes[1].set_yticklabels([])
    return figure


def text_nll(found: Mapping[str, TextNll], models: Sequence[str]) -> Figure:
    """Text NLL with 95 % intervals, between lines at the floor (best constant vector) and the ceiling (true vector).

    Args:
        found: text NLLs by name.
        models: names of the models.
    """
    names = [name for name in found if name not in (BEST_CONSTANT, TRUTH)][::-1]
    figure, (axis,) = _figure(height=1.3 + 0.28 * len(names), width=6.4)
    for name, label, colour in ((BEST_CONSTANT, "best constant vector (floor)", _COLOURS[1]),
                                (TRUTH, "true vector (ceiling)", _COLOURS[2])):  # fmt: skip
        if name in found:
            axis.axvline(found[name].nll, color=colour, label=f"{label} {found[name].nll:.2f}")
            axis.axvspan(*found[name].interval, color=colour, alpha=0.15, linewidth=0)
    for place, name in enumerate(names):
        colour = _COLOURS[0] if name in models else _GREY
        value = found[name].nll
        axis.errorbar(
            [value], [place], xerr=_reach([value], [found[name].interval]), fmt="o", color=colour, capsize=3,
            markersize=5,
        )  # fmt: skip
        axis.annotate(
            f"{value:.2f}", (value, place), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7,
            color=_INK,
        )  # fmt: skip
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(-0.6, len(names) - 0.2))
    axis.set(xlabel="nats per token of the true next chunk (lower is better)")
    axis.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def rollouts(reports: Mapping[str, RolloutReport]) -> Figure:
    """Rollouts by step: cosine to the true chunk of the step, and to the nearest true chunk of all steps.

    Args:
        reports: at least one report by name of the model. Copying and random chunks are those of the first.
    """
    figure, axes = _figure(2)
    first = next(iter(reports.values()))
    steps = np.arange(1, first.steps + 1)
    titles = ("cosine to the true chunk of the step", "cosine to the nearest true chunk")
    for axis, key, title in zip(axes, ("cosine", "best_cosine"), titles, strict=True):
        for colour, (name, report) in zip(_COLOURS, reports.items(), strict=False):
            axis.plot(steps, getattr(report.written, key), color=colour, marker=".", label=name)
        axis.plot(steps, getattr(first.copied, key), color=_GREY, linestyle="--", label="the last chunk, copied")
        axis.plot(steps, getattr(first.random, key), color=_GREY, linestyle=":", label="random chunks")
        axis.set(title=title, xlabel="step", xticks=steps)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8, labelcolor=_INK)
    return figure


def quality_over_time(past: Sequence[PastFigure]) -> Figure:
    """Text NLL and cosine of models over evaluations. A dotted line marks a change of the corpus.

    Args:
        past: figures ``text_nll`` and ``cosine``, oldest first; versions of one model are one line.
    """
    figure, axes = _figure(2, width=4.6)
    revisions = {each.evaluation_id: each.corpus_revision for each in past}
    place = {evaluation: number for number, evaluation in enumerate(revisions, 1)}
    names = list(dict.fromkeys(each.name.partition("@")[0] for each in past))
    for axis, metric, title in zip(axes, ("text_nll", "cosine"), ("text NLL", "cosine"), strict=True):
        for colour, name in zip(_COLOURS, names, strict=False):
            own = [each for each in past if each.metric == metric and each.name == name]
            kept = [each for each in past if each.metric == metric and each.name.startswith(f"{name}@")]
            for some, style, label in ((own, ".-", name), (kept, "d", f"{name}, an earlier version")):
                values = [each.value for each in some]
                if values:
                    axis.plot([place[each.evaluation_id] for each in some], values, style, color=colour, label=label)
        ordered = list(revisions.items())
        for (_, before), (evaluation, after) in pairwise(ordered):
            if before != after:
                axis.axvline(place[evaluation] - 0.5, color=_GREY, linestyle=":")
        axis.set(title=title, xlabel="evaluation, oldest to newest", xlim=(0.5, len(place) + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8, labelcolor=_INK)
    return figure


def document_map(path: FloatArray, predictions: Mapping[str, FloatArray], title: str) -> Figure:
    """The vectors of a document and the predictions of its last vector, on the document's two main directions.

    Args:
        path: (n, dim) unit vectors of consecutive chunks; the last is the predicted one.
        predictions: predictions (dim,) of the last vector, by name of the model.
        title: title of the figure.
    """
    figure, (axis,) = _figure(height=4.4, width=6.4)
    centre = path.mean(axis=0)
    _, _, directions = np.linalg.svd(path - centre, full_matrices=False)
    places = (path - centre) @ directions[:2].T
    axis.plot(places[:-1, 0], places[:-1, 1], color=_GREY, linewidth=0.8, alpha=0.7, zorder=1)
    shades = np.tile(to_rgba(_COLOURS[0]), (len(places) - 1, 1))
    shades[:, 3] = np.linspace(0.25, 1, len(shades))  # the past fades
    axis.scatter(places[:-1, 0], places[:-1, 1], c=shades, s=18, linewidths=0, zorder=2)
    axis.scatter(places[-1, 0], places[-1, 1], marker="*", s=170, color=_INK, label="true next chunk", zorder=4)
    for colour, (name, vector) in zip(_COLOURS[1:], predictions.items(), strict=False):
        place = (vector - centre) @ directions[:2].T
        axis.scatter(place[0], place[1], marker="X", s=70, color=colour, label=name, zorder=3)
    axis.set(title=title, xlabel="first direction", ylabel="second direction")
    axis.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def png(figure: Figure) -> bytes:
    """Render a figure as PNG, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def png_uri(figure: Figure) -> str:
    """Render a figure as PNG, as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode()


def svg(figure: Figure) -> str:
    """Render a figure as an SVG element to put into HTML. Texts and axes take the colour of the page's text.

    It is as wide as its container, at most as wide as the figure. Ids that nothing refers to are left out: a page has
    several pictures.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.S)
    opening, rest = drawn.split(">", 1)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    drawn = f'{opening} style="max-width: {round(figure.get_figwidth() * 96)}px">{rest}'
    drawn = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", drawn).replace("xlink:href", "href")
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", drawn).replace(_INK, "currentColor")


def _reach(values: Sequence[float], intervals: Sequence[tuple[float, float]]) -> FloatArray:
    """How far intervals reach below and above values: (2, n), for error bars. An interval of NaN has no bar."""
    found = [[value - low, high - value] for value, (low, high) in zip(values, intervals, strict=True)]
    reach: FloatArray = np.maximum(np.nan_to_num(np.array(found, dtype=np.float32).T), 0)
    return reach
