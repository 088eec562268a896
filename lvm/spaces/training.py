"""How an inverter is made, and a corrector on top of one: ``lvm inverter train`` and ``lvm inverter finetune``.

Whole documents are held out (every tenth). The decoder starts from MiniLM's own layers and word embeddings
made causal, whatever the encoder; its vocabulary is the ``vocabulary`` WordPieces most used in the corpus
and every single character. Training is seeded and resumes from its last checkpoint; interrupted at any moment
and started again, it ends at the same weights as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import copy, deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from lvm.corpus.chunker import Chunker
from lvm.corpus.documents import Document
from lvm.errors import LvmError, first_line
from lvm.files import make_folder, replacing
from lvm.settings import bf16_available
from lvm.spaces.corrector import Corrector
from lvm.spaces.decoder import END, PAD, DecoderConfig, VectorCorrector, VectorDecoder
from lvm.spaces.encoder import TextEncoder
from lvm.spaces.inverter import Card, Inverter, chunk_hashes
from lvm.spaces.space import Inverter as AnyInverter
from lvm.spaces.space import typical_norm
from lvm.spaces.weights import WeightsUnusable, fill

HOLD_OUT_EVERY = 10
"""Every tenth document is kept whole from training."""

SAVE_EVERY = 400
"""Steps between checkpoints."""

HELD_OUT = 2000
"""Held-out chunks that the loss is measured on."""

DECODED_AT_ONCE = 4096
"""Hypotheses of a corrector's training that are kept together."""

Rows = npt.NDArray[np.int64]


class NothingToTrainOn(LvmError):
    """The source has too few documents or chunks for an inverter and its held-out figures."""


class TrainingProgress(Protocol):
    """Told of what happens; every method may be called often."""

    def stage(self, name: str, total: int) -> None: ...
    def advance(self, count: int) -> None: ...
    def metrics(self, **values: float) -> None: ...


class Silent:
    """Progress nobody looks at."""

    def stage(self, name: str, total: int) -> None: ...
    def advance(self, count: int) -> None: ...
    def metrics(self, **values: float) -> None: ...


@dataclass(frozen=True)
class InverterTraining:
    """Hyperparameters; the defaults are those of the shipped inverter.

    Attributes:
        epochs: passes over the training chunks.
        tokens_per_batch: positions (prefix, text, end) in a step.
        learning_rate: of the layers; projection and tied head learn twice as fast.
        warmup: steps of linear warm-up, before a cosine decay to a twentieth.
        vocabulary: size of the decoder's vocabulary.
        seed: of the order of batches and of new weights.
    """

    epochs: float = 4.0
    tokens_per_batch: int = 1664
    learning_rate: float = 5e-4
    warmup: int = 100
    weight_decay: float = 0.01
    vocabulary: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class TrainingText:
    """Chunks of a corpus, split by document."""

    train: list[str]
    held_out: list[str]
    trained_documents: list[str]
    held_out_documents: list[str]

    @classmethod
    def collect(cls, documents: Iterable[Document], chunker: Chunker, progress: TrainingProgress) -> TrainingText:
        """Chunk every document; every tenth, in the source's order, is held out.

        Raises:
            NothingToTrainOn: if nothing could be held out or nothing trained on.
        """
        progress.stage("chunk", 0)
        text = cls([], [], [], [])
        for number, document in enumerate(documents):
            chunks = [chunk.text for chunk in chunker.split(document.text)[0]]
            if number % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1:
                text.held_out.extend(chunks)
                text.held_out_documents.append(document.external_id)
            else:
                text.train.extend(chunks)
                text.trained_documents.append(document.sha256)
            progress.advance(1)
        if not text.train or not text.held_out:
            raise NothingToTrainOn(
                f"{len(text.trained_documents) + len(text.held_out_documents)} documents with text: an inverter needs "
                f"at least {HOLD_OUT_EVERY}, so that every tenth can be held out; give it a larger source"
            )
        return text


def cut_vocabulary(texts: Iterable[str], source: Tokenizer, size: int) -> list[str]:
    """The ``size`` WordPieces most used in ``texts``, every single character of the source vocabulary included."""
    counts: Counter[str] = Counter()
    batch: list[str] = []
    names = {index: piece for piece, index in source.get_vocab().items()}
    used: Counter[int] = Counter()

    def count() -> None:
        for encoding in source.encode_batch_fast(batch, add_special_tokens=False):
            used.update(encoding.ids)
        batch.clear()

    for text in texts:
        batch.append(text)
        if len(batch) == 8192:
            count()
    count()
    counts.update({names[index]: number for index, number in used.items()})
    special = ["[PAD]", "[UNK]", "[SEP]"]
    # CJK characters have no casing and are rare in what this vocabulary is cut for: only those used are kept
    single = [
        piece
        for piece in names.values()
        if len(piece.removeprefix("##")) == 1 and (counts[piece] or ord(piece[-1]) < 0x250)
    ]
    kept = dict.fromkeys(special + sorted(single))
    for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) >= size:
            break
        if not piece.startswith("["):
            kept[piece] = None
    return list(kept)


def word_piece(vocabulary: Sequence[str]) -> Tokenizer:
    """An uncased WordPiece tokenizer over ``vocabulary`` (BERT's rules)."""
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    return tokenizer


def warm_start(network: VectorDecoder, bert: dict[str, Tensor], rows: Sequence[int]) -> None:
    """Copy a BERT encoder's weights into a decoder of the same sizes; ``rows`` are the kept word embeddings."""
    config = network.config
    state = network.state_dict()
    embeddings = "embeddings."
    state["words.weight"] = bert[embeddings + "word_embeddings.weight"][list(rows)].clone()
    kind = bert[embeddings + "token_type_embeddings.weight"][0]
    state["positions.weight"] = bert[embeddings + "position_embeddings.weight"][: len(state["positions.weight"])] + kind
    for name in ("weight", "bias"):
        state[f"norm.{name}"] = bert[f"{embeddings}LayerNorm.{name}"].clone()
        for i in range(config.layers):
            old, new = f"encoder.layer.{i}.", f"layers.{i}."
            parts = [bert[f"{old}attention.self.{part}.{name}"] for part in ("query", "key", "value")]
            state[f"{new}qkv.{name}"] = torch.cat(parts)
            for ours, theirs in (
                ("out", "attention.output.dense"),
                ("norm_attention", "attention.output.LayerNorm"),
                ("up", "intermediate.dense"),
                ("down", "output.dense"),
                ("norm_feedforward", "output.LayerNorm"),
            ):
                state[f"{new}{ours}.{name}"] = bert[f"{old}{theirs}.{name}"].clone()
    network.load_state_dict(state)


def train(
    encoder: TextEncoder,
    text: TrainingText,
    corpus: str,
    folder: Path,
    scratch: Path,
    training: InverterTraining,
    command: str,
    minilm: Path,
    start: Inverter | None = None,
    progress: TrainingProgress | None = None,
) -> Inverter:
    """Train an inverter for ``encoder`` and save it to ``folder``.

    Args:
        text: chunks to train on and to measure on.
        corpus: name of the corpus, for the card.
        folder: where the finished inverter goes.
        scratch: where vectors and checkpoints are kept until it is finished.
        minilm: folder of the MiniLM weights a new decoder starts from.
        start: an inverter to go on from (fine-tuning); its vocabulary is kept.

    Returns:
        The trained inverter; its card has held-out loss, and the caller adds the roundtrip figures.
    """
    progress = progress or Silent()
    make_folder(scratch)
    torch.manual_seed(training.seed)
    if start is None:
        tokenizer, network = fresh(encoder.dim, text.train, minilm, training.vocabulary)
    else:
        tokenizer, network = start.tokenizer, deepcopy(start.network)
    device = encoder.device
    network.to(device)
    vectors = encode_cached(encoder, text.train, scratch / "train.npy", progress)
    held_vectors = encode_cached(encoder, text.held_out[:HELD_OUT], scratch / "held_out.npy", progress)
    norm = typical_norm(encoder)  # the one at which a space hands over directions to be decoded
    ids, usable = tokens_of(text.train, tokenizer, network)
    held_ids, held_usable = tokens_of(text.held_out[:HELD_OUT], tokenizer, network)

    def loss(rows: Rows, ids: Sequence[Sequence[int]] = ids, vectors: npt.NDArray[np.float32] = vectors) -> Tensor:
        return text_loss(network, network.prefix(_rows(vectors, rows, device) * norm), [ids[row] for row in rows])

    prefix = network.config.prefix
    plan: list[Rows] = []
    for epoch in range(int(np.ceil(training.epochs))):
        batches = length_batches(ids, usable, training.tokens_per_batch, prefix, training.seed, epoch)
        share = min(1.0, training.epochs - epoch)
        plan += batches[: round(share * len(batches))]
    held_plan = length_batches(held_ids, held_usable, 2048, prefix, 0, 0)

    def held_out_loss() -> float:
        return _mean_loss(network, held_ids, held_plan, lambda rows: loss(rows, held_ids, held_vectors))

    identity = _identity(encoder, text, training, start.sha256 if start else None)
    minutes = fit(network, plan, loss, held_out_loss, training, scratch, identity, progress)
    seen = chunk_hashes([text.train[i] for i in usable])
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
        seen = np.union1d(seen, start.seen)
    inverter = Inverter(network, tokenizer, card, seen, str(device))
    inverter.save(folder)
    return inverter


def train_corrector(
    encoder: TextEncoder,
    hypothesizer: AnyInverter,
    text: TrainingText,
    corpus: str,
    folder: Path,
    scratch: Path,
    training: InverterTraining,
    command: str,
    minilm: Path,
    progress: TrainingProgress | None = None,
) -> Corrector:
    """Train a corrector on what ``hypothesizer`` makes of the training chunks, and save it to ``folder``.

    It starts from the hypothesizer's weights where that is ours, else from MiniLM's. With less than one epoch, only as
    many chunks are decoded as it will see. The other arguments are those of ``train``.
    """
    progress = progress or Silent()
    make_folder(scratch)
    torch.manual_seed(training.seed)
    if isinstance(hypothesizer, Inverter):
        tokenizer, begin = hypothesizer.tokenizer, hypothesizer.network
    else:
        tokenizer, begin = fresh(encoder.dim, text.train, minilm, training.vocabulary)
    network = from_decoder(begin)
    device = encoder.device
    network.to(device)
    order = np.random.default_rng(training.seed).permutation(len(text.train))
    chosen = sorted(order[: max(1, round(min(1.0, training.epochs) * len(order)))].tolist())
    texts, held_texts = [text.train[i] for i in chosen], text.held_out[:HELD_OUT]
    vectors = encode_cached(encoder, texts, scratch / "train.npy", progress)
    held_vectors = encode_cached(encoder, held_texts, scratch / "held_out.npy", progress)
    ids, usable = tokens_of(texts, tokenizer, network)
    held_ids, held_usable = tokens_of(held_texts, tokenizer, network)
    corrector = Corrector(network, tokenizer, Card("", "", "", 0, [], [], {}, {}), np.empty(0, np.int64), str(device))

    def hypotheses(vectors: npt.NDArray[np.float32], name: str) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
        said = decode_cached(encoder, hypothesizer, vectors, scratch / name, progress)
        return [corrector.tokens(each) for each in said], encode_cached(
            encoder, said, scratch / f"{name}.npy", progress
        )

    said, said_vectors = hypotheses(vectors, "hypotheses")
    held_said, held_said_vectors = hypotheses(held_vectors, "held_out_hypotheses")
    front = 3 * network.config.prefix
    plan: list[Rows] = []
    for epoch in range(int(np.ceil(training.epochs))):
        batches = pair_batches(said, ids, usable, training.tokens_per_batch, front, training.seed, epoch)
        share = 1.0 if epoch == 0 else min(1.0, training.epochs - epoch)  # the first epoch's chunks are chosen already
        plan += batches[: round(share * len(batches))]
    held_plan = pair_batches(held_said, held_ids, held_usable, 2048, front, 0, 0)

    def loss(rows: Rows) -> Tensor:
        of = torch.tensor([said[row] for row in rows], dtype=torch.long, device=device)
        prefix = network.corrected_prefix(_rows(vectors, rows, device), _rows(said_vectors, rows, device), of)
        return text_loss(network, prefix, [ids[row] for row in rows])

    def held_loss(rows: Rows) -> Tensor:
        of = torch.tensor([held_said[row] for row in rows], dtype=torch.long, device=device)
        prefix = network.corrected_prefix(_rows(held_vectors, rows, device), _rows(held_said_vectors, rows, device), of)
        return text_loss(network, prefix, [held_ids[row] for row in rows])

    def held_out_loss() -> float:
        return _mean_loss(network, held_ids, held_plan, held_loss)

    identity = _identity(encoder, text, training, f"corrector of {hypothesizer.sha256}")
    minutes = fit(network, plan, loss, held_out_loss, training, scratch, identity, progress)
    corrector.card = Card(
        encoder=encoder.fingerprint,
        corpus=corpus,
        command=command,
        seed=training.seed,
        trained_documents=text.trained_documents,
        held_out_documents=text.held_out_documents,
        training={**_facts(training, usable, plan, minutes), "hypothesizer": hypothesizer.sha256},
        figures={"held_out_loss": round(held_out_loss(), 4)},
    )
    corrector.seen = chunk_hashes([texts[i] for i in usable])
    network.eval()
    corrector.save(folder)
    return corrector


def fresh(dim: int, texts: Sequence[str], minilm: Path, size: int) -> tuple[Tokenizer, VectorDecoder]:
    """A tokenizer cut for ``texts`` and a decoder for vectors of ``dim``, with MiniLM's weights made causal."""
    source = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    source.no_padding()
    source.no_truncation()
    vocabulary = cut_vocabulary(texts, source, size)
    network = VectorDecoder(DecoderConfig(dim=dim, vocabulary=len(vocabulary)))
    pieces = source.get_vocab()
    warm_start(network, load_file(minilm / "model.safetensors"), [pieces[piece] for piece in vocabulary])
    return word_piece(vocabulary), network


def from_decoder(decoder: VectorDecoder) -> VectorCorrector:
    """A corrector that begins with a decoder's weights, and reads both vectors and the hypothesis as that reads its."""
    network, state = VectorCorrector(decoder.config), decoder.state_dict()
    places, prefix = state["positions.weight"], decoder.config.prefix
    state["hypothesis_positions.weight"] = torch.cat([places[:prefix], places])
    for name in [name for name in state if name.startswith("project.")]:
        for other in ("project_difference", "project_hypothesis"):
            state[name.replace("project", other, 1)] = state[name].clone()
    network.load_state_dict(state)
    return network


def fit(
    network: VectorDecoder,
    plan: Sequence[Rows],
    loss_of: Callable[[Rows], Tensor],
    held_out_loss: Callable[[], float],
    training: InverterTraining,
    scratch: Path,
    identity: str,
    progress: TrainingProgress,
) -> float:
    """Go through the plan's batches, from the last checkpoint of this very training if there is one.

    Returns:
        minutes of training, those before an interruption included.
    """
    heads = [network.words.weight, network.bias]
    projections = [
        tensor for name, part in network.named_children() if name.startswith("project") for tensor in part.parameters()
    ]
    quick = [*projections, *heads]
    known = {id(tensor) for tensor in quick}
    groups = [
        {"params": [tensor for tensor in network.parameters() if id(tensor) not in known], "scale": 1.0},
        {"params": quick, "scale": 2.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=training.weight_decay, fused=True
    )
    device = network.bias.device
    checkpoint = Checkpoint(scratch, network, optimizer, identity)
    step = checkpoint.load()
    progress.stage("train", len(plan))
    progress.advance(step)
    amp = device.type == "cuda" or (device.type == "cpu" and bf16_available())
    started, losses = time.monotonic() - checkpoint.seconds, []
    network.train()
    while step < len(plan):
        rate = learning_rate(step, len(plan), training)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            loss = loss_of(plan[step])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        losses.append(loss.item())
        progress.advance(1)
        if step % 100 == 0 or step == len(plan):
            progress.metrics(step=step, loss=float(np.mean(losses[-100:])), seconds=time.monotonic() - started)
        if step % SAVE_EVERY == 0 or step == len(plan):
            checkpoint.save(step, time.monotonic() - started)
        if step % 1000 == 0 or step == len(plan):
            progress.metrics(step=step, held_out_loss=held_out_loss())
    return (time.monotonic() - started) / 60


def tokens_of(texts: Sequence[str], tokenizer: Tokenizer, network: VectorDecoder) -> tuple[list[list[int]], list[int]]:
    """Token ids of each text, and the rows that are neither empty nor too long for the network.

    Raises:
        NothingToTrainOn: if there is no such row.
    """
    limit = network.config.max_length - 1
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    usable = [row for row, tokens in enumerate(ids) if 0 < len(tokens) <= limit]
    if not usable:
        raise NothingToTrainOn(
            f"no chunk to train on or none to hold out is {limit} tokens or shorter in a vocabulary of "
            f"{tokenizer.get_vocab_size()} pieces; give it a larger source"
        )
    return ids, usable


def _rows(vectors: npt.NDArray[np.float32], rows: Rows, device: torch.device) -> Tensor:
    return torch.from_numpy(vectors[rows]).to(device)


def _facts(training: InverterTraining, usable: Sequence[int], plan: Sequence[Rows], minutes: float) -> dict[str, Any]:
    return {
        **asdict(training),
        "chunks": len(usable),
        "steps": len(plan),
        "minutes": round(minutes, 1),
        "threads": torch.get_num_threads(),
    }


def text_loss(network: VectorDecoder, prefix: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
    """Mean cross-entropy of texts and their ends, given what stands in front of them (batch, positions, width).

    Shorter texts are padded at their end, which nothing before it can see; padding is not counted.
    """
    longest = max(map(len, ids))
    inputs = torch.tensor([[*each, *[PAD] * (longest - len(each))] for each in ids], device=prefix.device)
    targets = torch.tensor([[*each, END, *[-100] * (longest - len(each))] for each in ids], device=prefix.device)
    return F.cross_entropy(network(prefix, inputs).flatten(0, 1).float(), targets.flatten())


def length_batches(
    ids: Sequence[Sequence[int]], usable: Sequence[int], tokens: int, prefix: int, seed: int, epoch: int
) -> list[Rows]:
    """Rows of equal length together, so that nothing is padded; batches in a seeded random order."""
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


def learning_rate(step: int, steps: int, training: InverterTraining) -> float:
    """Linear warm-up, then a cosine to a twentieth."""
    if step < training.warmup:
        return training.learning_rate * (step + 1) / training.warmup
    done = (step - training.warmup) / max(1, steps - training.warmup)
    return training.learning_rate * (0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * done))))


def pair_batches(
    said: Sequence[Sequence[int]],
    ids: Sequence[Sequence[int]],
    usable: Sequence[int],
    tokens: int,
    front: int,
    seed: int,
    epoch: int,
) -> list[Rows]:
    """Rows whose hypotheses have the same length together, texts of nearly the same; batches in a random order."""
    random = np.random.default_rng([seed, epoch])
    by_length: dict[int, list[int]] = {}
    for row in random.permutation(np.asarray(usable)).tolist():
        by_length.setdefault(len(said[row]), []).append(row)
    batches = []
    for length, rows in sorted(by_length.items()):
        batch: list[int] = []
        for row in sorted(rows, key=lambda row: len(ids[row])):
            if batch and (len(batch) + 1) * (front + length + len(ids[row]) + 1) > tokens:
                batches.append(np.asarray(batch))
                batch = []
            batch.append(row)
        batches.append(np.asarray(batch))
    return [batches[i] for i in random.permutation(len(batches))]


@torch.inference_mode()
def _mean_loss(
    network: VectorDecoder, ids: Sequence[Sequence[int]], plan: Sequence[Rows], loss_of: Callable[[Rows], Tensor]
) -> float:
    """Cross-entropy per token, in nats, over all batches of a plan."""
    network.eval()
    total, count = 0.0, 0
    for rows in plan:
        positions = sum(len(ids[row]) + 1 for row in rows)
        total += loss_of(rows).item() * positions
        count += positions
    network.train()
    return total / count


def decode_cached(
    encoder: TextEncoder,
    hypothesizer: AnyInverter,
    vectors: npt.NDArray[np.float32],
    folder: Path,
    progress: TrainingProgress,
) -> list[str]:
    """What the hypothesizer says of each vector, greedily; kept in parts, so that a stopped run goes on."""
    key = hashlib.sha256(f"{hypothesizer.sha256} {encoder.fingerprint}".encode() + vectors.tobytes()).hexdigest()[:16]
    norm = np.float32(typical_norm(encoder))
    if isinstance(hypothesizer, Inverter):
        hypothesizer = copy(hypothesizer)
        hypothesizer.candidates = 1
    texts: list[str] = []
    progress.stage("hypotheses", len(vectors))
    for start in range(0, len(vectors), DECODED_AT_ONCE):
        path = folder / f"{key}-{start}.json"
        if not path.exists():
            part = vectors[start : start + DECODED_AT_ONCE] * norm
            said = hypothesizer.decode(part, lambda batch: encoder.encode(batch).raw)
            with replacing(path) as file:
                file.write(json.dumps(said).encode())
        texts += json.loads(path.read_bytes())
        progress.advance(min(DECODED_AT_ONCE, len(vectors) - start))
    return texts


def encode_cached(
    encoder: TextEncoder, texts: Sequence[str], path: Path, progress: TrainingProgress
) -> npt.NDArray[np.float32]:
    """Unit vectors (n, dim) of ``texts``, kept beside the checkpoints under the texts' own hash."""
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    path = path.with_name(f"{path.stem}-{digest.hexdigest()[:16]}.npy")
    if not path.exists():
        progress.stage("encode", len(texts))
        unit = encoder.encode(texts, progress.advance).unit
        with replacing(path) as file:
            np.save(file, unit)
    vectors: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
    return vectors


class Checkpoint:
    """Weights, optimizer state and step in one safetensors file, replaced atomically."""

    def __init__(self, folder: Path, network: VectorDecoder, optimizer: torch.optim.Optimizer, identity: str) -> None:
        self.path = folder / "checkpoint.safetensors"
        self.network, self.optimizer, self.identity = network, optimizer, identity
        self.seconds = 0.0

    def save(self, step: int, seconds: float) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        metadata = {"step": str(step), "seconds": str(seconds), "identity": self.identity}
        with replacing(self.path) as file:
            file.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))

    def load(self) -> int:
        """Step to go on from: 0 if there is no checkpoint of this very training."""
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
            if metadata["identity"] != self.identity:
                return 0
            tensors = load_file(self.path)
        except (FileNotFoundError, SafetensorError, KeyError, TypeError):
            return 0
        try:
            fill(self.network, _under("model.", tensors), self.path)
            state: dict[int, dict[str, Any]] = {}
            for name, value in _under("optimizer.", tensors).items():
                index, key = name.split(".", 1)
                state.setdefault(int(index), {})[key] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
            self.seconds = float(metadata["seconds"])
            return int(metadata["step"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsUnusable(
                f"{self.path} does not hold the state of a training ({first_line(error)}); delete it and train again"
            ) from error


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _identity(encoder: TextEncoder, text: TrainingText, training: InverterTraining, start: str | None) -> str:
    facts = [encoder.fingerprint, asdict(training), text.trained_documents, start]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
