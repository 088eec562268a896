"""A toy corpus, and a model that was trained on it without an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvm.sequences import SequenceSet
from lvm.training import train
from tests.training.toy import CONFIG, corpus


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SequenceSet:
    return corpus(tmp_path_factory.mktemp("toy") / "s.safetensors")


@pytest.fixture(scope="session")
def undisturbed(toy: SequenceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train("gru", toy, CONFIG, folder)
    return folder
