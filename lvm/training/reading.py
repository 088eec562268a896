"""The text loss: cross-entropy of the next chunk's text through the frozen inverter, given a predicted vector.

Contract: gradients reach the prediction, not the inverter. Texts are token ids of the inverter, one entry for every row
of the sequence set, in one file, so that replicas on other machines read the same.

Source: Dragunov et al., 2025, "SONAR-LLM", arXiv 2508.05305.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvm import fitting
from lvm.arrays import IntArray
from lvm.files import CorruptedFile
from lvm.inversion.protocol import Inverter

FORMAT = "lvm-tokens-1"


@dataclass(frozen=True)
class Reading:
    """A frozen inverter, and the texts of a sequence set in its tokens.

    Attributes:
        inverter: the inverter.
        norm: norm at which it expects vectors.
        ids: (tokens,) token ids of all texts, one after the other.
        ends: (N + 1,) where the texts begin and end: text i is ``ids[ends[i]:ends[i + 1]]``.
    """

    inverter: Inverter
    norm: float
    ids: npt.NDArray[np.int32]
    ends: IntArray

    def lengths(self, rows: IntArray) -> IntArray:
        """Tokens of texts: (n,) int64.

        Args:
            rows: (n,) rows of the sequence set.
        """
        return self.ends[rows + 1] - self.ends[rows]

    def loss(self, vectors: Tensor, rows: IntArray) -> Tensor:
        """Mean cross-entropy in nats per token of all texts, a scalar tensor.

        Args:
            vectors: (n, dim) predicted unit vectors.
            rows: (n,) rows of the true next chunks.
        """
        ids = [self.ids[self.ends[row] : self.ends[row + 1]].tolist() for row in rows]
        return self.inverter.nats(vectors * self.norm, ids).sum() / sum(map(len, ids))

    def choose(self, rows: IntArray, share: float) -> Tensor:
        """Choose windows whose next chunks have similar lengths, so that little is padded. Torch's generator decides.

        Args:
            rows: (n,) rows of the next chunks.
            share: share of the windows.

        Returns:
            Indices into ``rows``, int64. Every window is chosen with the same probability, up to rounding.
        """
        count = max(1, round(share * len(rows)))
        order = torch.randperm(len(rows))
        order = order[torch.from_numpy(self.lengths(rows[order.numpy()])).argsort(stable=True)]
        blocks = torch.split(order, count)
        return blocks[int(torch.randint(len(blocks), ()))]


def write_tokens(path: Path, inverter: Inverter, texts: Iterable[Sequence[str]], identity: str) -> None:
    """Write the texts of a sequence set as token ids.

    Args:
        path: the file. An existing file is replaced.
        inverter: its vocabulary is used.
        texts: texts of all rows, in batches.
        identity: of sequence set and inverter; ``read`` compares it.

    Raises:
        CannotWrite: if the disk is full.
    """
    parts, lengths = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
    for batch in texts:
        ids = inverter.token_ids(batch)
        parts.append(np.fromiter((token for each in ids for token in each), np.int32))
        lengths.append(np.array([len(each) for each in ids], np.int64))
    tensors = {
        "ids": torch.from_numpy(np.concatenate(parts)),
        "ends": torch.from_numpy(np.concatenate(lengths).cumsum()),
    }
    fitting.write(path, tensors, {"identity": identity}, FORMAT)


def read_tokens(path: Path, inverter: Inverter, norm: float, identity: str) -> Reading | None:
    """Read the file of ``write_tokens``.

    Args:
        path: the file.
        inverter: the inverter.
        norm: norm at which it expects vectors.
        identity: see ``write_tokens``.

    Returns:
        None if the file is missing, damaged, or of another sequence set or inverter; then write it again.
    """
    try:
        tensors, metadata = fitting.read(path, FORMAT)
    except CorruptedFile:
        return None
    if metadata.get("identity") != identity or set(tensors) != {"ids", "ends"}:
        return None
    return Reading(inverter, norm, tensors["ids"].numpy(), tensors["ends"].numpy())
