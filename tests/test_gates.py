"""What ends a roundtrip gate early: hardly ever a wrong verdict, and near the thresholds nothing does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvm import gates

TRIALS = 20_000


def normal(mean: float, sd: float, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return mean + sd * rng.standard_normal(size, dtype=np.float32)


def skewed(mean: float, sd: float, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Cosines below 1 with a tail to low ones."""
    total = mean * (1 - mean) / sd**2 - 1
    return rng.beta(mean * total, (1 - mean) * total, size)


def two_kinds(mean: float, sd: float, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Nine of ten chunks decode alike well, one decodes badly."""
    return mean + sd * np.where(rng.random(size, dtype=np.float32) < 0.1, -3, 1 / 3)


def verdicts(cosines: np.ndarray, shares: np.ndarray) -> list[bool | None]:
    """The first certain verdict of each trial; None if it measures all.

    Args:
        cosines: (trials, n) roundtrip cosines.
        shares: (trials, looks) identification at each look.
    """
    means = [cosines[:, :look].mean(axis=1, dtype=np.float64).tolist() for look in gates.GATE_LOOKS]
    sds = [cosines[:, :look].std(axis=1, ddof=1, dtype=np.float64).tolist() for look in gates.GATE_LOOKS]
    found: list[bool | None] = []
    for trial in range(len(cosines)):
        looks = (
            gates.certain_roundtrip(look, means[at][trial], sds[at][trial], float(shares[trial, at]))
            for at, look in enumerate(gates.GATE_LOOKS)
        )
        found.append(next((each for each in looks if each is not None), None))
    return found


@pytest.mark.parametrize(
    ("draw", "mean", "sd"),
    [
        (normal, 0.60, 0.10), (normal, 0.60, 0.25), (normal, 0.62, 0.10), (normal, 0.629, 0.10), (normal, 0.631, 0.15),
        (normal, 0.64, 0.10), (normal, 0.66, 0.10), (normal, 0.66, 0.25), (skewed, 0.60, 0.20), (skewed, 0.66, 0.20),
        (two_kinds, 0.61, 0.15), (two_kinds, 0.65, 0.15),
    ],
)  # fmt: skip
def test_no_trial_ends_with_a_wrong_verdict(draw, mean: float, sd: float) -> None:
    rng = np.random.default_rng([int(1000 * mean), int(1000 * sd)])
    ended = 0
    for _ in range(10):  # batches keep memory small
        cosines = draw(mean, sd, rng, (TRIALS // 10, gates.GATE_LOOKS[-1]))
        found = verdicts(cosines, np.ones((len(cosines), 3)))
        assert (mean < gates.ROUNDTRIP_MIN_COSINE) not in found
        ended += len(found) - found.count(None)
    if abs(mean - gates.ROUNDTRIP_MIN_COSINE) < 0.002:
        assert ended < TRIALS / 500


@pytest.mark.parametrize("share", [0.85, 0.89, 0.899, 0.901, 0.93, 0.99])
def test_identification_ends_no_trial_with_a_wrong_verdict(share: float) -> None:
    rng = np.random.default_rng(int(1000 * share))
    identified = rng.random((TRIALS, gates.GATE_LOOKS[-1])) < share
    shares = np.stack([identified[:, :look].mean(axis=1) for look in gates.GATE_LOOKS], axis=1)
    found = verdicts(np.full((TRIALS, gates.GATE_LOOKS[-1]), 0.9, np.float32), shares)
    assert (share < gates.IDENTIFICATION_MIN_R1) not in found


def test_a_usual_run_ends_at_the_first_look() -> None:
    assert gates.certain_roundtrip(gates.GATE_LOOKS[0], 0.875, 0.1, 1.0) is True
    assert gates.certain_roundtrip(gates.GATE_LOOKS[0], 0.1, 0.1, 0.01) is False


def test_little_and_nothing_is_never_certain() -> None:
    assert gates.certain_roundtrip(gates.GATE_MIN_SAMPLES - 1, 0.0, 0.0, 0.0) is None
    assert gates.certain_roundtrip(0, math.nan, math.nan, math.nan) is None
    for figures in ((math.nan, 0.1, 1.0), (0.9, math.nan, 1.0), (0.9, 0.1, math.nan)):
        assert gates.certain_roundtrip(200, *figures) is None
    assert gates.certain_roundtrip(200, 0.645, 0.0, 1.0) is None  # equal cosines do not make the mean exact
    assert gates.certain_roundtrip(180, 0.9, 0.1, 1.0) is None  # 180 of 180 may be 89 of 100
