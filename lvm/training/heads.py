"""The second part of a training: the decoded heads alone, on the frozen rest of the best epoch.

Contract: the first part ends when ranking gets no better, after a few epochs. The rest is frozen then, so ranking does
not change, and an epoch is cheap. The vector head learns what its predictions are worth as text; a few thousand windows
are enough for that. The sampling head learns the distribution of the next vector, which takes longer than ranking. An
interrupted and restarted part gives the same weights as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvm import fitting
from lvm.arrays import IntArray
from lvm.devices import autocast
from lvm.models import LVM
from lvm.models.base import States
from lvm.training import checkpoints
from lvm.training.config import TrainConfig
from lvm.training.losses import cosine_loss, energy_loss
from lvm.training.optimizer import groups_of, optimizer_of
from lvm.training.reading import Reading

_SEED = 1_000_000  # epochs of this part draw other numbers than those of the first part

TEXT_RATE = 0.3
"""Learning rate of the vector head, as a share of that of the rest: the text loss of a few windows is noisy."""

Batches = Callable[[int], Iterator[tuple[float, States, Tensor, IntArray]]]
"""Steps of an epoch: epochs done after the step, states of windows, true next vectors, and their rows."""


def train_heads(
    model: LVM,
    batches: Batches,
    config: TrainConfig,
    reading: Reading | None,
    file: Path,
    fingerprint: str,
    on_epoch: Callable[[], None],
) -> None:
    """Train the decoded heads of a model for ``config.head_epochs``. Resumes from ``file``.

    Args:
        model: the model with the weights of its best epoch. Its vector head and sampling head are changed.
        batches: the windows.
        config: the configuration.
        reading: the inverter and the texts, if the vector head is trained with text.
        file: state after the last epoch of this part.
        fingerprint: identifies the run; the state of another run is not used.
        on_epoch: called after every epoch, also for those before an interruption.

    Raises:
        CorruptedFile: if the state is damaged.
        CannotWrite: if the disk is full.
        Diverged: if the loss is NaN or infinite.
    """
    device = model.recency.device
    heads, groups = nn.ModuleDict(), list[dict[str, Any]]()
    reading = reading if config.polishes else None
    if reading is not None:
        heads["vector"] = nn.ModuleList([model.vector_head, model.vector_skip])
        groups += groups_of(heads["vector"], config, TEXT_RATE)
    if model.sampler is not None:
        heads["sampler"] = model.sampler
        groups += groups_of(heads["sampler"], config)
    optimizer, done = optimizer_of(groups, config), 0
    if file.exists():
        tensors, metadata = checkpoints.read(file)
        if metadata.get("fingerprint") == fingerprint:
            fitting.restore(tensors, heads, optimizer, file)
            done = int(metadata["epoch"])
    for _ in range(done):
        on_epoch()
    model.eval()  # frozen, without dropout
    for epoch in range(done, config.head_epochs):
        with fitting.seeded(_seed(config.seed, epoch), device):
            losses = []
            for at, states, targets, rows in batches(epoch):
                fall = at / config.head_epochs
                fitting.set_rate(optimizer, config.learning_rate * fitting.rate(at / 0.2, fall, floor=0.02))
                loss = torch.zeros((), device=device)
                if model.sampler is not None:
                    noise = torch.rand(len(targets), config.energy_samples, model.sampler.noise, device=device) - 0.5
                    with autocast(device):
                        samples = model.draw(states, noise)
                    loss = loss + energy_loss(samples, targets)  # in bfloat16 it makes samples that read badly
                if reading is not None:
                    loss = loss + _vector_loss(model, states, targets, rows, config, reading)
                fitting.step(optimizer, loss, heads.parameters(), config.clip)
                losses.append(loss.detach())
            fitting.require_finite(float(torch.stack(losses).mean()), f"epoch {epoch + 1} of the heads")
        facts = {"fingerprint": fingerprint, "epoch": str(epoch + 1)}
        checkpoints.write(file, fitting.state_of(heads, optimizer), facts)
        on_epoch()


def _vector_loss(
    model: LVM, states: States, targets: Tensor, rows: IntArray, config: TrainConfig, reading: Reading
) -> Tensor:
    """Cosine loss of all windows, and text loss of a share of them."""
    with autocast(states.state.device):
        vector = model.predict(states).vector
    some = reading.choose(rows, config.text_share)
    text = reading.loss(vector[some.to(vector.device)], rows[some.numpy()])
    return config.cosine_weight * cosine_loss(vector, targets) + config.text_weight * text


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, _SEED + epoch)).generate_state(1)[0])
