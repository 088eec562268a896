"""What training of inverters and of LVMs shares: learning rate schedule, optimizer step, saved state.

Contract: ``lvm.inversion.training`` and ``lvm.training`` use these functions. The state on disk is one sealed
safetensors file: weights as ``model.NAME``, optimizer state as ``optimizer.INDEX.SLOT``, everything else in the header.
A damaged state is an error; training does not restart silently.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lvm.errors import LvmError, first_line
from lvm.files import UNSEALED, CorruptedFile, verify, write_sealed


class Diverged(LvmError):
    """Loss became NaN or infinite."""


def rate(rise: float, fall: float, floor: float) -> float:
    """Factor of the learning rate: linear warm-up, cosine decay to ``floor``, then constant.

    Args:
        rise: share of the warm-up that is done; 1 or more after the warm-up.
        fall: share of the decay that is done; 1 or more after the decay.
        floor: factor at the end of the decay.
    """
    if rise < 1:
        return rise
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, fall))))


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group, times the group's own ``scale`` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("scale", 1.0)


def step(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    parameters: Iterable[nn.Parameter],
    clip: float,
    average: Callable[[Iterable[nn.Parameter]], None] | None = None,
) -> None:
    """One optimizer step.

    Args:
        optimizer: the optimizer of ``parameters``.
        loss: scalar tensor.
        parameters: the trained parameters.
        clip: largest norm of the gradient.
        average: averages gradients over replicas, before clipping; None for a single process.
    """
    parameters = list(parameters)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if average is not None:
        average(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


def require_finite(loss: float, when: str) -> float:
    """Return the loss if it is a finite number.

    Args:
        loss: the loss.
        when: where training is, for the message.

    Raises:
        Diverged: if the loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss became {loss} in {when}; the last saved state is intact, train again with a lower learning rate"
        )
    return loss


# -- state on disk ----------------------------------------------------------------------------------------------


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], format: str) -> str:
    """Write tensors and metadata to a sealed file, atomically.

    Args:
        path: the file. An existing file is replaced.
        tensors: tensors by name, on any device.
        metadata: entries of the header besides format and digest.
        format: name and version of the format.

    Returns:
        sha256 of the content.

    Raises:
        CannotWrite: if the disk is full. The old file is intact.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_sealed(path, safetensors.torch.save(plain, {**metadata, "format": format, "sha256": UNSEALED}))


def read(path: Path, format: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of ``write`` and check every byte.

    Returns:
        Tensors by name, and the metadata of the header.

    Raises:
        CorruptedFile: if the file is missing, cut short, changed, or of another format.
    """
    header, _ = verify(path)
    metadata = header["__metadata__"]
    if metadata.get("format") != format:
        raise CorruptedFile(f"{path} is not a checkpoint of this version; delete it and train again")
    return load(path), metadata


def load(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        CorruptedFile: if the file cannot be read.
    """
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # safetensors, torch and the file system raise different errors
        raise CorruptedFile(f"{path} cannot be read ({first_line(error)}); delete it and train again") from error


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and optimizer state, under the names that ``restore`` reads."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    return tensors


def restore(tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Load weights and AdamW's state.

    Args:
        tensors: the result of ``state_of``.
        model: gets the weights.
        optimizer: gets the optimizer state.
        path: the file that the tensors were read from, for the message.

    Raises:
        CorruptedFile: if a tensor is missing, unknown or of another shape.
    """
    weights: dict[str, Tensor] = {}
    slots: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    expected = [{"step": torch.Size(), "exp_avg": each.shape, "exp_avg_sq": each.shape} for each in parameters]
    try:
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "model":
                weights[rest] = value
            else:
                index, _, slot = rest.partition(".")
                slots.setdefault(int(index), {})[slot] = value
        shapes = {index: {name: each.shape for name, each in of.items()} for index, of in slots.items()}
        known = dict(enumerate(expected))  # a parameter that never had a gradient has no state
        if any(shape != known.get(index) for index, shape in shapes.items()):
            raise ValueError("its optimizer is not that of this model")
        model.load_state_dict(weights)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CorruptedFile(
            f"{path} does not hold the state of a run ({first_line(error)}); delete it and train again"
        ) from error


_drawing = threading.RLock()


class seeded(AbstractContextManager[None]):
    """Context manager: torch draws from ``seed`` inside the block. The caller's random state is restored at the end.

    All threads of a process share torch's random numbers, so the block of another thread waits for the end of this one.

    Args:
        seed: of torch's random numbers.
        device: device whose random state is restored too.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.fork = torch.random.fork_rng([device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        _drawing.acquire()
        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: Any) -> None:
        try:
            self.fork.__exit__(*error)
        finally:
            _drawing.release()
