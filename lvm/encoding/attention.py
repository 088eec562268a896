"""Attention between the tokens of short texts, on a CPU.

Contract: the result is that of torch's scaled_dot_product_attention, up to rounding. It is used through transformers'
interface for attention functions. All but plain attention in short texts on a CPU goes to transformers' own function.

torch takes the softmax of short rows one number at a time, and many at once if rows are filled up to a multiple of 16.
Attention in texts of 27 tokens takes a third of the time then, and encoding a tenth less.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHORT = "short_texts"
"""Name of the attention function among those of transformers."""

_SHORTEST = 8
"""Texts of fewer tokens are nearer to float32 with torch's own function, and take no time that counts."""

_LONGEST = {torch.bfloat16: 96, torch.float32: 32}
"""Largest number of tokens for which this is faster, by number type."""

_LANES = 16  # numbers that a CPU treats at once

_CHANGES = ("position_bias", "softcap", "s_aux", "cache")
"""Arguments of transformers' attention that change the result, where they are given."""


def use_short_attention(model: Any) -> None:
    """Let a model of transformers use ``short_attention``, if it uses torch's scaled_dot_product_attention now."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(SHORT)


def short_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: three tensors (batch, heads, tokens, width) -> (batch, tokens, heads, width).

    Args:
        module: the layer that attends.
        query: queries.
        key: keys.
        value: values.
        attention_mask: None if every token attends to every token.
        scaling: factor of the products; 1 / sqrt(width) unless given.
        is_causal: whether tokens attend to earlier ones only; the layer says so unless given.
        **others: further arguments of transformers.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    short = query.device.type == "cpu" and _SHORTEST <= query.shape[2] <= _LONGEST.get(query.dtype, 0)
    plain = attention_mask is None and not causal and not torch.is_grad_enabled()
    if not (short and plain and query.shape == key.shape) or any(others.get(name) is not None for name in _CHANGES):
        attended: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, is_causal=is_causal, **others
        )
        return attended
    return _attended(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling), None


def _attended(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    batch, heads, tokens, width = query.shape
    places = -(-tokens // _LANES) * _LANES

    def filled_up(each: Tensor) -> Tensor:
        longer = each.new_zeros(batch, heads, places, width)
        longer[:, :, :tokens] = each
        return longer.flatten(0, 1)

    products = torch.bmm(query.reshape(batch * heads, tokens, width), filled_up(key).mT).float().mul_(scaling)
    products[:, :, tokens:] = -torch.inf
    weights = products.softmax(dim=-1).to(value.dtype)
    attended: Tensor = torch.bmm(weights, filled_up(value)).view(batch, heads, tokens, width).transpose(1, 2)
    return attended


AttentionInterface.register(SHORT, short_attention)
AttentionMaskInterface.register(SHORT, sdpa_mask)
