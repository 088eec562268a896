"""Text NLL through the shipped inverter: the truth is the ceiling, the best constant vector the floor."""

from __future__ import annotations

import numpy as np
import pytest

from lvm.encoding.vectors import Vectors
from lvm.evaluation.nll import best_constant, text_nll
from lvm.spaces import Space, SpaceMismatch


def test_the_truth_is_likelier_than_the_best_constant_and_that_than_the_mean(
    minilm: Space, held_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm.evaluation.nll.CONSTANT_STEPS", 40)
    fitted, texts = held_out[:96], held_out[96:144]
    vectors, mean = minilm.encode(texts), minilm.encode(fitted).unit.mean(axis=0)

    def nll(one: np.ndarray) -> float:
        return text_nll(minilm, texts, Vectors.from_raw(minilm.fingerprint, one)).nll

    constant = best_constant(minilm, fitted, mean)
    assert len(constant) == 1 and constant.fingerprint == minilm.fingerprint
    floor = nll(constant.unit.repeat(len(texts), axis=0))
    assert nll(vectors.unit) < floor - 0.5
    assert floor < nll(np.tile(mean, (len(texts), 1))) - 0.1
    assert nll(vectors.unit[::-1]) > nll(vectors.unit) + 0.5, "the vectors of other texts"


def test_the_best_constant_is_the_same_again(
    minilm: Space, held_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm.evaluation.nll.CONSTANT_STEPS", 3)
    mean = minilm.encode(held_out[:12]).unit.mean(axis=0)
    first, again = (best_constant(minilm, held_out[:12], mean).unit for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], mean / np.linalg.norm(mean))


def test_the_interval_is_that_of_the_documents(minilm: Space, held_out: list[str]) -> None:
    texts = held_out[:40]
    found = text_nll(minilm, texts, minilm.encode(texts), seed=3)
    low, high = found.interval
    assert low < found.nll < high and found.n == 40
    wider = text_nll(minilm, texts[:10], minilm.encode(texts[:10]), seed=3)
    assert wider.interval[1] - wider.interval[0] > high - low
    in_pairs = text_nll(minilm, [*texts, *texts], minilm.encode([*texts, *texts]), [*range(40), *range(40)], seed=3)
    assert in_pairs.nll == pytest.approx(found.nll, abs=1e-3)  # in bfloat16 a batch of others rounds otherwise
    assert in_pairs.interval == pytest.approx(found.interval, abs=2e-3), "a copy of a document tells nothing new"
    with pytest.raises(SpaceMismatch):
        text_nll(minilm, texts, Vectors("0" * 16, minilm.encode(texts).unit, np.ones(40, np.float32)))
