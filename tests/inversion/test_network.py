"""The inverter's network: packed weights change nothing, and gradients pass through them."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from lvm.inversion.network import DecoderConfig, VectorDecoder, text_nats

SIZES = DecoderConfig(dim=8, vocabulary=50, width=16, layers=2, heads=2, feedforward=32, bottleneck=16, max_length=12)
IDS = [[3, 4, 5, 2], [6, 2], [7, 8, 9, 10, 11, 2]]


@pytest.fixture
def network() -> VectorDecoder:
    torch.manual_seed(0)
    network = VectorDecoder(SIZES).eval()
    torch.nn.init.normal_(network.bias)
    return network


def test_packed_weights_give_the_same_logits_and_nats(network: VectorDecoder) -> None:
    packed = deepcopy(network)
    packed.pack()
    vectors, ids = torch.randn(3, 8), torch.randint(12, 50, (3, 6))
    with torch.inference_mode():
        prefix = network.prefix(vectors)
        torch.testing.assert_close(packed.prefix(vectors), prefix)
        torch.testing.assert_close(packed(prefix, ids), network(prefix, ids), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(text_nats(packed, prefix, IDS), text_nats(network, prefix, IDS))
        torch.testing.assert_close(packed.products(prefix) + packed.bias, network.logits(prefix))


def test_gradients_pass_through_a_packed_network(network: VectorDecoder) -> None:
    packed = deepcopy(network)
    packed.pack()
    vectors, gradients = torch.randn(3, 8), []
    for each in (network, packed):
        wanted = vectors.clone().requires_grad_(True)
        text_nats(each, each.prefix(wanted), IDS).sum().backward()
        gradients.append(wanted.grad)
    assert gradients[0] is not None and gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients)


def test_logits_are_float32_in_bfloat16_too(network: VectorDecoder) -> None:
    half = deepcopy(network).to(torch.bfloat16)
    assert half.logits(torch.randn(2, 16, dtype=torch.bfloat16)).dtype == torch.float32
