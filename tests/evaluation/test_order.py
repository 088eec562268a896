"""Order tests tell a predictor that uses order from one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.arrays import FloatArray
from lvm.evaluation.baselines import context_mean, copy_last
from lvm.evaluation.order import changed, order_test
from lvm.sequences import SequenceSet
from tests.training.toy import CONTEXT, corpus


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SequenceSet:
    return corpus(tmp_path_factory.mktemp("order") / "s.safetensors")


def last_but_one(contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """In the toy corpus the next vector is the last but one, turned: nearest to it of all that is copied."""
    return contexts[:, -2], contexts[:, -2]


def test_a_mean_uses_no_order(toy: SequenceSet) -> None:
    found = order_test(toy, context_mean)
    assert found is not None and found.n == len(toy.starts["test"])
    for drop in (found.shuffled, found.reversed):
        assert drop.cosine == pytest.approx(0.0, abs=1e-6)
        assert drop.r10 == 0.0 == drop.r10_interval[0] == drop.r10_interval[1]


def test_drops_are_those_of_the_figures(toy: SequenceSet) -> None:
    found = order_test(toy, copy_last)
    assert found is not None
    starts = toy.starts["test"]
    contexts, targets = toy.contexts(starts), toy.targets(starts)
    intact, backwards = ((contexts[:, at] * targets).sum(1).mean() for at in (-1, 0))
    assert found.reversed.cosine == pytest.approx(float(intact - backwards), abs=1e-6)
    assert len(found.left_out) == CONTEXT
    without_last = (contexts[:, -2] * targets).sum(1).mean()
    assert found.left_out[0].cosine == pytest.approx(float(intact - without_last), abs=1e-6)
    assert all(drop.cosine == pytest.approx(0.0, abs=1e-7) for drop in found.left_out[1:]), "copying sees one vector"
    for drop in (found.shuffled, found.reversed, *found.left_out):
        assert drop.r10_interval[0] <= drop.r10 <= drop.r10_interval[1]
        assert drop.cosine_interval[0] - 1e-7 <= drop.cosine <= drop.cosine_interval[1] + 1e-7
    assert found.reversed.cosine_interval[0] < found.reversed.cosine_interval[1]


def test_a_limit_measures_fewer_windows_and_the_seed_decides_the_shuffling(toy: SequenceSet) -> None:
    found = order_test(toy, last_but_one, limit=17, seed=1)
    assert found is not None and found.n == 17
    assert order_test(toy, last_but_one, limit=17, seed=1) == found


def test_one_vector_has_no_order(tmp_path: Path, toy: SequenceSet) -> None:
    from dataclasses import replace

    assert order_test(replace(toy, context=1), copy_last) is None


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 99))
def test_changed_contexts_hold_the_same_vectors(n: int, length: int, seed: int) -> None:
    contexts = np.random.default_rng(seed).normal(size=(n, length, 3)).astype(np.float32)
    found = changed(contexts, seed)
    assert list(found) == ["shuffled", "reversed", *(f"without {back}" for back in range(1, length + 1))]
    for name in ("shuffled", "reversed"):
        np.testing.assert_array_equal(np.sort(found[name], axis=1), np.sort(contexts, axis=1))
    np.testing.assert_array_equal(found["reversed"][:, ::-1], contexts)
    for back in range(1, length + 1):
        kept = np.delete(contexts, length - back, axis=1)
        np.testing.assert_array_equal(found[f"without {back}"][:, 1:], kept)
        np.testing.assert_array_equal(found[f"without {back}"][:, 0], kept[:, 0])
