"""Stage 4, train: models learn to predict the next vector, behind the gate.

Contract: every training run is recorded in the database, which refuses it without a passing gate. A run that finished
with the same configuration is not run again. A run that was interrupted goes on from its last epoch. The model of every
finished run is kept (``checkpoints.keep``); its run records the sha256 of the file.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from lvm.devices import DeviceFull, give_back_memory, open_device
from lvm.errors import LvmError, first_line
from lvm.files import CorruptedFile
from lvm.models import MODELS, UnknownModel
from lvm.pipeline.workspace import Workspace, named_stage, not_recorded, reads_corpus
from lvm.progress import Bars
from lvm.sequences import SequenceSet, load, still_there
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import DatabaseUnavailable, Gate, RunMetrics, SequenceSetRecord, named_errors
from lvm.training import TrainConfig, TrainedModel, TrainResult, checkpoint_in, configured, describe, load_model
from lvm.training import train as fit
from lvm.training.checkpoints import LAST, keep
from lvm.training.parallel import train_on_ray
from lvm.training.reading import Reading, read_tokens, write_tokens

TEXTS_AT_ONCE = 10_000
"""Texts read from the database and tokenized together."""


class OutOfMemory(LvmError):
    """A training needs more memory than there is."""


@named_stage
@reads_corpus
def train(
    work: Workspace,
    sequences: SequenceSet,
    name: str,
    config: TrainConfig | None = None,
    *,
    bars: Bars | None = None,
    **options: Any,
) -> TrainedModel:
    """Train a model, unless a run with the same configuration finished before.

    Args:
        work: its database records the run, and its ``settings.artifacts`` get the files.
        sequences: what ``extract`` gave.
        name: ``lstm``, ``gru``, ``mamba2`` or ``transformer``.
        config: how; ``TrainConfig`` with the device, seed and replicas of ``work.settings`` unless given.
        bars: opens progress bars; in the terminal unless given.
        options: hyperparameters to change: fields of ``TrainConfig`` or of the model, e.g. ``epochs=3, hidden=512``.

    Returns:
        The weights of the best epoch; ``report`` says how the training went.

    Raises:
        GateMissing: if the sequence set is not of the corpus as it is now, or no passing gate stands.
        GateRequired: if the database refuses the run.
        UnknownModel: if the model does not exist.
        NoDevice: if the device does not exist.
        BadConfig: if an option does not exist or has an impossible value.
        EmptySplit: if there is no validation window.
        Diverged: if the loss becomes NaN or infinite.
        OutOfMemory: if model or batches are too large.
        CorruptedFile: if a checkpoint is damaged or not the recorded one, or the sequence set changed meanwhile.
        CannotWrite: if the disk is full; the state before is intact.
        Busy: if another process trains this model here.
    """
    config = configured([name], options, config or default_config(work.settings), fixed={})[name]
    gate = work.passing_gate()
    sequences, record = work.reopened(sequences)
    folder = work.settings.artifacts / name
    with work.store.lock(f"train in {folder.resolve()}"):
        result, recorded = _recorded_run(work, sequences, record, gate, name, config, folder, bars or work.bars)
        model = load_model(keep(folder, recorded), config.device)
    if model.sha256 != result.sha256:
        raise not_recorded(folder, name)
    give_back_memory()
    return replace(model, report=result, sha256=recorded)


def default_config(settings: Settings, device: str | None = None) -> TrainConfig:
    """The configuration of a training for which nothing is set.

    Args:
        settings: they have the device, the seed and the replicas.
        device: torch device; that of the settings unless given.

    Raises:
        NoDevice: if training runs here and the device does not exist here.
    """
    device = device or settings.device
    if settings.runner == "threads" and settings.replicas == 1:  # else other machines train
        open_device(device)
    return TrainConfig(device=device, seed=settings.seed, replicas=settings.replicas)


def architectures(model: str) -> list[str]:
    """Names of the architectures to train.

    Args:
        model: one of them, or ``all``.

    Raises:
        UnknownModel: if there is no such architecture.
    """
    if model not in ("all", *MODELS):
        raise UnknownModel(f"there is no model {model!r}; choose one of {', '.join(MODELS)}, or all")
    return list(MODELS) if model == "all" else [model]


def _recorded_run(
    work: Workspace,
    sequences: SequenceSet,
    record: SequenceSetRecord,
    gate: Gate,
    name: str,
    config: TrainConfig,
    folder: Path,
    bars: Bars,
) -> tuple[TrainResult, str]:
    """Train inside a run of the database. The caller holds the folder's lock.

    Returns:
        The result, and the digest of the model that its run recorded.
    """
    store, described = work.store, describe(name, sequences, config)
    same = [
        run for run in store.training_runs(record.id) if (run.architecture, run.hyperparameters) == (name, described)
    ]
    there = checkpoint_in(folder)
    known = (there.sha256, there.digest) if there else ()
    finished = bool(same) and same[-1].status == "finished" and there is not None and there.is_of(described)
    if finished and same[-1].sha256 not in known:
        raise not_recorded(folder, name)
    if there and (earlier := store.finished_run(*known)) and earlier.sha256:
        keep(folder, earlier.sha256)  # version 0.1.0 did not keep it
    run_id = None
    if not finished:
        run_id = store.start_training_run(name, record.id, gate, work.inverter_id, described)
    try:
        result = _fit(work, sequences, name, config, folder, bars)
    except BaseException as error:
        if run_id is not None:
            with suppress(DatabaseUnavailable), named_errors(store.engine):  # a run without its session is interrupted
                store.fail_training_run(run_id, interrupted=not isinstance(error, Exception))
        raise
    if run_id is not None:
        metrics = RunMetrics(
            history=[asdict(report) for report in result.history],
            seconds=result.seconds,
            parameters=result.parameters,
        )
        kept = keep(folder, result.sha256)
        store.finish_training_run(run_id, metrics, str(kept.resolve()), result.sha256)
        return result, result.sha256
    recorded = same[-1].sha256
    if result.sha256 not in known or recorded is None:
        raise not_recorded(folder, name)
    return result, recorded


def _fit(
    work: Workspace, sequences: SequenceSet, name: str, config: TrainConfig, folder: Path, bars: Bars
) -> TrainResult:
    """Train, here or with Ray Train, and check that the sequence set did not change meanwhile."""
    settings = work.settings
    reading = _reading(work, sequences) if config.needs_text else None
    if config.replicas > 1:
        opened = partial(_opened_elsewhere, settings, work.space.name, sequences.path) if reading else None
        train_on_ray(name, sequences.path, config, folder, settings.home / "ray", settings.threads or 1, opened)
    try:
        epochs = config.epochs + (config.head_epochs if config.has_second_part else 0)
        with bars(f"train {name}", epochs) as advance:
            result = fit(name, sequences, config, folder, lambda _: advance(1), reading, lambda: advance(1))
            advance(config.epochs - len(result.history))  # early stopping saved these
    except (MemoryError, RuntimeError, DeviceFull) as error:  # torch has no type of its own for the memory of a CPU
        if isinstance(error, RuntimeError) and not re.search(r"memory|Storage size", str(error)):
            raise
        raise OutOfMemory(
            f"training {name} needs more memory than there is ({first_line(error.__cause__ or error)}); make "
            "batch_size, run, negatives or the model smaller"
        ) from error
    if not still_there(sequences.path, sequences.sha256):  # it was read until now
        (folder / LAST).unlink(missing_ok=True)  # no run continues what was trained on it
        raise CorruptedFile(f"{sequences.path} changed while {name} was trained; run `lvm extract` again")
    return result


def _reading(work: Workspace, sequences: SequenceSet) -> Reading:
    """The space's inverter, and the texts of the sequence set in its tokens. The file is written at the first use."""
    path, store = _tokens_path(sequences.path), work.store
    with store.lock(f"write {path.resolve()}", wait=True):  # models that train at the same time need the same file
        found = _read(work.space, sequences)
        if found is not None:
            return found
        ids = store.chunk_ids(work.space_id)
        texts = (store.chunk_texts(ids[at : at + TEXTS_AT_ONCE].tolist()) for at in range(0, len(ids), TEXTS_AT_ONCE))
        write_tokens(path, work.space.inverter, texts, _identity(work.space, sequences))
    found = _read(work.space, sequences)
    if found is None or len(found.ends) != len(sequences.unit) + 1:
        raise CorruptedFile(f"{path} changed while it was written; train again")
    return found


def _opened_elsewhere(settings: Settings, space_name: str, sequences: Path) -> Reading | None:
    """``_reading`` in a replica, which has no database."""
    return _read(open_space(space_name, settings), load(sequences))


def _read(space: Space, sequences: SequenceSet) -> Reading | None:
    path = _tokens_path(sequences.path)
    return read_tokens(path, space.inverter, space.median_norm, _identity(space, sequences))


def _tokens_path(sequences: Path) -> Path:
    """File of token ids beside a sequence set."""
    return sequences.with_suffix(".tokens.safetensors")


def _identity(space: Space, sequences: SequenceSet) -> str:
    return f"{sequences.sha256} {space.inverter.sha256}"
