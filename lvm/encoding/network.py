"""Open the network of an encoder from an untrusted folder.

Contract: code in the folder is never run. All weights of the network come from the folder: missing weights are an
error, while transformers would replace them by random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

from lvm.encoding.weights import WeightsUnusable, read_json, refuse, refuse_unusable
from lvm.errors import first_line

_MAX_WIDTH = 65_536  # dimension of an encoder


def configuration(folder: Path) -> Any:
    """Read ``config.json`` with transformers, and refuse a configuration that would load other files or code.

    Raises:
        WeightsUnusable: if the file cannot be read, needs its own code, an adapter or quantised weights, or has
            impossible sizes.
    """
    path = folder / "config.json"
    facts = read_json(path)
    if (folder / "adapter_config.json").exists() or facts.get("quantization_config") is not None:
        raise WeightsUnusable(f"{folder} holds an adapter or quantised weights; save the merged weights as floats")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config._attn_implementation = None  # it could name a kernel on the hub, which is code
        width, layers = config.hidden_size, config.num_hidden_layers
        with safe_open(folder / "model.safetensors", "pt") as file:
            tensors = len(file.keys())
    except Exception as error:  # transformers raises many kinds of errors
        raise WeightsUnusable(f"{path} cannot be used ({first_line(error)}); restore that folder") from error
    for number, most in ((width, _MAX_WIDTH), (layers, tensors)):  # checked before a network of that size is built
        if not isinstance(number, int) or not 0 < number <= most:
            raise WeightsUnusable(
                f"{path} says that the encoder has {str(layers)[:20]} layers of width {str(width)[:20]}, but its "
                f"weights have {tensors} tensors; restore that folder"
            )
    return config


def network(config: Any, folder: Path, pooler: bool) -> torch.nn.Module:
    """Build the encoder and load the weights of ``model.safetensors``.

    The file may also hold weights of the same architecture outside the encoder, such as a decoder or training heads.

    Args:
        config: the result of ``configuration``.
        folder: folder of ``model.safetensors``.
        pooler: whether the recipe uses the pooler. If not, its weights may be missing.

    Raises:
        WeightsUnusable: if a tensor is missing, unknown, wrongly shaped or not finite.
    """
    tensors = load_file(folder / "model.safetensors")
    with torch.device("meta"):
        shell = _from_config(transformers.AutoModelForTextEncoding, config)
    opened: torch.nn.Module
    opened, loaded = type(shell).from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, with the tensor's name in the message
    )
    optional = () if pooler else ("pooler.",)
    refuse("lacks", (name for name in loaded["missing_keys"] if not name.startswith(optional)), folder)
    refuse("has wrongly shaped", (str(mismatch[0]) for mismatch in loaded["mismatched_keys"]), folder)
    if loaded["unexpected_keys"]:
        refuse("has unknown", set(loaded["unexpected_keys"]) - _names_of_full_models(config), folder)
    refuse_unusable({name: each for name, each in tensors.items() if not name.endswith("position_ids")}, folder)
    return opened


def _from_config(kind: Any, config: Any) -> Any:
    return kind.from_config(config, trust_remote_code=False)


def _names_of_full_models(config: Any) -> set[str]:
    """Names of all weights of the architectures in the configuration, and of its pretraining architecture."""
    classes = [getattr(transformers, str(name), None) for name in config.architectures or []]
    names: set[str] = set()
    with torch.device("meta"):
        for kind in classes:
            if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
                names |= set(kind(config).state_dict())
        with suppress(ValueError):  # not every model type has a pretraining architecture
            names |= set(_from_config(transformers.AutoModelForPreTraining, config).state_dict())
    return names


@contextmanager
def quietly() -> Iterator[None]:
    """Turn off transformers' log messages and progress bars inside the block. Errors are still raised."""
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
