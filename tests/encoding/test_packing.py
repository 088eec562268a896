"""Packed layers compute what plain layers compute, and leave gradients alone."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from lvm.encoding.packing import PackedLinear, pack, packed


@pytest.mark.parametrize("bias", [True, False])
def test_packed_layers_compute_the_same_and_keep_gradients(bias: bool) -> None:
    layer = torch.nn.Linear(24, 40, bias=bias)
    replaced = PackedLinear(layer)
    assert set(replaced.state_dict()) == set(layer.state_dict())
    x = torch.randn(2, 7, 24)
    expected = layer(x)
    with torch.inference_mode():
        torch.testing.assert_close(replaced(x), expected)
    outputs = replaced(x)
    torch.testing.assert_close(outputs, expected)
    outputs.sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_a_packed_network_computes_the_same(activation: str) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        hidden_act=activation,
    )  # fmt: skip
    model, ids = BertModel(config).eval(), torch.randint(50, (3, 11))
    with torch.inference_mode():
        expected = model(input_ids=ids).last_hidden_state
        pack(model)
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(model.encoder.layer[0].intermediate.dense, PackedLinear)


def test_other_number_types_are_not_packed() -> None:
    weight, x = torch.randn(8, 16, dtype=torch.float64), torch.randn(3, 16, dtype=torch.float64)
    torch.testing.assert_close(packed(weight)(x), x @ weight.T)
