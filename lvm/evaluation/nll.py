"""Text NLL: what a prediction is worth as text.

Contract: nats per token of the true next chunk under the frozen inverter, given a predicted vector. The floor that any
prediction must beat is the best constant vector, fitted on training texts; the ceiling is the true vector. For vec2text
the hypothesizer is the inverter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lvm.arrays import FloatArray, IntArray
from lvm.evaluation.intervals import interval
from lvm.spaces import Space, Vectors

CONSTANT_STEPS, CONSTANT_BATCH = 100, 16
"""Steps and texts per step to fit the best constant vector."""

BEST_CONSTANT = "best_constant"
"""Name of the best constant vector among text NLLs."""

_RATE = 0.005  # learning rate of Adam for a vector of norm 1


@dataclass(frozen=True)
class TextNll:
    """Text NLL of a predictor.

    Attributes:
        nll: nats per token of all texts together.
        interval: 95 % interval of ``nll``, by bootstrap over documents.
        n: number of windows.
    """

    nll: float
    interval: tuple[float, float]
    n: int


def text_nll(
    space: Space,
    texts: Sequence[str],
    vectors: Vectors,
    documents: Sequence[object] | IntArray | None = None,
    seed: int = 0,
) -> TextNll:
    """Text NLL of true next chunks given predictions.

    Args:
        space: its inverter reads.
        texts: n true next chunks, at least one.
        vectors: n predicted vectors of the space.
        documents: the documents of the n chunks; see ``interval``.
        seed: seed of the bootstrap.

    Raises:
        SpaceMismatch: if the vectors are of another space.
    """
    score = space.score(texts, vectors)
    return TextNll(score.nll, interval(score.nats, documents, score.tokens, seed=seed), len(texts))


def best_constant(space: Space, texts: Sequence[str], mean: FloatArray, seed: int = 0) -> Vectors:
    """The one vector under which texts are most likely: the floor of text NLL.

    Args:
        space: its inverter reads.
        texts: texts to fit on, of training documents, at least one.
        mean: (dim,) mean vector of the corpus, to start from.
        seed: seed of the order of texts.

    Returns:
        One vector of the space.
    """
    inverter, norm, random = space.inverter, space.median_norm, np.random.default_rng(seed)
    ids = sorted(inverter.token_ids(texts), key=len)
    blocks = [ids[at : at + CONSTANT_BATCH] for at in range(0, len(ids), CONSTANT_BATCH)]
    vector = torch.tensor(mean / np.linalg.norm(mean), dtype=torch.float32, requires_grad=True)
    optimizer, late = torch.optim.Adam([vector], lr=_RATE), torch.zeros(len(mean))
    for step in range(CONSTANT_STEPS):
        block = blocks[int(random.integers(len(blocks)))]
        unit = F.normalize(vector, dim=0).expand(len(block), -1)
        loss = inverter.nats(unit * norm, block).sum() / sum(map(len, block))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if 2 * step >= CONSTANT_STEPS:  # the mean of the second half is nearer to the best one than its last vector
            late += F.normalize(vector.detach(), dim=0)
    return Vectors.from_raw(space.fingerprint, late[None].numpy())
