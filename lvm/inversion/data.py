"""What an inverter is trained on: chunks and their vectors, splices of chunks, and batches of equal length.

Contract: every tenth document is held out as a whole. An epoch has all training chunks, in a new order, and new
splices. The seed and the number of the epoch decide all of it, so a training can resume in the middle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from lvm.arrays import FloatArray, IntArray
from lvm.corpus.chunker import Chunker
from lvm.corpus.documents import Document
from lvm.encoding.encoder import TextEncoder
from lvm.errors import LvmError
from lvm.files import replacing
from lvm.inversion.augmentation import splices
from lvm.inversion.config import InverterTraining
from lvm.inversion.network import VectorDecoder

HOLD_OUT_EVERY = 10
"""Every document with this number is held out."""


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
        held_out: chunks to measure on.
        trained_documents: sha256 of the texts of the training documents.
        held_out_documents: external ids of the held-out documents.
    """

    train: list[str]
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
                f"the source has {len(text.trained_documents) + len(text.held_out_documents)} documents with text, an "
                f"inverter needs at least {HOLD_OUT_EVERY} to hold out every tenth; use a larger source"
            )
        return text


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


def cache_of(encoder: TextEncoder, texts: Sequence[str], path: Path) -> Path:
    """The file where ``encode_cached`` keeps the vectors of texts: ``path`` with a hash of encoder and texts."""
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return path.with_name(f"{path.stem}-{digest.hexdigest()[:16]}.npy")


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
    path = cache_of(encoder, texts, path)
    if not path.exists():
        progress.stage("encode", len(texts))
        unit = encoder.encode(texts, progress.advance).unit
        with replacing(path) as file:
            np.save(file, unit)
    vectors: FloatArray = np.load(path, mmap_mode="r")
    return vectors


class Epochs:
    """The batches of a training.

    An epoch has as many steps as the first one: splices of later epochs that would need more are left out. Splices are
    encoded when their epoch begins, and only those of one epoch are on disk.

    Args:
        encoder: encodes chunks and splices.
        chunks: n chunk texts to train on.
        tokenizer: the inverter's tokenizer.
        network: the inverter's network; it limits the length of texts.
        training: hyperparameters.
        scratch: folder of cached vectors.
        progress: receives the stage ``encode``.

    Attributes:
        vectors: (n, dim) float32 unit vectors of the chunks, memory-mapped.
        usable: indices of the chunks that are trained on.
        steps: number of steps of the whole training.

    Raises:
        NothingToTrainOn: if all chunks are too long for the network.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        chunks: Sequence[str],
        tokenizer: Tokenizer,
        network: VectorDecoder,
        training: InverterTraining,
        scratch: Path,
        progress: TrainingProgress,
    ) -> None:
        self.encoder, self.chunks, self.tokenizer, self.network = encoder, chunks, tokenizer, network
        self.training, self.scratch, self.progress = training, scratch, progress
        self.vectors = encode_cached(encoder, chunks, scratch / "train.npy", progress)
        self._chunk_ids, self.usable = tokens_of(chunks, tokenizer, network)
        self._spliced: FloatArray | None = None
        self._make(0)
        self._per_epoch = len(self._plan)
        whole, share = divmod(training.epochs, 1)
        self.steps = int(whole) * self._per_epoch + round(share * self._per_epoch)

    def batch(self, step: int) -> tuple[Tensor, list[list[int]]]:
        """The batch of a step: (batch, dim) unit vectors, and token ids of the texts."""
        spliced = self.open(step)
        rows = self._plan[step % self._per_epoch % len(self._plan)]
        n = len(self.chunks)
        unit = [self.vectors[row] if row < n else spliced[row - n] for row in rows]
        return torch.from_numpy(np.stack(unit)), [self._ids[row] for row in rows]

    def open(self, step: int) -> FloatArray:
        """Make and encode the splices of a step's epoch, unless it is open. ``batch`` does it too.

        Returns:
            (n, dim) float32 unit vectors of the splices, memory-mapped.
        """
        epoch = step // self._per_epoch
        if epoch != self._epoch:
            self._make(epoch)
        if self._spliced is None:
            self._spliced = self._encoded()
        return self._spliced

    def _make(self, epoch: int) -> None:
        """Make the batches of an epoch. Its splices are not encoded yet; those of the epoch before are forgotten."""
        training, prefix = self.training, self.network.config.prefix
        self._ids, usable, self._splices = self._chunk_ids, self.usable, list[str]()
        if training.splices:
            texts = splices(self.chunks, round(training.splices * len(self.chunks)), training.seed, epoch)
            cut = set(self.encoder.over_limit(texts))
            self._splices = [text for row, text in enumerate(texts) if row not in cut]
            ids, more = tokens_of(self._splices, self.tokenizer, self.network)
            self._ids, usable = [*self._chunk_ids, *ids], [*usable, *(len(self.chunks) + row for row in more)]
        self._epoch, self._spliced = epoch, None
        self._plan = length_batches(self._ids, usable, training.tokens_per_batch, prefix, training.seed, epoch)

    def _encoded(self) -> FloatArray:
        """Vectors of the splices of this epoch. Files of other epochs are deleted first: they are large."""
        if not self._splices:
            return self.vectors[:0]
        path = self.scratch / "splices.npy"
        kept = cache_of(self.encoder, self._splices, path)
        for other in self.scratch.glob(f"{path.stem}-*.npy"):
            if other != kept:
                other.unlink(missing_ok=True)
        return encode_cached(self.encoder, self._splices, path, self.progress)
