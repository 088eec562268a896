"""Windows, splits, the file they live in, and its export."""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm.errors import UsageError
from lvm.files import CannotWrite, CorruptedFile
from lvm.sequences import (
    SPLITS,
    BrokenSequence,
    NotEnoughDocuments,
    SequenceSet,
    export_npz,
    extract,
    load,
    split_documents,
)

DIM = 6


@dataclass(frozen=True)
class Row:
    id: int
    sha256: str
    chunk_count: int


@dataclass(frozen=True)
class Batch:
    document_ids: np.ndarray
    chunk_ids: np.ndarray
    positions: np.ndarray
    unit: np.ndarray


def rows_of(counts: Sequence[int]) -> list[Row]:
    return [Row(100 + i, hashlib.sha256(str(i).encode()).hexdigest(), n) for i, n in enumerate(counts)]


def vectors(counts: Sequence[int], dim: int = DIM) -> np.ndarray:
    unit = np.random.default_rng(1).normal(size=(sum(counts), dim)).astype(np.float32)
    return unit / np.linalg.norm(unit, axis=1, keepdims=True)


def batches_of(counts: Sequence[int], size: int = 7, dim: int = DIM) -> Iterator[Batch]:
    unit, documents = vectors(counts, dim), rows_of(counts)
    ids = np.repeat([d.id for d in documents], counts)
    positions = np.concatenate([np.arange(n) for n in counts])
    for at in range(0, len(unit), size):
        part = slice(at, at + size)
        yield Batch(ids[part], 5000 + np.arange(len(unit))[part], positions[part], unit[part])


def make(folder: Path, counts: Sequence[int], context: int = 5, saw: Sequence[int] = (), **kwargs) -> SequenceSet:  # type: ignore[no-untyped-def]
    documents = rows_of(counts)
    options = {
        "batches": batches_of(counts), "documents": documents, "context": context, "dim": DIM,
        "trained_documents": {documents[i].sha256 for i in saw}, "space_name": "minilm", "space": "f" * 64,
        "inverter": "1" * 64, "corpus_revision": "abc",
    } | kwargs  # fmt: skip
    batches, rows = options.pop("batches"), options.pop("documents")
    return extract(folder / "s.safetensors", batches, rows, **options)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 20), min_size=5, max_size=30),
    context=st.integers(1, 6),
    size=st.integers(1, 50),
)
def test_windows_stay_in_documents_and_splits_share_none(counts: list[int], context: int, size: int) -> None:
    if sum(n > context for n in counts) < 3:
        return
    with tempfile.TemporaryDirectory() as folder:
        s = make(Path(folder), counts, context, batches=batches_of(counts, size))
        np.testing.assert_array_equal(s.unit, vectors(counts))
        document = np.repeat(np.arange(len(counts)), counts)
        np.testing.assert_array_equal(s.documents_of(np.arange(len(document))), document)
        seen: dict[int, str] = {}
        for split in SPLITS:
            for start in s.starts[split]:
                inside = document[start : start + context + 1]
                assert len(inside) == context + 1
                assert len(set(inside)) == 1
                assert seen.setdefault(int(inside[0]), split) == split
            assert len(s.starts[split]) > 0
        assert sum(len(v) for v in s.starts.values()) == sum(max(0, n - context) for n in counts)
        rows = np.concatenate([s.rows(split) for split in SPLITS])
        assert sorted(rows) == list(range(len(document)))
        assert s.counts()["documents_without_window"] == sum(n <= context for n in counts)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    s = make(tmp_path, [9, 8, 1, 12])
    assert (s.space_name, s.space, s.inverter, s.corpus_revision, s.context) == ("minilm", "f" * 64, "1" * 64, "abc", 5)
    assert s.without_window == 1
    assert isinstance(s.unit[:].base, np.memmap)
    plain = safetensors.numpy.load_file(s.path)  # any reader opens it
    np.testing.assert_array_equal(plain["unit"], vectors([9, 8, 1, 12]))
    assert len(s.sha256) == 64 and load(s.path).sha256 == s.sha256
    again = make(tmp_path / "again", [9, 8, 1, 12])
    assert again.path.read_bytes() == s.path.read_bytes(), "same content, same file"
    assert make(tmp_path / "other", [9, 8, 1, 12], inverter="2" * 64).sha256 != s.sha256


def test_contexts_and_targets(tmp_path: Path) -> None:
    s = make(tmp_path, [9, 8, 12], context=3)
    starts = s.starts["train"]
    assert s.contexts(starts).shape == (len(starts), 3, DIM)
    np.testing.assert_array_equal(s.contexts(starts)[0, 2], s.unit[starts[0] + 2])
    np.testing.assert_array_equal(s.targets(starts)[0], s.unit[starts[0] + 3])


def test_test_documents_are_those_the_inverter_did_not_see() -> None:
    rows = rows_of([20] * 20)
    saw = {r.sha256 for r in rows[:17]}
    splits = split_documents(rows, saw, 5)
    assert [i for i, s in enumerate(splits) if s == "test"] == [17, 18, 19]
    assert {"train", "validation"} <= set(splits[:17])


def test_a_corpus_new_to_the_inverter_is_split_by_hash() -> None:
    rows = rows_of([20] * 1000)
    splits = split_documents(rows, set(), 5)
    assert 60 < splits.count("test") < 140
    assert 40 < splits.count("validation") < 110
    more = split_documents(rows_of([20] * 1500), set(), 5)
    assert more[:1000] == splits, "more documents move none of those that were there"


def test_mostly_new_documents_still_leave_something_to_train_on() -> None:
    rows = rows_of([20] * 100)
    splits = split_documents(rows, {r.sha256 for r in rows[:5]}, 5)
    assert splits.count("train") > 70
    assert all(i >= 5 for i, s in enumerate(splits) if s == "test"), "tested on what the inverter did not see"


@pytest.mark.parametrize("counts", [[], [9], [9, 9], [9, 9, 5, 1]])
def test_too_few_documents(tmp_path: Path, counts: list[int]) -> None:
    with pytest.raises(NotEnoughDocuments, match="shorter --context"):
        make(tmp_path, counts, batches=iter(()))
    assert list(tmp_path.iterdir()) == []


def test_context_below_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--context 0"):
        make(tmp_path, [9, 9, 9], context=0)


@pytest.mark.parametrize("what", ["missing", "extra", "order", "dim", "nan", "document"])
def test_vectors_that_are_not_the_chunks(tmp_path: Path, what: str) -> None:
    counts = [9, 8, 12]
    whole = next(batches_of(counts, size=99))
    if what == "missing":
        batch = Batch(*(v[:-1] for v in vars(whole).values()))
    elif what == "extra":
        batch = Batch(*(np.concatenate([v, v[-1:]]) for v in vars(whole).values()))
    elif what == "order":
        batch = replace(whole, positions=whole.positions[::-1].copy())
    elif what == "dim":
        batch = replace(whole, unit=np.ones((29, DIM + 1), np.float32))
    elif what == "nan":
        batch = replace(whole, unit=np.where(np.arange(29)[:, None] == 4, np.nan, whole.unit))
    else:
        batch = replace(whole, document_ids=whole.document_ids + 1)
    kept = make(tmp_path, [6, 7, 8])
    with pytest.raises(BrokenSequence, match=r"run `lvm|ingest again"):
        make(tmp_path, counts, batches=iter([batch]))
    assert load(kept.path).sha256 == kept.sha256, "the older file stays"
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_a_missing_file_and_a_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(CorruptedFile, match="No such file"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "x").write_text("hello")
    with pytest.raises(CorruptedFile, match="cannot be used"):
        load(tmp_path / "x")
    safetensors.numpy.save_file({"a": np.ones(3)}, tmp_path / "foreign")
    with pytest.raises(CorruptedFile):
        load(tmp_path / "foreign")


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = make(tmp_path, [9, 8, 12])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotWrite, match=r"No space left on device.*intact"):
        make(tmp_path, [9, 9, 9])
    with pytest.raises(CannotWrite):
        export_npz(kept, np.arange(len(kept.unit)), tmp_path / "x.npz")
    assert load(kept.path).sha256 == kept.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(6, 20), min_size=4, max_size=9), context=st.integers(1, 5))
def test_the_export_is_the_windows(counts: list[int], context: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        s = make(Path(folder), counts, context)
        ids = 5000 + np.arange(len(s.unit))
        n = export_npz(s, ids, Path(folder) / "w.npz")
        data = np.load(Path(folder) / "w.npz")
        starts = s.starts["train"]
        assert n == len(starts) == len(data["target_vectors"])
        np.testing.assert_array_equal(data["context_sequences"], s.contexts(starts))
        np.testing.assert_array_equal(data["target_vectors"], s.targets(starts))
        np.testing.assert_array_equal(data["target_chunk_ids"], ids[starts + context])
        np.testing.assert_array_equal(data["context_chunk_ids"][:, 0], ids[starts])
        assert data["context_chunk_ids"].shape == (n, context)
        assert np.linalg.norm(data["target_vectors"][0]) == pytest.approx(1.0, abs=1e-6)
        assert data["space"] == s.space


def test_memory_is_flat(tmp_path: Path) -> None:
    """Extraction and export of 61 MB of vectors (369 MB of windows) allocate a few MB."""
    counts, dim = [1000] * 40, 384
    block = vectors([1000], dim)
    batches = (Batch(np.full(1000, 100 + d), np.arange(1000), np.arange(1000), block) for d in range(len(counts)))
    tracemalloc.start()
    s = make(tmp_path, counts, batches=batches, dim=dim)
    export_npz(s, np.arange(len(s.unit)), tmp_path / "w.npz", "test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert s.path.stat().st_size > 61e6
    assert peak < 24e6


def test_header_is_aligned(tmp_path: Path) -> None:
    raw = make(tmp_path, [9, 8, 12]).path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    assert size % 8 == 0
    assert json.loads(raw[8 : 8 + size])["__metadata__"]["format"] == "lvm-sequences-3"
