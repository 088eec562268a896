"""Vectors are trained on from their file: checked once, and copied to a device only if it has room."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lvm.files import CorruptedFile
from lvm.sequences import SequenceSet, load
from lvm.training import data as module
from lvm.training import train
from lvm.training.data import DEVICE_SHARE, TrainingData, has_room
from lvm.training.losses import simhash
from tests.training.toy import CONFIG, assert_same, corpus

CPU = torch.device("cpu")


def test_on_the_cpu_vectors_stay_in_their_file(toy: SequenceSet) -> None:
    data = TrainingData.on(toy, CPU)
    mapped = np.asarray(toy.unit)
    assert isinstance(mapped.base, np.memmap) and data.unit.data_ptr() == mapped.ctypes.data
    assert data.device == CPU
    assert torch.equal(data.hashes, simhash(torch.from_numpy(np.array(mapped))))
    rows = torch.tensor([[3, 1], [0, 3]])
    np.testing.assert_array_equal(data.vectors(rows), mapped[rows.numpy()])


def test_hashes_of_parts_are_those_of_the_whole(toy: SequenceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TrainingData.on(toy, CPU).hashes
    monkeypatch.setattr(module, "HASHED_ROWS", 100)
    assert torch.equal(TrainingData.on(toy, CPU).hashes, whole)


def test_a_copy_on_the_device_trains_the_same(
    toy: SequenceSet, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "has_room", lambda device, size: True)
    data = TrainingData.on(toy, CPU)
    assert data.unit.data_ptr() != np.asarray(toy.unit).ctypes.data
    np.testing.assert_array_equal(data.unit, np.asarray(toy.unit))
    train("gru", toy, CONFIG, tmp_path)
    assert_same(undisturbed, tmp_path)


def test_a_gpu_gets_a_copy_only_if_it_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    cuda, most = torch.device("cuda"), int(1000 * DEVICE_SHARE)
    assert has_room(cuda, most) and not has_room(cuda, most + 1)
    assert not has_room(CPU, 1)


def test_rows_are_gathered_where_the_vectors_are(toy: SequenceSet) -> None:
    """The device ``meta`` stands for one without room: it gets the shape of what the CPU gathers."""
    data = TrainingData.on(toy, CPU)
    elsewhere = dataclasses.replace(data, hashes=data.hashes.to("meta"))
    found = elsewhere.vectors(torch.tensor([[3, 1, 2]]))
    assert found.device.type == "meta" and found.shape == (1, 3, toy.dim)


def test_changed_vectors_are_not_trained_on(tmp_path: Path) -> None:
    path = corpus(tmp_path / "s.safetensors").path
    raw = bytearray(path.read_bytes())
    raw[8 + int.from_bytes(raw[:8], "little") + 1000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptedFile, match="changed since they were written; run `lvm extract` again"):
        train("gru", load(path), CONFIG, tmp_path / "gru")
