"""Figures for the report and for Prefect.

Contract: functions return matplotlib figures. They use no display and no global state of matplotlib.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Literal, overload

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lvm import gates
from lvm.arrays import FloatArray
from lvm.evaluation.retrieval import RetrievalMetrics
from lvm.training import EpochReport

_COLOURS = ("#3b6fb6", "#c8553d", "#3f8f5f", "#8a5aa8", "#b08a2e", "#5a6b78", "#c26a9a", "#4a9aa8")


def _figure(columns: int = 1, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.6 * columns + 0.6, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def roundtrip_histogram(cosines: Sequence[float], chance: float | None) -> Figure:
    """Histogram of roundtrip cosines, with the gate's threshold, the mean and the chance cosine.

    Args:
        cosines: roundtrip cosines, at least one.
        chance: the chance cosine, or None.
    """
    figure, (axis,) = _figure()
    axis.hist(cosines, bins=40, range=(min(0.0, *cosines), 1.0), color=_COLOURS[0], alpha=0.85)
    axis.axvline(gates.ROUNDTRIP_MIN_COSINE, color=_COLOURS[1], label=f"threshold {gates.ROUNDTRIP_MIN_COSINE}")
    axis.axvline(float(np.mean(cosines)), color="black", linestyle="--", label=f"mean {np.mean(cosines):.3f}")
    if chance is not None:
        axis.axvline(chance, color=_COLOURS[5], linestyle=":", label=f"chance {chance:.3f}")
    axis.set(xlabel="roundtrip cosine", ylabel="chunks")
    axis.legend(frameon=False, fontsize=8)
    return figure


def training_curves(histories: Mapping[str, Sequence[EpochReport]]) -> Figure:
    """Training loss, validation cosine and validation R@10 by epoch.

    Args:
        histories: reports of all epochs by name of the model.
    """
    figure, axes = _figure(3)
    for colour, (name, history) in zip(_COLOURS, histories.items(), strict=False):
        epochs = [report.epoch for report in history]
        for axis, value in zip(axes, ("loss", "cosine", "r10"), strict=True):
            axis.plot(epochs, [getattr(report, value) for report in history], color=colour, label=name, marker=".")
    for axis, title in zip(axes, ("training loss", "validation cosine", "validation R@10"), strict=True):
        axis.set(title=title, xlabel="epoch")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def comparison(figures: Mapping[str, RetrievalMetrics], models: Sequence[str]) -> Figure:
    """Bars of cosine and R@10 of models and baselines.

    Args:
        figures: metrics by name.
        models: names of the models; the other names are baselines.
    """
    figure, axes = _figure(2, height=0.6 + 0.34 * len(figures))
    names = list(figures)[::-1]
    colours = [_COLOURS[0] if name in models else "#b9c0c7" for name in names]
    for axis, key, title in zip(axes, ("cosine", "r10"), ("cosine to the next chunk", "R@10"), strict=True):
        values = [getattr(figures[name], key) for name in names]
        axis.barh(names, values, color=colours)
        for place, value in enumerate(values):
            axis.text(value, place, f" {value:.3f}", va="center", fontsize=8)
        axis.set(title=title, xlim=(0, 1.18 * max(values)))
    return figure


def document_map(path: FloatArray, predictions: Mapping[str, FloatArray], title: str) -> Figure:
    """The vectors of a document and the predictions of its last vector, on the document's two main directions.

    Args:
        path: (n, dim) unit vectors of consecutive chunks; the last is the predicted one.
        predictions: predictions (dim,) of the last vector, by name of the model.
        title: title of the figure.
    """
    figure, (axis,) = _figure(height=4.2)
    centre = path.mean(axis=0)
    _, _, directions = np.linalg.svd(path - centre, full_matrices=False)
    places = (path - centre) @ directions[:2].T
    axis.plot(places[:-1, 0], places[:-1, 1], color="#b9c0c7", linewidth=1, zorder=1)
    age = np.arange(len(places) - 1)
    axis.scatter(places[:-1, 0], places[:-1, 1], c=age, cmap="Blues", s=18, vmin=-len(age) / 2, zorder=2)
    axis.scatter(places[-1, 0], places[-1, 1], marker="*", s=170, color="black", label="true next chunk", zorder=4)
    for colour, (name, vector) in zip(_COLOURS[1:], predictions.items(), strict=False):
        place = (vector - centre) @ directions[:2].T
        axis.scatter(place[0], place[1], marker="X", s=70, color=colour, label=name, zorder=3)
    axis.set(title=title, xlabel="first direction", ylabel="second direction")
    axis.legend(frameon=False, fontsize=8)
    return figure


@overload
def png(figure: Figure, data_uri: Literal[True]) -> str: ...
@overload
def png(figure: Figure, data_uri: Literal[False] = False) -> bytes: ...
def png(figure: Figure, data_uri: bool = False) -> bytes | str:
    """Render a figure as PNG.

    Args:
        figure: the figure.
        data_uri: return a data URI for HTML instead of bytes.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = buffer.getvalue()
    return "data:image/png;base64," + base64.b64encode(data).decode() if data_uri else data
