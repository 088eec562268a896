"""LSTM (Hochreiter & Schmidhuber, 1997, "Long Short-Term Memory").

Contract: see ``base``. The cell is written out, with ``nn.LSTM``'s weights and formulas, because the
input's share of the gates is one matrix product for all windows that a vector is in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvm.models.base import LVM


class LSTM(LVM):
    """One layer; the first step needs no recurrent product, since it starts from zeros."""

    name = "lstm"

    def __init__(self, dim: int, context: int, hidden: int = 256, dropout: float = 0.1) -> None:
        super().__init__(dim, context, hidden, dropout)
        self.input = nn.Linear(dim, 4 * hidden)
        self.recurrent = nn.Linear(hidden, 4 * hidden, bias=False)
        nn.init.orthogonal_(self.recurrent.weight)
        with torch.no_grad():  # a forget gate that starts open (Jozefowicz et al., 2015)
            self.input.bias[hidden : 2 * hidden] += 1.0
        self.scale = dim**0.5

    def embed(self, x: Tensor) -> Tensor:
        projected: Tensor = self.input(x * self.scale)  # entries of a unit vector are tiny; make them about 1
        return projected

    def mix(self, e: Tensor) -> Tensor:
        state: Tensor | None = None
        cell: Tensor | None = None
        for gates in e.unbind(1):
            if state is not None:
                gates = gates + self.recurrent(state)
            take, keep, new, show = gates.chunk(4, dim=-1)
            fresh = torch.sigmoid(take) * torch.tanh(new)
            cell = fresh if cell is None else torch.sigmoid(keep) * cell + fresh
            state = torch.sigmoid(show) * torch.tanh(cell)
        assert state is not None
        return state
