"""The hardware: which device computes, in which number type, on how many cores; and its memory, given back.

Contract: bfloat16 is used only where the hardware multiplies it. Elsewhere torch emulates it, 50 times slower.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvm.errors import LvmError, UsageError, first_line
from lvm.progress import Progress

T = TypeVar("T")

_LARGE_GPU = 20e9  # bytes


class NoDevice(UsageError):
    """The device does not exist here."""


def open_device(name: str) -> torch.device:
    """A torch device that computes here.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        NoDevice: if it computes nothing. The device ``meta`` has shapes only.
        DeviceFull: if the GPU has no free memory.
    """
    try:
        device = torch.device(name)
        with enough_memory(device):
            torch.ones(1, device=device).add(1).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise NoDevice(
            f"device {name!r} cannot be used here ({first_line(error)}); here there is {', '.join(_devices())}: set "
            "LVM_DEVICE or --device, or install a torch build for yours"
        ) from error
    return device


def _devices() -> list[str]:
    """The devices of this machine."""
    found = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


@lru_cache(maxsize=1)
def bf16_available() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def multiplies_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is fast on this device."""
    return device.type == "cuda" or (device.type == "cpu" and bf16_available())


def large_gpu(device: torch.device) -> bool:
    """Whether the device is a GPU of 20 GB or more. A GPU computes many rows as fast as a few, if they fit."""
    return device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory >= _LARGE_GPU


class DeviceFull(LvmError):
    """A device, or the machine, has too little free memory."""


_FULL = re.compile("MPS backend out of memory|CUDA error: out of memory|_ALLOC_FAILED")  # the last: cuBLAS, cuDNN


@contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Name the error where a device or the machine has too little free memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        of_machine = isinstance(error, MemoryError) or "CPUAllocator" in str(error)
        if not of_machine and not isinstance(error, torch.OutOfMemoryError) and not _FULL.search(str(error)):
            raise
        what, instead = (
            ("this machine", "use one with more memory") if of_machine else (f"device {device}", "set LVM_DEVICE=cpu")
        )
        raise DeviceFull(
            f"{what} has too little free memory ({first_line(error)}); end what else uses it, or {instead}"
        ) from error


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision for training: bfloat16 where it is fast, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bf16(device))


def attention_of_any_shape(device: torch.device) -> AbstractContextManager[Any]:
    """Turn cuDNN's attention off on a GPU: it plans anew for each shape, and texts have hundreds of shapes."""
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def give_back_memory() -> None:
    """Give freed memory back to the system: glibc keeps what its threads freed, half a gigabyte in a run."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class _Stopped(Exception):
    """Ends a piece of work whose result nobody waits for any more."""


def side_by_side(
    pieces: Mapping[str, Callable[[Progress], T]], device: torch.device, progress: Progress
) -> dict[str, T]:
    """Results of independent pieces of work, by name. On a CPU, pieces run at the same time and share its cores.

    One piece after the other on all cores is slower: its arrays are small, so cores wait for each other in every
    operation.

    Args:
        pieces: each is called with a callback for its progress.
        device: where they compute.
        progress: called in this thread, with the items that a piece finished.

    Raises:
        Exception: what a piece raises. The others end at their next progress, also on Ctrl-C.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(pieces) == 1:
        return {name: piece(progress) for name, piece in pieces.items()}
    told: SimpleQueue[int | None] = SimpleQueue()
    stopped = Event()

    def run(piece: Callable[[Progress], T]) -> T:
        def tell(count: int) -> None:
            if stopped.is_set():
                raise _Stopped
            told.put(count)

        try:
            return piece(tell)
        except BaseException:
            stopped.set()
            raise
        finally:
            told.put(None)

    at_once = min(threads, len(pieces))
    each_has = threads // at_once
    torch.set_num_threads(each_has)
    try:
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(each_has,)) as pool:
            running = {name: pool.submit(run, piece) for name, piece in pieces.items()}
            try:
                for _ in running:
                    while (count := told.get()) is not None:
                        progress(count)
            except BaseException:
                stopped.set()
                raise
        failed = [error for each in running.values() if (error := each.exception())]
        if failed:
            raise next((error for error in failed if not isinstance(error, _Stopped)), failed[0])
        return {name: each.result() for name, each in running.items()}
    finally:
        torch.set_num_threads(threads)
