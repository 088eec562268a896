"""The training loop of latent vector models.

Contract: an interrupted and restarted run gives the same result as an uninterrupted one. All random numbers of an epoch
come from (seed, epoch), and the state after an epoch is on disk before the next one starts. A run with another
configuration does not resume it. The weights of the epoch with the best validation MRR are kept.

Vector head and sampling head are trained alone afterwards (``lvm.training.heads``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvm import fitting
from lvm.arrays import IntArray
from lvm.devices import autocast, open_device
from lvm.errors import UsageError, first_line
from lvm.evaluation.retrieval import RetrievalMetrics, evaluate
from lvm.files import CorruptedFile, file_sha256
from lvm.models import LVM, States, build, hyperparameters
from lvm.options import BadConfig
from lvm.sequences import SequenceSet
from lvm.training import checkpoints
from lvm.training.config import EpochReport, TrainConfig, TrainResult
from lvm.training.data import TrainingData, batches, mixed_seed, windows_of
from lvm.training.heads import train_heads
from lvm.training.losses import negatives_allowed, window_loss
from lvm.training.optimizer import groups_of, optimizer_of
from lvm.training.parallel import Replica, this_replica
from lvm.training.reading import Reading

ALONE = Replica()

MIXED = 16
"""Steps of the second part whose windows are mixed, so that a step has windows of many documents."""

log = logging.getLogger(__name__)

OnEpoch = Callable[[EpochReport], None]


def train(
    name: str,
    sequences: SequenceSet,
    config: TrainConfig,
    folder: Path,
    on_epoch: OnEpoch | None = None,
    reading: Reading | None = None,
    on_head_epoch: Callable[[], None] | None = None,
) -> TrainResult:
    """Train a model. Resumes if the folder holds a run with the same configuration and sequence set.

    Args:
        name: the architecture, one of ``lvm.models.MODELS``.
        sequences: the sequence set, with windows for training and validation.
        config: the configuration.
        folder: folder of the model (``artifacts/lvm/<model>``). A run with another configuration or another sequence
            set is replaced; ``TrainResult.note`` says so.
        on_epoch: called after every epoch. On a resumed run it is first called for the earlier epochs.
        on_head_epoch: called after every epoch of the heads alone.
        reading: the inverter and the texts, for a configuration whose loss reads text.

    Raises:
        BadConfig: if the loss reads text and there is no ``reading``.
        UnknownModel: if the architecture or a hyperparameter does not exist.
        NoDevice: if the device does not exist.
        UsageError: if the number of replicas does not match the number of processes or is too large.
        EmptySplit: if there is no validation window.
        CorruptedFile: if the state to resume from is damaged, or vectors changed since they were written.
        CannotWrite: if the disk is full. The state after the last epoch is intact, and the run can resume.
        Diverged: if the loss becomes NaN or infinite.
    """
    if config.needs_text and reading is None:
        raise BadConfig(
            f"the loss {config.loss!r} reads texts through an inverter, and none is given; train with lvm.train, or "
            "set text_weight to 0"
        )
    device = open_device(config.device)
    recorded = describe(name, sequences, config)
    fingerprint = hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest()
    with fitting.seeded(config.seed, device):
        model = build(name, sequences.dim, sequences.context, config.head, **config.hyper).to(device)
    optimizer = optimizer_of(groups_of(model, config), config)

    replica = this_replica()
    state, note = _resume(folder, fingerprint, recorded, model, optimizer, config)
    if not state.finished(config) and replica.world != config.replicas:
        raise UsageError(
            f"the configuration has {config.replicas} replicas to train {name}, but {replica.world} processes run; use "
            "train_on_ray, or set replicas to the number of processes"
        )
    for report in state.history:
        if on_epoch:
            on_epoch(report)
    if not state.history:
        replica.first(lambda: checkpoints.write_config(folder, recorded))

    data = TrainingData.on(sequences, device)
    model.train()
    while not state.finished(config):
        epoch = len(state.history)
        began = time.perf_counter()
        with fitting.seeded(mixed_seed(config.seed, epoch, replica.rank), device):
            loss = train_epoch(model, optimizer, data, config, epoch, replica, reading)
        loss, metrics = replica.first(partial(_measured, loss, model, sequences, config))
        report = EpochReport(
            epoch=epoch + 1,
            loss=loss,
            cosine=metrics.cosine,
            r10=metrics.r10,
            mrr=metrics.mrr,
            learning_rate=config.learning_rate * _rate(epoch + 1, config),
            seconds=time.perf_counter() - began,
            best=not state.history or metrics.mrr > state.best.mrr,
        )
        state = replace(state, history=[*state.history, report])
        state = replace(
            state,
            best_sha256=replica.first(partial(_save, folder, fingerprint, recorded, model, optimizer, state, config)),
        )
        if on_epoch:
            on_epoch(report)
    if config.has_second_part:
        told = on_head_epoch or (lambda: None)
        if not state.final_sha256:
            second = partial(_second_part, model, data, config, reading, folder, fingerprint, recorded, state, told)
            digest, seconds = replica.first(second)
            state = replace(state, final_sha256=digest, final_seconds=seconds)
        else:
            for _ in range(config.head_epochs):
                told()
        for file in (checkpoints.BEST, checkpoints.HEADS):
            (folder / file).unlink(missing_ok=True)
    best, metadata = checkpoints.read(folder / checkpoints.MODEL)
    if metadata["sha256"] != (state.final_sha256 or state.best_sha256):
        raise _changed(folder, checkpoints.MODEL)
    return TrainResult(
        folder=folder,
        checkpoint=folder / checkpoints.MODEL,
        sha256=file_sha256(folder / checkpoints.MODEL),
        model=name,
        parameters=sum(tensor.numel() for tensor in best.values()),
        config=recorded,
        history=state.history,
        best=state.best,
        seconds=sum(report.seconds for report in state.history) + state.final_seconds,
        note=note,
    )


def describe(name: str, sequences: SequenceSet, config: TrainConfig) -> dict[str, Any]:
    """Everything that decides the result of a run, as JSON-serialisable values. Runs with equal values are equal.

    Args:
        name: the architecture.
        sequences: the sequence set.
        config: the configuration.
    """
    values = config.as_dict()
    del values["device"]
    for option, without in _NEWER.items():
        if values[option] == without or not _matters(option, config):
            del values[option]
    return {
        **values,
        "model": name,
        "hyper": {**hyperparameters(name, config.head), **config.hyper},
        "dim": sequences.dim,
        "context": sequences.context,
        "sequences_sha256": sequences.sha256,
        "space_name": sequences.space_name,
        "space": sequences.space,
    }


_NEWER: dict[str, Any] = {
    "head": "point",
    "text_weight": 0.0,
    "text_share": None,
    "energy_samples": None,
    "head_epochs": None,
}
"""Options that version 0.1.0 did not have, with the value that means what it did: its runs are still known."""


def _matters(option: str, config: TrainConfig) -> bool:
    """Whether an option changes the result of a run."""
    if option == "text_weight":
        return config.loss == "mix"
    if option == "text_share":
        return config.needs_text
    if option == "head_epochs":
        return config.has_second_part
    return option == "head" or config.head == "energy"


def validate(model: LVM, sequences: SequenceSet, config: TrainConfig) -> RetrievalMetrics:
    """Retrieval metrics on the validation split, with the heads that the loss trains."""
    return evaluate(
        sequences,
        lambda contexts: checkpoints.predict(model, config.loss, contexts),
        "validation",
        limit=config.validation_windows,
    )


def _measured(loss: float, model: LVM, sequences: SequenceSet, config: TrainConfig) -> tuple[float, RetrievalMetrics]:
    return loss, validate(model, sequences, config)


@dataclass(frozen=True)
class _State:
    """State of a run besides weights and optimizer."""

    history: list[EpochReport]
    best_sha256: str = ""  # digest of the checkpoint of the best epoch
    final_sha256: str = ""  # digest of the finished model, if heads were trained alone after the best epoch
    final_seconds: float = 0.0  # time of this second part, since its last start

    @property
    def best(self) -> EpochReport:
        return next(report for report in reversed(self.history) if report.best)

    def finished(self, config: TrainConfig) -> bool:
        done = len(self.history)
        return done >= config.epochs or (done > 0 and done - self.best.epoch >= config.patience)


def train_epoch(
    model: LVM,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    config: TrainConfig,
    epoch: int,
    replica: Replica = ALONE,
    reading: Reading | None = None,
) -> float:
    """Train for one epoch.

    Args:
        model: the model, in training mode.
        optimizer: its optimizer.
        data: the training data.
        config: the configuration.
        epoch: number of the epoch, from 0.
        replica: this replica; it trains on its share of the windows.
        reading: the inverter and the texts, if the loss reads text.

    Returns:
        The mean loss of the steps.

    Raises:
        UsageError: if there are more replicas than runs of windows.
        Diverged: if the loss is NaN or infinite.
    """
    device = data.device
    total, steps = torch.zeros((), device=device), 0
    for at, begins, sizes in batches(data, config, epoch, replica):
        fitting.set_rate(optimizer, config.learning_rate * _rate(at, config))
        starts, rows, present = windows_of(data, config, begins, sizes)
        drawn = data.rows[torch.randint(len(data.rows), (config.negatives,), device=device)]
        candidates = torch.cat([starts + data.context, drawn])
        targets = starts + data.context
        with autocast(device):
            states = model.states_of_runs(data.vectors(rows)).of(present)
            prediction = model.predict(states)
            loss = window_loss(
                config,
                prediction,
                data.vectors(targets),
                data.vectors(drawn),
                negatives_allowed(starts, data.context, candidates, data.hashes),
            )
        if reading is not None and config.loss == "text":
            texts = targets.cpu().numpy()
            some = reading.choose(texts, config.text_share)
            loss = loss + reading.loss(prediction.vector[some.to(device)], texts[some.numpy()])
        fitting.step(optimizer, loss, model.parameters(), config.clip, replica.average)
        total += loss.detach()
        steps += 1
    return fitting.require_finite(float(total) / steps, f"epoch {epoch + 1}")


def _rate(at: float, config: TrainConfig) -> float:
    """Factor of the learning rate after ``at`` epochs, which may be a fraction."""
    rise = at / config.warmup if config.warmup else 1.0
    fall = (at - config.warmup) / max(min(config.decay, config.epochs) - config.warmup, 1e-9)
    return fitting.rate(rise, fall, floor=0.02)


def _save(
    folder: Path,
    fingerprint: str,
    recorded: dict[str, Any],
    model: LVM,
    optimizer: torch.optim.Optimizer,
    state: _State,
    config: TrainConfig,
) -> str:
    """Write the best weights, then the state. Returns the digest of the best weights.

    If the process dies between the two, the epoch is repeated with the same result.
    """
    metadata = {"fingerprint": fingerprint, "config": json.dumps(recorded, sort_keys=True)}
    best = state.best_sha256
    if state.history[-1].best:
        best = checkpoints.write(folder / _best_file(config), model.state_dict(), metadata)
    history = json.dumps([asdict(report) for report in state.history])
    state_metadata = {**metadata, "history": history, "best_sha256": best}
    checkpoints.write(folder / checkpoints.LAST, fitting.state_of(model, optimizer), state_metadata)
    return best


def _best_file(config: TrainConfig) -> str:
    """Name of the file of the best epoch's weights. They are the model, unless the second part changes them."""
    return checkpoints.BEST if config.has_second_part else checkpoints.MODEL


def _changed(folder: Path, name: str) -> CorruptedFile:
    return CorruptedFile(
        f"{folder / name} is not what the best epoch of this run left; another program changed it, delete {folder} and "
        "train again"
    )


def _second_part(
    model: LVM,
    data: TrainingData,
    config: TrainConfig,
    reading: Reading | None,
    folder: Path,
    fingerprint: str,
    recorded: dict[str, Any],
    state: _State,
    on_epoch: Callable[[], None],
) -> tuple[str, float]:
    """Train vector head and sampling head on the frozen best epoch and write the model. Returns digest and seconds.

    If the process dies on the way, the part goes on after its last epoch.
    """
    began = time.perf_counter()
    weights, metadata = checkpoints.read(folder / checkpoints.BEST)
    if metadata["sha256"] != state.best_sha256:
        raise _changed(folder, checkpoints.BEST)
    model.load_state_dict(weights)

    def steps(epoch: int) -> Iterator[tuple[float, States, Tensor, IntArray]]:
        plan = list(batches(data, config, epoch, ALONE))
        for planned in (plan[first : first + MIXED] for first in range(0, len(plan), MIXED)):
            starts, states = zip(*(_frozen_states(model, data, config, *each) for _, *each in planned), strict=True)
            together, targets = States.joined(states), torch.cat(starts) + data.context
            order = torch.randperm(len(targets), device=data.device)
            for (at, _, _), some in zip(planned, torch.tensor_split(order, len(planned)), strict=True):
                yield at, together.of(some), data.vectors(targets[some]), targets[some].cpu().numpy()

    train_heads(model, steps, config, reading, folder / checkpoints.HEADS, fingerprint, on_epoch)
    facts = {"fingerprint": fingerprint, "config": json.dumps(recorded, sort_keys=True)}
    digest = checkpoints.write(folder / checkpoints.MODEL, model.state_dict(), facts)
    tensors, metadata = checkpoints.read(folder / checkpoints.LAST)
    kept = {name: value for name, value in metadata.items() if name not in ("format", "sha256")}
    seconds = time.perf_counter() - began
    finished = {"final_sha256": digest, "final_seconds": str(seconds)}
    checkpoints.write(folder / checkpoints.LAST, tensors, {**kept, **finished})
    return digest, seconds


@torch.no_grad()
def _frozen_states(
    model: LVM, data: TrainingData, config: TrainConfig, begins: IntArray, sizes: IntArray
) -> tuple[Tensor, States]:
    """First rows of the windows of a step, and their states, without dropout."""
    starts, rows, present = windows_of(data, config, begins, sizes)
    with autocast(data.device):
        return starts, model.states_of_runs(data.vectors(rows)).of(present)


def _resume(
    folder: Path,
    fingerprint: str,
    recorded: dict[str, Any],
    model: LVM,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
) -> tuple[_State, str]:
    """Load the state after the last epoch into model and optimizer, if it is of the same run.

    Returns:
        The state, and how the run starts (see ``TrainResult.note``).

    Raises:
        CorruptedFile: if a file of the run is damaged.
    """
    if not (folder / checkpoints.LAST).exists():
        return _State([]), "anew"
    tensors, metadata = checkpoints.read(folder / checkpoints.LAST)
    if metadata.get("fingerprint") != fingerprint or "best_sha256" not in metadata:
        differs = checkpoints.what_differs(metadata.get("config"), recorded) or "or another sequence set"
        note = f"anew: the earlier run there had another configuration ({differs})"
        log.warning("%s: training starts %s", folder, note)
        return _State([]), note
    final = metadata.get("final_sha256", "")
    weights = folder / (checkpoints.MODEL if final else _best_file(config))
    if not weights.exists():  # deleted, as the error about a damaged file says
        note = f"anew: {weights.name} of the earlier run is gone"
        log.warning("%s: training starts %s", folder, note)
        return _State([]), note
    checkpoints.read(weights)  # damaged weights are named early
    try:
        seconds = float(metadata.get("final_seconds", 0))
        state = _State(_history(metadata["history"]), metadata["best_sha256"], final, seconds)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CorruptedFile(
            f"{folder / checkpoints.LAST} does not hold the state of a run ({first_line(error)}); delete it and train "
            "again"
        ) from error
    fitting.restore(tensors, model, optimizer, folder / checkpoints.LAST)
    return state, f"resumed after epoch {len(state.history)}"


def _history(text: str) -> list[EpochReport]:
    """The reports of all epochs in a state's header.

    Raises:
        ValueError: if the reports are not those of a run.
    """
    history = [EpochReport(**report) for report in json.loads(text)]
    numbers = [[report.loss, report.cosine, report.r10, report.mrr, report.seconds] for report in history]
    if not all(type(number) in (int, float) and math.isfinite(number) for row in numbers for number in row):
        raise ValueError("its history has figures that are not finite numbers")
    if [report.epoch for report in history] != list(range(1, len(history) + 1)) or not history or not history[0].best:
        raise ValueError("its history is not that of a run")
    return history
