"""Intervals against a loop by hand, and by what an interval promises: it covers the truth 95 times of 100."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm.evaluation import intervals
from lvm.evaluation.intervals import RESAMPLES, interval

WINDOWS = st.lists(st.tuples(st.integers(0, 6), st.floats(-100, 100), st.integers(1, 40)), min_size=2, max_size=40)


def by_hand(values: list[float], documents: list[int], counts: list[int], seed: int) -> tuple[float, float]:
    """A loop over samples of the bootstrap, and over the windows of every drawn document."""
    names = sorted(set(documents))
    means = []
    for drawn in np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names))).tolist():
        rows = [row for which in drawn for row, name in enumerate(documents) if name == names[which]]
        means.append(sum(values[row] for row in rows) / sum(counts[row] for row in rows))
    tail = intervals._tail(len(names))
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


@settings(max_examples=15, deadline=None)
@given(WINDOWS, st.integers(0, 9))
def test_it_is_what_a_loop_over_documents_gives(windows: list[tuple[int, float, int]], seed: int) -> None:
    documents, values, counts = (list(each) for each in zip(*windows, strict=True))
    whole = documents if len(set(documents)) > 1 else list(range(len(documents)))
    expected = pytest.approx(by_hand(values, whole, counts, seed), abs=1e-9)
    assert interval(values, documents, counts, seed=seed) == expected
    assert interval(values, [f"document {each}" for each in documents], counts, seed=seed) == expected


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    values, documents = random.normal(size=300), random.integers(50, size=300)
    whole = interval(values, documents, seed=4)
    monkeypatch.setattr(intervals, "_BLOCK", 777)
    assert interval(values, documents, seed=4) == whole != interval(values, documents, seed=5)


def test_documents_that_differ_make_it_wider() -> None:
    random = np.random.default_rng(1)
    documents = np.repeat(np.arange(40), 25)
    values = random.normal(size=40)[documents] + random.normal(size=1000)
    low, high = interval(values, documents)
    narrow_low, narrow_high = interval(values)
    assert low < narrow_low < values.mean() < narrow_high < high
    # The variance of a mean of 40 documents is (1 + 1/25)/40, that of 1000 windows is 2/1000.
    assert (high - low) / (narrow_high - narrow_low) == pytest.approx((1.04 / 40 / (2 / 1000)) ** 0.5, rel=0.2)


@pytest.mark.parametrize("count", [8, 30])
def test_it_covers_the_truth(count: int) -> None:
    """Documents of different lengths, with an effect of their own; the truth is 0. 400 trials: +- 2.2 points."""
    random = np.random.default_rng(count)
    covered, by_windows = 0, 0
    for trial in range(400):
        documents = np.repeat(np.arange(count), random.integers(5, 30, size=count))
        values = random.normal(size=count)[documents] + random.normal(size=len(documents))
        low, high = interval(values, documents, seed=trial)
        covered += low < 0 < high
        if trial < 100:
            low, high = interval(values, seed=trial)
            by_windows += low < 0 < high
    assert 0.92 < covered / 400 < 0.98
    assert by_windows / 100 < 0.75


def test_of_one_document_the_windows_are_drawn() -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert interval(values, [7] * 50) == interval(values) == interval(values, range(50))
    assert all(math.isnan(end) for end in (*interval([0.5]), *interval([0.5], [3]), *interval([])))


def test_the_series_is_students_t() -> None:
    """Quantiles 0.975 of Student's t, from tables."""
    for freedom, t in ((4, 2.776), (9, 2.262), (29, 2.045), (999, 1.962)):
        n = freedom + 1
        expected = math.erfc(t * (n / freedom) ** 0.5 / 2**0.5) / 2
        assert intervals._tail(n) == pytest.approx(expected, rel=0.03)
    assert intervals._tail(2) < 1e-9, "two documents: from one to the other"
