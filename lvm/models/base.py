"""What all latent vector models share: the way in, the two heads, and windows that share their work.

Contract: an LVM maps (batch, context, dim) vectors of one space to a ``Prediction`` of two unit vectors:
``vector``, trained to be near the next vector (it is what gets decoded), and ``query``, trained to score
the next vector above all others (it is what ranks). An architecture says two things only: ``embed``, what
it does to each vector alone, and ``mix``, what it makes of a window of those. That cut is what makes
training fast: neighbouring windows overlap in all vectors but one, so ``forward_runs`` embeds each vector
of a run once, and gives for every window of it exactly what ``forward`` gives.

Nothing here touches a file or a database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RECENCY = 0.6
"""What an earlier vector of the context weighs against the next one, before training."""


class Prediction(NamedTuple):
    """Two unit vectors (batch, dim) per window: ``vector`` to decode, ``query`` to rank by."""

    vector: Tensor
    query: Tensor


class LVM(nn.Module, ABC):
    """A model of what vector comes after a window of vectors.

    Each head adds what the trunk makes of the window to a linear map of a recency-weighted sum of the window
    itself. Weights and map are learned and begin as those of the recency mean, so an untrained model is the
    best of the plain baselines, and the trunk, which may be narrower than the space, need not carry it.

    Args:
        dim: dimension of the space.
        context: vectors in a window.
        hidden: width of what ``mix`` returns.
        dropout: share of the trunk's output dropped in training.
    """

    name: ClassVar[str]

    def __init__(self, dim: int, context: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dim, self.context = dim, context
        self.dropout = nn.Dropout(dropout)
        self.vector_head = nn.Linear(hidden, dim)
        self.query_head = nn.Linear(hidden, dim)
        for head in (self.vector_head, self.query_head):
            nn.init.normal_(head.weight, std=0.02 / hidden**0.5)
            nn.init.zeros_(head.bias)
        self.vector_skip = nn.Linear(dim, dim, bias=False)
        self.query_skip = nn.Linear(dim, dim, bias=False)
        for skip in (self.vector_skip, self.query_skip):
            nn.init.eye_(skip.weight)
        recency = RECENCY ** torch.arange(context - 1, -1, -1, dtype=torch.float32)
        self.recency = nn.Parameter(recency.expand(2, context).clone())

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., any): work on each vector alone, whatever window it is in."""

    @abstractmethod
    def mix(self, e: Tensor) -> Tensor:
        """(batch, context, any) embedded vectors of windows -> (batch, hidden), the state after the last."""

    def forward(self, x: Tensor) -> Prediction:
        """(batch, context, dim) -> prediction of what follows each window."""
        return self._predict(self.mix(self.embed(x)), torch.einsum("ht,btd->hbd", self.recency, x))

    def forward_runs(self, x: Tensor) -> Prediction:
        """Predict for all windows of runs of consecutive vectors.

        Args:
            x: (runs, length, dim); a run holds ``length - context + 1`` windows.

        Returns:
            predictions for the windows run by run, in order, as ``forward`` gives them.
        """
        windows = x.shape[1] - self.context + 1
        skip = self.recency[:, 0, None, None, None] * x[:, :windows]
        for at in range(1, self.context):
            skip = torch.addcmul(skip, self.recency[:, at, None, None, None], x[:, at : at + windows])
        return self._predict(self.mix_runs(self.embed(x)), skip.flatten(1, 2))

    def mix_runs(self, e: Tensor) -> Tensor:
        """(runs, length, any) -> (runs * windows, hidden): ``mix`` of every window of every run.

        An architecture that can share more than ``embed`` between windows overrides it.
        """
        return self.mix(e.unfold(1, self.context, 1).transpose(2, 3).flatten(0, 1))

    def _predict(self, state: Tensor, skip: Tensor) -> Prediction:
        state = self.dropout(state)
        # float32 throughout: a norm of 1 within 1e-5 is promised, under autocast too
        vector = self.vector_head(state).float() + self.vector_skip(skip[0]).float()
        query = self.query_head(state).float() + self.query_skip(skip[1]).float()
        return Prediction(F.normalize(vector, dim=-1), F.normalize(query, dim=-1))
