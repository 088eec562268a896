"""Independent pieces of work that share the cores of a CPU."""

from __future__ import annotations

import platform
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save

import lvm
from lvm.devices import DeviceFull, enough_memory, give_back_memory, large_gpu, open_device, side_by_side
from lvm.pipeline.shipped import FOLDER
from lvm.progress import Progress
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.training import load_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(("gigabytes", "large"), [(8, False), (16, False), (24, True), (80, True)])
def test_a_large_gpu_has_20_gb(gigabytes: int, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    assert large_gpu(torch.device("cuda")) is large
    assert not large_gpu(CPU) and not large_gpu(torch.device("mps"))


def _full(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.50 GiB.\nMore lines.")


@pytest.mark.parametrize(
    ("device", "said", "advice"),
    [
        ("cuda", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "set LVM_DEVICE=cpu"),
        ("mps", "MPS backend out of memory (MPS allocated: 17.50 GB)", "set LVM_DEVICE=cpu"),
        ("cuda", "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate", "more memory"),
        ("cpu", "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate", "more memory"),
    ],
)
def test_a_full_device_is_known_by_its_words(device: str, said: str, advice: str) -> None:
    what = "this machine" if "CPUAllocator" in said else f"device {device}"
    with pytest.raises(DeviceFull, match=rf"^{what} has too little .*{advice}$"), enough_memory(torch.device(device)):
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="sizes do not match"), enough_memory(torch.device(device)):
        raise RuntimeError("sizes do not match")


def test_a_cpu_without_memory_is_named() -> None:
    for work in (lambda: torch.empty(2**60, dtype=torch.uint8), lambda: np.empty(2**60, dtype=np.uint8)):
        with pytest.raises(DeviceFull, match="this machine has too little free memory"), enough_memory(CPU):
            work()


SHIPPED = Path(lvm.__file__).parent / "spaces" / "minilm" / FOLDER
FULL = r"too little free memory \(CUDA out of memory. Tried .*; end what else uses it"


def test_a_full_gpu_is_named(minilm: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, model = minilm.encode(["One text."]), load_model(SHIPPED)
    contexts = np.repeat(vectors.unit[:, None], model.context, axis=1)
    monkeypatch.setattr(minilm.inverter, "decode", _full)
    monkeypatch.setattr(minilm.inverter, "nats", _full)
    monkeypatch.setattr(minilm.encoder, "_states", _full)
    monkeypatch.setattr(model.model, "states", _full)
    for work in (
        lambda: minilm.decode(vectors),
        lambda: minilm.score(["One text."], vectors),
        lambda: minilm.encode(["One text."]),
        lambda: minilm.probe(),
        lambda: model.predict(contexts),
        lambda: model.sample(contexts, 2),
    ):
        with pytest.raises(DeviceFull, match=FULL):
            work()


def test_a_gpu_that_is_full_before_the_first_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = open_space("minilm", Settings(home=tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "to", _full)
        for first in (
            space.probe,
            lambda: space.inverter,
            lambda: space.check_decoding(2),
            lambda: load_model(SHIPPED),
        ):
            with pytest.raises(DeviceFull, match=FULL):
                first()
    with monkeypatch.context() as patch:
        patch.setattr(space.encoder, "_states", _full)
        with pytest.raises(DeviceFull, match=FULL):
            space.probe()  # the first text is a test of the network
    del space.encoder._dense
    space.encoder._projection = tmp_path / "projection.safetensors"
    space.encoder._projection.write_bytes(save({"linear.weight": torch.eye(384)}))
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", _full)
        with pytest.raises(DeviceFull, match=FULL):
            space.encoder._dense  # noqa: B018


def test_a_device_without_free_memory_is_no_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", _full)
    with pytest.raises(DeviceFull, match=FULL):
        open_device("cpu")


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    request.addfinalizer(lambda: torch.set_num_threads(before))
    count: int = request.param
    return count


def test_results_have_the_order_of_the_pieces_and_progress_is_told_here(threads: int) -> None:
    told, here = list[tuple[int, int]](), threading.get_ident()

    def piece(number: int, progress: Progress) -> tuple[int, int]:
        time.sleep(0.05 * (3 - number))  # the last one ends first
        progress(number)
        progress(10)
        return number, torch.get_num_threads()

    pieces = {f"piece {n}": lambda progress, n=n: piece(n, progress) for n in range(3)}
    found = side_by_side(pieces, CPU, lambda count: told.append((count, threading.get_ident())))
    assert list(found) == list(pieces)
    assert [number for number, _ in found.values()] == [0, 1, 2]
    assert {each_has for _, each_has in found.values()} == {1}  # 1 of 1, 2 and 5 threads for three pieces
    assert sorted(count for count, _ in told) == [0, 1, 2, 10, 10, 10]
    assert {thread for _, thread in told} == {here}
    assert torch.get_num_threads() == threads


def test_pieces_run_at_the_same_time() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=10)
    try:
        found = side_by_side({name: lambda _: both.wait() for name in "ab"}, CPU, lambda _: None)
    finally:
        torch.set_num_threads(before)
    assert sorted(found.values()) == [0, 1]


def test_an_error_of_a_piece_is_raised_and_ends_the_others(threads: int) -> None:
    steps = list[int]()

    def broken(progress: Progress) -> None:
        time.sleep(0.1)
        raise ValueError("this one")

    def long(progress: Progress) -> None:
        for step in range(1000):
            steps.append(step)
            progress(1)
            time.sleep(0.01)

    pieces = {"broken": broken, "long": long} if threads == 1 else {"long": long, "broken": broken}
    with pytest.raises(ValueError, match="this one"):
        side_by_side(pieces, CPU, lambda _: None)
    assert len(steps) < 1000
    assert torch.get_num_threads() == threads


def test_an_interruption_ends_all_pieces() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def long(progress: Progress) -> None:
        for _ in range(1000):
            progress(1)
            time.sleep(0.01)

    def interrupted(count: int) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side({"a": long, "b": long}, CPU, interrupted)
    finally:
        assert torch.get_num_threads() == 2
        torch.set_num_threads(before)
    assert time.monotonic() - began < 5


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives memory back by itself")
def test_freed_memory_is_given_back() -> None:
    process = psutil.Process()
    give_back_memory()
    before = process.memory_info().rss
    blocks = [bytearray(b"x" * 60_000) for _ in range(5_000)]
    kept = bytearray(b"y" * 60_000)  # above the others: the heap cannot shrink from its end
    del blocks
    give_back_memory()
    assert process.memory_info().rss - before < 100e6, "300 MB were freed"
    assert kept
