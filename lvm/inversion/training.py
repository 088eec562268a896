"""Training and fine-tuning of the project's inverter.

Contract: every tenth document is held out as a whole. The network starts from MiniLM's layers with causal attention,
for any encoder, or from an existing inverter. Training is seeded and resumes from its last checkpoint. An interrupted
and restarted training ends at the same weights as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from lvm import fitting
from lvm.arrays import FloatArray, IntArray
from lvm.devices import autocast, enough_memory
from lvm.encoding.encoder import TextEncoder
from lvm.errors import first_line
from lvm.files import CorruptedFile, make_folder
from lvm.inversion.augmentation import Noise
from lvm.inversion.config import InverterTraining
from lvm.inversion.data import (
    Epochs,
    Silent,
    TrainingProgress,
    TrainingText,
    encode_cached,
    length_batches,
    tokens_of,
)
from lvm.inversion.inverter import Card, PrefixInverter, chunk_hashes
from lvm.inversion.network import END, VectorDecoder, text_nats
from lvm.inversion.vocabulary import fresh

log = logging.getLogger(__name__)

SAVE_EVERY = 400
"""Training steps between checkpoints."""

CHECKPOINT, FORMAT = "checkpoint.safetensors", "lvm-inverter-training-1"

HELD_OUT = 2000
"""Largest number of held-out chunks that the loss is measured on."""


def train(
    encoder: TextEncoder,
    text: TrainingText,
    corpus: str,
    folder: Path,
    scratch: Path,
    training: InverterTraining,
    command: str,
    minilm: Path,
    start: PrefixInverter | None = None,
    progress: TrainingProgress | None = None,
) -> PrefixInverter:
    """Train an inverter for an encoder and write it to a folder.

    Args:
        encoder: the encoder whose vectors are inverted.
        text: chunks to train on and to measure on.
        corpus: name of the corpus, for the card.
        folder: folder of the finished inverter.
        scratch: folder of cached vectors and checkpoints.
        training: hyperparameters.
        command: command line, for the card.
        minilm: folder of the MiniLM weights that a new network starts from.
        start: an inverter to fine-tune; its vocabulary is kept. Default: a new network.
        progress: receives stages and figures.

    Returns:
        The trained inverter. Its card has the held-out loss; the caller adds the roundtrip figures.

    Raises:
        NothingToTrainOn: if all chunks are too long for the network.
        CorruptedFile: if the checkpoint in ``scratch`` is damaged.
        CannotWrite: if the disk is full.
        Diverged: if the loss becomes NaN or infinite.
        DeviceFull: if the device has too little free memory.
    """
    progress = progress or Silent()
    make_folder(scratch)
    torch.manual_seed(training.seed)
    if start is None:
        tokenizer, network = fresh(encoder.dim, text.train, minilm, training.vocabulary)
    else:
        tokenizer, network = start.tokenizer, deepcopy(start.network).requires_grad_(True)
    device = encoder.device
    with enough_memory(device):
        network.to(device)
    epochs = Epochs(encoder, text.train, tokenizer, network, training, scratch, progress)
    held_vectors = encode_cached(encoder, text.held_out[:HELD_OUT], scratch / "held_out.npy", progress)
    norm = encoder.median_norm  # ``Space.decode`` passes vectors to the inverter at this norm
    noise = Noise(epochs.vectors, training.noise, training.seed)
    held_ids, held_usable = tokens_of(text.held_out[:HELD_OUT], tokenizer, network)

    def loss(step: int) -> Tensor:
        torch.manual_seed(int(np.random.SeedSequence((training.seed, step)).generate_state(1)[0]))  # of dropout
        unit, ids = epochs.batch(step)
        return text_loss(network, network.prefix(noise(unit.to(device), step) * norm), ids)

    def loss_on_held_out(rows: IntArray) -> Tensor:
        unit = _rows(held_vectors, rows, device)
        return text_loss(network, network.prefix(unit * norm), [held_ids[row] for row in rows])

    held_plan = length_batches(held_ids, held_usable, 2048, network.config.prefix, 0, 0)

    def held_out_loss() -> float:
        return _mean_loss(network, held_ids, held_plan, loss_on_held_out)

    identity = _identity(encoder, text, training, start.sha256 if start else None)
    network.dropout = training.dropout
    with enough_memory(device):
        minutes = fit(network, epochs.steps, epochs.open, loss, held_out_loss, training, scratch, identity, progress)
    trained_chunks = chunk_hashes([text.train[i] for i in epochs.usable])
    earlier = start.card.trained_documents if start else []
    card = Card(
        encoder=encoder.fingerprint,
        corpus=corpus if start is None else f"{start.card.corpus}, then {corpus}",
        command=command,
        seed=training.seed,
        trained_documents=list(dict.fromkeys([*earlier, *text.trained_documents])),
        held_out_documents=text.held_out_documents,
        training=_facts(training, len(epochs.usable), epochs.steps, minutes),
        figures={"held_out_loss": round(held_out_loss(), 4)},
    )
    if start is not None:
        trained_chunks = np.union1d(trained_chunks, start.trained_chunks)
    inverter = PrefixInverter(network, tokenizer, card, trained_chunks, str(device))
    inverter.save(folder)
    return inverter


def fit(
    network: VectorDecoder,
    steps: int,
    open_at: Callable[[int], object],
    loss_of: Callable[[int], Tensor],
    held_out_loss: Callable[[], float],
    training: InverterTraining,
    scratch: Path,
    identity: str,
    progress: TrainingProgress,
) -> float:
    """Train for a number of steps. Resumes from the checkpoint in ``scratch`` if it is of the same training.

    Args:
        network: the network to train.
        steps: number of steps.
        open_at: prepares the batches from a step on; called once, with the step where training starts or resumes.
        loss_of: the loss of the batch of a step.
        held_out_loss: measures the loss on held-out chunks.
        training: hyperparameters.
        scratch: folder of the checkpoint.
        identity: identifies the training; a checkpoint with another identity is not used.
        progress: receives the stage ``train`` and figures.

    Returns:
        Minutes of training, with those before an interruption.

    Raises:
        CorruptedFile: if the checkpoint is damaged.
        CannotWrite: if the disk is full.
        Diverged: if the loss becomes NaN or infinite.
    """
    optimizer = _optimizer(network, training)
    device = network.bias.device
    path = scratch / CHECKPOINT
    step, seconds = _resume(path, network, optimizer, identity)
    if step < steps:
        open_at(step)
    progress.stage("train", steps)
    progress.advance(step)
    started, losses = time.monotonic() - seconds, list[float]()
    network.train()
    while step < steps:
        fall = (step - training.warmup) / max(1, steps - training.warmup)
        rise = (step + 1) / training.warmup if training.warmup else 1.0
        fitting.set_rate(optimizer, training.learning_rate * fitting.rate(rise, fall, floor=0.05))
        with autocast(device):
            loss = loss_of(step)
        fitting.step(optimizer, loss, network.parameters(), clip=1.0)
        step += 1
        losses.append(fitting.require_finite(loss.item(), f"step {step}"))
        progress.advance(1)
        if step % 100 == 0 or step == steps:
            progress.metrics(step=step, loss=float(np.mean(losses[-100:])), seconds=time.monotonic() - started)
        if step % SAVE_EVERY == 0 or step == steps:
            facts = {"step": str(step), "seconds": str(time.monotonic() - started), "identity": identity}
            fitting.write(path, fitting.state_of(network, optimizer), facts, FORMAT)
        if step % 1000 == 0 or step == steps:
            progress.metrics(step=step, held_out_loss=held_out_loss())
    return (time.monotonic() - started) / 60


def _optimizer(network: VectorDecoder, training: InverterTraining) -> torch.optim.Optimizer:
    """AdamW. The projection of the vector and the tied embeddings have twice the learning rate of the layers."""
    quick = [*network.project.parameters(), network.words.weight, network.bias]
    known = {id(tensor) for tensor in quick}
    groups = [
        {"params": [tensor for tensor in network.parameters() if id(tensor) not in known], "scale": 1.0},
        {"params": quick, "scale": 2.0},
    ]
    return torch.optim.AdamW(
        groups, lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=training.weight_decay, fused=True
    )


def _resume(path: Path, network: VectorDecoder, optimizer: torch.optim.Optimizer, identity: str) -> tuple[int, float]:
    """Load the checkpoint if it is of the same training.

    Returns:
        Its step and its seconds of training; (0, 0) without a checkpoint of this training.

    Raises:
        CorruptedFile: if the checkpoint is damaged.
    """
    if not path.exists():
        return 0, 0.0
    tensors, metadata = _read(path)
    if metadata.get("identity") != identity:
        log.warning("%s: training starts from the beginning: the checkpoint is of another training", path.parent)
        return 0, 0.0
    fitting.restore(tensors, network, optimizer, path)
    try:
        return int(metadata["step"]), float(metadata["seconds"])
    except (KeyError, ValueError) as error:
        raise CorruptedFile(f"{path} does not name its step; delete it and train again") from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a checkpoint. Checkpoints of version 0.1.0 have no checksum and no format."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except Exception as error:  # safetensors and the file system raise different errors
        raise CorruptedFile(f"{path} cannot be read ({first_line(error)}); delete it and train again") from error
    return fitting.read(path, FORMAT) if "format" in metadata else (fitting.load(path), metadata)


def _rows(vectors: FloatArray, rows: IntArray, device: torch.device) -> Tensor:
    return torch.from_numpy(vectors[rows]).to(device)


def _facts(training: InverterTraining, chunks: int, steps: int, minutes: float) -> dict[str, Any]:
    return {
        **asdict(training),
        "chunks": chunks,
        "steps": steps,
        "minutes": round(minutes, 1),
        "threads": torch.get_num_threads(),
    }


def text_loss(network: VectorDecoder, prefix: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
    """Mean cross-entropy per token of texts with their end tokens, in nats.

    Args:
        network: the network.
        prefix: (batch, positions, width) from ``VectorDecoder.prefix``.
        ids: token ids of ``batch`` texts, without end tokens.
    """
    return text_nats(network, prefix, [[*each, END] for each in ids]).sum() / sum(len(each) + 1 for each in ids)


@torch.inference_mode()
def _mean_loss(
    network: VectorDecoder,
    ids: Sequence[Sequence[int]],
    plan: Sequence[IntArray],
    loss_of: Callable[[IntArray], Tensor],
) -> float:
    """Mean cross-entropy per token over all batches of a plan, in nats."""
    network.eval()
    total, count = 0.0, 0
    for rows in plan:
        positions = sum(len(ids[row]) + 1 for row in rows)
        total += loss_of(rows).item() * positions
        count += positions
    network.train()
    return total / count


def _identity(encoder: TextEncoder, text: TrainingText, training: InverterTraining, start: str | None) -> str:
    """Hash of everything that decides the result of a training."""
    options = asdict(training)
    for name in ("noise", "splices", "dropout"):  # version 0.1.0 had none, and its unfinished trainings go on
        if not options[name]:
            del options[name]
    facts = [encoder.fingerprint, options, text.trained_documents, start]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
