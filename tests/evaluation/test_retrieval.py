"""Ranks and metrics against a plain computation."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm.evaluation import retrieval
from lvm.evaluation.baselines import context_mean, copy_last
from lvm.evaluation.retrieval import (
    EmptySplit,
    InvalidPrediction,
    WindowFigures,
    evaluate,
    lead,
    measure,
    rank_of,
)
from lvm.sequences import SequenceSet, extract


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    raw = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=-1, keepdims=True)


def sequences(folder: Path, vectors: np.ndarray, counts: list[int], context: int = 3) -> SequenceSet:
    documents = [SimpleNamespace(id=i, sha256=f"{i:064}", chunk_count=n) for i, n in enumerate(counts)]
    batch = SimpleNamespace(
        document_ids=np.repeat(np.arange(len(counts)), counts),
        chunk_ids=np.arange(len(vectors)),
        positions=np.concatenate([np.arange(n) for n in counts]),
        unit=vectors,
    )
    return extract(
        folder / "s.safetensors", [batch], documents, trained_documents={d.sha256 for d in documents[:-2]},
        context=context, dim=vectors.shape[1], space_name="toy", space="0" * 64, inverter="1" * 64, corpus_revision="r",
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), m=st.integers(6, 60), block=st.integers(1, 70), seed=st.integers(0, 99))
def test_ranks_are_those_of_sorting(n: int, m: int, block: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    queries, pool = unit(n, 5, seed=seed), unit(m, 5, seed=seed + 1)
    chosen = np.stack([random.choice(m, size=4, replace=False) for _ in range(n)])
    targets, excluded = chosen[:, 0], chosen[:, 1:]
    expected = []
    for query, target, left_out in zip(queries, targets, excluded, strict=True):
        order = [i for i in np.argsort(-(pool @ query)) if i not in left_out]
        expected.append(order.index(target) + 1)
    np.testing.assert_array_equal(rank_of(queries, pool, targets, excluded, block=block), expected)


def test_copies_of_the_target_do_not_push_it_down() -> None:
    pool = np.repeat(unit(3, 8), 4, axis=0)
    ranks = rank_of(pool[[0]], pool, np.array([3]), np.empty((1, 0), np.int64))
    assert ranks.tolist() == [1]


def test_metrics(tmp_path: Path) -> None:
    counts = [10, 12, 9, 11, 8, 7]
    vectors = unit(sum(counts), 16)
    s = sequences(tmp_path, vectors, counts)
    truth = {s.contexts(s.starts["test"])[i].tobytes(): t for i, t in enumerate(s.targets(s.starts["test"]))}

    def oracle(contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = np.stack([truth[c.tobytes()] for c in contexts])
        return found, found

    perfect = evaluate(s, oracle, batch=4)
    assert perfect.n == len(s.starts["test"]) == 5 + 4
    assert perfect.pool == 15
    assert perfect.r1 == perfect.mrr == 1.0
    assert perfect.cosine == pytest.approx(1.0, abs=1e-6)
    assert perfect.margin == pytest.approx(1 - perfect.copy_cosine)
    assert perfect.norm_error < 1e-6
    assert evaluate(s, oracle, limit=3).n == 3
    assert evaluate(s, oracle, limit=3).pool == 15

    def copy(contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return contexts[:, -1], contexts[:, -1]

    copied = evaluate(s, copy, "train")
    assert copied.copy_cosine == pytest.approx(1.0, abs=1e-6)
    assert copied.margin < 0
    assert copied.r1 < 0.5, "the context's own vectors are left out, or a copy would find itself"
    assert 0 < copied.r1 <= copied.r5 <= copied.r10 <= copied.r50 <= 1 or copied.r1 == 0

    def split_heads(contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return contexts[:, -1], oracle(contexts)[0]

    both = evaluate(s, split_heads)
    assert both.r1 == 1.0 and both.cosine < 0.9, "one head ranks, the other is compared"


def test_no_number_is_no_rank(tmp_path: Path) -> None:
    s = sequences(tmp_path, unit(40, 8), [10, 10, 10, 10])
    with pytest.raises(InvalidPrediction, match="diverged"):
        evaluate(s, lambda c: (c[:, -1] * np.nan, c[:, -1]))


def test_an_empty_split(tmp_path: Path) -> None:
    s = sequences(tmp_path, unit(40, 8), [10, 10, 10, 10])
    s.starts["validation"] = np.empty(0, np.int64)
    with pytest.raises(EmptySplit, match="validation"):
        evaluate(s, lambda c: (c[:, -1], c[:, -1]), "validation")


def test_figures_of_windows_are_those_of_the_metrics(tmp_path: Path) -> None:
    s = sequences(tmp_path, unit(60, 16), [10] * 6)
    metrics, of_windows = measure(s, context_mean)
    assert metrics == evaluate(s, context_mean) and len(of_windows.rank) == metrics.n
    assert float(of_windows.cosine.mean()) == metrics.cosine
    assert float((of_windows.rank <= 10).mean()) == metrics.r10


def test_a_lead_is_over_the_best_baseline_by_each_figure() -> None:
    def figures(cosine: float, rank: int) -> WindowFigures:
        return WindowFigures(np.full(8, cosine, np.float32), np.full(8, rank), np.arange(8) // 2)

    found = lead(figures(0.5, 11), {"near": figures(0.25, 50), "ranks": figures(0.125, 3)})
    assert (found.cosine.over, found.cosine.value, found.cosine.interval) == ("near", 0.25, (0.25, 0.25))
    assert (found.r10.over, found.r10.value) == ("ranks", -1)


def test_the_interval_is_that_of_paired_differences() -> None:
    random = np.random.default_rng(0)
    noise, shift = random.normal(size=4000).astype(np.float32), random.normal(0.1, 0.2, 4000).astype(np.float32)
    rank = np.ones(4000, dtype=np.int64)
    document = np.arange(4000)
    found = lead(WindowFigures(noise + shift, rank, document), {"base": WindowFigures(noise, rank, document)}).cosine
    low, high = found.interval
    assert low < 0.1 < high and high - low == pytest.approx(2 * 1.96 * 0.2 / 4000**0.5, rel=0.05)


def test_nobody_leads_itself(tmp_path: Path) -> None:
    _, own = measure(sequences(tmp_path, unit(60, 16), [10] * 6), copy_last)
    found = lead(own, {"copy_last": own})
    assert found.cosine.value == found.r10.value == 0 and found.cosine.interval == (0, 0)


def test_memory_does_not_grow_with_the_split(tmp_path: Path) -> None:
    """A pool of 31 MB is read in blocks; only a few integers a chunk are held."""
    peaks = []
    for name, length in (("small", 10_000), ("large", 20_000)):
        counts = [30, 30, 30, length, length]
        s = sequences(tmp_path / name, unit(sum(counts), 192), counts)
        s.unit.check()
        tracemalloc.start()
        found = evaluate(s, copy_last, limit=64)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.pool == 2 * length
    assert peaks[1] < peaks[0] + 1e6, "15 MB would be the further rows"


@pytest.mark.parametrize("ranked", [1, 5, 100])
def test_windows_that_are_ranked_together_change_nothing(
    ranked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = sequences(tmp_path, unit(60, 16), [10] * 6)
    expected = measure(s, context_mean, batch=2)
    monkeypatch.setattr(retrieval, "RANKED_WINDOWS", ranked)
    monkeypatch.setattr(retrieval, "_QUERIES", 3)
    found = measure(s, context_mean, batch=2)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1].rank, expected[1].rank)
