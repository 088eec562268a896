"""Groups of chunks by length against plain properties of grouping."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.evaluation.lengths import GROUPS, by_length

PAIRS = st.lists(st.tuples(st.integers(1, 60), st.floats(-1, 1)), min_size=1, max_size=80)


@given(PAIRS)
def test_every_chunk_is_in_one_group_and_equal_lengths_stay_together(pairs: list[tuple[int, float]]) -> None:
    groups = by_length([tokens for tokens, _ in pairs], [cosine for _, cosine in pairs])
    assert 1 <= len(groups) <= GROUPS and sum(group.n for group in groups) == len(pairs)
    for before, after in pairwise(groups):
        assert before.longest < after.shortest
    for group in groups:
        inside = [cosine for tokens, cosine in pairs if group.shortest <= tokens <= group.longest]
        assert len(inside) == group.n and group.mean == pytest.approx(sum(inside) / group.n, abs=1e-9)
        low, high = group.interval
        assert math.isnan(low) if group.n == 1 else low <= group.mean + 1e-12 and group.mean <= high + 1e-12


def test_many_lengths_make_groups_of_about_equal_size() -> None:
    groups = by_length(list(range(100)), [0.5] * 100)
    assert len(groups) == GROUPS and {group.n for group in groups} <= {19, 20, 21}


def test_no_chunk_makes_no_group() -> None:
    assert by_length([], []) == []
