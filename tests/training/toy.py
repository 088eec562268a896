"""A toy corpus whose next vector can be learned, and a command that trains on it (to be killed)."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from lvm.sequences import SequenceSet, extract
from lvm.training import TrainConfig, train

DIM, CONTEXT = 12, 3
CONFIG = TrainConfig(
    epochs=5, batch_size=64, negatives=32, patience=5, learning_rate=5e-3, hyper={"hidden": 16, "dropout": 0.2}
)


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


if __name__ == "__main__":  # toy.py SEQUENCES FOLDER MODEL: trains slowly enough to be interrupted
    from lvm.sequences import load

    def told(report: object) -> None:
        print(report, flush=True)
        time.sleep(0.3)

    train(sys.argv[3], load(Path(sys.argv[1])), CONFIG, Path(sys.argv[2]), on_epoch=told)
