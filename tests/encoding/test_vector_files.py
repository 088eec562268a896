"""Files of vectors: what is written is read back, and no bytes from anywhere give more than one named line."""

from __future__ import annotations

import io
import json
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lvm.encoding.vector_files import FORMAT, UnreadableVectors, VectorFile, read, write
from lvm.encoding.vectors import InvalidVectors, Vectors
from lvm.errors import LvmError
from lvm.files import UNSEALED, CorruptedFile, in_order, write_sealed

DIM = 8
FINGERPRINT = "0123456789abcdef"
LINE = {"text": "x", "space": FINGERPRINT, "norm": 2.0, "vector": [0.5] * DIM}


def opened(path: Path) -> VectorFile:
    with path.open("rb") as file:
        return read(path, file)


def some(n: int = 5) -> Vectors:
    return Vectors.from_raw(FINGERPRINT, np.random.default_rng(0).normal(size=(n, DIM)).astype(np.float32))


def refused(path: Path, data: bytes) -> LvmError:
    """The one error that a file is refused with."""
    path.write_bytes(data)
    with pytest.raises(LvmError) as caught:
        opened(path).vectors(FINGERPRINT)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert caught.value.exit_code in (1, 2)
    return caught.value


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    raw = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(raw)) + raw


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".jsonl"])
def test_what_is_written_is_read(suffix: str, tmp_path: Path) -> None:
    vectors = some()
    write(tmp_path / f"v{suffix}", vectors, "toy", ["a", "b", "c", "d", "é"])
    held = opened(tmp_path / f"v{suffix}")
    again = held.vectors(FINGERPRINT)
    assert held.fingerprint == FINGERPRINT and not held.foreign
    np.testing.assert_allclose(again.unit, vectors.unit, atol=1e-6)
    np.testing.assert_allclose(again.norms, vectors.norms, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_float_are_read(dtype: str, order: Any, tmp_path: Path) -> None:
    raw = np.asarray(some().raw, dtype=dtype, order=order)
    for name, data in (("v.npy", npy(raw)), ("v.npz", npz(v=npy(raw), ids=npy(np.arange(5))))):
        (tmp_path / name).write_bytes(data)
        held = opened(tmp_path / name)
        assert held.fingerprint is None and held.foreign and held.norms is None
        np.testing.assert_allclose(held.raw, raw.astype(np.float32))


HOSTILE_ARRAYS: dict[str, bytes] = {
    "empty": b"",
    "text": b"no array at all",
    "magic only": b"\x93NUMPY",
    "cut header": header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 8), }")[:30],
    "cut data": npy(some().raw)[:-7],
    "huge shape": header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 384), }") + b"\0" * 64,
    "shape of 400 digits": header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 400 + ", 8), }"),
    "shape of 9000 digits": header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 9000 + ", 8), }"),
    "negative shape": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -8), }") + b"\0" * 64,
    "deep header": header("(" * 5000 + ")" * 5000),
    "deeper header": header("[" * 200 + "]" * 200),
    "no dictionary": header("1 + 1"),
    "code": header("__import__('os').abort()"),
    "objects": npy(np.array([[{}], [1]], dtype=object)),
    "text array": npy(np.array([["a"], ["b"]])),
    "whole numbers": npy(np.ones((2, DIM), np.int64)),
    "complex": npy(np.ones((2, DIM), np.complex64)),
    "structured": npy(np.zeros(2, [("a", "<f4")])),
    "flat": npy(np.ones(DIM, np.float32)),
    "three dimensions": npy(np.ones((1, 1, DIM), np.float32)),
    "no rows": npy(np.ones((0, DIM), np.float32)),
    "no columns": npy(np.ones((DIM, 0), np.float32)),
    "zero": npy(np.zeros((2, DIM), np.float32)),
    "NaN": npy(np.full((2, DIM), np.nan)),
    "infinite": npy(np.full((2, DIM), np.inf)),
    "too large for float32": npy(np.full((2, DIM), 1e300)),
    "version 9": header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 8), }", b"\x09\x00"),
}


@pytest.mark.parametrize("data", HOSTILE_ARRAYS.values(), ids=HOSTILE_ARRAYS)
def test_hostile_arrays(data: bytes, tmp_path: Path) -> None:
    assert isinstance(refused(tmp_path / "v.npy", data), UnreadableVectors | InvalidVectors)
    assert isinstance(refused(tmp_path / "v.npz", npz(v=data)), UnreadableVectors | InvalidVectors)


def _encrypted() -> bytes:
    data = bytearray(npz(v=npy(some().raw)))
    data[6] |= 1  # the local header's flag, and the directory's
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


HOSTILE_ARCHIVES: dict[str, bytes] = {
    "empty": b"",
    "text": b"PK\x03\x04 no archive",
    "cut": npz(v=npy(some().raw))[:-30],
    "broken in the middle": npz(v=npy(some(500).raw)).replace(b"\x93NUMPY", b"\0\0\0\0\0\0")[:9000],
    "no member": npz(),
    "a member that is no array": npz(v=b"text"),
    "no floats": npz(v=npy(np.arange(5))),
    "two candidates": npz(a=npy(some().raw), b=npy(some().raw)),
    "bomb": npz(v=header("{'descr': '<f4', 'fortran_order': False, 'shape': (4194304, 8), }") + b"\0" * 2**27),
    "encrypted": _encrypted(),
    "wrong sum": npz(v=npy(some().raw)).replace(struct.pack("<I", zlib.crc32(npy(some().raw))), b"\1\2\3\4"),
    "objects": npz(v=npy(some().raw), space=npy(np.array({"a": 1}, dtype=object))),
}


@pytest.mark.parametrize("data", HOSTILE_ARCHIVES.values(), ids=HOSTILE_ARCHIVES)
def test_hostile_archives(data: bytes, tmp_path: Path) -> None:
    if data == HOSTILE_ARCHIVES["objects"]:  # an object beside the vectors is never unpickled, and names no space
        (tmp_path / "v.npz").write_bytes(data)
        assert opened(tmp_path / "v.npz").fingerprint is None
        return
    assert isinstance(refused(tmp_path / "v.npz", data), UnreadableVectors)


HOSTILE_LINES: dict[str, str] = {
    "empty": "",
    "text": "no JSON",
    "a list": "[]",
    "nothing": "{}",
    "null": "null",
    "no space": json.dumps({"vector": [1.0] * DIM}),
    "a number for a space": json.dumps({**LINE, "space": 1}),
    "strings for numbers": json.dumps({**LINE, "vector": ["1"] * DIM}),
    "truth for numbers": json.dumps({**LINE, "vector": [True] * DIM}),
    "nested": json.dumps({**LINE, "vector": [[1.0] * DIM]}),
    "ragged": json.dumps({**LINE, "vector": [1.0, [2.0]]}),
    "no numbers": json.dumps({**LINE, "vector": []}),
    "one number": json.dumps({**LINE, "vector": 1.0}),
    "a number of 400 digits": json.dumps({**LINE, "vector": [10**400] * DIM}),
    "a number of 5000 digits": '{"space": "0123456789abcdef", "vector": [' + "1" * 5000 + "]}",
    "deep": "[" * 200_000,
    "deep and closed": '{"space": ' * 50_000 + "1" + "}" * 50_000,
    "NaN": json.dumps({**LINE, "vector": [float("nan")] * DIM}),
    "infinite": json.dumps({**LINE, "vector": [float("inf")] * DIM}),
    "beyond float32": json.dumps({**LINE, "vector": [1e39] * DIM}),
    "zero": json.dumps({**LINE, "vector": [0.0] * DIM}),
    "norm zero": json.dumps({**LINE, "norm": 0}),
    "norm negative": json.dumps({**LINE, "norm": -1.0}),
    "norm NaN": json.dumps({**LINE, "norm": float("nan")}),
    "norm text": json.dumps({**LINE, "norm": "1"}),
    "norm of 400 digits": json.dumps({**LINE, "norm": 10**400}),
    "other dimension": json.dumps(LINE) + "\n" + json.dumps({**LINE, "vector": [1.0]}),
    "other space": json.dumps(LINE) + "\n" + json.dumps({**LINE, "space": "f" * 16}),
    "a gap": json.dumps(LINE) + "\n\n" + json.dumps(LINE),
    "a line without an end": '{"space": "' + "x" * (5 * 2**20),
}


@pytest.mark.parametrize("lines", HOSTILE_LINES.values(), ids=HOSTILE_LINES)
def test_hostile_lines(lines: str, tmp_path: Path) -> None:
    assert isinstance(refused(tmp_path / "v.jsonl", lines.encode()), UnreadableVectors | InvalidVectors)


def test_lines_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    refused(tmp_path / "v.jsonl", b"\xff\xfe\x00{}")
    refused(tmp_path / "v.jsonl", b"\x00" * 1000)


def _sealed(path: Path, tensors: dict[str, np.ndarray], **metadata: str) -> bytes:
    write_sealed(path, safetensors.numpy.save(tensors, {"sha256": UNSEALED, **metadata}))
    return path.read_bytes()


NAMED = {"format": FORMAT, "fingerprint": FINGERPRINT, "space_name": "toy"}
RESEALED: dict[str, tuple[dict[str, np.ndarray], dict[str, str]]] = {
    "another format": ({"unit": some().unit, "norms": some().norms}, {**NAMED, "format": "lvm-model-1"}),
    "no format": ({"unit": some().unit, "norms": some().norms}, {}),
    "no fingerprint": ({"unit": some().unit, "norms": some().norms}, {"format": FORMAT}),
    "no norms": ({"unit": some().unit}, NAMED),
    "no vectors": ({"norms": some().norms}, NAMED),
    "fewer norms": ({"unit": some().unit, "norms": some().norms[:2]}, NAMED),
    "other type": ({"unit": some().unit.astype(np.float64), "norms": some().norms}, NAMED),
    "flat": ({"unit": some().unit[0], "norms": some().norms}, NAMED),
    "NaN": ({"unit": some().unit * np.float32("nan"), "norms": some().norms}, NAMED),
    "norms of zero": ({"unit": some().unit, "norms": some().norms * 0}, NAMED),
    "no rows": ({"unit": some().unit[:0], "norms": some().norms[:0]}, NAMED),
}


@pytest.mark.parametrize(("tensors", "metadata"), RESEALED.values(), ids=RESEALED)
def test_a_sealed_file_may_still_hold_anything(
    tensors: dict[str, np.ndarray], metadata: dict[str, str], tmp_path: Path
) -> None:
    data = _sealed(tmp_path / "made.safetensors", tensors, **metadata)
    assert isinstance(refused(tmp_path / "v.safetensors", data), CorruptedFile | InvalidVectors)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: struct.pack("<Q", 10**6) + b"[" * 10**6,
        lambda data: struct.pack("<Q", 2) + b"{}",
        lambda data: in_order(data.replace(b"lvm-vectors-1", b"lvm-vectors-2")),
    ],
    ids=["empty", "7 bytes", "cut header", "cut", "a bit", "huge header", "deep header", "no metadata", "changed"],
)
def test_a_damaged_file(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    write(tmp_path / "made.safetensors", some(), "toy", ["a"] * 5)
    error = refused(tmp_path / "v.safetensors", damage((tmp_path / "made.safetensors").read_bytes()))
    assert isinstance(error, CorruptedFile)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".jsonl", ".safetensors"])
@hypothesis_settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_read_or_named(suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    """Random bytes, and right files with bytes changed, cut out or put in."""
    arrays = {".npy": npy(some().raw), ".npz": npz(v=npy(some().raw), space=npy(np.array(FINGERPRINT)))}
    if suffix in arrays:
        right = arrays[suffix]
    else:
        write(tmp_path / f"right{suffix}", some(), "toy", ["a"] * 5)
        right = (tmp_path / f"right{suffix}").read_bytes()
    start = data.draw(st.integers(0, len(right)))
    end = data.draw(st.integers(start, min(len(right), start + 64)))
    changed = right[:start] + data.draw(st.binary(max_size=64)) + right[end:]
    path = tmp_path / f"v{suffix}"
    path.write_bytes(data.draw(st.sampled_from([changed, changed[:end], right[:end]])))
    try:
        opened(path).vectors(FINGERPRINT)
    except LvmError as error:
        assert "\n" not in str(error)


def test_no_header_allocates_what_it_claims(tmp_path: Path) -> None:
    """A claim of 100 GB in a file of a few bytes is refused without asking the system for memory."""
    claim = header("{'descr': '<f4', 'fortran_order': False, 'shape': (65104166, 384), }")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, hard))
    try:
        assert "claims" in str(refused(tmp_path / "v.npy", claim))
        assert "claims" in str(refused(tmp_path / "v.npz", npz(v=claim)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
