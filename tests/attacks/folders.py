"""Small encoders of true architecture, to be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertForPreTraining, BertModel, T5Config, T5EncoderModel, T5ForConditionalGeneration

from lvm.encoding.encoder import TextEncoder
from lvm.encoding.recipe import Recipe
from tests.spaces.fixtures import minilm_folder

RECIPE = Recipe("a folder", max_tokens=12)
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
WORDS = 30_522  # MiniLM's tokenizer stands beside all of them

KINDS: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertModel(BertConfig(vocab_size=WORDS, **BERT)),
    "bert without pooler": lambda: BertModel(BertConfig(vocab_size=WORDS, **BERT), add_pooling_layer=False),
    "bert with heads": lambda: BertForPreTraining(BertConfig(vocab_size=WORDS, **BERT)),
    "t5 encoder": lambda: T5EncoderModel(T5Config(vocab_size=WORDS, **T5)),
    "t5 with decoder": lambda: T5ForConditionalGeneration(T5Config(vocab_size=WORDS, **T5)),
}


def make(folder: Path, kind: str) -> Path:
    """A folder with an encoder of that kind."""
    torch.manual_seed(0)
    KINDS[kind]().save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((minilm_folder() / "tokenizer.json").read_bytes())
    return folder


def encoder(folder: Path, **changes: Any) -> TextEncoder:
    """The encoder in a folder, with its weights."""
    opened = TextEncoder(folder, Recipe(**{**RECIPE.as_dict(), **changes}))
    assert opened.model
    return opened


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Write the weights again, changed."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def change_config(folder: Path, **changes: Any) -> None:
    """Write ``config.json`` again, changed."""
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, **changes}))
