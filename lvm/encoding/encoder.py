"""The encoder: texts in, ``Vectors`` out, by a recipe.

Contract: ingestion, training data, gates, inference and decoding all call ``TextEncoder.encode``. Nothing else in the
project turns text into vectors. Folder and recipe decide the result: weights, tokenizer, token limit, layer, pooling,
projection, normalisation. The number type is not part of the recipe: bfloat16 is used only where the hardware
multiplies it, and its vectors have cosine 0.9998 or more to those of float32 (3,000 chunks).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from lvm.corpus.chunker import require_unicode
from lvm.corpus.readable import ADVICE, UNREADABLE, is_unreadable, unknown_id
from lvm.devices import DeviceFull, attention_of_any_shape, enough_memory, multiplies_bf16, open_device
from lvm.encoding.attention import use_short_attention
from lvm.encoding.network import configuration, network, quietly
from lvm.encoding.packing import pack
from lvm.encoding.recipe import Recipe
from lvm.encoding.vectors import Vectors
from lvm.encoding.weights import WeightsUnusable, inside, open_tokenizer, refuse, refuse_unusable
from lvm.errors import first_line
from lvm.files import file_sha256
from lvm.progress import Progress

log = logging.getLogger(__name__)

_TOKENS_PER_BATCH = 2048  # enough to keep a core busy; larger batches are not faster
_TEXTS_PER_SORT = 8192  # texts that are grouped by length together, so that batches need no padding
_ON_GPU = 32  # times as many of both: a GPU computes a small batch as long as a large one

PROBE_SENTENCES = (
    "The committee will publish its report before the end of the year.",
    "A small boat crossed the bay in heavy rain.",
    "Prices rose by three percent, faster than wages.",
    "Why do some materials become superconducting when they are cooled?",
    "She laughed, closed the book, and went out into the garden.",
    "Article 5. Members shall keep accurate records of every vote.",
)
"""Texts of several kinds. Their vectors are stored with a space, to detect an encoder that behaves differently."""


class TextEncoder:
    """An encoder in a folder of Hugging Face layout (``config.json``, ``model.safetensors``, ``tokenizer.json``).

    Code in the folder is never run.

    Args:
        folder: the encoder's folder.
        recipe: how texts become vectors.
        device: torch device.

    Raises:
        WeightsUnusable: if the folder lacks a file or a file cannot be read.
        NoDevice: if the device does not exist.
    """

    def __init__(self, folder: Path, recipe: Recipe, device: str = "cpu") -> None:
        self.folder, self.recipe, self.device = folder, recipe, open_device(device)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (folder / name).is_file():
                raise WeightsUnusable(f"no {name} in {folder}; the encoder cannot be opened, restore that folder")
        self._config = configuration(folder)
        self._projection = recipe.projection and _projection_file(folder, recipe.projection)
        self.truncating = open_tokenizer(folder / "tokenizer.json", getattr(self._config, "vocab_size", None))
        self.truncating.no_padding()
        self.truncating.enable_truncation(recipe.max_tokens + self.truncating.num_special_tokens_to_add(False))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer without truncation, loaded on first use: chunks need it, encoding does not."""
        tokenizer = open_tokenizer(self.folder / "tokenizer.json")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def model(self) -> torch.nn.Module:
        """The network, loaded on first use and tested on a text of full length.

        Raises:
            WeightsUnusable: if weights are missing, unknown, of another shape or not finite, or if the network cannot
                follow the recipe.
            DeviceFull: if the device has too little free memory.
        """
        with quietly():
            try:
                opened = network(self._config, self.folder, pooler=self.recipe.pooling == "pooler")
            except WeightsUnusable:
                raise
            except Exception as error:  # transformers raises many kinds of errors
                raise WeightsUnusable(
                    f"weights in {self.folder} cannot be loaded ({first_line(error)}); restore that folder"
                ) from error
        with enough_memory(self.device):
            opened.eval().to(self.device, torch.bfloat16 if multiplies_bf16(self.device) else torch.float32)
        if self.device.type == "cpu":
            pack(opened)
            use_short_attention(opened)
        longest = torch.tensor([self.truncating.encode("a " * self.recipe.max_tokens).ids], device=self.device)
        try:
            with enough_memory(self.device), torch.inference_mode():
                vector = self.finish(self._pool(opened, self._states(opened, longest)))
        except DeviceFull:
            raise
        except Exception as error:  # no such layer, no pooler, too few positions, a projection of another width
            raise WeightsUnusable(
                f"the encoder in {self.folder} cannot follow the recipe {self.recipe} ({first_line(error)}); correct "
                "the space's entry in spaces.toml"
            ) from error
        if vector.shape != (1, self.dim):
            raise WeightsUnusable(
                f"the encoder in {self.folder} makes vectors of shape {tuple(vector.shape[1:])}, its config.json says "
                f"{self.dim}; restore that folder"
            )
        return opened

    @cached_property
    def _dense(self) -> dict[str, Tensor]:
        """Weights of the projection after pooling; empty if the recipe has no projection."""
        if not self._projection:
            return {}
        try:
            tensors = load_file(self._projection)
        except Exception as error:  # safetensors, torch and the file system raise different errors
            raise WeightsUnusable(
                f"projection {self._projection} cannot be read ({first_line(error)}); restore that file"
            ) from error
        refuse("lacks", {"linear.weight"} - set(tensors), self._projection)
        refuse("has unknown", set(tensors) - {"linear.weight", "linear.bias"}, self._projection)
        dense = {name.removeprefix("linear."): tensor.float() for name, tensor in tensors.items()}
        weight = dense["weight"]
        if weight.ndim != 2 or ("bias" in dense and dense["bias"].shape != weight.shape[:1]):
            raise WeightsUnusable(f"projection {self._projection} is not a linear layer; restore that file")
        refuse_unusable(tensors, self._projection)
        with enough_memory(self.device):
            return {name: tensor.to(self.device) for name, tensor in dense.items()}

    @property
    def projection_sha256(self) -> str | None:
        """sha256 of the projection's file; None without a projection."""
        return file_sha256(self._projection) if self._projection else None

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return len(self._dense["weight"]) if self._dense else int(self._config.hidden_size)

    @property
    def max_tokens(self) -> int:
        """Token limit of a text, without special tokens."""
        return self.recipe.max_tokens

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits: a hash of recipe, weights, configuration and tokenizer."""
        digest = hashlib.sha256(json.dumps(self.recipe.as_dict(), sort_keys=True).encode())
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            digest.update(file_sha256(self.folder / name).encode())
        digest.update((self.projection_sha256 or "").encode())
        return digest.hexdigest()[:16]

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode texts in bulk. Texts of equal length form a batch, so there is no padding.

        A warning is logged if some texts are in a writing system that the encoder does not know: see ``unreadable``.

        Args:
            texts: n strings. A text over the token limit is cut there; chunks never are.
            progress: called with the number of encoded texts.

        Returns:
            n vectors, row i for text i.

        Raises:
            NotUnicode: if a text has a lone surrogate.
            InvalidVectors: if the network returns a zero or non-finite vector.
            DeviceFull: if the device has too little free memory.
        """
        require_unicode(texts)
        raw = np.empty((len(texts), self.dim), dtype=np.float32)
        doubtful: list[str] = []
        larger = 1 if self.device.type == "cpu" else _ON_GPU
        for start in range(0, len(texts), larger * _TEXTS_PER_SORT):
            part = list(texts[start : start + larger * _TEXTS_PER_SORT])
            ids = [encoding.ids for encoding in self.truncating.encode_batch_fast(part)]
            doubtful += [text for text, tokens in zip(part, ids, strict=True) if self._unknown in tokens]

            def run(rows: list[int], ids: list[list[int]] = ids, start: int = start) -> int:
                tokens = torch.tensor([ids[row] for row in rows], device=self.device)
                raw[[start + row for row in rows]] = self.finish(self.pool(self.states(tokens))).cpu().numpy()
                return len(rows)

            with enough_memory(self.device):
                for done in self.in_parallel(run, batches_of(ids, larger * _TOKENS_PER_BATCH)):
                    if progress:
                        progress(done)
        if unreadable := self.unreadable(doubtful):
            log.warning(
                "%d of %d texts: each %s (the first: %r), so their vectors say nothing about them; %s",
                *(len(unreadable), len(texts), UNREADABLE, doubtful[unreadable[0]][:40], ADVICE),
            )
        return Vectors.from_raw(self.fingerprint, raw)

    def probe(self) -> Vectors:
        """Vectors of ``PROBE_SENTENCES``, row i for sentence i."""
        return self.encode(PROBE_SENTENCES)

    @cached_property
    def median_norm(self) -> float:
        """Median norm of the vectors of the probe sentences; 1 if the recipe normalises vectors."""
        return 1.0 if self.recipe.normalize else float(np.median(self.probe().norms))

    def over_limit(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts that ``encode`` cuts at the token limit."""
        require_unicode(texts)
        ids = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [row for row, encoding in enumerate(ids) if len(encoding.ids) > self.recipe.max_tokens]

    def unreadable(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts that are unknown tokens for the most part, as all texts of an unknown script are.

        Of a text over the token limit, what is encoded of it counts.

        Raises:
            NotUnicode: if a text has a lone surrogate.
        """
        require_unicode(texts)
        if self._unknown is None:
            return []
        found = []
        for row, encoding in enumerate(self.truncating.encode_batch(list(texts), add_special_tokens=False)):
            text = texts[row] if not encoding.overflowing else texts[row][: encoding.offsets[-1][1]]
            if is_unreadable(text, encoding, self._unknown):
                found.append(row)
        return found

    @cached_property
    def _unknown(self) -> int | None:
        return unknown_id(self.truncating)

    def in_parallel(self, run: Callable[[list[int]], int], batches: list[list[int]]) -> Iterator[int]:
        """Run batches. On a CPU every core runs its own batch: 15 % faster than all cores on one batch at a time.

        Args:
            run: takes the rows of a batch and returns a number.
            batches: from ``batches_of``.

        Returns:
            The numbers, in the order of the batches.
        """
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1 or len(batches) == 1:
            yield from map(run, batches)
            return
        pool, _ = self._threads, self.model  # load the model once, before threads use it and before the limit is 1
        torch.set_num_threads(1)
        try:
            yield from pool.map(run, batches)
        finally:
            torch.set_num_threads(threads)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Threads, kept between calls: torch allocates buffers for every new thread and never frees them."""
        return ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,))

    @torch.inference_mode()
    def states(self, ids: Tensor) -> Tensor:
        """Hidden states of the recipe's layer.

        Args:
            ids: (batch, tokens) token ids, special tokens included. There is no padding, so there is no mask.

        Returns:
            (batch, tokens, width).
        """
        return self._states(self.model, ids)

    def _states(self, model: torch.nn.Module, ids: Tensor) -> Tensor:
        with attention_of_any_shape(self.device):
            if self.recipe.layer == -1:
                states: Tensor = model(input_ids=ids).last_hidden_state
            else:
                states = model(input_ids=ids, output_hidden_states=True).hidden_states[self.recipe.layer]
        return states

    @torch.inference_mode()
    def pool(self, states: Tensor) -> Tensor:
        """Pool the states of texts to vectors: (batch, tokens, width) -> (batch, width)."""
        return self._pool(self.model, states)

    def _pool(self, model: torch.nn.Module, states: Tensor) -> Tensor:
        if self.recipe.pooling == "mean":
            return states.float().mean(dim=1)
        if self.recipe.pooling == "max":
            return states.float().amax(dim=1)
        if self.recipe.pooling == "cls":
            return states[:, 0].float()
        pooled: Tensor = model.pooler(states)  # type: ignore[operator]
        return pooled.float()

    @torch.inference_mode()
    def finish(self, pooled: Tensor) -> Tensor:
        """Apply projection and normalisation if the recipe has them: (batch, width) -> (batch, dim)."""
        if self._dense:
            pooled = torch.nn.functional.linear(pooled, **self._dense)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.recipe.normalize else pooled


def batches_of(ids: Sequence[Sequence[int]], tokens: int = _TOKENS_PER_BATCH) -> list[list[int]]:
    """Rows of texts of equal length, grouped to batches, the largest first.

    Args:
        ids: token ids of n texts.
        tokens: most tokens of a batch of several texts.
    """
    by_length: dict[int, list[int]] = {}
    for row, text in enumerate(ids):
        by_length.setdefault(len(text), []).append(row)
    batches = []
    for length, rows in sorted(by_length.items()):
        size = max(1, tokens // length)
        batches += [rows[first : first + size] for first in range(0, len(rows), size)]
    batches.sort(key=lambda rows: len(rows) * len(ids[rows[0]]), reverse=True)  # cores then finish together
    return batches


def _projection_file(folder: Path, name: str) -> Path:
    """The file of a projection. A relative path must stay inside the folder. A space's entry cannot be absolute."""
    return Path(name) if Path(name).is_absolute() else inside(folder, name)
