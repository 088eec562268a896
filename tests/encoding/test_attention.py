"""Attention of short texts against torch's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lvm.encoding import attention
from lvm.encoding.attention import SHORT, short_attention, use_short_attention

LAYER = nn.Module()
LAYER.is_causal = False  # type: ignore[assignment]


def heads(tokens: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(2, tokens, 4, 8, generator=generator) for _ in range(3))
    return tuple(each.transpose(1, 2).to(dtype) for each in (query, key, value))  # type: ignore[return-value]


def ours(*qkv: Tensor, mask: Tensor | None = None, **others: Any) -> Tensor:
    with torch.inference_mode():
        return short_attention(LAYER, *qkv, mask, **others)[0]


@given(st.integers(1, 120), st.sampled_from([torch.float32, torch.bfloat16]), st.integers(0, 100))
@settings(deadline=None)
def test_it_is_torchs_attention_up_to_rounding(tokens: int, dtype: torch.dtype, seed: int) -> None:
    qkv = heads(tokens, dtype, seed)
    expected = F.scaled_dot_product_attention(*(each.double() for each in qkv), scale=0.2).transpose(1, 2)
    found = ours(*qkv, scaling=0.2)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=0)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of tokens that were attended to here."""
    seen, attended = list[int](), attention._attended

    def counted(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        seen.append(query.shape[2])
        return attended(query, key, value, scaling)

    monkeypatch.setattr(attention, "_attended", counted)
    return seen


def test_only_plain_attention_of_short_texts_is_done_here(used: list[int]) -> None:
    for tokens in (1, 7, 8, 32, 33, 96, 97):
        ours(*heads(tokens, torch.float32))
        ours(*heads(tokens, torch.bfloat16))
    assert used == [8, 8, 32, 32, 33, 96]
    used.clear()
    qkv = heads(20, torch.float32)
    mask = torch.zeros(1, 1, 20, 20).masked_fill(torch.ones(20, 20, dtype=torch.bool).triu(1), -torch.inf)
    causal = F.scaled_dot_product_attention(*qkv, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(ours(*qkv, mask=mask), causal)
    torch.testing.assert_close(ours(*qkv, is_causal=True), causal)
    bias = torch.randn(1, 4, 20, 20)
    biased = F.scaled_dot_product_attention(*qkv, attn_mask=bias).transpose(1, 2)
    torch.testing.assert_close(ours(*qkv, position_bias=bias), biased)
    short_attention(LAYER, *qkv, None)  # with gradients
    assert not used


def test_a_model_that_attends_otherwise_keeps_its_way() -> None:
    chosen: list[str] = []
    for implementation in ("eager", "sdpa"):
        config = SimpleNamespace(_attn_implementation=implementation)
        use_short_attention(SimpleNamespace(config=config, set_attn_implementation=chosen.append))
    assert chosen == [SHORT]
