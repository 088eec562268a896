"""Order tests on documents whose next vector is known: a predictor that reads order loses it, a bag does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lvm.evaluation.baselines import context_mean, copy_last
from lvm.evaluation.order import changed, order_test
from lvm.sequences import SequenceSet
from tests.evaluation.test_retrieval import sequences, unit


@pytest.fixture
def walk(tmp_path: Path) -> SequenceSet:
    """Documents whose chunks resemble the chunk before."""
    counts, random = [40] * 6, np.random.default_rng(0)
    vectors = unit(sum(counts), 32)
    for row in range(1, len(vectors)):
        if row % 40:
            vectors[row] = 0.8 * vectors[row - 1] + 0.1 * random.normal(size=32)
            vectors[row] /= np.linalg.norm(vectors[row])
    return sequences(tmp_path, vectors, counts)


def test_the_context_is_changed_as_said() -> None:
    contexts = unit(4, 3, 8)
    found = changed(contexts, seed=0)
    assert list(found) == ["shuffled", "reversed", "without 1", "without 2", "without 3"]
    np.testing.assert_array_equal(found["reversed"], contexts[:, ::-1])
    np.testing.assert_array_equal(found["without 1"], contexts[:, [0, 0, 1]])
    np.testing.assert_array_equal(found["without 3"], contexts[:, [1, 1, 2]])
    np.testing.assert_allclose(np.sort(found["shuffled"].sum(axis=1)), np.sort(contexts.sum(axis=1)), atol=1e-6)


def test_copying_the_last_vector_needs_the_order(walk: SequenceSet) -> None:
    test = order_test(walk, copy_last)
    assert test is not None and test.n == len(walk.starts["test"])
    for drop in (test.shuffled, test.reversed, test.left_out[0]):
        assert drop.cosine_interval[0] <= drop.cosine <= drop.cosine_interval[1]
        assert drop.r10_interval[0] <= drop.r10 <= drop.r10_interval[1]
        assert drop.cosine_interval[0] > 0
    assert test.reversed.cosine > test.shuffled.cosine
    assert test.left_out[1].cosine == 0 and test.left_out[1].cosine_interval == (0, 0), "it was not read"


def test_a_bag_loses_nothing_without_order(walk: SequenceSet) -> None:
    test = order_test(walk, context_mean)
    assert test is not None
    for drop in (test.shuffled, test.reversed):
        assert abs(drop.cosine) < 1e-6 and drop.r10 == 0 and drop.r10_interval == (0, 0)


def test_one_vector_has_no_order(tmp_path: Path) -> None:
    assert order_test(sequences(tmp_path, unit(60, 8), [10] * 6, context=1), copy_last) is None
