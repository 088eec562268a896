"""The training loop of latent vector models.

Contract: an interrupted and restarted run gives the same result as an uninterrupted one. All random numbers of an epoch
come from (seed, epoch), and the state after an epoch is on disk before the next one starts. A run with another
configuration does not resume it. The weights of the epoch with the best validation MRR are kept.

Windows are rows of one array of vectors. Consecutive windows of a document form a run and are computed together (see
``LVM.forward_runs``).
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

import numpy as np
import torch
from torch import Tensor

from lvm import fitting
from lvm.arrays import IntArray
from lvm.devices import autocast, open_device
from lvm.errors import UsageError, first_line
from lvm.evaluation.retrieval import RetrievalMetrics, evaluate
from lvm.files import CorruptedFile
from lvm.models import LVM, build, hyperparameters
from lvm.options import BadConfig
from lvm.sequences import SequenceSet
from lvm.training import checkpoints
from lvm.training.config import EpochReport, TrainConfig, TrainResult
from lvm.training.losses import energy_loss, negatives_allowed, simhash, window_loss
from lvm.training.parallel import Replica, this_replica
from lvm.training.reading import Reading

ALONE = Replica()

log = logging.getLogger(__name__)

OnEpoch = Callable[[EpochReport], None]


def train(
    name: str,
    sequences: SequenceSet,
    config: TrainConfig,
    folder: Path,
    on_epoch: OnEpoch | None = None,
    reading: Reading | None = None,
) -> TrainResult:
    """Train a model. Resumes if the folder holds a run with the same configuration and sequence set.

    Args:
        name: the architecture, one of ``lvm.models.MODELS``.
        sequences: the sequence set, with windows for training and validation.
        config: the configuration.
        folder: folder of the model (``artifacts/lvm/<model>``). A run with another configuration or another sequence
            set is replaced; ``TrainResult.note`` says so.
        on_epoch: called after every epoch. On a resumed run it is first called for the earlier epochs.
        reading: the inverter and the texts, for a configuration whose loss reads text.

    Raises:
        BadConfig: if the loss reads text and there is no ``reading``.
        UnknownModel: if the architecture or a hyperparameter does not exist.
        NoDevice: if the device does not exist.
        UsageError: if the number of replicas does not match the number of processes or is too large.
        EmptySplit: if there is no validation window.
        CorruptedFile: if the state to resume from is damaged.
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
    optimizer = optimizer_of(model, config)

    replica = this_replica()
    state, note = _resume(folder, fingerprint, recorded, model, optimizer)
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
        with fitting.seeded(_mixed_seed(config.seed, epoch, replica.rank), device):
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
            state, best_sha256=replica.first(partial(_save, folder, fingerprint, recorded, model, optimizer, state))
        )
        if on_epoch:
            on_epoch(report)
    best, metadata = checkpoints.read(folder / checkpoints.MODEL)
    if metadata["sha256"] != state.best_sha256:
        raise CorruptedFile(
            f"{folder / checkpoints.MODEL} is not what the best epoch of this run left; another program changed it, "
            f"delete {folder} and train again"
        )
    return TrainResult(
        folder=folder,
        checkpoint=folder / checkpoints.MODEL,
        sha256=metadata["sha256"],
        model=name,
        parameters=sum(tensor.numel() for tensor in best.values()),
        config=recorded,
        history=state.history,
        best=state.best,
        seconds=sum(report.seconds for report in state.history),
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
    "energy_weight": None,
    "energy_share": None,
    "energy_samples": None,
}
"""Options that version 0.1.0 did not have, with the value that means what it did: its runs are still known."""


def _matters(option: str, config: TrainConfig) -> bool:
    """Whether an option changes the result of a run."""
    if option == "text_weight":
        return config.loss == "mix"
    if option == "text_share":
        return config.needs_text
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

    @property
    def best(self) -> EpochReport:
        return next(report for report in reversed(self.history) if report.best)

    def finished(self, config: TrainConfig) -> bool:
        done = len(self.history)
        return done >= config.epochs or (done > 0 and done - self.best.epoch >= config.patience)


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


def _batches(
    data: TrainingData, config: TrainConfig, epoch: int, replica: Replica
) -> Iterator[tuple[float, IntArray, IntArray]]:
    """Steps of an epoch: epochs done after the step, first rows of its runs, numbers of windows of its runs.

    All replicas together use every window once.
    """
    random = np.random.default_rng(_mixed_seed(config.seed, epoch))
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
    device = data.unit.device
    total, steps = torch.zeros((), device=device), 0
    span = torch.arange(config.run + data.context - 1, device=device)
    for at, begins, sizes in _batches(data, config, epoch, replica):
        fitting.set_rate(optimizer, config.learning_rate * _rate(at, config))
        first = torch.from_numpy(begins).to(device)
        present = torch.arange(config.run, device=device) < torch.from_numpy(sizes).to(device)[:, None]
        starts = (first[:, None] + span[: config.run])[present]
        # All runs are read at full length. Windows beyond the end of a shorter run are computed and dropped.
        rows = (first[:, None] + span).clamp_(max=len(data.unit) - 1)
        drawn = data.rows[torch.randint(len(data.rows), (config.negatives,), device=device)]
        candidates = torch.cat([starts + data.context, drawn])
        targets = starts + data.context
        with autocast(device):
            states = model.states_of_runs(data.unit[rows]).of(present.flatten())
            prediction = model.predict(states)
            loss = window_loss(
                config,
                prediction,
                data.unit[targets],
                data.unit[drawn],
                negatives_allowed(starts, data.context, candidates, data.hashes),
            )
            if model.sampler is not None and config.energy_weight:
                some = torch.randperm(len(starts), device=device)[: max(1, round(config.energy_share * len(starts)))]
                noise = torch.rand(len(some), config.energy_samples, model.sampler.noise, device=device) - 0.5
                samples = model.draw(states.of(some), noise)
                loss = loss + config.energy_weight * energy_loss(samples, data.unit[targets[some]])
        if reading is not None and config.needs_text:
            texts = targets.cpu().numpy()
            some = reading.choose(texts, config.text_share)
            weight = config.text_weight if config.loss == "mix" else 1.0
            loss = loss + weight * reading.loss(prediction.vector[some.to(device)], texts[some.numpy()])
        fitting.step(optimizer, loss, model.parameters(), config.clip, replica.average)
        total += loss.detach()
        steps += 1
    return fitting.require_finite(float(total) / steps, f"epoch {epoch + 1}")


def _rate(at: float, config: TrainConfig) -> float:
    """Factor of the learning rate after ``at`` epochs, which may be a fraction."""
    rise = at / config.warmup if config.warmup else 1.0
    fall = (at - config.warmup) / max(min(config.decay, config.epochs) - config.warmup, 1e-9)
    return fitting.rate(rise, fall, floor=0.02)


def optimizer_of(model: LVM, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW without weight decay for biases, norms, scalars and recency weights."""
    matrices = [p for p in model.parameters() if p.ndim >= 2 and p is not model.recency]
    others = [p for p in model.parameters() if p.ndim < 2 or p is model.recency]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def _save(
    folder: Path,
    fingerprint: str,
    recorded: dict[str, Any],
    model: LVM,
    optimizer: torch.optim.Optimizer,
    state: _State,
) -> str:
    """Write the best weights, then the state. Returns the digest of the best weights.

    If the process dies between the two, the epoch is repeated with the same result.
    """
    metadata = {"fingerprint": fingerprint, "config": json.dumps(recorded, sort_keys=True)}
    best = state.best_sha256
    if state.history[-1].best:
        best = checkpoints.write(folder / checkpoints.MODEL, model.state_dict(), metadata)
    history = json.dumps([asdict(report) for report in state.history])
    state_metadata = {**metadata, "history": history, "best_sha256": best}
    checkpoints.write(folder / checkpoints.LAST, fitting.state_of(model, optimizer), state_metadata)
    return best


def _resume(
    folder: Path, fingerprint: str, recorded: dict[str, Any], model: LVM, optimizer: torch.optim.Optimizer
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
    checkpoints.read(folder / checkpoints.MODEL)  # detects damaged best weights before hours of training
    try:
        state = _State(_history(metadata["history"]), metadata["best_sha256"])
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


def _mixed_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Seed for an epoch. All replicas order windows with the seed of rank 0; other numbers depend on the rank."""
    return int(np.random.SeedSequence((seed, epoch, rank) if rank else (seed, epoch)).generate_state(1)[0])
