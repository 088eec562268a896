"""Evaluation in seconds: fewer windows, samples and steps. Everything else is the real thing."""

from __future__ import annotations

from importlib import import_module

import pytest

SIZES = {
    "lvm.pipeline.figures.NLL_WINDOWS": 6,
    "lvm.pipeline.evaluate.SAMPLE_WINDOWS": 3,
    "lvm.pipeline.figures.SAMPLED_WINDOWS": 2,
    "lvm.pipeline.figures.SAMPLES": 2,
    "lvm.pipeline.figures.CONSTANT_TEXTS": 48,
    "lvm.pipeline.figures.ROLLOUTS": 1,
    "lvm.pipeline.figures.ROLLOUT_SAMPLES": 1,
    "lvm.evaluation.nll.CONSTANT_STEPS": 2,
}

CODE = "\n".join(f"import {name.rpartition('.')[0]}\n{name} = {value}" for name, value in SIZES.items()) + "\n"
"""The same as lines of Python, for scripts and notebooks."""


def shrink(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Set the sizes; for good without ``monkeypatch``."""
    for name, value in SIZES.items():
        if monkeypatch is not None:
            monkeypatch.setattr(name, value)
        else:
            module, _, constant = name.rpartition(".")
            setattr(import_module(module), constant, value)
