"""The second part of a training: the sampling head alone, on the frozen rest of the best epoch.

Contract: the first part ends when ranking gets no better, after a few epochs. A sampling head needs many more until its
samples lie where the inverter reads well. Everything else is frozen, so these epochs are cheap, and predictions do not
change. An interrupted and restarted part gives the same weights as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from lvm import fitting
from lvm.devices import autocast
from lvm.models import LVM
from lvm.models.base import States
from lvm.training import checkpoints
from lvm.training.config import TrainConfig
from lvm.training.losses import energy_loss

_SEED = 1_000_000  # epochs of this part draw other numbers than those of the first part

Batches = Callable[[int], Iterator[tuple[float, States, torch.Tensor]]]
"""Steps of an epoch: epochs done after the step, states of windows, and their true next vectors."""


def train_sampler(
    model: LVM,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    config: TrainConfig,
    file: Path,
    fingerprint: str,
    on_epoch: Callable[[], None],
) -> None:
    """Train the sampling head of a model for ``config.sampler_epochs``. Resumes from ``file``.

    Args:
        model: the model with the weights of its best epoch. Its sampling head is changed.
        optimizer: optimizer of the sampling head.
        batches: the windows.
        config: the configuration.
        file: state after the last epoch of this part.
        fingerprint: identifies the run; the state of another run is not used.
        on_epoch: called after every epoch, also for those before an interruption.

    Raises:
        CorruptedFile: if the state is damaged.
        CannotWrite: if the disk is full.
        Diverged: if the loss is NaN or infinite.
    """
    sampler, device = model.sampler, model.recency.device
    assert sampler is not None
    done = 0
    if file.exists():
        tensors, metadata = checkpoints.read(file)
        if metadata.get("fingerprint") == fingerprint:
            fitting.restore(tensors, sampler, optimizer, file)
            done = int(metadata["epoch"])
    for _ in range(done):
        on_epoch()
    model.train()
    for epoch in range(done, config.sampler_epochs):
        with fitting.seeded(_seed(config.seed, epoch), device):
            losses = []
            for at, states, targets in batches(epoch):
                fall = at / config.sampler_epochs
                fitting.set_rate(optimizer, config.learning_rate * fitting.rate(at / 0.2, fall, floor=0.02))
                noise = torch.rand(len(targets), config.energy_samples, sampler.noise, device=device) - 0.5
                with autocast(device):
                    loss = energy_loss(model.draw(states, noise), targets)
                fitting.step(optimizer, loss, sampler.parameters(), config.clip)
                losses.append(loss.detach())
            fitting.require_finite(float(torch.stack(losses).mean()), f"epoch {epoch + 1} of the sampling head")
        facts = {"fingerprint": fingerprint, "epoch": str(epoch + 1)}
        checkpoints.write(file, fitting.state_of(sampler, optimizer), facts)
        on_epoch()


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, _SEED + epoch)).generate_state(1)[0])
