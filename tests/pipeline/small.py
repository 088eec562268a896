"""Pipelines in seconds: little text, few windows, samples, candidates and steps. Everything else is the real thing."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest

import lvm
from lvm.arrays import FloatArray
from lvm.pipeline.workspace import Workspace
from lvm.sequences import SequenceSet
from lvm.training import TrainedModel
from tests.flows.corpora import write_unseen
from tests.store.toy import set_gate_size

SIZES = {
    "lvm.pipeline.figures.NLL_WINDOWS": 6,
    "lvm.pipeline.evaluate.SAMPLE_WINDOWS": 3,
    "lvm.pipeline.figures.SAMPLED_WINDOWS": 2,
    "lvm.pipeline.figures.SAMPLES": 2,
    "lvm.pipeline.figures.CONSTANT_TEXTS": 48,
    "lvm.pipeline.figures.ROLLOUTS": 1,
    "lvm.pipeline.figures.ROLLOUT_SAMPLES": 1,
    "lvm.pipeline.figures.STEPS": 2,
    "lvm.evaluation.nll.CONSTANT_STEPS": 2,
    "lvm.inversion.inverter.PrefixInverter.candidates": 4,
}

CODE = "from pkgutil import resolve_name\n" + "".join(
    f"setattr(resolve_name({name.rpartition('.')[0]!r}), {name.rpartition('.')[2]!r}, {value})\n"
    for name, value in SIZES.items()
)
"""The same as lines of Python, for scripts and notebooks."""


def shrink(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Set the sizes; for good without ``monkeypatch``."""
    for name, value in SIZES.items():
        if monkeypatch is not None:
            monkeypatch.setattr(name, value)
        else:
            owner, _, constant = name.rpartition(".")
            setattr(resolve_name(owner), constant, value)


def small_corpus(work: Workspace, folder: Path) -> SequenceSet:
    """Write six beginnings of held-out speeches to a folder, ingest, validate and extract them.

    Args:
        work: an empty database, and the space.
        folder: the folder to make.

    Returns:
        Windows of three vectors.
    """
    set_gate_size(work.store, 30)
    lvm.ingest(work, str(write_unseen(folder, documents=6, characters=2000)))
    lvm.validate(work)
    return lvm.extract(work, context=3)


@pytest.fixture
def sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model samples: its prediction, and noise."""

    def sample(
        model: TrainedModel, contexts: FloatArray, count: int, *, temperature: float = 1.0, seed: int = 0
    ) -> FloatArray:
        noise = np.random.default_rng(seed).normal(size=(len(contexts), count, contexts.shape[2]))
        raw = model.predict(contexts)[0][:, None] + temperature * 0.1 * noise
        return (raw / np.linalg.norm(raw, axis=2, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(TrainedModel, "samples", property(lambda _: True))
    monkeypatch.setattr(TrainedModel, "sample", sample)
