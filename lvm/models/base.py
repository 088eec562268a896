"""The base class of all latent vector models: their heads, and fast training on overlapping windows.

Contract: an LVM maps (batch, context, dim) vectors of one space to a ``Prediction`` of two unit vectors. ``vector`` is
trained to be near the next vector; it is decoded to text. ``query`` is trained to score the next vector above all
others; it ranks chunks. With a sampling head, ``draw`` gives samples of the next vector too. An architecture implements
two methods: ``embed`` works on single vectors, and ``mix`` works on windows of embedded vectors. Neighbouring windows
share all vectors but one. So ``forward_runs`` embeds every vector of a run once, and returns the same predictions as
``forward`` on all windows of the run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvm.errors import UsageError
from lvm.models.sampler import Sampler

RECENCY = 0.6
"""Initial weight of a vector of the context, relative to the vector after it."""


class ImpossibleModel(UsageError):
    """Hyperparameters that make no network."""


class Prediction(NamedTuple):
    """Predictions for a batch of windows.

    Attributes:
        vector: (batch, dim) unit vectors, to be decoded.
        query: (batch, dim) unit vectors, to rank chunks by.
    """

    vector: Tensor
    query: Tensor


@dataclass(frozen=True)
class States:
    """What the heads start from, for a batch of windows.

    Attributes:
        state: (batch, hidden) output of ``mix``, after dropout.
        skip: (batch, 2, dim) weighted sums of the window, one for each point head. The sampling head uses the first.
    """

    state: Tensor
    skip: Tensor

    @staticmethod
    def joined(parts: Sequence[States]) -> States:
        """States of all windows of several batches, one after the other."""
        return States(torch.cat([each.state for each in parts]), torch.cat([each.skip for each in parts]))

    def of(self, rows: Tensor) -> States:
        """States of some windows.

        Args:
            rows: their indices, or a mask.
        """
        return States(self.state[rows], self.skip[rows])


class LVM(nn.Module, ABC):
    """Predicts the vector that follows a window of vectors.

    A head is a linear map of the output of ``mix``, plus a linear map of a weighted sum of the window (the skip path).
    The skip path starts as the recency mean, so an untrained model is about as good as that baseline. The output of
    ``mix`` may be narrower than the space, because the skip path carries the full dimension.

    Args:
        dim: dimension of the space.
        context: number of vectors in a window.
        hidden: width of the output of ``mix``.
        dropout: dropout rate on the output of ``mix``.
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
        self.sampler: Sampler | None = None

    def add_sampler(self, width: int, blocks: int, noise: int) -> None:
        """Add a sampling head; see ``lvm.models.sampler``."""
        self.sampler = Sampler(self.vector_head.in_features, self.dim, width, blocks, noise)

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Embed single vectors, independent of their window.

        Args:
            x: (..., dim) unit vectors.

        Returns:
            (..., width) embedded vectors; the architecture chooses the width.
        """

    @abstractmethod
    def mix(self, e: Tensor) -> Tensor:
        """Turn windows of embedded vectors into states.

        Args:
            e: (batch, context, width) from ``embed``.

        Returns:
            (batch, hidden) state after the last vector.
        """

    def forward(self, x: Tensor) -> Prediction:
        """Predict the next vector of every window.

        Args:
            x: (batch, context, dim) unit vectors.
        """
        return self.predict(self.states(x))

    def forward_runs(self, x: Tensor) -> Prediction:
        """Predict for all windows of runs of consecutive vectors.

        Args:
            x: (runs, length, dim) unit vectors. A run holds ``length - context + 1`` windows.

        Returns:
            Predictions of all windows, run by run, in order. They equal those of ``forward``.
        """
        return self.predict(self.states_of_runs(x))

    def states(self, x: Tensor) -> States:
        """States of windows: what all heads start from.

        Args:
            x: (batch, context, dim) unit vectors.
        """
        return States(self.dropout(self.mix(self.embed(x))), torch.einsum("ht,btd->bhd", self.recency, x))

    def states_of_runs(self, x: Tensor) -> States:
        """States of all windows of runs; see ``forward_runs``."""
        windows = x.shape[1] - self.context + 1
        skip = self.recency[:, 0, None, None, None] * x[:, :windows]
        for at in range(1, self.context):
            skip = torch.addcmul(skip, self.recency[:, at, None, None, None], x[:, at : at + windows])
        return States(self.dropout(self.mix_runs(self.embed(x))), skip.flatten(1, 2).transpose(0, 1))

    def mix_runs(self, e: Tensor) -> Tensor:
        """Apply ``mix`` to every window of every run: (runs, length, width) -> (runs * windows, hidden).

        An architecture overrides it if windows can share more work than ``embed``.
        """
        return self.mix(e.unfold(1, self.context, 1).transpose(2, 3).flatten(0, 1))

    def predict(self, states: States) -> Prediction:
        """The two point heads."""
        state, skip = states.state, states.skip
        # In float32, also under autocast: the norm must be 1 within gates.MAX_NORM_ERROR.
        vector = self.vector_head(state).float() + self.vector_skip(skip[:, 0]).float()
        query = self.query_head(state).float() + self.query_skip(skip[:, 1]).float()
        return Prediction(F.normalize(vector, dim=-1), F.normalize(query, dim=-1))

    def draw(self, states: States, noise: Tensor) -> Tensor:
        """Samples of the next vector: (batch, n, dim) unit vectors.

        Args:
            states: states of ``batch`` windows.
            noise: (batch, n, ``sampler.noise``) numbers, uniform in (-1/2, 1/2); smaller ones give likelier samples.
        """
        assert self.sampler is not None, "a point model has no samples"
        return self.sampler(states.state, states.skip[:, 0], noise)  # type: ignore[no-any-return]
