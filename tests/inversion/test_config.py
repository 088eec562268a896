"""An inverter is trained with possible hyperparameters, or nothing starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lvm.inversion.config import InverterTraining
from lvm.options import BadConfig
from lvm.pipeline.inverter import make_inverter
from lvm.settings import Settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0.0},
        {"tokens_per_batch": 0},
        {"learning_rate": -1.0},
        {"warmup": -1},
        {"weight_decay": -0.1},
        {"vocabulary": 0},
        {"noise": 1.0},
        {"noise": -0.1},
        {"splices": -1.0},
        {"dropout": 1.0},
        {"seed": -1},
        {"epochs": float("nan")},
        {"learning_rate": float("inf")},
        {"warmup": 1.5},
        {"noise": "0.3"},
    ],
    ids=str,
)
def test_impossible_hyperparameters(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(BadConfig, match=f"^{name} is "):
        InverterTraining(**wrong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rat": 1.0}, "did you mean learning_rate"),
        ({"noise": 1.0}, "noise is 1.0"),
        ({"warmup": 0.5}, "a whole number"),
        ({"vocabulary": 5000}, "keeps its vocabulary"),
    ],
    ids=str,
)
def test_they_are_checked_before_anything_is_read(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=said):
        make_inverter(str(tmp_path / "missing"), 1.0, tmp_path / "made", Settings(home=tmp_path), kind="finetuned",
                      options=options)  # fmt: skip
    assert not list(tmp_path.iterdir())
