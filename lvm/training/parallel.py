"""One model trained by several processes: each takes its share of a step, and their gradients are averaged.

Contract: the processes talk through ``torch.distributed``; Ray Train starts them, on one machine or many, and again
when one dies. They share the folder of checkpoints. The first of them measures, decides and writes; the others
do as it says, so all of them stay at one state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from lvm.errors import UsageError

if TYPE_CHECKING:
    from lvm.training.config import TrainConfig

T = TypeVar("T")
A = TypeVar("A", bound=npt.NDArray[np.int64])

RESTARTS = 3
"""How often Ray Train starts the processes again after one died; they go on from the last epoch."""


class RayMissing(UsageError):
    """Ray is asked for and not installed."""


@dataclass(frozen=True)
class Replica:
    """One of the processes.

    Attributes:
        rank: its number from 0, which is the one that writes.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    def share(self, items: A) -> A:
        """What this process takes of a step's runs."""
        return cast(A, items[self.rank :: self.world])

    def average(self, parameters: Iterable[torch.Tensor]) -> None:
        """Make the gradients those of the whole step, in every process."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def first(self, work: Callable[[], T]) -> T:
        """Do something in the first process only; all of them get its result, and go on once it is done."""
        if self.world == 1:
            return work()
        result = [work() if self.rank == 0 else None]
        dist.broadcast_object_list(result)
        return cast(T, result[0])


def replica() -> Replica:
    """Which process this is."""
    if dist.is_available() and dist.is_initialized():
        return Replica(dist.get_rank(), dist.get_world_size())
    return Replica()


def train_on_ray(
    name: str, sequences: Path, config: TrainConfig, folder: Path, scratch: Path, threads: int = 1
) -> None:
    """Train a model in ``config.replicas`` processes of a Ray cluster; its files are in ``folder`` afterwards.

    Args:
        name, sequences, config, folder: as ``train`` takes them; the paths are seen by every machine.
        scratch: folder for Ray Train's own records.
        threads: CPUs that Ray keeps for each process, which computes with as many threads.

    Raises:
        RayMissing: if Ray is not installed.
    """
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise RayMissing("LVM_REPLICAS above 1 needs Ray; install it: pip install 'lvm[ray]'") from error

    def work() -> None:
        from lvm.sequences import load
        from lvm.training import train

        train(name, load(sequences), config, folder)

    cuda = config.device.startswith("cuda")
    TorchTrainer(
        work,
        torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.replicas,
            use_gpu=cuda,
            resources_per_worker={"CPU": threads, "GPU": int(cuda)},
        ),
        run_config=RunConfig(
            name=f"{name}-{config.replicas}",
            storage_path=str(scratch.resolve()),
            failure_config=FailureConfig(max_failures=RESTARTS),
        ),
    ).fit()
