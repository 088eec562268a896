"""Training as a stage: what models that train at the same time share."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm
from lvm.pipeline import train
from lvm.settings import Settings
from lvm.store import Store
from tests.pipeline.small import small_corpus


def test_models_that_train_at_the_same_time_share_one_file_of_tokens(
    settings: Settings, database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = list[Path](), train.write_tokens

    def slowly(path: Path, *rest: Any) -> None:
        written.append(path)
        time.sleep(1)  # the other one asks for the file meanwhile
        write(path, *rest)

    monkeypatch.setattr("lvm.pipeline.train.write_tokens", slowly)
    with lvm.open_workspace() as work, ThreadPoolExecutor(2) as threads:
        sequences = small_corpus(work, tmp_path / "texts")
        first, second = threads.map(lambda _: train._reading(work, sequences), range(2))
    assert len(written) == 1
    assert len(first.ends) == len(sequences.unit) + 1
    np.testing.assert_array_equal(first.ids, second.ids)
