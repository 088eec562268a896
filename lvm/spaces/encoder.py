"""The one encoding path: texts in, vectors out, by a recipe that is written down.

Contract: ingestion, training data, gates, inference and decoding all call ``TextEncoder.encode``; nothing
else in the project turns text into vectors. A recipe names everything that changes the result: weights,
tokenizer, token limit, layer, pooling, normalisation. The number type does not belong to it: bfloat16 is used
only where the CPU multiplies it in hardware, and agrees with float32 to a cosine of 0.9999.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from lvm.errors import LvmError
from lvm.settings import bf16_available
from lvm.spaces.vectors import FloatArray, Vectors

Pooling = Literal["mean", "cls", "max", "pooler"]
Progress = Callable[[int], None]
"""Called with the number of items finished since the last call."""

_TOKENS_PER_BATCH = 2048  # enough to fill two cores; more only costs cache misses
_TEXTS_PER_SORT = 8192  # texts of equal length meet within this many, so batches need no padding


class WeightsUnusable(LvmError):
    """Weights, tokenizer or configuration of an encoder or inverter are missing or corrupted."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which vector a text gets.

    Attributes:
        weights: where the weights come from, for people (a package, a hub name, a folder).
        pooling: how token states become one vector; ``mean`` is over the attention mask.
        layer: hidden layer that is pooled; -1 is the last.
        normalize: whether the encoder itself returns unit vectors.
        max_tokens: token limit of a chunk, special tokens not counted.
    """

    weights: str
    pooling: Pooling = "mean"
    layer: int = -1
    normalize: bool = True
    max_tokens: int = 31

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TextEncoder:
    """A Hugging Face encoder folder (``config.json``, ``model.safetensors``, ``tokenizer.json``) and a recipe.

    Args:
        folder: the model's folder.
        recipe: how its states become vectors.
        device: torch device.

    Raises:
        WeightsUnusable: if the folder lacks a file or a file cannot be read.
    """

    def __init__(self, folder: Path, recipe: Recipe, device: str = "cpu") -> None:
        self.folder, self.recipe, self.device = folder, recipe, torch.device(device)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (folder / name).is_file():
                raise WeightsUnusable(f"no {name} in {folder}; the encoder cannot be opened, restore that folder")
        try:
            self.tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._truncating: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise WeightsUnusable(f"{folder / 'tokenizer.json'} cannot be read ({error}); restore that file") from error
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self._truncating.no_padding()
        self._truncating.enable_truncation(recipe.max_tokens + self.tokenizer.num_special_tokens_to_add(False))

    @cached_property
    def model(self) -> torch.nn.Module:
        """The network, loaded on first use."""
        verbosity = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        try:
            model: torch.nn.Module = AutoModel.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, attn_implementation="sdpa"
            )
        except Exception as error:
            raise WeightsUnusable(
                f"weights in {self.folder} cannot be loaded ({str(error).splitlines()[0]}); restore that folder"
            ) from error
        finally:
            transformers_logging.set_verbosity(verbosity)
        half = bf16_available() if self.device.type == "cpu" else self.device.type == "cuda"
        return model.eval().to(self.device, torch.bfloat16 if half else torch.float32)

    @property
    def dim(self) -> int:
        config = json.loads((self.folder / "config.json").read_text())
        return int(config.get("hidden_size") or config["d_model"])

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over recipe, weights and tokenizer: what the encoder is (its probes say what it does)."""
        digest = hashlib.sha256(json.dumps(self.recipe.as_dict(), sort_keys=True).encode())
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            digest.update(file_sha256(self.folder / name).encode())
        return digest.hexdigest()[:16]

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode texts in bulk: tokenized together, sorted by length, batched without padding.

        Args:
            texts: any strings; those over the token limit are cut there (chunks never are).
            progress: called with the number of texts done.

        Returns:
            Vectors of this recipe, row i for text i.

        Raises:
            InvalidVectors: if the network gave a zero or non-finite vector.
        """
        raw = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_PER_SORT):
            part = list(texts[start : start + _TEXTS_PER_SORT])
            ids = [encoding.ids for encoding in self._truncating.encode_batch_fast(part)]
            by_length: dict[int, list[int]] = {}
            for row, tokens in enumerate(ids):
                by_length.setdefault(len(tokens), []).append(row)
            for length, rows in sorted(by_length.items()):
                size = max(1, _TOKENS_PER_BATCH // length)
                for first in range(0, len(rows), size):
                    batch = rows[first : first + size]
                    tokens = torch.tensor([ids[row] for row in batch], device=self.device)
                    raw[[start + row for row in batch]] = self.pool(self.states(tokens)).float().cpu().numpy()
                    if progress:
                        progress(len(batch))
        return Vectors.from_raw(self.fingerprint, raw)

    @torch.inference_mode()
    def states(self, ids: Tensor) -> Tensor:
        """Hidden states (batch, tokens, dim) of the recipe's layer for token ids of equal length."""
        if self.recipe.layer == -1:
            states: Tensor = self.model(input_ids=ids).last_hidden_state
        else:
            states = self.model(input_ids=ids, output_hidden_states=True).hidden_states[self.recipe.layer]
        return states

    @torch.inference_mode()
    def pool(self, states: Tensor) -> Tensor:
        """One vector (batch, dim) for each text from its states; no padding, so no mask."""
        if self.recipe.pooling == "mean":
            pooled = states.float().mean(dim=1)
        elif self.recipe.pooling == "max":
            pooled = states.float().amax(dim=1)
        elif self.recipe.pooling == "cls":
            pooled = states[:, 0].float()
        else:
            pooler = self.model.pooler
            pooled = pooler(states).float()  # type: ignore[operator]
        return torch.nn.functional.normalize(pooled, dim=-1) if self.recipe.normalize else pooled
