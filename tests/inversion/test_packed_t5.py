"""A packed T5 computes what transformers' T5 computes."""

from __future__ import annotations

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from lvm.inversion.packed_t5 import PackedT5


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_are_those_of_transformers(feed_forward: str, tied: bool) -> None:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=3, num_heads=4,
        feed_forward_proj=feed_forward, tie_word_embeddings=tied, decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    inputs, mask = torch.randn(3, 9, 32), torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    ids = torch.randint(50, (3, 40))
    with torch.inference_mode():
        theirs = model(inputs_embeds=inputs, attention_mask=mask, decoder_input_ids=ids).logits
    t5 = PackedT5(model)
    generation = t5.start(inputs, mask, 40)
    behind = torch.arange(40)[:, None] - torch.arange(40)
    bias = t5.bias(40)[:, behind.clamp(min=0)].masked_fill(behind < 0, -torch.inf)[None]
    first = generation.step(ids[:, :25], 0, bias[:, :, :25, :25])
    generation.keep(torch.tensor([2, 1]), 25)
    rest = generation.step(ids[[2, 1], 25:], 25, bias[:, :, 25:])
    torch.testing.assert_close(first, theirs[:, :25], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rest, theirs[[2, 1], 25:], rtol=1e-4, atol=1e-4)
