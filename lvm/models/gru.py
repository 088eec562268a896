"""GRU (Cho et al., 2014, "Learning Phrase Representations using RNN Encoder-Decoder").

Contract: see ``base``. The cell is written out, with ``nn.GRU``'s weights and formulas, because the
input's share of the gates is one matrix product for all windows that a vector is in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvm.models.base import LVM


class GRU(LVM):
    """One layer; the first step needs no recurrent product, since it starts from zeros."""

    name = "gru"

    def __init__(self, dim: int, context: int, hidden: int = 288, dropout: float = 0.1) -> None:
        super().__init__(dim, context, hidden, dropout)
        self.input = nn.Linear(dim, 3 * hidden)
        self.recurrent = nn.Linear(hidden, 3 * hidden)
        nn.init.orthogonal_(self.recurrent.weight)
        self.scale = dim**0.5

    def embed(self, x: Tensor) -> Tensor:
        projected: Tensor = self.input(x * self.scale)  # entries of a unit vector are tiny; make them about 1
        return projected

    def mix(self, e: Tensor) -> Tensor:
        state: Tensor | None = None
        for gates in e.unbind(1):
            # autocast makes what linear returns bfloat16, and lerp takes one number type only
            from_state = self.recurrent.bias.to(gates.dtype) if state is None else self.recurrent(state)
            reset, update, new = gates.chunk(3, dim=-1)
            reset_s, update_s, new_s = from_state.chunk(3, dim=-1)
            keep = torch.sigmoid(update + update_s)
            candidate = torch.tanh(new + torch.sigmoid(reset + reset_s) * new_s)
            state = (1 - keep) * candidate if state is None else torch.lerp(candidate, state, keep)
        assert state is not None
        return state
