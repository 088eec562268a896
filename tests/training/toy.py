"""A toy corpus whose next vector can be learned, and a command that trains on it (to be killed)."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from lvm.sequences import SequenceSet, extract
from lvm.training import TrainConfig, train
from lvm.training.reading import Reading, read_tokens, write_tokens

DIM, CONTEXT = 12, 3
CONFIG = TrainConfig(
    epochs=5, batch_size=64, negatives=32, patience=5, learning_rate=5e-3, text_weight=0.0, head_epochs=4,
    hyper={"hidden": 16, "dropout": 0.2, "sampler_width": 16, "sampler_blocks": 1, "sampler_noise": 4},
)  # fmt: skip


SMALL_SAMPLER = {"sampler_width": 16, "sampler_blocks": 1, "sampler_noise": 4}
HYPER = {
    "mamba2": {"hidden": 16, "head_width": 8, "state": 4, **SMALL_SAMPLER},
    "transformer": {"hidden": 16, "heads": 2, **SMALL_SAMPLER},
}


def corpus(path: Path, *, seed: int = 0, documents: int = 24, length: int = 40) -> SequenceSet:
    """Documents in which each vector is the last but one, turned, with some noise."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(DIM, DIM)))[0]
    rows = []
    for _ in range(documents):
        walk = list(random.normal(size=(2, DIM)))
        while len(walk) < length:
            step = turn @ walk[-2] + 0.3 * random.normal(size=DIM)
            walk.append(step / np.linalg.norm(step))
        rows += [v / np.linalg.norm(v) for v in walk]
    batch = SimpleNamespace(
        document_ids=np.repeat(np.arange(documents), length),
        chunk_ids=np.arange(len(rows)),
        positions=np.tile(np.arange(length), documents),
        unit=np.array(rows, np.float32),
    )
    about = [SimpleNamespace(id=i, sha256=f"{i:x}" * 8, chunk_count=length) for i in range(documents)]
    return extract(
        path, [batch], about, trained_documents={d.sha256 for d in about[:-3]}, context=CONTEXT, dim=DIM,
        space_name="toy", space="ab" * 32, inverter="1" * 64, corpus_revision="r",
    )  # fmt: skip


class ToyInverter:
    """Reads tokens off turned coordinates, so a vector near the truth is not yet one that says the true text."""

    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)))[0]

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]

    def nats(self, raw: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
        logits = (5 * raw @ self.turn).log_softmax(dim=-1)
        return torch.stack([-logits[row, list(tokens)].sum() for row, tokens in enumerate(ids)])


def texts_of(sequences: SequenceSet) -> list[str]:
    """A text for every row: its largest coordinate, and sometimes the second largest."""
    order = np.argsort(-sequences.unit[:], axis=1)
    return [" ".join(map(str, row[: 1 + number % 2])) for number, row in enumerate(order)]


def reading(sequences: SequenceSet, path: Path) -> Reading:
    """The texts of a corpus, written and read."""
    write_tokens(path, ToyInverter(), [texts_of(sequences)], sequences.sha256)  # type: ignore[arg-type]
    found = read_tokens(path, ToyInverter(), 1.0, sequences.sha256)  # type: ignore[arg-type]
    assert found is not None
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    for key in left:
        assert torch.equal(left[key], right[key]), key


if __name__ == "__main__":  # toy.py SEQUENCES FOLDER MODEL: trains slowly enough to be interrupted
    from lvm.sequences import load

    def told(report: object) -> None:
        print(report, flush=True)
        time.sleep(0.3)

    train(sys.argv[3], load(Path(sys.argv[1])), CONFIG, Path(sys.argv[2]), on_epoch=told)
