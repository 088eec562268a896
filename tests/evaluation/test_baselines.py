"""Baselines: each says what its name says, and ridge finds what is linear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lvm.evaluation.baselines import (
    RECENCY,
    Fit,
    _damped,
    _fit_by_features,
    _fit_by_windows,
    baselines,
    context_mean,
    copy_last,
    fit_ridge,
    recency_mean,
)
from lvm.evaluation.retrieval import evaluate
from lvm.sequences import SequenceSet
from tests.evaluation.test_retrieval import sequences, unit


def test_the_plain_ones() -> None:
    contexts = unit(6, 4, 8)
    np.testing.assert_allclose(copy_last(contexts)[0], contexts[:, -1], atol=1e-6)
    mean = contexts.mean(axis=1)
    np.testing.assert_allclose(context_mean(contexts)[1], mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    weighted = sum(RECENCY ** (3 - t) * contexts[:, t] for t in range(4))
    np.testing.assert_allclose(
        recency_mean(contexts)[0], weighted / np.linalg.norm(weighted, axis=1, keepdims=True), atol=1e-6
    )


def test_ridge_finds_a_linear_rule(tmp_path: Path) -> None:
    """Each vector is a rotation of the last but one: no mean or copy knows, a linear map does."""
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(8, 8)))[0]
    documents = []
    for _ in range(12):
        vectors = list(unit(2, 8, seed=int(random.integers(1 << 30))))
        for _ in range(38):
            step = turn @ vectors[-2] + 0.05 * random.normal(size=8)
            vectors.append(step / np.linalg.norm(step))
        documents += vectors
    s = sequences(tmp_path, np.array(documents, np.float32), [40] * 12)
    measured = {name: evaluate(s, predictor) for name, predictor in baselines(s).items()}
    assert measured["ridge"].cosine > 0.97
    assert measured["ridge"].r10 > max(measured[n].r10 for n in ("copy_last", "context_mean", "recency_mean"))
    assert set(measured) == {"copy_last", "context_mean", "recency_mean", "ridge"}
    assert all(m.n == 2 * 37 and m.norm_error < 1e-5 for m in measured.values())


def closed_form(s: SequenceSet, penalty: float) -> np.ndarray:
    starts = s.starts["train"]
    x = np.hstack([s.contexts(starts).reshape(len(starts), -1), np.ones((len(starts), 1))])
    damp = penalty * np.eye(x.shape[1])
    damp[-1, -1] = 0
    return np.linalg.solve(x.T @ x + damp, x.T @ s.targets(starts))


@pytest.mark.parametrize("fit", [_fit_by_features, _fit_by_windows])
@pytest.mark.parametrize("documents", [[40] * 5, [4] * 3])
def test_few_and_many_windows_are_fitted_alike(
    documents: list[int], fit: Callable[[SequenceSet], Fit], tmp_path: Path
) -> None:
    s = sequences(tmp_path, unit(sum(documents), 4), documents)
    fitted = fit(s)
    for penalty in (300.0, 1.0, 3000.0):
        np.testing.assert_allclose(fitted(penalty), closed_form(s, penalty), atol=1e-5)


def test_a_penalty_too_small_for_float32_fits_nothing() -> None:
    same = torch.ones(3, 3)
    solve = _damped(same, same.diagonal(), torch.ones(3, 1))
    assert solve(1e-9) is None
    np.testing.assert_allclose(solve(1.0), np.full((3, 1), 0.25), atol=1e-6)  # type: ignore[arg-type]


def test_ridge_is_the_closed_form(tmp_path: Path) -> None:
    s = sequences(tmp_path, unit(200, 4), [40] * 5)
    ridge = fit_ridge(s)
    starts = s.starts["train"]
    np.testing.assert_allclose(ridge.weight, closed_form(s, ridge.penalty), atol=1e-5)
    vector, query = ridge(s.contexts(starts[:3]))
    assert np.linalg.norm(vector, axis=1) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(vector, query)
