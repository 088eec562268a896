"""Build vec2text's own network classes without the downloads of their constructors.

Contract: importing vec2text does not change the logging and environment of this process. Nothing is downloaded: the
caller passes T5's configuration and tokenizer, and loads the weights of the checkpoint.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
import transformers
from torch import Tensor, nn

from lvm.encoding import weights
from lvm.encoding.weights import WeightsNotHere, WeightsUnusable
from lvm.errors import first_line

_one_at_a_time = threading.Lock()

_Kind = TypeVar("_Kind")


@cache
def _package() -> SimpleNamespace:
    """Import vec2text's modules and restore logging and environment, which the import changes.

    Raises:
        WeightsNotHere: if vec2text cannot be imported.
    """
    root, environment = logging.getLogger(), dict(os.environ)
    level, handlers, verbosity = root.level, list(root.handlers), transformers.logging.get_verbosity()
    try:
        from vec2text.models import corrector_encoder, inversion
        from vec2text.models.config import InversionConfig
    except ImportError as error:
        raise WeightsNotHere(
            f"vec2text's model classes, which its checkpoints need, cannot be imported ({first_line(error)}); install "
            "lvm again"
        ) from error
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        transformers.logging.set_verbosity(verbosity)
        torch._logging.set_logs()  # type: ignore[attr-defined]
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
    return SimpleNamespace(inversion=inversion, corrector=corrector_encoder, InversionConfig=InversionConfig)


def config(folder: Path) -> Any:
    """Read the configuration in a checkpoint's ``config.json``.

    Raises:
        WeightsUnusable: if the file is missing or not a configuration of vec2text.
    """
    facts = weights.read_json(folder / "config.json")
    with _named_errors(folder):
        opened = _package().InversionConfig(**facts)
        opened._attn_implementation = None  # it could name a kernel on the hub, which is code
        return opened


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of vec2text's classes, which are of many kinds, into ``WeightsUnusable``."""
    try:
        yield
    except WeightsNotHere:
        raise
    except Exception as error:
        raise WeightsUnusable(
            f"{folder / 'config.json'} does not describe a network of vec2text ({first_line(error)}); fetch or restore "
            "it"
        ) from error


def required(config: Any, key: str, kind: type[_Kind], folder: Path) -> _Kind:
    """Get a value of a configuration.

    Args:
        config: the configuration.
        key: name of the value.
        kind: type of the value.
        folder: folder of the configuration, for the message.

    Raises:
        WeightsUnusable: if the value is missing or of another type.
    """
    value = getattr(config, key, None)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise WeightsUnusable(
            f"{folder / 'config.json'} has no {kind.__name__} {key!r}; it is not a checkpoint of vec2text, name another"
        )
    return value


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under their current names. Older projections have no dropout layer, so their last layer is number 2."""
    return {
        name.replace("embedding_transform.2.", "embedding_transform.3.")
        if name.startswith("embedding_transform.2.")
        else name: tensor
        for name, tensor in tensors.items()
    }


@contextmanager
def _building(owner: Any, **loaders: Any) -> Iterator[None]:
    """Replace loaders of vec2text or transformers while one network is built, and suppress its output.

    vec2text's constructors download T5 and an embedder. Neither is needed: the checkpoint has T5's weights, and the
    embedder is the space's encoder.

    Args:
        owner: the module that holds the loaders.
        **loaders: replacements by name.
    """
    with _one_at_a_time, redirect_stdout(StringIO()):
        kept = {name: vars(owner)[name] for name in loaders}
        try:
            for name, loader in loaders.items():
                setattr(owner, name, loader)
            yield
        finally:
            for name, loader in kept.items():
                setattr(owner, name, loader)


class _Embedder(nn.Module):
    """Placeholder for vec2text's embedder. Only the space's encoder encodes texts."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=dim)


def hypothesizer(config: Any, t5: Any, tokenizer: Any, dim: int, folder: Path) -> Any:
    """Build an ``InversionModel`` with random weights.

    Args:
        config: the result of ``config``.
        t5: configuration of its T5.
        tokenizer: tokenizer of its T5.
        dim: dimension of the vectors.
        folder: folder of the configuration, for messages.

    Raises:
        WeightsUnusable: if the configuration does not describe such a network.
    """
    inversion = _package().inversion
    with (
        _named_errors(folder),
        _building(
            inversion,
            load_encoder_decoder=lambda **_: _sequence_to_sequence(t5),
            load_tokenizer=lambda *_, **__: tokenizer,
            load_embedder_and_tokenizer=lambda **_: (_Embedder(dim), None),
        ),
    ):
        config.use_frozen_embeddings_as_input = True
        return inversion.InversionModel(config)


def corrector(config: Any, t5: Any, dim: int, folder: Path) -> Any:
    """Build a ``CorrectorEncoderModel`` with random weights.

    Args:
        config: the result of ``config``.
        t5: configuration of its T5.
        dim: dimension of the vectors.
        folder: folder of the configuration, for messages.

    Raises:
        WeightsUnusable: if the configuration does not describe such a network.
    """
    loader = SimpleNamespace(from_pretrained=lambda *_, **__: _sequence_to_sequence(t5))
    module = _package().corrector
    with _named_errors(folder), _building(module, transformers=SimpleNamespace(AutoModelForSeq2SeqLM=loader)):
        model = module.CorrectorEncoderModel(config)
    if dim != model.embedder_dim:  # vec2text assumes 768 dimensions
        width = model.encoder_hidden_dim * model.num_repeat_tokens
        for name in ("embedding_transform_1", "embedding_transform_2", "embedding_transform_3"):
            setattr(model, name, nn.Sequential(nn.Linear(dim, dim), nn.Dropout(0.0), nn.GELU(), nn.Linear(dim, width)))
        model.embedder_dim = dim
    return model


def _sequence_to_sequence(t5: Any) -> Any:
    return transformers.AutoModelForSeq2SeqLM.from_config(  # type: ignore[no-untyped-call]
        t5, trust_remote_code=False
    )
