"""GRU (Cho et al., 2014, "Learning Phrase Representations using RNN Encoder-Decoder").

Contract: see ``lvm.models.base``. Weights and formulas are those of ``nn.GRU``. The cell is written out, so that the
input projection of a vector is computed once for all windows that contain it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvm.models.base import LVM


class GRU(LVM):
    """One layer. The state starts at zero, so the first step needs no recurrent product.

    Args:
        dim: dimension of the space.
        context: number of vectors in a window.
        hidden: width of the state.
        dropout: dropout rate on the last state.
    """

    name = "gru"

    def __init__(self, dim: int, context: int, hidden: int = 128, dropout: float = 0.1) -> None:
        super().__init__(dim, context, hidden, dropout)
        self.input = nn.Linear(dim, 3 * hidden)
        self.recurrent = nn.Linear(hidden, 3 * hidden)
        nn.init.orthogonal_(self.recurrent.weight)
        self.scale = dim**0.5

    def embed(self, x: Tensor) -> Tensor:
        projected: Tensor = self.input(x * self.scale)  # scales the entries of a unit vector to about 1
        return projected

    def mix(self, e: Tensor) -> Tensor:
        state: Tensor | None = None
        for gates in e.unbind(1):
            # under autocast a linear layer returns bfloat16; lerp needs one type for all arguments
            from_state = self.recurrent.bias.to(gates.dtype) if state is None else self.recurrent(state)
            reset, update, new = gates.chunk(3, dim=-1)
            reset_s, update_s, new_s = from_state.chunk(3, dim=-1)
            keep = torch.sigmoid(update + update_s)
            candidate = torch.tanh(new + torch.sigmoid(reset + reset_s) * new_s)
            state = (1 - keep) * candidate if state is None else torch.lerp(candidate, state, keep)
        assert state is not None
        return state
