"""Claim: training passes over windows at least as fast as the plain loop in the same number type, for every model.

The peer is what one writes first: all windows built beforehand, a ``DataLoader`` (``num_workers=0``, its default) over
them, the same model called window by window under the same autocast, the same loss against the same number of
negatives, the same optimizer. So the claim does not depend on what the CPU multiplies fast. Both sides train on the
same windows with the same batch size, in turns, and each is counted by its fastest pass. Prints windows a second and
their ratio.

    python -m benchmarks.training [--documents 40] [--runs 3]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.common import compare, options
from lvm.devices import autocast
from lvm.models import MODELS, build
from lvm.sequences import SequenceSet, extract
from lvm.training import TrainConfig
from lvm.training.data import TrainingData
from lvm.training.losses import window_loss
from lvm.training.optimizer import groups_of, optimizer_of
from lvm.training.trainer import train_epoch

DIM, CONTEXT, LENGTH = 384, 5, 450


def corpus(folder: Path, documents: int) -> SequenceSet:
    """Random unit vectors: speed does not depend on what they mean."""
    unit = np.random.default_rng(0).normal(size=(documents * LENGTH, DIM)).astype(np.float32)
    batch = SimpleNamespace(
        document_ids=np.repeat(np.arange(documents), LENGTH),
        chunk_ids=np.arange(len(unit)),
        positions=np.tile(np.arange(LENGTH), documents),
        unit=unit / np.linalg.norm(unit, axis=1, keepdims=True),
    )
    about = [SimpleNamespace(id=i, sha256=f"{i:064x}", chunk_count=LENGTH) for i in range(documents)]
    return extract(
        folder / "s.safetensors", [batch], about, trained_documents=(), context=CONTEXT, dim=DIM,
        space_name="random", space="0" * 64, inverter="", corpus_revision="",
    )  # fmt: skip


def plain_pass(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    data: DataLoader,
    config: TrainConfig,
    pool: torch.Tensor,
) -> None:
    """An epoch of the loop one writes first."""
    for contexts, targets in data:
        drawn = pool[torch.randint(len(pool), (config.negatives,))]
        allowed = torch.ones(len(targets), len(targets) + len(drawn), dtype=torch.bool)
        with autocast(torch.device("cpu")):
            prediction = model(contexts)
        loss = window_loss(config, prediction, targets, drawn, allowed)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()


def main() -> int:
    asked = options(__doc__, documents=40, runs=3)
    config = TrainConfig()
    with tempfile.TemporaryDirectory() as folder:
        sequences = corpus(Path(folder), asked.documents)
        starts = sequences.starts["train"]
        data = TrainingData.on(sequences, torch.device("cpu"))
        windows = TensorDataset(
            torch.from_numpy(sequences.contexts(starts)), torch.from_numpy(sequences.targets(starts))
        )
        loader = DataLoader(windows, batch_size=config.batch_size, shuffle=True)
        pool = data.unit[data.rows]
        held = True
        for name in MODELS:
            torch.manual_seed(0)
            ours, plain = build(name, DIM, CONTEXT), build(name, DIM, CONTEXT)
            ours_optimizer, plain_optimizer = (optimizer_of(groups_of(each, config), config) for each in (ours, plain))
            mine, theirs = [], []
            for turn in range(asked.runs):
                began = time.perf_counter()
                train_epoch(ours, ours_optimizer, data, config, turn)
                middle = time.perf_counter()
                plain_pass(plain, plain_optimizer, loader, config, pool)
                mine.append(middle - began)
                theirs.append(time.perf_counter() - middle)
            print(name)
            held &= compare("windows", len(starts), mine, "plain loop", theirs, 1)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
