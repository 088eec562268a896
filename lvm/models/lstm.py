"""LSTM (Hochreiter & Schmidhuber, 1997, "Long Short-Term Memory").

Contract: see ``lvm.models.base``. Weights and formulas are those of ``nn.LSTM``. The cell is written out, so that the
input projection of a vector is computed once for all windows that contain it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvm.models.base import LVM


class LSTM(LVM):
    """One layer. The state starts at zero, so the first step needs no recurrent product.

    Args:
        dim: dimension of the space.
        context: number of vectors in a window.
        hidden: width of the state.
        dropout: dropout rate on the last state.
    """

    name = "lstm"

    def __init__(self, dim: int, context: int, hidden: int = 128, dropout: float = 0.1) -> None:
        super().__init__(dim, context, hidden, dropout)
        self.input = nn.Linear(dim, 4 * hidden)
        self.recurrent = nn.Linear(hidden, 4 * hidden, bias=False)
        nn.init.orthogonal_(self.recurrent.weight)
        with torch.no_grad():  # the forget gate starts open (Jozefowicz et al., 2015)
            self.input.bias[hidden : 2 * hidden] += 1.0
        self.scale = dim**0.5

    def embed(self, x: Tensor) -> Tensor:
        projected: Tensor = self.input(x * self.scale)  # scales the entries of a unit vector to about 1
        return projected

    def mix(self, e: Tensor) -> Tensor:
        state: Tensor | None = None
        cell: Tensor | None = None
        for gates in e.unbind(1):
            if state is not None:
                gates = gates + self.recurrent(state)
            input_gate, forget_gate, new, output_gate = gates.chunk(4, dim=-1)
            update = torch.sigmoid(input_gate) * torch.tanh(new)
            cell = update if cell is None else torch.sigmoid(forget_gate) * cell + update
            state = torch.sigmoid(output_gate) * torch.tanh(cell)
        assert state is not None
        return state
