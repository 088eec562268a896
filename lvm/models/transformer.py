"""Causal Transformer (Vaswani et al., 2017, "Attention Is All You Need"), pre-norm (Xiong et al., 2020).

Contract: see ``lvm.models.base``. Positions are rotary (Su et al., 2021, "RoFormer"): attention depends only on the
distance between two vectors. So query, key and value of a vector in the first layer do not depend on its position in a
window, and all windows that contain the vector share them. The last layer is computed for the last position only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvm.models.base import LVM, ImpossibleModel


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Apply rotary position embeddings.

    Args:
        x: (batch, heads, length, width).
        positions: (length,) integers.

    Returns:
        A tensor of the shape of ``x``.
    """
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions.to(torch.float32)[:, None] * frequencies
    sin, cos = angles.sin().to(x.dtype), angles.cos().to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


class Block(nn.Module):
    """Pre-norm attention and MLP, in two steps: ``project`` works on single vectors, ``attend`` on sequences."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def project(self, h: Tensor) -> Tensor:
        """Query, key and value of single vectors: (..., width) -> (..., 3 * width)."""
        projected: Tensor = self.qkv(self.attention_norm(h))
        return projected

    def attend(self, h: Tensor, qkv: Tensor, last: int, band: Tensor | None = None) -> Tensor:
        """Everything after the projection, for the last positions of a sequence.

        Args:
            h: (batch, length, width) inputs.
            qkv: (batch, length, 3 * width) from ``project``.
            last: number of positions to compute.
            band: (last, length) bool, which positions may attend to which; causal unless given.

        Returns:
            (batch, last, width).
        """
        length = h.shape[1]
        positions = torch.arange(length, device=h.device)
        query, key, value = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1)
        )
        h, query = h[:, -last:], query[:, :, -last:]
        if band is None:
            band = positions <= positions[-last:, None]
        query, key = rotate(query, positions[-last:]), rotate(key, positions)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=band)
        h = h + self.attention_out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = h + self.mlp(self.mlp_norm(h))
        return out


class Transformer(LVM):
    """A linear input layer and ``layers`` pre-norm blocks of width ``hidden``.

    Args:
        dim: dimension of the space.
        context: number of vectors in a window.
        hidden: width of the blocks.
        layers: number of blocks.
        heads: number of attention heads.
        dropout: dropout rate on the last state.
    """

    name = "transformer"

    def __init__(
        self, dim: int, context: int, hidden: int = 128, layers: int = 1, heads: int = 4, dropout: float = 0.3
    ) -> None:
        if hidden % heads:
            raise ImpossibleModel(f"hidden {hidden} is no multiple of heads {heads}; change one of them")
        super().__init__(dim, context, hidden, dropout)
        self.hidden = hidden
        self.input = nn.Linear(dim, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.scale = dim**0.5

    def embed(self, x: Tensor) -> Tensor:
        h = self.input(x * self.scale)  # scales the entries of a unit vector to about 1
        return torch.cat([h, self._block(0).project(h)], dim=-1)

    def mix(self, e: Tensor) -> Tensor:
        h, qkv = e[..., : self.hidden], e[..., self.hidden :]
        for i in range(len(self.blocks)):
            block = self._block(i)
            h = block.attend(
                h, qkv if i == 0 else block.project(h), last=1 if i == len(self.blocks) - 1 else self.context
            )
        out: Tensor = self.norm(h[:, -1])
        return out

    def mix_runs(self, e: Tensor) -> Tensor:
        """With one layer, all windows of a run are computed by one attention with a band mask."""
        if len(self.blocks) > 1:
            return super().mix_runs(e)
        h, qkv = e[..., : self.hidden], e[..., self.hidden :]
        length, windows = e.shape[1], e.shape[1] - self.context + 1
        distance = torch.arange(length, device=e.device) - torch.arange(windows, device=e.device)[:, None]
        band = (distance >= 0) & (distance < self.context)
        out: Tensor = self.norm(self._block(0).attend(h, qkv, windows, band))
        return out.flatten(0, 1)

    def _block(self, i: int) -> Block:
        block = self.blocks[i]
        assert isinstance(block, Block)
        return block
