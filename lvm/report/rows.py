"""A summary as rows: every figure with its name, interval and number of windows.

Contract: a summary in, ``Figure``s out. A figure's metric is its place in ``summary.json``, short where that is plain:

    models.gru.cosine               gru         cosine
    text_nll.gru.nll                gru         text_nll
    decoding.gru.pipeline.mean      gru         decoding.pipeline
    leads.gru.r10.value             gru         leads.r10
    rollouts.gru.written.cosine[0]  gru         rollouts.written.cosine.1
    roundtrip.mean                  roundtrip   roundtrip
    corpus.documents                run         corpus.documents
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, TypeGuard

from lvm.evaluation.decoding import TRUTH
from lvm.evaluation.nll import BEST_CONSTANT
from lvm.report.summary import Summary
from lvm.store import Figure, Kind

RETRIEVAL = ("models", "baselines")
"""Parts of a summary whose figures are named without the part."""

BY_NAME = ("decoding", "text_nll", "samples", "decoded_samples", "order", "leads", "rollouts")
"""Parts that have an entry for every model or baseline."""

OF_GATE, OF_RUN = ("roundtrip", "roundtrip_by_length"), ("corpus", "trained_on", "left_out", "seconds")
"""Parts about the gate, and about the run."""

MAIN = ("nll", "mean", "value")
"""Fields whose name is left out of a metric: they are what the figures around them are about."""

NO_FIGURES = ("n", "seed", "seen", "examples")
"""Fields without figures: ``n`` goes with the other fields, the rest are inputs and texts."""


def rows(summary: Summary, runs: Mapping[str, int]) -> list[Figure]:
    """Every figure of a summary.

    Args:
        summary: the summary.
        runs: id of the training run that left a model, by name of the model.
    """
    values = asdict(summary)
    found: list[Figure] = []
    for part in RETRIEVAL + BY_NAME:
        for name, fields in values[part].items():
            kind: Kind = "model" if name in summary.models else _KINDS.get(name, "baseline")
            found += _figures(name, kind, "" if part in RETRIEVAL else part, fields, runs.get(name))
    for part in OF_GATE:
        found += _figures("roundtrip", "gate", part, values[part])
    for part in OF_RUN:
        found += _figures("run", "run", part, values[part])
    return found


_KINDS: dict[str, Kind] = {BEST_CONSTANT: "floor", TRUTH: "ceiling"}


def _figures(name: str, kind: Kind, part: str, value: Any, run: int | None = None) -> Iterator[Figure]:
    """The figures inside a value of ``summary.json``."""
    for metric, number, interval, n in _numbers(part, value, None):
        low, high = interval if None not in interval else (None, None)
        yield Figure(name, kind, metric, number, low, high, n, run)


Interval = tuple[float | None, float | None]


def _numbers(place: str, value: Any, n: int | None) -> Iterator[tuple[str, float, Interval, int | None]]:
    """Place, number, interval and n of every finite number inside a value."""
    if isinstance(value, dict):
        n = value.get("n", n)
        for key, each in value.items():
            if key not in NO_FIGURES and not key.endswith("interval"):
                below = place if key in MAIN and place else f"{place}.{key}".lstrip(".")
                yield from _number(below, each, _interval(value, key), n)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value, 1):
            yield from _number(f"{place}.{number}", each, (None, None), n)


def _number(
    place: str, value: Any, interval: Interval, n: int | None
) -> Iterator[tuple[str, float, Interval, int | None]]:
    """A number, or the numbers inside."""
    if _is_number(value):
        yield place, float(value), interval, n
    else:
        yield from _numbers(place, value, n)


def _interval(fields: dict[str, Any], key: str) -> Interval:
    """The interval of a field: ``cosine_interval`` is that of ``cosine``, ``interval`` that of the main field."""
    found = fields.get(f"{key}_interval") or (fields.get("interval") if key in MAIN else None) or (None, None)
    low, high = (float(end) if _is_number(end) else None for end in found)
    return low, high


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
