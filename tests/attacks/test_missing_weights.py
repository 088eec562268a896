"""Promise: missing weights never become random ones. A checkpoint is loaded whole, or refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lvm.encoding.encoder import TextEncoder
from lvm.encoding.recipe import Recipe
from lvm.encoding.weights import WeightsUnusable, fill
from lvm.inversion.inverter import PrefixInverter
from tests.attacks.folders import KINDS, change_config, change_weights, encoder, make
from tests.spaces.fixtures import SHIPPED, minilm_folder

TEXTS = ["The harbour froze before the last ship came in.", "Nobody counted the votes."]


def without(prefix: str) -> Callable[[dict[str, Tensor]], object]:
    def change(tensors: dict[str, Tensor]) -> None:
        gone = [name for name in tensors if name.startswith(prefix)]
        assert gone, "the test must take something away"
        for name in gone:
            del tensors[name]

    return change


@pytest.mark.parametrize("kind", KINDS)
def test_whole_checkpoints_open_and_encode_alike(kind: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", kind)
    first, second = (encoder(folder).encode(TEXTS).unit for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_shipped_encoder_opens() -> None:
    recipe = Recipe("shipped")
    assert TextEncoder(minilm_folder(), recipe).encode(TEXTS).unit.shape == (2, 384)


def test_minilm_without_its_last_layer_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "minilm"
    shutil.copytree(minilm_folder(), folder)
    change_weights(folder, without("encoder.layer.5."))
    with pytest.raises(WeightsUnusable, match=r"lacks 16 tensors \(first: encoder\.layer\.5\.attention"):
        TextEncoder(folder, Recipe("torn")).encode(TEXTS)


@pytest.mark.parametrize(
    ("kind", "prefix", "named"),
    [
        ("bert", "encoder.layer.1.", "encoder.layer.1."),
        ("bert", "embeddings.word_embeddings", "embeddings.word_embeddings"),
        ("bert with heads", "bert.encoder.layer.1.", "encoder.layer.1."),
        ("t5 encoder", "encoder.block.1.", "encoder.block.1."),
        ("t5 encoder", "encoder.final_layer_norm", "encoder.final_layer_norm"),
        ("t5 encoder", "shared.weight", "encoder.embed_tokens.weight"),
        ("t5 with decoder", "encoder.block.0.", "encoder.block.0."),
    ],
)
def test_a_missing_tensor_is_refused(kind: str, prefix: str, named: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", kind)
    change_weights(folder, without(prefix))
    with pytest.raises(WeightsUnusable, match=f"lacks .* tensors .first: {named}"):
        encoder(folder)


def test_a_pooler_may_be_missing_only_where_it_is_not_used(tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert without pooler")
    assert encoder(folder, pooling="cls")
    with pytest.raises(WeightsUnusable, match=r"lacks 2 tensors \(first: pooler"):
        encoder(folder, pooling="pooler")
    whole = make(tmp_path / "whole", "bert")
    assert encoder(whole, pooling="pooler")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bert", "encoder.layer.2.output.dense.bias"),
        ("bert", "linear.weight"),
        ("bert with heads", "bert.encoder.layer.2.output.dense.bias"),
        ("bert with heads", "cls.projection.weight"),
        ("t5 encoder", "encoder.block.2.layer.0.layer_norm.weight"),
        ("t5 encoder", "projection.weight"),
    ],
)
def test_a_tensor_left_over_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", kind)
    change_weights(folder, lambda tensors: tensors.update({name: torch.zeros(16)}))
    with pytest.raises(WeightsUnusable, match=rf"has unknown 1 tensors \(first: {name}"):
        encoder(folder)


def test_fewer_layers_than_the_weights_have_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert")
    change_config(folder, num_hidden_layers=1)
    with pytest.raises(WeightsUnusable, match=r"has unknown 16 tensors \(first: encoder\.layer\.1\."):
        encoder(folder)


def test_what_older_versions_stored_may_be_left_over(tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert")
    change_weights(folder, lambda tensors: tensors.update({"embeddings.position_ids": torch.arange(512)[None]}))
    assert encoder(folder)


@pytest.mark.parametrize("kind", ["bert", "t5 encoder"])
def test_wrong_shapes_are_refused(kind: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", kind)
    name = "embeddings.LayerNorm.weight" if kind == "bert" else "encoder.final_layer_norm.weight"
    change_weights(folder, lambda tensors: tensors.update({name: torch.ones(17)}))
    with pytest.raises(WeightsUnusable, match=rf"has wrongly shaped 1 tensors \(first: {name}"):
        encoder(folder)


@pytest.mark.parametrize(("value", "problem"), [(torch.full((16,), torch.nan), "NaN"), (torch.ones(16).int(), "integ")])
def test_weights_that_are_no_numbers_are_refused(value: Tensor, problem: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert")
    change_weights(folder, lambda tensors: tensors.update({"embeddings.LayerNorm.weight": value}))
    with pytest.raises(WeightsUnusable, match=problem):
        encoder(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_fine(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert")
    change_weights(folder, lambda tensors: tensors.update({name: each.to(dtype) for name, each in tensors.items()}))
    assert encoder(folder).encode(TEXTS).unit.shape == (2, 16)


@pytest.mark.parametrize(
    "changes",
    [{"layer": 9}, {"pooling": "pooler"}, {"max_tokens": 100_000}, {"projection": "wide.safetensors"}],
    ids=str,
)
def test_a_recipe_that_the_network_cannot_follow_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", "bert without pooler" if "pooling" in changes else "bert")
    save_file({"linear.weight": torch.ones(4, 99)}, folder / "wide.safetensors")
    with pytest.raises(WeightsUnusable):
        encoder(folder, **changes)


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape", "nan", "integers", "seen"])
def test_an_inverter_is_loaded_whole_or_refused(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "inverter"
    shutil.copytree(SHIPPED, folder)
    tensors = load_file(folder / "inverter.safetensors")
    name = "layers.2.qkv.weight"
    expected = {
        "missing": f"lacks 1 .*{name}",
        "unknown": "unknown 1 .*extra",
        "shape": f"shaped 1 .*{name}",
        "nan": f"NaN .*{name}",
        "integers": f"integers .*{name}",
        "seen": "no list of hashes",
    }
    if damage == "missing":
        del tensors[name]
    elif damage == "unknown":
        tensors["extra"] = torch.zeros(1)
    elif damage == "shape":
        tensors[name] = tensors[name][1:].contiguous()
    elif damage == "nan":
        tensors[name][0, 0] = torch.nan
    elif damage == "integers":
        tensors[name] = tensors[name].to(torch.int8)
    else:
        tensors["trained_chunks"] = tensors["trained_chunks"].float()
    save_file(tensors, folder / "inverter.safetensors")
    with pytest.raises(WeightsUnusable, match=expected[damage]):
        PrefixInverter.load(folder)


def test_a_network_on_meta_gets_every_tensor(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = torch.nn.Linear(2, 2)
    weights = {"weight": torch.eye(2), "bias": torch.zeros(2)}
    fill(network, weights, tmp_path)
    assert not network.weight.is_meta and torch.equal(network(torch.ones(1, 2)), torch.ones(1, 2))
