"""The data of a training, and the order in which it is read.

Contract: windows are rows of one array of vectors. Consecutive windows of a document form a run and are computed
together (see ``LVM.forward_runs``). The seed and the number of the epoch decide runs and order. Vectors stay in their
memory-mapped file, unless they fit into the memory of another device than the CPU. All are checked once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lvm.arrays import IntArray
from lvm.errors import UsageError
from lvm.sequences import SequenceSet, first_windows
from lvm.training.config import TrainConfig
from lvm.training.losses import simhash
from lvm.training.parallel import Replica

HASHED_ROWS = 16_384
"""Vectors that are checked and hashed together."""

DEVICE_SHARE = 0.5
"""Share of a GPU's free memory that vectors may take. Model, optimizer and a step need the rest."""


@dataclass(frozen=True)
class TrainingData:
    """The data of a training.

    Attributes:
        unit: (N, dim) all vectors: on the device, or on the CPU and memory-mapped.
        hashes: (N,) from ``simhash``, equal for copies of a vector. On the device.
        rows: rows of all training documents; further negatives are drawn from them. On the device.
        starts: first rows of the training windows.
        context: vectors in a window.
    """

    unit: Tensor
    hashes: Tensor
    rows: Tensor
    starts: IntArray
    context: int

    @classmethod
    def on(cls, sequences: SequenceSet, device: torch.device) -> TrainingData:
        """Check and hash the vectors of a sequence set, and copy them to a device that has room for them.

        Raises:
            CorruptedFile: if vectors changed since they were written.
        """
        unit = sequences.unit
        hashes = torch.empty(len(unit), dtype=torch.int64, device=device)
        copied = torch.empty(unit.shape, device=device) if has_room(device, unit.nbytes) else None
        for at in range(0, len(unit), HASHED_ROWS):
            part = torch.from_numpy(unit[at : at + HASHED_ROWS]).to(device)
            hashes[at : at + HASHED_ROWS] = simhash(part)
            if copied is not None:
                copied[at : at + HASHED_ROWS] = part
        return cls(
            unit=torch.from_numpy(np.asarray(unit)) if copied is None else copied,
            hashes=hashes,
            rows=torch.from_numpy(sequences.rows("train")).to(device),
            starts=sequences.starts["train"],
            context=sequences.context,
        )

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self.hashes.device

    def vectors(self, rows: Tensor) -> Tensor:
        """Vectors of rows, copied to the device: (..., dim).

        Args:
            rows: (...) rows, int64.
        """
        return self.unit[rows.to(self.unit.device)].to(self.device)


def has_room(device: torch.device, size: int) -> bool:
    """Whether so many bytes of vectors may be copied to a device. On the CPU they stay in their file."""
    if device.type == "cuda":
        return size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
    return device.type != "cpu"


def runs_of(starts: IntArray, length: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Cut the windows of every document into runs of at most ``length`` windows, at random positions.

    Args:
        starts: first rows of all windows, sorted.
        length: largest number of windows in a run.
        random: source of random numbers.

    Returns:
        First row and number of windows of every run. Every window is in exactly one run.
    """
    first = first_windows(starts)
    document = np.zeros(len(starts), dtype=np.int64)
    document[first] = 1
    document = document.cumsum() - 1
    phase = random.integers(0, length, size=len(first))
    piece = (np.arange(len(starts)) - first[document] + phase[document]) // length
    begins = np.flatnonzero(np.diff(document * (piece.max() + 1) + piece, prepend=-1) != 0)
    return starts[begins], np.diff(begins, append=len(starts))


def batches(
    data: TrainingData, config: TrainConfig, epoch: int, replica: Replica
) -> Iterator[tuple[float, IntArray, IntArray]]:
    """Steps of an epoch: epochs done after the step, first rows of its runs, numbers of windows of its runs.

    All replicas together use every window once.
    """
    random = np.random.default_rng(mixed_seed(config.seed, epoch))
    begins, sizes = runs_of(data.starts, config.run, random)
    if len(begins) < replica.world:
        raise UsageError(
            f"{replica.world} replicas are too many for {len(begins)} runs of windows: some would have no data; use "
            "fewer replicas"
        )
    steps = max(1, min(round(len(begins) * config.run / config.batch_size), len(begins) // replica.world))
    for step, whole in enumerate(np.array_split(random.permutation(len(begins)), steps)):
        chosen = replica.share(whole)
        yield epoch + (step + 1) / steps, begins[chosen], sizes[chosen]


def windows_of(
    data: TrainingData, config: TrainConfig, begins: IntArray, sizes: IntArray
) -> tuple[Tensor, Tensor, Tensor]:
    """The windows of a step.

    All runs are read at full length. Windows beyond the end of a shorter run are computed and dropped.

    Args:
        data: the training data.
        config: names the length of a run.
        begins: first rows of the runs.
        sizes: numbers of windows of the runs.

    Returns:
        First rows of the windows; rows of the runs, (runs, length); and which windows of the runs are there, flat.
    """
    device = data.device
    first = torch.from_numpy(begins).to(device)
    span = torch.arange(config.run + data.context - 1, device=device)
    present = torch.arange(config.run, device=device) < torch.from_numpy(sizes).to(device)[:, None]
    rows = (first[:, None] + span).clamp_(max=len(data.unit) - 1)
    return (first[:, None] + span[: config.run])[present], rows, present.flatten()


def mixed_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Seed for an epoch. All replicas order windows with the seed of rank 0; other numbers depend on the rank."""
    return int(np.random.SeedSequence((seed, epoch, rank) if rank else (seed, epoch)).generate_state(1)[0])
