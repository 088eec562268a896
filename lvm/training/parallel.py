"""Train one model in several processes (replicas): a replica computes a share of every step; gradients are averaged.

Contract: the replicas communicate through ``torch.distributed``. Ray Train starts them on one or several machines, and
starts them again if one dies. They share the folder of checkpoints. The first replica measures, decides and writes, and
sends its results to the others, so all replicas have the same state.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
    from lvm.training.reading import Reading

T = TypeVar("T")
A = TypeVar("A", bound=npt.NDArray[np.int64])

RESTARTS = 3
"""How often Ray Train restarts the replicas after one died. They resume from the last epoch."""


class RayMissing(UsageError):
    """Several replicas need Ray, which is not installed."""


@dataclass(frozen=True)
class Replica:
    """One of the processes that train a model.

    Attributes:
        rank: its number, from 0. Replica 0 writes the files.
        world: number of replicas.
    """

    rank: int = 0
    world: int = 1

    def share(self, items: A) -> A:
        """The items of this replica."""
        return cast(A, items[self.rank :: self.world])

    def average(self, parameters: Iterable[torch.Tensor]) -> None:
        """Average the gradients over all replicas, in place."""
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
        """Call a function in the first replica only. All replicas wait and return its result."""
        if self.world == 1:
            return work()
        result = [work() if self.rank == 0 else None]
        dist.broadcast_object_list(result)
        return cast(T, result[0])


def this_replica() -> Replica:
    """The replica that this process is."""
    if dist.is_available() and dist.is_initialized():
        return Replica(dist.get_rank(), dist.get_world_size())
    return Replica()


def train_on_ray(
    name: str,
    sequences: Path,
    config: TrainConfig,
    folder: Path,
    scratch: Path,
    threads: int = 1,
    reading: Callable[[], Reading | None] | None = None,
) -> None:
    """Train a model in ``config.replicas`` processes of a Ray cluster.

    All paths must be the same shared files on every machine.

    Args:
        name: the architecture, one of ``lvm.models.MODELS``.
        sequences: file of the sequence set.
        config: configuration of the run.
        folder: folder of the model.
        scratch: folder for Ray Train's own files.
        threads: CPUs that Ray reserves per replica.
        reading: opens the inverter and the texts in a replica, for a configuration whose loss reads text.

    Raises:
        RayMissing: if Ray is not installed.
        KeyboardInterrupt: on Ctrl-C, once the replicas have ended.
    """
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise RayMissing("LVM_REPLICAS above 1 needs Ray; install it: pip install 'lvm[ray]'") from error

    def work() -> None:
        from lvm.sequences import load
        from lvm.training import train

        train(name, load(sequences), config, folder, reading=reading() if reading else None)

    cuda = config.device.startswith("cuda")
    trainer = TorchTrainer(
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
    )
    with _interrupts():
        trainer.fit()


@contextmanager
def _interrupts() -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt. Ray Train takes SIGINT for good, and exits with code 0 or 1."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if error.code in (0, 1):
            raise KeyboardInterrupt from error
        raise  # SIGTERM
    finally:
        # Ray Train takes it in no other thread. None is a handler that is not Python's.
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)
