"""Promise: whatever the bytes in an encoder's or inverter's folder, it opens or ends in a named error of one line."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from lvm.encoding import weights
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.weights import WeightsUnusable
from lvm.inversion.inverter import Card, PrefixInverter
from lvm.inversion.network import DecoderConfig, VectorDecoder
from lvm.inversion.vec2text import Vec2TextInverter
from tests.attacks.folders import RECIPE, encoder, make
from tests.attacks.hostile import JSON, LONG, mutated, opens_or_is_refused, refused, write


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("bert"), "bert")


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to


@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_an_encoders_folder_of_anything_is_refused(name: str, text: str, bert: Path, tmp_path: Path) -> None:
    folder = copied(bert, tmp_path / "encoder")
    write(folder / name, text)
    refused(lambda: TextEncoder(folder, RECIPE).model, WeightsUnusable)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 17}, {"hidden_size": -16}, {"hidden_size": "16"}, {"hidden_size": None}, {"hidden_size": 2**40},
        {"hidden_size": int(LONG)}, {"hidden_size": float("nan")}, {"hidden_size": [16]}, {"hidden_size": True},
        {"num_hidden_layers": 10**9}, {"num_hidden_layers": 0}, {"num_hidden_layers": "2"}, {"num_hidden_layers": 1.5},
        {"num_attention_heads": 0}, {"num_attention_heads": 3}, {"vocab_size": 2**40}, {"vocab_size": "x"},
        {"vocab_size": 100}, {"model_type": 7}, {"model_type": "none"}, {"model_type": "gpt2"}, {"model_type": None},
        {"hidden_act": "evil"}, {"intermediate_size": -1}, {"max_position_embeddings": 4}, {"architectures": 7},
        {"dtype": "evil"}, {"attention_probs_dropout_prob": "x"}, {"layer_norm_eps": "x"}, {"type_vocab_size": -1},
        {"pad_token_id": 10**9}, {"auto_map": 7}, {"auto_map": ["a"]},
    ],
    ids=lambda changes: str(changes)[:50],
)  # fmt: skip
def test_a_configuration_of_wrong_values_is_no_traceback(changes: dict[str, Any], bert: Path, tmp_path: Path) -> None:
    folder = copied(bert, tmp_path / "encoder")
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, **changes}))
    opens_or_is_refused(lambda: encoder(folder).encode(["a text"]))


def pickle_of_tensors(path: Path) -> None:
    torch.save({"embeddings.word_embeddings.weight": torch.zeros(2, 2)}, path)


@pytest.mark.parametrize("name", ["model.safetensors", "wide.safetensors"])
def test_a_pickle_under_another_name_is_refused(name: str, bert: Path, tmp_path: Path) -> None:
    folder = copied(bert, tmp_path / "encoder")
    pickle_of_tensors(folder / name)
    projection = {"projection": name} if name.startswith("wide") else {}
    refused(lambda: encoder(folder, **projection), WeightsUnusable)
    if not projection:
        refused(lambda: weights.load(folder), WeightsUnusable)


INDEXES: list[object] = [
    *JSON, {"weight_map": 7}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 7}}, {"weight_map": None},
    {"weight_map": {"a": ["x"], "b": {"y": 1}}}, {"weight_map": {"a": "x.safetensors", "b": 7}}, [{"weight_map": {}}],
    {"weight_map": {"a": "../outside.safetensors"}}, {"weight_map": {"a": "/etc/passwd"}}, {"weight_map": {"a": ""}},
    {"weight_map": {"a": "."}}, {"weight_map": {"a": "missing.safetensors"}}, {"weight_map": {"a": "a\0b"}},
    {"weight_map": {"a": "x" * 5000}}, {"weight_map": {"a": "\ud800"}},
]  # fmt: skip


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: str(index)[:40].encode("ascii", "replace").decode())
@pytest.mark.parametrize("name", [weights.INDEX, weights.PICKLED_INDEX])
def test_an_index_of_anything_is_refused(name: str, index: object, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    write(folder / name, index if isinstance(index, str) else json.dumps(index))
    if name == weights.INDEX:
        refused(lambda: weights.load(folder), WeightsUnusable)
    else:
        refused(lambda: weights.find(str(folder), tmp_path / "home"), WeightsUnusable)


@pytest.mark.parametrize("what", [torch.zeros(2), [torch.zeros(2)], {"a": 7}, {7: torch.zeros(2)}, 7, None], ids=str)
def test_a_pickle_of_other_things_is_not_converted(what: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch.save(what, tmp_path / weights.PICKLED)
    refused(lambda: weights.find(str(tmp_path), tmp_path / "home"), WeightsUnusable)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["config.json", "model.safetensors"]))
def test_any_changed_bytes_of_an_encoder(
    seed: int, name: str, bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copied(bert, tmp_path_factory.getbasetemp() / "fuzzed-encoder")
    (folder / name).write_bytes(mutated((bert / name).read_bytes(), random.Random(seed)))
    opens_or_is_refused(lambda: encoder(folder).encode(["a text", "another one"]))


def small_tokenizer() -> Tokenizer:
    vocabulary = ["[PAD]", "[UNK]", "[END]", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordPiece({word: id for id, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


SIZES = DecoderConfig(
    dim=16, vocabulary=11, width=16, layers=1, heads=2, feedforward=16, prefix=2, bottleneck=8, max_length=6
)
CARD = Card("0" * 16, "a corpus", "a command", 0, ["ab"], ["a title"], {}, {})


@pytest.fixture(scope="module")
def inverter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small inverter, not trained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("inverters") / "inverter"
    PrefixInverter(VectorDecoder(SIZES), small_tokenizer(), CARD, np.array([3, 5])).save(folder)
    return folder


def test_a_small_inverter_opens(inverter: Path) -> None:
    assert PrefixInverter.load(inverter).dim == 16


@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_an_inverters_folder_of_anything_is_refused(name: str, text: str, inverter: Path, tmp_path: Path) -> None:
    folder = copied(inverter, tmp_path / "inverter")
    write(folder / name, text)
    refused(lambda: PrefixInverter.load(folder), WeightsUnusable)


PARTS: dict[str, tuple[str, Any]] = {
    **{f"decoder {value!r}"[:40]: ("decoder", value) for value in (7, [], None, "x", {"evil": 1})},
    **{
        f"decoder.{key} {str(value)[:12]}": (f"decoder.{key}", value)
        for key in ("dim", "vocabulary", "width", "layers", "heads", "prefix", "max_length")
        for value in (0, -1, "6", 1.5, None, True, 2**40, float("nan"), [16], int(LONG))
    },
    **{f"card {value!r}"[:40]: ("card", value) for value in (7, [], None, {})},
    **{
        f"card.{key} {value!r}"[:40]: (f"card.{key}", value)
        for key in ("encoder", "trained_documents", "held_out_documents", "training", "figures", "corpus")
        for value in (7, None, [[]], [{}], True)
    },
}


@pytest.mark.parametrize("change", PARTS.values(), ids=PARTS)
def test_an_inverter_of_wrong_values_is_refused(change: tuple[str, Any], inverter: Path, tmp_path: Path) -> None:
    where, value = change
    folder = copied(inverter, tmp_path / "inverter")
    config = json.loads((folder / "config.json").read_text())
    *outer, last = where.split(".")
    (config[outer[0]] if outer else config)[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(lambda: PrefixInverter.load(folder), WeightsUnusable)


def test_a_tokenizer_of_more_words_than_the_network_is_refused(inverter: Path, tmp_path: Path) -> None:
    folder = copied(inverter, tmp_path / "inverter")
    tokenizer = small_tokenizer()
    tokenizer.add_tokens(["one more"])
    tokenizer.save(str(folder / "tokenizer.json"))
    refused(lambda: PrefixInverter.load(folder), WeightsUnusable)


def test_a_pickled_inverter_is_refused(inverter: Path, tmp_path: Path) -> None:
    folder = copied(inverter, tmp_path / "inverter")
    pickle_of_tensors(folder / "inverter.safetensors")
    refused(lambda: PrefixInverter.load(folder), WeightsUnusable)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    name=st.sampled_from(["config.json", "tokenizer.json", "weights"]),
)
def test_any_changed_bytes_of_an_inverter(
    seed: int, name: str, inverter: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = "inverter.safetensors" if name == "weights" else name
    folder = copied(inverter, tmp_path_factory.getbasetemp() / "fuzzed-inverter")
    (folder / name).write_bytes(mutated((inverter / name).read_bytes(), random.Random(seed)))
    opens_or_is_refused(lambda: PrefixInverter.load(folder))


@pytest.mark.parametrize(
    "config",
    [
        *JSON,
        {"model_name_or_path": 7},
        {"model_name_or_path": "t5", "max_seq_length": "x"},
        {"model_name_or_path": "t5", "max_seq_length": 32, "embedder_model_name": 7},
        {"model_name_or_path": "t5", "max_seq_length": 32, "embedder_model_name": "gtr_base"},
        {"model_name_or_path": ["t5"], "max_seq_length": 32, "embedder_model_name": "gtr_base"},
    ],
    ids=lambda config: str(config)[:60].encode("ascii", "replace").decode(),
)
def test_vec2texts_configuration_of_anything_is_refused(config: object, bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write(folder / "config.json", config if isinstance(config, str) else json.dumps(config))
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    opened = TextEncoder(bert, RECIPE)
    refused(lambda: Vec2TextInverter.load(folder, None, opened, steps=1, beam=1, find=lambda _: bert), WeightsUnusable)
