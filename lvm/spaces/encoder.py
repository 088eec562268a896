"""The one encoding path: texts in, vectors out, by a recipe that is written down.

Contract: ingestion, training data, gates, inference and decoding all call ``TextEncoder.encode``; nothing
else in the project turns text into vectors. A recipe names everything that changes the result: weights,
tokenizer, token limit, layer, pooling, normalisation. The number type does not belong to it: bfloat16 is used
only where the hardware multiplies it, and agrees with float32 to a cosine of 0.9998 at least (3,000 chunks).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForTextEncoding
from transformers.utils import logging as transformers_logging

from lvm.errors import first_line
from lvm.settings import bf16_available
from lvm.spaces.vectors import Vectors
from lvm.spaces.weights import WeightsUnusable

Pooling = Literal["mean", "cls", "max", "pooler"]
Progress = Callable[[int], None]
"""Called with the number of items finished since the last call."""

_TOKENS_PER_BATCH = 2048  # enough to keep a core busy; more brings nothing
_TEXTS_PER_SORT = 8192  # texts of equal length meet within this many, so batches need no padding


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which vector a text gets.

    Attributes:
        weights: where the weights come from, for people (a package, a hub name, a folder).
        pooling: how token states become one vector; ``mean`` is over the attention mask.
        layer: hidden layer that is pooled; -1 is the last.
        projection: file inside the encoder's folder with a linear layer applied after pooling
            (``linear.weight``, ``linear.bias``: sentence-transformers' Dense), or empty.
        normalize: whether the encoder itself returns unit vectors.
        max_tokens: token limit of a chunk, special tokens not counted.
    """

    weights: str
    pooling: Pooling = "mean"
    layer: int = -1
    projection: str = ""
    normalize: bool = True
    max_tokens: int = 31

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sentence_transformers_recipe(folder: Path, weights: str, max_tokens: int) -> Recipe:
    """The recipe that sentence-transformers would follow: what ``modules.json`` in the encoder's folder lists.

    Raises:
        WeightsUnusable: if there is no such list, or it has a step that a recipe cannot say.
    """
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
        modes = json.loads((folder / kinds["Pooling"] / "config.json").read_text(encoding="utf-8"))
        pooling: Pooling = "mean"
        if modes.get("pooling_mode_cls_token"):
            pooling = "cls"
        elif modes.get("pooling_mode_max_tokens"):
            pooling = "max"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsUnusable(
            f"{folder} does not say how sentence-transformers uses it ({first_line(error)}); fetch modules.json and "
            "the folders it names"
        ) from error
    if unknown := set(kinds) - {"Transformer", "Pooling", "Dense", "Normalize"}:
        raise WeightsUnusable(f"{folder / 'modules.json'} has a module {sorted(unknown)[0]!r}, which no recipe can say")
    projection = f"{kinds['Dense']}/model.safetensors" if "Dense" in kinds else ""
    return Recipe(weights, pooling, -1, projection, "Normalize" in kinds, max_tokens)


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
            self.truncating: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise WeightsUnusable(f"{folder / 'tokenizer.json'} cannot be read ({error}); restore that file") from error
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.truncating.no_padding()
        self.truncating.enable_truncation(recipe.max_tokens + self.tokenizer.num_special_tokens_to_add(False))

    @cached_property
    def model(self) -> torch.nn.Module:
        """The network, loaded on first use."""
        verbosity = transformers_logging.get_verbosity()
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model: torch.nn.Module = AutoModelForTextEncoding.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True
            )
        except Exception as error:
            raise WeightsUnusable(
                f"weights in {self.folder} cannot be loaded ({first_line(error)}); restore that folder"
            ) from error
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        half = bf16_available() if self.device.type == "cpu" else self.device.type == "cuda"
        return model.eval().to(self.device, torch.bfloat16 if half else torch.float32)

    @cached_property
    def _dense(self) -> dict[str, Tensor]:
        """Weights of the projection after pooling; empty if the recipe has none."""
        if not self.recipe.projection:
            return {}
        path = self.folder / self.recipe.projection
        try:
            tensors = load_file(path, device=str(self.device))
            return {"weight": tensors["linear.weight"].float()} | (
                {"bias": tensors["linear.bias"].float()} if "linear.bias" in tensors else {}
            )
        except (OSError, KeyError, SafetensorError) as error:
            raise WeightsUnusable(f"projection {path} cannot be read ({error}); restore that file") from error

    @property
    def projection_sha256(self) -> str | None:
        """Hash of the projection's weights, None if there is no projection."""
        return file_sha256(self.folder / self.recipe.projection) if self.recipe.projection else None

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        if self._dense:
            return len(self._dense["weight"])
        config = json.loads((self.folder / "config.json").read_text())
        return int(config.get("hidden_size") or config["d_model"])

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over recipe, weights and tokenizer: what the encoder is (its probes say what it does)."""
        digest = hashlib.sha256(json.dumps(self.recipe.as_dict(), sort_keys=True).encode())
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            digest.update(file_sha256(self.folder / name).encode())
        digest.update((self.projection_sha256 or "").encode())
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
            ids = [encoding.ids for encoding in self.truncating.encode_batch_fast(part)]
            by_length: dict[int, list[int]] = {}
            for row, tokens in enumerate(ids):
                by_length.setdefault(len(tokens), []).append(row)
            batches = []
            for length, rows in sorted(by_length.items()):
                size = max(1, _TOKENS_PER_BATCH // length)
                batches += [rows[first : first + size] for first in range(0, len(rows), size)]
            batches.sort(key=lambda rows: len(rows) * len(ids[rows[0]]), reverse=True)  # so that cores end together

            def run(rows: list[int], ids: list[list[int]] = ids, start: int = start) -> int:
                tokens = torch.tensor([ids[row] for row in rows], device=self.device)
                raw[[start + row for row in rows]] = self.finish(self.pool(self.states(tokens))).cpu().numpy()
                return len(rows)

            for done in self._in_parallel(run, batches):
                if progress:
                    progress(done)
        return Vectors.from_raw(self.fingerprint, raw)

    def over_limit(self, texts: Sequence[str]) -> list[int]:
        """Rows of texts that ``encode`` cuts at the token limit."""
        ids = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [row for row, encoding in enumerate(ids) if len(encoding.ids) > self.recipe.max_tokens]

    def _in_parallel(self, run: Callable[[list[int]], int], batches: list[list[int]]) -> Iterator[int]:
        """Run batches, on a CPU one to a core: that is 15 % faster than all cores at each batch in turn."""
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1 or len(batches) == 1:
            yield from map(run, batches)
            return
        pool, _ = self._pool, self.model  # before the threads ask for the model, and while all cores are counted
        torch.set_num_threads(1)
        try:
            yield from pool.map(run, batches)
        finally:
            torch.set_num_threads(threads)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Threads kept from call to call: each new one would take, and never give back, buffers of its own."""
        return ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,))

    @torch.inference_mode()
    def states(self, ids: Tensor, layer: int | None = None) -> Tensor:
        """Hidden states (batch, tokens, width) for token ids (batch, tokens) of equal length.

        Args:
            ids: token ids, special tokens included; no padding, so no mask.
            layer: which layer; the recipe's unless given.
        """
        layer = self.recipe.layer if layer is None else layer
        if layer == -1:
            states: Tensor = self.model(input_ids=ids).last_hidden_state
        else:
            states = self.model(input_ids=ids, output_hidden_states=True).hidden_states[layer]
        return states

    @torch.inference_mode()
    def pool(self, states: Tensor) -> Tensor:
        """One vector (batch, width) for each text from its states (batch, tokens, width)."""
        if self.recipe.pooling == "mean":
            return states.float().mean(dim=1)
        if self.recipe.pooling == "max":
            return states.float().amax(dim=1)
        if self.recipe.pooling == "cls":
            return states[:, 0].float()
        pooler = self.model.pooler
        pooled: Tensor = pooler(states)  # type: ignore[operator]
        return pooled.float()

    @torch.inference_mode()
    def finish(self, pooled: Tensor) -> Tensor:
        """What comes after pooling: projection and normalisation, as far as the recipe has them."""
        if self._dense:
            pooled = torch.nn.functional.linear(pooled, **self._dense)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.recipe.normalize else pooled
