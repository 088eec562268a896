"""The project's inverter: vectors to text with the network of ``lvm.inversion.network``.

Contract: decoding writes several texts per vector, encodes them, and keeps the text whose vector is nearest. It writes
in two rounds. What the texts of the first round have in common and the vector has not is the inverter's own error, so
the second round reads a vector that is moved away from their mean: 10 texts come as near as 16 of one round.

An inverter is a folder. It holds ``inverter.safetensors`` (weights in half precision, and hashes of the chunks that it
was trained on), ``tokenizer.json``, and ``config.json`` (sizes of the network, and the card: corpus, held-out
documents, command, figures). ``statistics.safetensors`` describes the distribution of its encoder's vectors
(``lvm.spaces.statistics``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer

from lvm.arrays import FloatArray, IntArray
from lvm.devices import large_gpu, multiplies_bf16
from lvm.encoding.weights import WeightsUnusable, fill, open_tokenizer, read_json
from lvm.errors import first_line
from lvm.files import file_sha256, replacing, require_regular
from lvm.inversion.generation import generate
from lvm.inversion.network import END, DecoderConfig, VectorDecoder, text_nats
from lvm.inversion.protocol import Candidate, Encode, Inverted, distinct, joined
from lvm.progress import Progress

TEMPERATURE = 0.4
"""Temperature of sampled texts. The first text of a round is greedy."""

CANDIDATES = 10
"""Texts generated per vector. The figures of the shipped inverter are measured with this number."""

FIRST_ROUND = 0.4
"""Share of the texts that are written of the vector itself. The others are written of the moved vector."""

STEP = 0.3
"""How far a vector is moved away from the mean of its first texts, as a share of their difference."""

_ROWS_AT_ONCE = 768  # texts written together; their keys and values take at most 370 MB in bfloat16
_ROWS_ON_GPU, _ROWS_ON_LARGE_GPU = 4096, 16384  # 2 GB, 8 GB

WEIGHTS, TOKENIZER, CONFIG = "inverter.safetensors", "tokenizer.json", "config.json"
_TRAINED_CHUNKS = "trained_chunks"  # tensor of int64 hashes in the file of weights


def chunk_hashes(texts: Sequence[str]) -> IntArray:
    """64-bit hashes of chunk texts, as int64 (n,). Case and white space do not count.

    An inverter stores the hashes of the chunks that it was trained on.
    """
    digests = (
        hashlib.blake2b(" ".join(text.lower().split()).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), dtype=np.int64)


@dataclass(frozen=True)
class Card:
    """Origin and measured quality of an inverter, stored in its ``config.json``.

    Attributes:
        encoder: fingerprint of the encoder that it was trained for.
        corpus: name of the corpus that it was trained on.
        command: command line of the training.
        seed: seed of the training.
        trained_documents: sha256 of the texts of documents that it was trained on.
        held_out_documents: external ids of held-out documents.
        training: hyperparameters and size of the training.
        figures: measurements on held-out documents.
    """

    encoder: str
    corpus: str
    command: str
    seed: int
    trained_documents: list[str]
    held_out_documents: list[str]
    training: dict[str, Any]
    figures: dict[str, Any]


def _sizes(config: dict[str, Any], tensors: int) -> DecoderConfig:
    """The network's sizes in a ``config.json``, for a file of ``tensors`` tensors.

    Raises:
        ValueError: if the sizes are impossible.
    """
    sizes = DecoderConfig(**config["decoder"])
    if not all(type(size) is int and size > 0 for size in asdict(sizes).values()):
        raise ValueError("a size of the decoder is not a positive integer")
    if sizes.width % sizes.heads or sizes.layers > tensors:
        raise ValueError("the sizes of the decoder do not fit each other and its weights")
    return sizes


def _card(config: dict[str, Any]) -> Card:
    """The card in a ``config.json``.

    Raises:
        ValueError: if the card has values of wrong types.
        KeyError: if the card is incomplete.
    """
    card = Card(**{field.name: config["card"][field.name] for field in fields(Card)})
    lists = (card.trained_documents, card.held_out_documents)
    if not all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in lists):
        raise ValueError("the documents on the card are not lists of strings")
    if not all(isinstance(each, str) for each in (card.encoder, card.corpus, card.command)):
        raise ValueError("the card does not name its encoder, corpus and command")
    if not isinstance(card.training, dict) or not isinstance(card.figures, dict):
        raise ValueError("training or figures of the card are not objects")
    return card


class PrefixInverter:
    """Turns vectors of one encoder into text.

    Args:
        network: the network.
        tokenizer: its WordPiece tokenizer (ids PAD 0, UNK 1, END 2).
        card: origin and figures.
        trained_chunks: (n,) hashes of the chunks that it was trained on.
        device: torch device.

    Attributes:
        candidates: texts generated per vector; 1 is greedy decoding.
        corrections: 0, because it has no corrector.
        sha256: digest of weights, tokenizer, sizes, encoder and training documents. Verdicts are stored with it.
    """

    candidates = CANDIDATES
    corrections = 0

    def __init__(
        self,
        network: VectorDecoder,
        tokenizer: Tokenizer,
        card: Card,
        trained_chunks: IntArray,
        device: str = "cpu",
    ) -> None:
        self.network, self.tokenizer, self.card = network.eval().requires_grad_(False), tokenizer, card
        self.trained_chunks = trained_chunks
        self.device = torch.device(device)
        self.network.to(self.device)
        self.sha256 = ""

    def __repr__(self) -> str:
        return (
            f"PrefixInverter({self.sha256[:12]}, dim={self.dim}, encoder={self.encoder}, corpus={self.card.corpus!r})"
        )

    @property
    def dim(self) -> int:
        """Dimension of the vectors that it decodes."""
        return self.network.config.dim

    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder that it was trained for."""
        return self.card.encoder

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the texts of documents that it was trained on."""
        return frozenset(self.card.trained_documents)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> PrefixInverter:
        """Open an inverter.

        Args:
            folder: the inverter's folder.
            device: torch device.

        Raises:
            WeightsUnusable: if a file is missing, damaged, or does not fit the other files.
        """
        config = read_json(folder / CONFIG)
        try:
            require_regular(folder / WEIGHTS)
            tensors = load_file(folder / WEIGHTS)
            trained_chunks = tensors.pop(_TRAINED_CHUNKS).numpy()
            sizes, card = _sizes(config, len(tensors)), _card(config)
            if trained_chunks.dtype != np.int64 or trained_chunks.ndim != 1:
                raise ValueError(f"{_TRAINED_CHUNKS} is no list of hashes")
            with torch.device("meta"):  # wrong sizes in the configuration must not cost memory
                network = VectorDecoder(sizes)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise WeightsUnusable(
                f"the inverter in {folder} cannot be opened ({first_line(error)}); restore the folder or train it "
                "again with `lvm inverter train`"
            ) from error
        floats = {name: each.float() if each.is_floating_point() else each for name, each in tensors.items()}
        fill(network, floats, folder)
        tokenizer = open_tokenizer(folder / TOKENIZER, sizes.vocabulary)
        opened = cls(network, tokenizer, card, trained_chunks, device)
        opened.sha256 = opened._digest(folder)
        return opened

    def _digest(self, folder: Path) -> str:
        """Digest of weights, tokenizer, sizes, encoder and training documents.

        The other values of the card do not count. So the digest of a repeated training is the same.
        """
        files = [file_sha256(folder / name) for name in (WEIGHTS, TOKENIZER)]
        parts = [*files, asdict(self.network.config), self.card.encoder, sorted(self.card.trained_documents)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the inverter to a folder. ``config.json`` is written last, so a folder with this file is complete.

        Args:
            folder: where to write; created if it is missing.

        Raises:
            CannotWrite: if the disk is full or the folder cannot be written.
        """
        (folder / CONFIG).unlink(missing_ok=True)
        tensors = {name: tensor.half().contiguous() for name, tensor in self.network.state_dict().items()}
        tensors[_TRAINED_CHUNKS] = torch.from_numpy(np.unique(self.trained_chunks))
        config = json.dumps({"decoder": asdict(self.network.config), "card": asdict(self.card)}, indent=1) + "\n"
        for name, data in (
            (WEIGHTS, save(tensors)),
            (TOKENIZER, self.tokenizer.to_str(pretty=True).encode()),
            (CONFIG, config.encode()),
        ):
            with replacing(folder / name) as file:
                file.write(data)
        self.sha256 = self._digest(folder)

    def was_trained_on(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether it was trained on these chunk texts: (n,) bool.

        Args:
            texts: n chunk texts.
        """
        return np.isin(chunk_hashes(texts), self.trained_chunks)

    @cached_property
    def _reader(self) -> VectorDecoder:
        """The network that reads and writes: packed, and in bfloat16 where the device multiplies it. Made only once."""
        with torch.inference_mode(False):  # the text loss differentiates through it, whoever asked for it first
            reader = deepcopy(self.network).to(torch.bfloat16 if multiplies_bf16(self.device) else torch.float32)
            reader.pack()
        return reader

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts with the end token; texts of more than ``max_length`` tokens are cut.

        Args:
            texts: n texts.
        """
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [[*encoding.ids, END][: self.network.config.max_length] for encoding in encodings]

    def nats(self, raw: torch.Tensor, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Cross-entropy of texts given vectors, in nats, summed over tokens: (n,). See ``Inverter.nats``.

        Args:
            raw: (n, dim) float32 at the encoder's median norm.
            ids: n texts from ``token_ids``.
        """
        reader = self._reader
        return text_nats(reader, reader.prefix(raw.to(self.device, reader.bias.dtype)), ids)

    def texts(self, ids: list[list[int]]) -> list[str]:
        """Token ids to texts. An empty text becomes a full stop, because an empty text cannot be encoded."""
        return [text.strip() or "." for text in self.tokenizer.decode_batch(ids)]

    def decode(
        self,
        raw: FloatArray,
        encode: Encode,
        seed: int = 0,
        progress: Progress | None = None,
        n_best: int = 1,
        steps: bool = False,
        tries: int | None = None,
    ) -> Inverted:
        """Decode vectors. Of ``candidates`` texts per vector, the one whose vector is nearest is the decoded text.

        A single text is greedy, and not encoded.

        Args:
            raw: (n, dim) float32. ``Space.decode`` has checked that they are of the right space.
            encode: the space's encoder, n texts -> (n, dim) float32, not normalised.
            seed: seed of the sampling. Vectors are sampled in fixed groups, so equal calls give equal texts.
            progress: called with the number of decoded vectors.
            n_best: largest number of candidates per vector; 1 for none.
            steps: not used: ``Space.decode`` refuses it, because there is no corrector.
            tries: texts per vector instead of ``candidates``, if they are fewer.
        """
        parts: list[Inverted] = []
        count = min(tries or self.candidates, self.candidates)
        first = max(1, int(FIRST_ROUND * count))
        size = max(1, self._rows_at_once() // max(first, count - first))
        for start in range(0, len(raw), size):
            parts.append(
                self._decode_batch(raw[start : start + size], encode, seed + start, n_best, first, count - first)
            )
            if progress:
                progress(len(parts[-1].texts))
        return joined(parts)

    def _rows_at_once(self) -> int:
        """Texts that are written together: a number for each kind of device, so that equal calls give equal texts."""
        if self.device.type == "cpu":
            return _ROWS_AT_ONCE
        return _ROWS_ON_LARGE_GPU if large_gpu(self.device) else _ROWS_ON_GPU

    @torch.inference_mode()
    def _decode_batch(
        self, raw: FloatArray, encode: Encode, seed: int, n_best: int, first: int, second: int
    ) -> Inverted:
        target = torch.from_numpy(np.ascontiguousarray(raw))
        generator = torch.Generator().manual_seed(int(seed))
        texts = self._write(target, first, generator)
        if second == 0:
            return Inverted([one for [one] in texts], None)
        places: dict[str, int] = {}
        encoded = target[:0]

        def directions() -> torch.Tensor:
            """Unit vectors of all texts: (n, texts of a vector, dim). No text is encoded twice."""
            nonlocal encoded
            new = [text for text in dict.fromkeys(chain.from_iterable(texts)) if text not in places]
            if new:
                places.update(zip(new, range(len(places), len(places) + len(new)), strict=True))
                encoded = torch.cat([encoded, torch.from_numpy(encode(new))])
            return F.normalize(encoded[torch.tensor([[places[text] for text in own] for own in texts])], dim=-1)

        more = self._write(moved(target, directions().mean(dim=1)), second, generator)
        texts = [own + others for own, others in zip(texts, more, strict=True)]
        products = torch.einsum("nd,ncd->nc", target, directions())
        order = products.argsort(dim=1, descending=True, stable=True).tolist()
        cosines = (products / target.norm(dim=1, keepdim=True)).tolist()
        nearest = [
            distinct((Candidate(texts[row][i], cosines[row][i]) for i in ranked), n_best)
            for row, ranked in enumerate(order)
        ]
        chosen = [best[0].text for best in nearest]
        vectors = encoded[[places[text] for text in chosen]].numpy()
        return Inverted(chosen, vectors, nearest if n_best > 1 else None)

    def _write(self, vectors: torch.Tensor, copies: int, generator: torch.Generator) -> list[list[str]]:
        """Write ``copies`` texts of every vector, the first of them greedy: n lists.

        Args:
            vectors: (n, dim) float32 at the encoder's median norm.
            copies: texts per vector.
            generator: source of random numbers.
        """
        network = self._reader
        prefix = network.prefix(vectors.to(self.device, network.bias.dtype))
        texts = self.texts(generate(network, prefix, copies, TEMPERATURE, generator))
        return [texts[start : start + copies] for start in range(0, len(texts), copies)]


def moved(vectors: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Vectors moved away from means by ``STEP``, at their own norms: (n, dim).

    Args:
        vectors: (n, dim) vectors.
        means: (n, dim) means of the unit vectors of their texts. Only directions count.
    """
    norms: torch.Tensor = vectors.norm(dim=-1, keepdim=True)
    unit = vectors / norms
    return norms * F.normalize(unit + STEP * (unit - F.normalize(means, dim=-1)), dim=-1)
