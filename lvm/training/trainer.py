"""Training: windows gathered by index from the one vector array, in runs that share their work.

Contract: ``train`` gives the same result whether or not it was killed on the way: everything random in an
epoch is drawn from (seed, epoch), the state after each epoch is on disk before the next begins, and a run
of another configuration never continues this one. The best epoch by validation MRR is what is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvm.errors import LvmError, UsageError, first_line
from lvm.evaluation.retrieval import RetrievalMetrics, evaluate
from lvm.files import CorruptedFile
from lvm.models import LVM, build, hyperparameters
from lvm.sequences import SequenceSet
from lvm.settings import bf16_available
from lvm.training import checkpoints
from lvm.training.config import EpochReport, TrainConfig
from lvm.training.losses import likeness_of, negatives_allowed, window_loss
from lvm.training.parallel import Replica, replica

ALONE = Replica()

log = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]
Progress = Callable[[EpochReport], None]


class Diverged(LvmError):
    """The loss is no number any more."""


class NoDevice(UsageError):
    """The device asked for is not there."""


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        folder: where its files are; ``load_model(folder)`` opens the model.
        checkpoint: the file of the best weights, and ``sha256`` of its content.
        model: the architecture's name; ``parameters`` how many weights it has.
        config: everything that was asked, as recorded in the checkpoint.
        history: one report an epoch, those before an interruption included.
        best: the report of the epoch that was kept.
        seconds: time in epochs, those before an interruption included.
        note: how it began: anew, resumed after epoch k, or finished before; and why, where that may surprise.
    """

    folder: Path
    checkpoint: Path
    sha256: str
    model: str
    parameters: int
    config: dict[str, Any]
    history: list[EpochReport]
    best: EpochReport
    seconds: float
    note: str


def train(
    name: str,
    sequences: SequenceSet,
    config: TrainConfig,
    folder: Path,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a model, going on from where an earlier run of the same configuration stopped.

    Args:
        name: the architecture, one of ``lvm.models.MODELS``.
        sequences: windows to train on, and validation windows to stop by.
        config: how.
        folder: files go there (``artifacts/lvm/<model>``); an unfinished run of other configuration or
            other sequences found there is replaced, which ``TrainResult.note`` tells.
        progress: called after each epoch, and first for those already done.

    Raises:
        UnknownModel, NoDevice: if the model or device does not exist.
        EmptySplit: if there is no validation window.
        CorruptedFile: if the state to go on from is damaged.
        CannotWrite: if the disk is full; the state before is intact and the run can go on from it.
        Diverged: if the loss becomes NaN or infinite.
    """
    device = _device(config.device)
    asked = describe(name, sequences, config)
    fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    with _seeded(config.seed, device):
        model = build(name, sequences.dim, sequences.context, **config.hyper).to(device)
    optimizer = optimizer_of(model, config)

    me = replica()
    state, note = _resume(folder, fingerprint, model, optimizer)
    if not state.finished(config) and me.world != config.replicas:
        raise UsageError(f"{config.replicas} processes are to train {name} together, and here are {me.world}")
    for report in state.history:
        if progress:
            progress(report)
    if not state.history:
        me.first(lambda: checkpoints.write_config(folder, asked))

    data = TrainingData.on(sequences, device)
    model.train()
    while not state.finished(config):
        epoch = len(state.history)
        began = time.perf_counter()
        with _seeded(_mixed_seed(config.seed, epoch, me.rank), device):
            loss = train_epoch(model, optimizer, data, config, epoch, me)
        loss, metrics = me.first(partial(_measured, loss, model, sequences, config))
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
            state, best_sha256=me.first(partial(_save, folder, fingerprint, asked, model, optimizer, state))
        )
        if progress:
            progress(report)
    best, metadata = checkpoints.read(folder / checkpoints.MODEL)
    if metadata["sha256"] != state.best_sha256:
        raise CorruptedFile(
            f"{folder / checkpoints.MODEL} is not what the best epoch of this run left; delete {folder} and train again"
        )
    return TrainResult(
        folder=folder,
        checkpoint=folder / checkpoints.MODEL,
        sha256=metadata["sha256"],
        model=name,
        parameters=sum(tensor.numel() for tensor in best.values()),
        config=asked,
        history=state.history,
        best=state.best,
        seconds=sum(report.seconds for report in state.history),
        note=note,
    )


def describe(name: str, sequences: SequenceSet, config: TrainConfig) -> dict[str, Any]:
    """Everything that decides a run's result, as plain values: two runs that agree in it are one run."""
    asked = config.as_dict()
    del asked["device"]
    return {
        **asked,
        "model": name,
        "hyper": {**hyperparameters(name), **config.hyper},
        "dim": sequences.dim,
        "context": sequences.context,
        "sequences_sha256": sequences.sha256,
        "space_name": sequences.space_name,
        "space": sequences.space,
    }


def validate(model: LVM, sequences: SequenceSet, config: TrainConfig) -> RetrievalMetrics:
    """Retrieval among the validation chunks, by the heads that the loss trains."""
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
    """Where a run stands: what its epochs brought, and which checkpoint is theirs."""

    history: list[EpochReport]
    best_sha256: str = ""  # of the checkpoint that the best epoch left

    @property
    def best(self) -> EpochReport:
        return next(report for report in reversed(self.history) if report.best)

    def finished(self, config: TrainConfig) -> bool:
        done = len(self.history)
        return done >= config.epochs or (done > 0 and done - self.best.epoch >= config.patience)


@dataclass(frozen=True)
class TrainingData:
    """What training reads, on the device once and for all."""

    unit: Tensor
    likeness: Tensor
    rows: Tensor  # of all training documents: where further negatives come from
    starts: IntArray
    context: int

    @classmethod
    def on(cls, sequences: SequenceSet, device: torch.device) -> TrainingData:
        unit = torch.from_numpy(sequences.unit).to(device)
        return cls(
            unit=unit,
            likeness=likeness_of(unit),
            rows=torch.from_numpy(sequences.rows("train")).to(device),
            starts=sequences.starts["train"],
            context=sequences.context,
        )


def runs_of(starts: IntArray, length: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Cut windows into runs of at most ``length`` consecutive ones of one document, at random places.

    Returns:
        the first window of each run, and how many windows it has; together every window once.
    """
    first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 2) != 1)  # where a document's windows begin
    document = np.zeros(len(starts), dtype=np.int64)
    document[first] = 1
    document = document.cumsum() - 1
    phase = random.integers(0, length, size=len(first))
    piece = (np.arange(len(starts)) - first[document] + phase[document]) // length
    begins = np.flatnonzero(np.diff(document * (piece.max() + 1) + piece, prepend=-1) != 0)
    return starts[begins], np.diff(begins, append=len(starts))


def _batches(
    data: TrainingData, config: TrainConfig, epoch: int, me: Replica
) -> Iterator[tuple[float, IntArray, IntArray]]:
    """(epochs done after it, run starts, run sizes) for each step; all replicas together cover every window once."""
    random = np.random.default_rng(_mixed_seed(config.seed, epoch))
    begins, sizes = runs_of(data.starts, config.run, random)
    if len(begins) < me.world:
        raise UsageError(f"{me.world} processes are too many for {len(begins)} runs of windows; use fewer replicas")
    steps = max(1, min(round(len(begins) * config.run / config.batch_size), len(begins) // me.world))
    for step, whole in enumerate(np.array_split(random.permutation(len(begins)), steps)):
        chosen = me.share(whole)
        yield epoch + (step + 1) / steps, begins[chosen], sizes[chosen]


def train_epoch(
    model: LVM,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    config: TrainConfig,
    epoch: int,
    me: Replica = ALONE,
) -> float:
    """One pass over the training windows, or this process's share of them; returns the mean loss of a step."""
    device = data.unit.device
    total, steps = torch.zeros((), device=device), 0
    span = torch.arange(config.run + data.context - 1, device=device)
    for at, begins, sizes in _batches(data, config, epoch, me):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _rate(at, config)
        first = torch.from_numpy(begins).to(device)
        present = torch.arange(config.run, device=device) < torch.from_numpy(sizes).to(device)[:, None]
        starts = (first[:, None] + span[: config.run])[present]
        # a run cut short reads on past its end: those windows are computed and dropped
        rows = (first[:, None] + span).clamp_(max=len(data.unit) - 1)
        drawn = data.rows[torch.randint(len(data.rows), (config.negatives,), device=device)]
        candidates = torch.cat([starts + data.context, drawn])
        with _autocast(device):
            prediction = model.forward_runs(data.unit[rows])
            kept = type(prediction)(*(part[present.flatten()] for part in prediction))
            loss = window_loss(
                config,
                kept,
                data.unit[starts + data.context],
                data.unit[drawn],
                negatives_allowed(starts, data.context, candidates, data.likeness),
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        me.average(model.parameters())
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        total += loss.detach()
        steps += 1
    mean = float(total) / steps
    if not math.isfinite(mean):
        raise Diverged(
            f"the loss became {mean} in epoch {epoch + 1}; the last good state is kept, "
            "train again with a lower learning rate"
        )
    return mean


def _rate(at: float, config: TrainConfig) -> float:
    """Learning rate factor ``at`` epochs: a linear rise, half a cosine down to 2 %, and that."""
    if at < config.warmup:
        return at / config.warmup
    done = min(1.0, (at - config.warmup) / max(min(config.decay, config.epochs) - config.warmup, 1e-9))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def optimizer_of(model: LVM, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW that leaves biases, norms and scalars undecayed."""
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
    asked: dict[str, Any],
    model: LVM,
    optimizer: torch.optim.Optimizer,
    state: _State,
) -> str:
    """Write the best weights, then the state; returns the digest of the best weights.

    If the process dies in between, that epoch is done again, to the same end.
    """
    metadata = {"fingerprint": fingerprint, "config": json.dumps(asked, sort_keys=True)}
    weights = model.state_dict()
    best = state.best_sha256
    if state.history[-1].best:
        best = checkpoints.write(folder / checkpoints.MODEL, weights, metadata)
    tensors = {f"model.{key}": value for key, value in weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    history = json.dumps([asdict(report) for report in state.history])
    checkpoints.write(folder / checkpoints.LAST, tensors, {**metadata, "history": history, "best_sha256": best})
    return best


def _resume(folder: Path, fingerprint: str, model: LVM, optimizer: torch.optim.Optimizer) -> tuple[_State, str]:
    """Load the state after the last epoch into model and optimizer, if it is of this very run."""
    if not (folder / checkpoints.LAST).exists():
        return _State([]), "anew"
    tensors, metadata = checkpoints.read(folder / checkpoints.LAST)
    if metadata.get("fingerprint") != fingerprint or "best_sha256" not in metadata:
        note = "anew: the run found there had another configuration or other sequences"
        log.warning("%s: training starts %s", folder, note)
        return _State([]), note
    checkpoints.read(folder / checkpoints.MODEL)  # damaged best weights are found now, not after hours
    try:
        state = _State(_history(metadata["history"]), metadata["best_sha256"])
        weights, slots = _parts(tensors, optimizer)
        model.load_state_dict(weights)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CorruptedFile(
            f"{folder / checkpoints.LAST} does not hold the state of a run ({first_line(error)}); delete it and train "
            "again"
        ) from error
    return state, f"resumed after epoch {len(state.history)}"


def _history(text: str) -> list[EpochReport]:
    """The reports in a state's header, one an epoch; ValueError for anything else."""
    history = [EpochReport(**report) for report in json.loads(text)]
    numbers = [[report.loss, report.cosine, report.r10, report.mrr, report.seconds] for report in history]
    if not all(type(number) in (int, float) and math.isfinite(number) for row in numbers for number in row):
        raise ValueError("its history has figures that are no numbers")
    if [report.epoch for report in history] != list(range(1, len(history) + 1)) or not history or not history[0].best:
        raise ValueError("its history is not that of a run")
    return history


def _parts(
    tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]]:
    """Weights, and the optimizer's slots by parameter; ValueError if a parameter lacks any, or has others."""
    weights: dict[str, Tensor] = {}
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "model":
            weights[rest] = value
        else:
            index, _, slot = rest.partition(".")
            slots.setdefault(int(index), {})[slot] = value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    expected = [{"step": torch.Size(), "exp_avg": each.shape, "exp_avg_sq": each.shape} for each in parameters]
    if {index: {name: each.shape for name, each in of.items()} for index, of in slots.items()} != dict(
        enumerate(expected)
    ):
        raise ValueError("its optimizer is not that of this model")
    return weights, slots


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise NoDevice(f"device {name!r} cannot be used here; ask for cpu, or install a torch that has it") from error
    return device


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the hardware multiplies it; emulated, it would be 50 times slower than float32."""
    enabled = device.type == "cuda" or (device.type == "cpu" and bf16_available())
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _mixed_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Of the order of an epoch, which replicas share; and of what each draws by itself."""
    return int(np.random.SeedSequence((seed, epoch, rank) if rank else (seed, epoch)).generate_state(1)[0])


class _seeded(AbstractContextManager[None]):
    """Draw from a seed inside the block; outside, the caller's random state is as it was."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.fork = torch.random.fork_rng([device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)
