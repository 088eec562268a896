"""Vectors on disk are checked when they are read: a changed byte is found then at the latest, and only what is read."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm.files import CorruptedFile
from lvm.sequences import CheckedRows, load, rows
from tests.attacks.hostile import one_line
from tests.sequences.test_sequences import DIM, make, vectors

COUNTS = [9, 8, 12]
ROWS = 4  # of a block
BLOCKS = -(-sum(COUNTS) // ROWS)


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "BLOCK_BYTES", ROWS * DIM * 4)
        yield


class Hashed:
    """Counts what is hashed, by its number of bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        real = hashlib.sha256
        monkeypatch.setattr(rows.hashlib, "sha256", lambda data=b"": self.sizes.append(len(data)) or real(data))


def vectors_range(data: bytes) -> tuple[int, int]:
    begin = 8 + int.from_bytes(data[:8], "little")
    return begin, begin + sum(COUNTS) * DIM * 4


def changed(path: Path, place: int, by: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= by
    path.write_bytes(data)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    """One outside of the vectors when the file is opened, one of a vector when its block is read, and in no other."""
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder), COUNTS).path
        raw = path.read_bytes()
        begin, end = vectors_range(raw)
        inside = data.draw(st.booleans())
        place = data.draw(st.integers(begin, end - 1) if inside else st.integers(0, len(raw) - 1))
        changed(path, place, data.draw(st.integers(1, 255)))
        if not begin <= place < end:
            with pytest.raises(CorruptedFile):
                load(path)
            return
        s, block = load(path), (place - begin) // (ROWS * DIM * 4)
        for number in range(BLOCKS):
            part = slice(number * ROWS, (number + 1) * ROWS)
            for _ in range(2):  # a block that failed fails again
                if number == block:
                    with pytest.raises(CorruptedFile, match=f"its vectors {number * ROWS} to") as caught:
                        s.unit[part]
                    one_line(caught.value)
                else:
                    np.testing.assert_array_equal(s.unit[part], vectors(COUNTS)[part])
        for reading in (s.unit.check, lambda: np.asarray(s.unit), lambda: s.unit[np.arange(sum(COUNTS))]):
            with pytest.raises(CorruptedFile):
                reading()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_another_length_is_found_when_the_file_is_opened(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder), COUNTS).path
        raw = path.read_bytes()
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
        with pytest.raises(CorruptedFile):
            load(path)
        path.write_bytes(raw + data.draw(st.binary(min_size=1, max_size=70)))
        with pytest.raises(CorruptedFile):
            load(path)


def test_only_what_is_read_is_checked_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path, COUNTS).path
    hashed = Hashed(monkeypatch)
    s = load(path)
    begin, end = vectors_range(path.read_bytes())
    assert sum(hashed.sizes) < end - begin, "opening reads no vectors"
    hashed.sizes.clear()
    s.contexts(np.array([0]))  # rows 0 to 4: blocks 0 and 1
    assert hashed.sizes == [ROWS * DIM * 4] * 2
    s.targets(np.array([0, 1, 2]))
    s.unit[2:8]
    assert len(hashed.sizes) == 2, "these blocks were checked"
    s.unit[-1:]
    assert len(hashed.sizes) == 3 and hashed.sizes[-1] == sum(COUNTS) % ROWS * DIM * 4
    s.unit.check()
    s.unit.check()
    assert len(hashed.sizes) == BLOCKS


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rows_are_those_of_an_array(data: st.DataObject) -> None:
    whole = vectors(COUNTS)
    digests = rows.BlockDigests(DIM)
    raw = memoryview(whole.tobytes())
    while raw:
        size = data.draw(st.integers(1, 200))
        digests.update(raw[:size])
        raw = raw[size:]
    unit = CheckedRows(whole, digests.finish(), Path("none"))
    assert unit.shape == whole.shape and len(unit) == len(whole) and unit.nbytes == whole.nbytes
    n = len(whole)
    edges = st.none() | st.integers(-n - 3, n + 3)
    part = slice(data.draw(edges), data.draw(edges), data.draw(st.sampled_from([None, 1, 3, -1, -2])))
    np.testing.assert_array_equal(unit[part], whole[part])
    chosen = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=9)), np.int64)
    np.testing.assert_array_equal(unit[chosen], whole[chosen])
    np.testing.assert_array_equal(unit[chosen[:, None]], whole[chosen[:, None]])
    np.testing.assert_array_equal(np.asarray(unit), whole)
    with pytest.raises(IndexError):
        unit[np.array([n])]


def test_a_pool_is_the_rows_of_a_split(tmp_path: Path) -> None:
    s = make(tmp_path, COUNTS)
    pool = s.pool("train")
    np.testing.assert_array_equal(pool[:], vectors(COUNTS)[s.rows("train")])
    np.testing.assert_array_equal(pool[np.array([[2, 0]])], vectors(COUNTS)[s.rows("train")[[[2, 0]]]])
    assert len(pool) == len(s.rows("train"))
