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
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor

from lvm import fitting
from lvm.arrays import FloatArray, IntArray
from lvm.corpus.chunker import Chunker
from lvm.corpus.documents import Document
from lvm.devices import autocast
from lvm.encoding.encoder import TextEncoder
from lvm.errors import LvmError, first_line
from lvm.files import CorruptedFile, make_folder, replacing
from lvm.inversion.augmentation import Noise, spans
from lvm.inversion.config import InverterTraining
from lvm.inversion.inverter import Card, PrefixInverter, chunk_hashes
from lvm.inversion.network import END, VectorDecoder, text_nats
from lvm.inversion.vocabulary import fresh

log = logging.getLogger(__name__)

HOLD_OUT_EVERY = 10
"""Every document with this number is held out."""

SAVE_EVERY = 400
"""Training steps between checkpoints."""

CHECKPOINT, FORMAT = "checkpoint.safetensors", "lvm-inverter-training-1"

HELD_OUT = 2000
"""Largest number of held-out chunks that the loss is measured on."""


class NothingToTrainOn(LvmError):
    """The source has too few documents or chunks to train an inverter and to measure it."""


class TrainingProgress(Protocol):
    """Receives the progress of a training. All methods are called often."""

    def stage(self, name: str, total: int) -> None:
        """A stage of ``total`` items starts; 0 if the number is unknown."""

    def advance(self, count: int) -> None:
        """``count`` more items of the stage are done."""

    def metrics(self, **values: float) -> None:
        """New figures, by name."""


class Silent:
    """Ignores progress."""

    def stage(self, name: str, total: int) -> None: ...
    def advance(self, count: int) -> None: ...
    def metrics(self, **values: float) -> None: ...


@dataclass(frozen=True)
class TrainingText:
    """Chunks of a corpus, split by document.

    Attributes:
        train: chunks to train on.
        train_documents: number of the document of every chunk in ``train``.
        held_out: chunks to measure on.
        trained_documents: sha256 of the texts of the training documents.
        held_out_documents: external ids of the held-out documents.
    """

    train: list[str]
    train_documents: list[int]
    held_out: list[str]
    trained_documents: list[str]
    held_out_documents: list[str]

    @classmethod
    def collect(cls, documents: Iterable[Document], chunker: Chunker, progress: TrainingProgress) -> TrainingText:
        """Cut documents into chunks and hold out every tenth document, in the order of the source.

        Args:
            documents: the documents.
            chunker: the chunker of the space.
            progress: receives the stage ``chunk``.

        Raises:
            NothingToTrainOn: if there is no chunk to train on or no chunk to hold out.
        """
        progress.stage("chunk", 0)
        text = cls([], [], [], [], [])
        for number, document in enumerate(documents):
            chunks = [chunk.text for chunk in chunker.split(document.text)[0]]
            if number % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1:
                text.held_out.extend(chunks)
                text.held_out_documents.append(document.external_id)
            else:
                text.train.extend(chunks)
                text.train_documents.extend([number] * len(chunks))
                text.trained_documents.append(document.sha256)
            progress.advance(1)
        if not text.train or not text.held_out:
            raise NothingToTrainOn(
                f"the source has {len(text.trained_documents) + len(text.held_out_documents)} documents with text, an "
                f"inverter needs at least {HOLD_OUT_EVERY} to hold out every tenth; use a larger source"
            )
        return text


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
    """
    progress = progress or Silent()
    make_folder(scratch)
    torch.manual_seed(training.seed)
    if start is None:
        tokenizer, network = fresh(encoder.dim, text.train, minilm, training.vocabulary)
    else:
        tokenizer, network = start.tokenizer, deepcopy(start.network).requires_grad_(True)
    device = encoder.device
    network.to(device)
    texts = text.train
    if training.spans:
        more = spans(texts, text.train_documents, round(training.spans * len(texts)), training.seed)
        cut = set(encoder.over_limit(more))
        texts = [*texts, *(span for row, span in enumerate(more) if row not in cut)]
    vectors = encode_cached(encoder, texts, scratch / "train.npy", progress)
    held_vectors = encode_cached(encoder, text.held_out[:HELD_OUT], scratch / "held_out.npy", progress)
    norm = encoder.median_norm  # ``Space.decode`` passes vectors to the inverter at this norm
    noise = Noise(vectors[: len(text.train)], training.noise, training.seed)
    ids, usable = tokens_of(texts, tokenizer, network)
    held_ids, held_usable = tokens_of(text.held_out[:HELD_OUT], tokenizer, network)

    def loss(step: int) -> Tensor:
        rows = plan[step]
        unit = noise(_rows(vectors, rows, device), step)
        return text_loss(network, network.prefix(unit * norm), [ids[row] for row in rows])

    def loss_on_held_out(rows: IntArray) -> Tensor:
        unit = _rows(held_vectors, rows, device)
        return text_loss(network, network.prefix(unit * norm), [held_ids[row] for row in rows])

    prefix = network.config.prefix
    plan: list[IntArray] = []
    for epoch in range(int(np.ceil(training.epochs))):
        batches = length_batches(ids, usable, training.tokens_per_batch, prefix, training.seed, epoch)
        share = min(1.0, training.epochs - epoch)
        plan += batches[: round(share * len(batches))]
    held_plan = length_batches(held_ids, held_usable, 2048, prefix, 0, 0)

    def held_out_loss() -> float:
        return _mean_loss(network, held_ids, held_plan, loss_on_held_out)

    identity = _identity(encoder, text, training, start.sha256 if start else None)
    minutes = fit(network, len(plan), loss, held_out_loss, training, scratch, identity, progress)
    trained_chunks = chunk_hashes([texts[i] for i in usable])
    earlier = start.card.trained_documents if start else []
    card = Card(
        encoder=encoder.fingerprint,
        corpus=corpus if start is None else f"{start.card.corpus}, then {corpus}",
        command=command,
        seed=training.seed,
        trained_documents=[*earlier, *text.trained_documents],
        held_out_documents=text.held_out_documents,
        training=_facts(training, usable, plan, minutes),
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


def tokens_of(texts: Sequence[str], tokenizer: Tokenizer, network: VectorDecoder) -> tuple[list[list[int]], list[int]]:
    """Tokenize texts.

    Args:
        texts: n texts.
        tokenizer: the inverter's tokenizer.
        network: the network; it limits the length.

    Returns:
        Token ids of all n texts, and the indices of texts that are neither empty nor too long for the network.

    Raises:
        NothingToTrainOn: if no text is usable.
    """
    limit = network.config.max_length - 1
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    usable = [row for row, tokens in enumerate(ids) if 0 < len(tokens) <= limit]
    if not usable:
        raise NothingToTrainOn(
            f"all chunks to train on, or all held-out chunks, are empty or longer than {limit} tokens in a vocabulary "
            f"of {tokenizer.get_vocab_size()} word pieces; use a larger source"
        )
    return ids, usable


def _rows(vectors: FloatArray, rows: IntArray, device: torch.device) -> Tensor:
    return torch.from_numpy(vectors[rows]).to(device)


def _facts(
    training: InverterTraining, usable: Sequence[int], plan: Sequence[IntArray], minutes: float
) -> dict[str, Any]:
    return {
        **asdict(training),
        "chunks": len(usable),
        "steps": len(plan),
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


def length_batches(
    ids: Sequence[Sequence[int]], usable: Sequence[int], tokens: int, prefix: int, seed: int, epoch: int
) -> list[IntArray]:
    """Batches of texts of equal length, so that there is no padding, in a seeded random order.

    Args:
        ids: token ids of all texts.
        usable: indices of the texts to use.
        tokens: positions per batch.
        prefix: positions before a text.
        seed: seed of the order.
        epoch: number of the epoch; it changes the order.

    Returns:
        Indices of the texts of every batch.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(np.asarray(usable))
    by_length: dict[int, list[int]] = {}
    for row in order.tolist():
        by_length.setdefault(len(ids[row]), []).append(row)
    batches = []
    for length, rows in sorted(by_length.items()):
        size = max(1, tokens // (length + 1 + prefix))
        batches += [np.asarray(rows[i : i + size]) for i in range(0, len(rows), size)]
    return [batches[i] for i in random.permutation(len(batches))]


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


def encode_cached(encoder: TextEncoder, texts: Sequence[str], path: Path, progress: TrainingProgress) -> FloatArray:
    """Unit vectors of texts, cached in a file whose name has a hash of encoder and texts.

    Args:
        encoder: the encoder.
        texts: n texts.
        path: the file, to whose name the hash is added.
        progress: receives the stage ``encode``.

    Returns:
        (n, dim) float32, memory-mapped.
    """
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    path = path.with_name(f"{path.stem}-{digest.hexdigest()[:16]}.npy")
    if not path.exists():
        progress.stage("encode", len(texts))
        unit = encoder.encode(texts, progress.advance).unit
        with replacing(path) as file:
            np.save(file, unit)
    vectors: FloatArray = np.load(path, mmap_mode="r")
    return vectors


def _identity(encoder: TextEncoder, text: TrainingText, training: InverterTraining, start: str | None) -> str:
    """Hash of everything that decides the result of a training."""
    options = asdict(training)
    for name in ("noise", "spans"):  # version 0.1.0 had neither, and its unfinished trainings go on
        if not options[name]:
            del options[name]
    facts = [encoder.fingerprint, options, text.trained_documents, start]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
