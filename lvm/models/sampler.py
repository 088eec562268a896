"""The sampling head: the state of a window and random noise to samples of the next vector.

Contract: (batch, hidden) states, (batch, dim) skips and (batch, n, noise) uniform noise in, (batch, n, dim) unit
vectors out. Trained with the energy loss (``lvm.training.losses``), the samples follow the distribution of the next
vector; a point prediction is only its mean.

Source: Shao et al., 2025, "Continuous Autoregressive Language Models" (CALM), arXiv 2510.27688, section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A residual gated MLP (SwiGLU). The condition is added to its input, so every block sees the window."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gate, value = self.up(self.norm(x) + condition).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.silu(gate) * value)
        return out


class Sampler(nn.Module):
    """The sampling head. Its last layer starts at zero, so all samples start as the skip path.

    Args:
        hidden: width of the state.
        dim: dimension of the space.
        width: width of the blocks.
        blocks: number of blocks.
        noise: number of random numbers per sample.
    """

    def __init__(self, hidden: int, dim: int, width: int, blocks: int, noise: int) -> None:
        super().__init__()
        self.noise = noise
        self.condition = nn.Linear(hidden + dim, width)
        self.start = nn.Linear(noise, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.scale = dim**0.5

    def forward(self, state: Tensor, skip: Tensor, noise: Tensor) -> Tensor:
        """Draw samples.

        Args:
            state: (batch, hidden) state of the window.
            skip: (batch, dim) weighted sum of the window.
            noise: (batch, n, noise) numbers, uniform in (-1/2, 1/2).

        Returns:
            (batch, n, dim) unit vectors, float32.
        """
        condition = self.condition(torch.cat([state, skip * self.scale], dim=-1))[:, None]
        x = self.start(noise * 12**0.5)  # scales the noise to variance 1
        for block in self.blocks:
            x = block(x, condition)
        return F.normalize(self.out(self.norm(x)).float() + skip[:, None].float(), dim=-1)
