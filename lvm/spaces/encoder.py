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
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers.utils import logging as transformers_logging

from lvm.errors import first_line
from lvm.settings import bf16_available
from lvm.spaces.vectors import Vectors
from lvm.spaces.weights import WeightsUnusable, inside, open_tokenizer, read_json, refuse, refuse_unusable

Pooling = Literal["mean", "cls", "max", "pooler"]
Progress = Callable[[int], None]
"""Called with the number of items finished since the last call."""

_WIDEST = 65_536  # dimension of an encoder
_TOKENS_PER_BATCH = 2048  # enough to keep a core busy; more brings nothing
_TEXTS_PER_SORT = 8192  # texts of equal length meet within this many, so batches need no padding


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which vector a text gets.

    Attributes:
        weights: where the weights come from, for people (a package, a hub name, a folder).
        pooling: how token states become one vector; ``mean`` is over the attention mask.
        layer: hidden layer that is pooled; -1 is the last.
        projection: file with a linear layer applied after pooling (``linear.weight``, ``linear.bias``:
            sentence-transformers' Dense), or empty. It is inside the encoder's folder, unless the path is absolute.
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
        modes = read_json(inside(folder, kinds["Pooling"]) / "config.json")
        pooling: Pooling = "mean"
        if modes.get("pooling_mode_cls_token"):
            pooling = "cls"
        elif modes.get("pooling_mode_max_tokens"):
            pooling = "max"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsUnusable(
            f"{folder} does not say how sentence-transformers uses it ({first_line(error)}); fetch modules.json and "
            "the folders it names"
        ) from error
    if unknown := set(kinds) - {"Transformer", "Pooling", "Dense", "Normalize"}:
        raise WeightsUnusable(f"{folder / 'modules.json'} has a module {sorted(unknown)[0]!r}, which no recipe can say")
    projection = ""
    if "Dense" in kinds:
        projection = str((inside(folder, kinds["Dense"]) / "model.safetensors").relative_to(folder))
    return Recipe(weights, pooling, -1, projection, "Normalize" in kinds, max_tokens)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TextEncoder:
    """A Hugging Face encoder folder (``config.json``, ``model.safetensors``, ``tokenizer.json``) and a recipe.

    Nothing in the folder is run, whatever its configuration asks for, and nobody is asked whether it may be.

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
        self._config = _configuration(folder)
        self._projection = recipe.projection and _projection(folder, recipe.projection)
        tokenizer = folder / "tokenizer.json"
        self.tokenizer: Tokenizer = open_tokenizer(tokenizer, getattr(self._config, "vocab_size", None))
        self.truncating: Tokenizer = open_tokenizer(tokenizer)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.truncating.no_padding()
        self.truncating.enable_truncation(recipe.max_tokens + self.tokenizer.num_special_tokens_to_add(False))

    @cached_property
    def model(self) -> torch.nn.Module:
        """The network, loaded on first use and tried on a text of full length.

        Raises:
            WeightsUnusable: if weights are missing, left over, of another shape or not finite, or if the network
                cannot follow the recipe.
        """
        with _quietly():
            try:
                network = _network(self._config, self.folder, pooler=self.recipe.pooling == "pooler")
            except WeightsUnusable:
                raise
            except Exception as error:  # transformers raises whatever it meets
                raise WeightsUnusable(
                    f"weights in {self.folder} cannot be loaded ({first_line(error)}); restore that folder"
                ) from error
        half = bf16_available() if self.device.type == "cpu" else self.device.type == "cuda"
        network.eval().to(self.device, torch.bfloat16 if half else torch.float32)
        longest = torch.tensor([self.truncating.encode("a " * self.recipe.max_tokens).ids], device=self.device)
        try:
            with torch.inference_mode():
                found = self.finish(self._pooled(network, self._states(network, longest, self.recipe.layer)))
        except Exception as error:  # no such layer, no pooler, too few positions, a projection of another width
            raise WeightsUnusable(
                f"the encoder in {self.folder} cannot follow the recipe {self.recipe} ({first_line(error)}); correct "
                "the space's entry in spaces.toml"
            ) from error
        if found.shape != (1, self.dim):
            raise WeightsUnusable(
                f"the encoder in {self.folder} makes vectors of shape {tuple(found.shape[1:])}, its config.json says "
                f"{self.dim}; restore that folder"
            )
        return network

    @cached_property
    def _dense(self) -> dict[str, Tensor]:
        """Weights of the projection after pooling; empty if the recipe has none."""
        if not self._projection:
            return {}
        try:
            tensors = load_file(self._projection, device=str(self.device))
        except Exception as error:  # safetensors has its own error, torch and the file system theirs
            raise WeightsUnusable(
                f"projection {self._projection} cannot be read ({first_line(error)}); restore that file"
            ) from error
        refuse("lacks", {"linear.weight"} - set(tensors), self._projection)
        refuse("has unknown", set(tensors) - {"linear.weight", "linear.bias"}, self._projection)
        dense = {name.removeprefix("linear."): tensor.float() for name, tensor in tensors.items()}
        weight = dense["weight"]
        if weight.ndim != 2 or ("bias" in dense and dense["bias"].shape != weight.shape[:1]):
            raise WeightsUnusable(f"projection {self._projection} is no linear layer; restore that file")
        refuse_unusable(tensors, self._projection)
        return dense

    @property
    def projection_sha256(self) -> str | None:
        """Hash of the projection's weights, None if there is no projection."""
        return file_sha256(self._projection) if self._projection else None

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return len(self._dense["weight"]) if self._dense else int(self._config.hidden_size)

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
        return self._states(self.model, ids, self.recipe.layer if layer is None else layer)

    @staticmethod
    def _states(network: torch.nn.Module, ids: Tensor, layer: int) -> Tensor:
        if layer == -1:
            states: Tensor = network(input_ids=ids).last_hidden_state
        else:
            states = network(input_ids=ids, output_hidden_states=True).hidden_states[layer]
        return states

    @torch.inference_mode()
    def pool(self, states: Tensor) -> Tensor:
        """One vector (batch, width) for each text from its states (batch, tokens, width)."""
        return self._pooled(self.model, states)

    def _pooled(self, network: torch.nn.Module, states: Tensor) -> Tensor:
        if self.recipe.pooling == "mean":
            return states.float().mean(dim=1)
        if self.recipe.pooling == "max":
            return states.float().amax(dim=1)
        if self.recipe.pooling == "cls":
            return states[:, 0].float()
        pooled: Tensor = network.pooler(states)  # type: ignore[operator]
        return pooled.float()

    @torch.inference_mode()
    def finish(self, pooled: Tensor) -> Tensor:
        """What comes after pooling: projection and normalisation, as far as the recipe has them."""
        if self._dense:
            pooled = torch.nn.functional.linear(pooled, **self._dense)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.recipe.normalize else pooled


# -- opening a folder that others wrote ------------------------------------------------------------------------


def _configuration(folder: Path) -> Any:
    """What ``config.json`` says of the network, as transformers reads it, with nothing in it that loads anything else.

    Raises:
        WeightsUnusable: if it cannot be read, needs code of its own, or asks for an adapter or quantised weights.
    """
    path = folder / "config.json"
    facts = read_json(path)
    if (folder / "adapter_config.json").exists() or facts.get("quantization_config") is not None:
        raise WeightsUnusable(f"{folder} holds an adapter or quantised weights; save the merged weights as floats")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config._attn_implementation = None  # it could name a kernel, which is code, to fetch from the hub
        width, layers = config.hidden_size, config.num_hidden_layers
        with safe_open(folder / "model.safetensors", "pt") as file:
            tensors = len(file.keys())
    except Exception as error:  # transformers raises whatever it meets
        raise WeightsUnusable(f"{path} cannot be used ({first_line(error)}); restore that folder") from error
    for number, most in ((width, _WIDEST), (layers, tensors)):  # before a network of that size is built
        if not isinstance(number, int) or not 0 < number <= most:
            raise WeightsUnusable(
                f"{path} says that the encoder has {str(layers)[:20]} layers of width {str(width)[:20]}, beside "
                f"{tensors} tensors; restore that folder"
            )
    return config


def _projection(folder: Path, name: str) -> Path:
    """The file of a recipe's projection; only a user can name one elsewhere, and then by an absolute path."""
    return Path(name) if Path(name).is_absolute() else inside(folder, name)


def _network(config: Any, folder: Path, pooler: bool) -> torch.nn.Module:
    """The encoder with the weights of ``model.safetensors``, and no others: transformers fills up with random ones.

    What is left over may only be what the architecture has beyond its encoder (a decoder, the heads it was trained
    with). A pooler may be missing where the recipe does not use it.
    """
    tensors = load_file(folder / "model.safetensors")
    with torch.device("meta"):
        shell = _from_config(transformers.AutoModelForTextEncoding, config)
    network: torch.nn.Module
    network, found = type(shell).from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
    )
    optional = () if pooler else ("pooler.",)
    refuse("lacks", (name for name in found["missing_keys"] if not name.startswith(optional)), folder)
    refuse("has wrongly shaped", (str(mismatch[0]) for mismatch in found["mismatched_keys"]), folder)
    if found["unexpected_keys"]:
        refuse("has unknown", set(found["unexpected_keys"]) - _names_beyond(config), folder)
    refuse_unusable({name: each for name, each in tensors.items() if not name.endswith("position_ids")}, folder)
    return network


def _from_config(kind: Any, config: Any) -> Any:
    return kind.from_config(config, trust_remote_code=False)


def _names_beyond(config: Any) -> set[str]:
    """Names of all weights of the architectures that the configuration names, and of the one for pretraining."""
    classes = [getattr(transformers, str(name), None) for name in config.architectures or []]
    names: set[str] = set()
    with torch.device("meta"):
        for kind in classes:
            if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
                names |= set(kind(config).state_dict())
        with suppress(ValueError):  # not every architecture has one
            names |= set(_from_config(transformers.AutoModelForPreTraining, config).state_dict())
    return names


@contextmanager
def _quietly() -> Iterator[None]:
    """Transformers reports and draws bars while it loads; what matters of it is raised."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
