"""The data of a training on the device, and the order in which it is read.

Contract: windows are rows of one array of vectors. Consecutive windows of a document form a run and are computed
together (see ``LVM.forward_runs``). The seed and the number of the epoch decide runs and order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lvm.arrays import IntArray
from lvm.errors import UsageError
from lvm.sequences import SequenceSet
from lvm.training.config import TrainConfig
from lvm.training.losses import simhash
from lvm.training.parallel import Replica


@dataclass(frozen=True)
class TrainingData:
    """The data of training, on the device.

    Attributes:
        unit: (N, dim) all vectors.
        hashes: (N,) from ``simhash``, equal for copies of a vector.
        rows: rows of all training documents; further negatives are drawn from them.
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
        """Copy the data of a sequence set to a device."""
        unit = torch.from_numpy(sequences.unit).to(device)
        return cls(
            unit=unit,
            hashes=simhash(unit),
            rows=torch.from_numpy(sequences.rows("train")).to(device),
            starts=sequences.starts["train"],
            context=sequences.context,
        )


def runs_of(starts: IntArray, length: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Cut the windows of every document into runs of at most ``length`` windows, at random positions.

    Args:
        starts: first rows of all windows, sorted.
        length: largest number of windows in a run.
        random: source of random numbers.

    Returns:
        First row and number of windows of every run. Every window is in exactly one run.
    """
    first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 2) != 1)  # first window of every document
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
    device = data.unit.device
    first = torch.from_numpy(begins).to(device)
    span = torch.arange(config.run + data.context - 1, device=device)
    present = torch.arange(config.run, device=device) < torch.from_numpy(sizes).to(device)[:, None]
    rows = (first[:, None] + span).clamp_(max=len(data.unit) - 1)
    return (first[:, None] + span[: config.run])[present], rows, present.flatten()


def mixed_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Seed for an epoch. All replicas order windows with the seed of rank 0; other numbers depend on the rank."""
    return int(np.random.SeedSequence((seed, epoch, rank) if rank else (seed, epoch)).generate_state(1)[0])
