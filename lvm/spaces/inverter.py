"""Vectors back to text: an inverter opened from its folder, decoding in batches.

An inverter folder holds ``inverter.safetensors`` (weights, half precision, and the hashes of the chunks it was
trained on), ``tokenizer.json`` and ``config.json`` (sizes, and the card: corpus, held-out documents, command,
figures). Beside them ``statistics.safetensors`` says how its encoder's vectors lie (``lvm.spaces.statistics``).
Decoding draws several candidates for each vector with a key-value cache, re-encodes them, and keeps the text whose
vector comes nearest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer

from lvm.errors import first_line
from lvm.files import replacing
from lvm.spaces.decoder import DecoderConfig, VectorDecoder
from lvm.spaces.encoder import file_sha256
from lvm.spaces.weights import WeightsUnusable, fill, open_tokenizer, read_json

TEMPERATURE = 0.5
"""Of every candidate but the first, which is greedy."""

CANDIDATES = 16
"""Texts tried for each decoded vector; the figures of the shipped inverter are at this number."""

_ROWS_AT_ONCE = 128  # candidates decoded together: their keys and values are about 120 MB

WEIGHTS, TOKENIZER, CONFIG = "inverter.safetensors", "tokenizer.json", "config.json"
_SEEN = "trained_chunks"  # tensor of int64 hashes beside the weights

Network = TypeVar("Network", bound=VectorDecoder)


def chunk_hashes(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """64-bit hashes (n,) of chunk texts, case and white space ignored: to know what an inverter was trained on."""
    digests = (
        hashlib.blake2b(" ".join(text.lower().split()).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), dtype=np.int64)


@dataclass(frozen=True)
class Card:
    """Where an inverter comes from and what it was measured to do; written into its ``config.json``."""

    encoder: str  # fingerprint of the encoder it inverts
    corpus: str
    command: str
    seed: int
    trained_documents: list[str]  # sha256 of their texts
    held_out_documents: list[str]  # external ids, for people
    training: dict[str, Any]
    figures: dict[str, Any]


def _sizes(config: dict[str, Any], tensors: int) -> DecoderConfig:
    """The sizes in a ``config.json``, where ``tensors`` weights lie beside it; ValueError for what cannot be meant."""
    sizes = DecoderConfig(**config["decoder"])
    if not all(type(size) is int and size > 0 for size in asdict(sizes).values()):
        raise ValueError("a size of the decoder is no positive whole number")
    if sizes.width % sizes.heads or sizes.layers > tensors:
        raise ValueError("the sizes of the decoder do not fit each other and its weights")
    return sizes


def _card(config: dict[str, Any]) -> Card:
    """The card in a ``config.json``; ValueError for one that does not say what it must."""
    card = Card(**{field.name: config["card"][field.name] for field in fields(Card)})
    lists = (card.trained_documents, card.held_out_documents)
    if not all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in lists):
        raise ValueError("the documents on the card are no lists of names")
    if not all(isinstance(each, str) for each in (card.encoder, card.corpus, card.command)):
        raise ValueError("the card does not name its encoder, corpus and command")
    if not isinstance(card.training, dict) or not isinstance(card.figures, dict):
        raise ValueError("the card has no training or no figures")
    return card


class TrainedDecoder(Generic[Network]):
    """A network with its tokenizer and its card, in a folder.

    Args:
        network: the decoder.
        tokenizer: its WordPiece tokenizer (ids PAD 0, UNK 1, END 2).
        card: its provenance.
        seen: sorted hashes of the chunks it was trained on.
        device: torch device.

    Attributes:
        sha256: digest of all that decides its texts and the gate's sample (see ``_digest``): a verdict is about this.
    """

    kind: type[VectorDecoder]
    weights: str

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        card: Card,
        seen: npt.NDArray[np.int64],
        device: str = "cpu",
    ) -> None:
        self.network, self.tokenizer, self.card, self.seen = network.eval(), tokenizer, card, seen
        self.device = torch.device(device)
        self.network.to(self.device)
        self.sha256 = ""

    @property
    def dim(self) -> int:
        """Dimension of the vectors it reads."""
        return self.network.config.dim

    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder it was trained for."""
        return self.card.encoder

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the documents it was trained on."""
        return frozenset(self.card.trained_documents)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Open a folder.

        Raises:
            WeightsUnusable: if a file is missing, truncated, or does not fit the others.
        """
        config = read_json(folder / CONFIG)
        try:
            tensors = load_file(folder / cls.weights)
            seen = tensors.pop(_SEEN).numpy()
            sizes, card = _sizes(config, len(tensors)), _card(config)
            if seen.dtype != np.int64 or seen.ndim != 1:
                raise ValueError(f"{_SEEN} is no list of hashes")
            with torch.device("meta"):  # sizes that are not those of the weights shall cost no memory
                network: Any = cls.kind(sizes)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            reason = first_line(error)
            raise WeightsUnusable(
                f"the {cls.__name__.lower()} in {folder} cannot be opened ({reason}); restore the folder or train it "
                "again with `lvm inverter train`"
            ) from error
        floats = {name: each.float() if each.is_floating_point() else each for name, each in tensors.items()}
        fill(network, floats, folder)
        tokenizer = open_tokenizer(folder / TOKENIZER, sizes.vocabulary)
        opened = cls(network, tokenizer, card, seen, device)
        opened.sha256 = opened._digest(folder)
        return opened

    def _digest(self, folder: Path) -> str:
        """Digest of weights, tokenizer, sizes, encoder and training documents.

        What else the card says (command, figures) does not count: the same inverter trained twice is one.
        """
        files = [file_sha256(folder / name) for name in (self.weights, TOKENIZER)]
        parts = [*files, asdict(self.network.config), self.card.encoder, sorted(self.card.trained_documents)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the folder; the config goes last, so a folder with one is whole.

        Raises:
            CannotWrite: if the disk is full or the folder cannot be written.
        """
        (folder / CONFIG).unlink(missing_ok=True)
        tensors = {name: tensor.half().contiguous() for name, tensor in self.network.state_dict().items()}
        tensors[_SEEN] = torch.from_numpy(np.unique(self.seen))
        config = json.dumps({"decoder": asdict(self.network.config), "card": asdict(self.card)}, indent=1) + "\n"
        for name, data in (
            (self.weights, save(tensors)),
            (TOKENIZER, self.tokenizer.to_str(pretty=True).encode()),
            (CONFIG, config.encode()),
        ):
            with replacing(folder / name) as file:
                file.write(data)
        self.sha256 = self._digest(folder)

    def saw(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of these chunk texts (n,) the inverter was trained on."""
        return np.isin(chunk_hashes(texts), self.seen)

    def texts(self, ids: list[list[int]]) -> list[str]:
        """Token ids to text; an empty sequence becomes a full stop, so that it can be re-encoded."""
        return [text.strip() or "." for text in self.tokenizer.decode_batch(ids)]


class Inverter(TrainedDecoder[VectorDecoder]):
    """Turns vectors of one space into text.

    Attributes:
        candidates: texts tried for each vector; 1 is greedy.
    """

    kind, weights = VectorDecoder, WEIGHTS
    candidates = CANDIDATES

    def decode(
        self,
        raw: npt.NDArray[np.float32],
        encode: Callable[[Sequence[str]], npt.NDArray[np.float32]],
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Text for each vector: the best of ``candidates`` by the cosine of its own vector to the one asked for.

        Args:
            raw: (n, dim) float32, bare: ``Space.decode`` has asked whose they are.
            encode: the space's encoder, texts -> (n, dim) vectors as it makes them.
            seed: of the sampling; the result does not depend on how many vectors are decoded at once.
            progress: called with the number of vectors done.
        """
        texts: list[str] = []
        size = max(1, _ROWS_AT_ONCE // self.candidates)
        for start in range(0, len(raw), size):
            texts += self._decode_batch(raw[start : start + size], encode, seed + start)
            if progress:
                progress(min(size, len(raw) - start))
        return texts

    @torch.inference_mode()
    def _decode_batch(
        self,
        vectors: npt.NDArray[np.float32],
        encode: Callable[[Sequence[str]], npt.NDArray[np.float32]],
        seed: int,
    ) -> list[str]:
        target, candidates = torch.from_numpy(np.ascontiguousarray(vectors)), self.candidates
        generator = torch.Generator(self.device).manual_seed(seed)
        heat = [0.0] + [TEMPERATURE] * (candidates - 1)
        texts = self.texts(self.network.generate(self.network.prefix(target.to(self.device)), heat, generator))
        if candidates == 1:
            return texts
        different = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(different)}
        found = torch.nn.functional.normalize(torch.from_numpy(encode(different)), dim=-1)
        each = found[[place[text] for text in texts]].view(len(vectors), candidates, -1)
        best = torch.einsum("nd,ncd->nc", target, each).argmax(dim=1).tolist()
        return [texts[row * candidates + which] for row, which in enumerate(best)]
