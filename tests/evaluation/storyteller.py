"""A model that knows a story: it predicts the sentence after the last one it was given."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lvm.arrays import FloatArray
from lvm.training import NoSamples


@dataclass
class Storyteller:
    """``unit`` are the vectors of the story's sentences; after the last one comes the first again.

    Its samples are the next sentences: one step on, two steps on, and so on. It ranks the sentence ``favourite`` steps
    on highest.
    """

    unit: FloatArray
    space: str
    context: int = 3
    samples: bool = False
    favourite: int = 1
    name: str = "storyteller"
    space_name: str = "fake"
    calls: list[tuple[int, int]] = field(default_factory=list)  # contexts and samples of every call

    def predict(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self._after(contexts, 1), self._after(contexts, self.favourite)

    def sample(self, contexts: FloatArray, count: int, *, temperature: float = 1.0, seed: int = 0) -> FloatArray:
        if not self.samples:
            raise NoSamples("one vector")
        self.calls.append((len(contexts), count))
        return np.stack([self._after(contexts, 1 + i) for i in range(count)], axis=1)

    def _after(self, contexts: FloatArray, steps: int) -> FloatArray:
        last = (contexts[:, -1] @ self.unit.T).argmax(axis=1)
        return self.unit[(last + steps) % len(self.unit)]
