"""Figures of samples: best for samples of the true distribution, and those of a definition by loops."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.arrays import FloatArray
from lvm.evaluation.decoding import Windows
from lvm.evaluation.rollout import propose
from lvm.evaluation.samples import DecodedSamples, medoid, sample_figures


def unit(random: np.random.Generator, *shape: int) -> np.ndarray:
    raw = random.normal(size=shape).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=-1, keepdims=True)


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 99))
def test_figures_are_those_of_their_definitions(n: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    samples, targets = unit(random, n, count, 8), unit(random, n, 8)
    found = sample_figures(samples, targets)
    energy, within, best = [], [], []
    for drawn, target in zip(samples, targets, strict=True):
        pairs = list(combinations(drawn, 2))
        near = np.mean([np.linalg.norm(target - each) for each in drawn])
        energy.append(2 * near - np.mean([np.linalg.norm(a - b) for a, b in pairs]))
        within.append(np.mean([a @ b for a, b in pairs]))
        best.append(max(each @ target for each in drawn))
    across = [samples[a, i] @ samples[b, i] for i in range(count) for a, b in combinations(range(n), 2)]
    assert found.n == n and found.count == count
    assert found.energy_score == pytest.approx(np.mean(energy), abs=1e-4)
    assert found.within == pytest.approx(np.mean(within), abs=1e-5)
    assert found.best_of == pytest.approx(np.mean(best), abs=1e-5)
    assert found.mean_pairwise_cosine == pytest.approx(np.mean(across), abs=1e-5)
    assert found.cosine == pytest.approx(float(np.einsum("ncd,nd->", samples, targets)) / (n * count), abs=1e-5)


def test_a_point_prediction_is_one_sample() -> None:
    random = np.random.default_rng(0)
    vector, targets = unit(random, 50, 8), unit(random, 50, 8)
    found = sample_figures(vector[:, None], targets)
    assert found.count == 1 and found.within is None
    assert found.energy_score == pytest.approx(2 * np.linalg.norm(vector - targets, axis=1).mean(), abs=1e-5)
    assert found.cosine == found.medoid == found.best_of
    assert sample_figures(targets[:, None], targets).energy_score == pytest.approx(0.0, abs=2e-3)


def test_all_values_of_a_distribution_score_as_many_draws_of_it() -> None:
    random = np.random.default_rng(2)
    values, targets = unit(random, 400, 4, 8), unit(random, 400, 8)
    drawn = values[np.arange(400)[:, None], random.integers(4, size=(400, 200))]
    whole = sample_figures(values, targets, all_values=True).energy_score
    assert whole == pytest.approx(sample_figures(drawn, targets).energy_score, abs=0.01)
    assert sample_figures(values, targets).energy_score < whole - 0.1, "as draws, four different values look better"


def test_the_medoid_is_nearest_to_the_others() -> None:
    random = np.random.default_rng(1)
    samples = unit(random, 20, 5, 8)
    by_hand = [max(range(5), key=lambda i: float((drawn @ drawn[i]).sum())) for drawn in samples]
    assert medoid(samples).tolist() == by_hand


@dataclass
class Drawn:
    """A model with these samples, whatever the context."""

    drawn: FloatArray
    query: FloatArray
    space: str = "f" * 64
    context: int = 4
    samples: bool = True

    def predict(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self.query, self.query

    def sample(self, contexts: FloatArray, count: int, *, temperature: float = 1.0, seed: int = 0) -> FloatArray:
        return self.drawn[:, :count]


def test_of_the_decoded_samples_the_ranking_head_chooses(fake_space, sentences, windows: Windows) -> None:
    space = fake_space(sentences)
    samples = np.stack([windows.context[:, 0], windows.target, windows.context[:, 1]], axis=1)

    def figures(query: FloatArray) -> DecodedSamples:
        return DecodedSamples.of(windows, propose(space, Drawn(samples, query), windows.context, samples=3))

    right = figures(windows.target)
    assert (right.n, right.count, right.pipeline.n) == (40, 3, 120)
    assert right.chosen.mean == pytest.approx(1.0, abs=1e-5) == right.best_of.mean
    assert [each[0] for each in right.texts] == windows.target_texts
    wrong = figures(windows.context[:, 0])
    assert [each[0] for each in wrong.texts] == [context[0] for context in windows.context_texts]
    assert [sorted(each) for each in wrong.texts] == [sorted(each) for each in right.texts]
    assert wrong.chosen.mean < 0.5 < wrong.best_of.mean
    assert wrong.any.mean == pytest.approx(right.any.mean)
    assert 0 < right.distinct_2 <= 1


def test_the_text_that_is_measured_is_the_one_that_is_written(fake_space, sentences, windows: Windows) -> None:
    space = fake_space(sentences)
    samples = windows.context[:, [2, 2, 0, 1]]
    proposals = propose(space, Drawn(samples, windows.context[:, 2]), windows.context, samples=4)
    found = DecodedSamples.of(windows, proposals)
    assert [each[0] for each in found.texts] == [proposals.decoded.texts[row] for row in proposals.best]
