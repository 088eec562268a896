"""Causal Transformer (Vaswani et al., 2017, "Attention Is All You Need"), pre-norm (Xiong et al., 2020).

Contract: see ``base``. Positions are rotary (Su et al., 2021, "RoFormer"): they enter scores only as the
distance between two vectors, so queries, keys and values of the first layer belong to a vector and not
to its place in a window, and are shared by all windows it is in. The last layer runs for the last
position only: nothing else of it is read.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvm.models.base import LVM


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions: (batch, heads, length, width) turned by angles growing with ``positions``."""
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions.to(torch.float32)[:, None] * frequencies
    sin, cos = angles.sin().to(x.dtype), angles.cos().to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


class Block(nn.Module):
    """Pre-norm attention and MLP, cut where the work on single vectors ends."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def project(self, h: Tensor) -> Tensor:
        """(..., width) -> (..., 3 * width): query, key and value of each vector."""
        projected: Tensor = self.qkv(self.attention_norm(h))
        return projected

    def attend(self, h: Tensor, qkv: Tensor, last: int, band: Tensor | None = None) -> Tensor:
        """(batch, length, width) and its projections -> (batch, last, width), the last positions.

        Each looks at what comes up to it, or where ``band`` (last, length) says.
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
    """``layers`` pre-norm blocks of width ``hidden`` over a linear way in."""

    name = "transformer"

    def __init__(
        self, dim: int, context: int, hidden: int = 256, layers: int = 1, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__(dim, context, hidden, dropout)
        self.hidden = hidden
        self.input = nn.Linear(dim, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.scale = dim**0.5

    def embed(self, x: Tensor) -> Tensor:
        h = self.input(x * self.scale)  # entries of a unit vector are tiny; make them about 1
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
        """One layer needs no windows: each window is a band of one attention over its run."""
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
