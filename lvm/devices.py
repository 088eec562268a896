"""Which device to compute on, and in which number type.

Contract: bfloat16 is used only where the hardware multiplies it. Elsewhere torch emulates it, 50 times slower.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch

from lvm.errors import UsageError


class NoDevice(UsageError):
    """The device does not exist here."""


def open_device(name: str) -> torch.device:
    """A torch device that works.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        NoDevice: if a tensor cannot be placed on it.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise NoDevice(f"device {name!r} cannot be used here; use cpu, or install a torch build that has it") from error
    return device


@lru_cache(maxsize=1)
def bf16_available() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def multiplies_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is fast on this device."""
    return device.type == "cuda" or (device.type == "cpu" and bf16_available())


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision for training: bfloat16 where it is fast, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bf16(device))
