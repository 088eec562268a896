"""Past one machine: a Ray cluster of two workers does what one process does, and survives the loss of a worker."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytest.importorskip("prefect_ray")

import ray
import torch

from lvm.training import TrainConfig, load_model, train, train_on_ray
from lvm.training.parallel import Replica
from tests.flows.conftest import Peace
from tests.flows.crashes import Process, differences, outcome, world
from tests.training import toy

TWO_WORKERS = {"LVM_RUNNER": "ray", "LVM_WORKERS": "2", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def at_work(process: Process, task: str) -> list[psutil.Process]:
    """Ray's worker processes that run this task now."""
    found = []
    for each in psutil.Process(process.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if f"ray::{task}" in " ".join(each.cmdline()):
                found.append(each)
    return found


def test_two_workers_leave_what_one_process_leaves_though_one_is_killed(peace: Peace) -> None:
    with world(peace.home, "two_workers", peace.corpus) as made:
        made.more.update(TWO_WORKERS)
        process = Process(made)
        assert process.reach("validate"), process.errors
        killed = 0
        until = time.monotonic() + 60
        while not killed and time.monotonic() < until and process.process.poll() is None:
            for worker in at_work(process, "decode")[:1]:
                worker.kill()
                killed += 1
            time.sleep(0.05)
        assert process.end() == 0, process.errors
        assert killed == 1
        assert differences(peace.expected, outcome(made)) == []


@pytest.fixture
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_replicas_train_one_model(tmp_path: Path) -> None:
    sequences = toy.corpus(tmp_path / "toy.safetensors")
    config = TrainConfig(**{**toy.CONFIG.as_dict(), "replicas": 2})
    handler = signal.getsignal(signal.SIGINT)
    train_on_ray("gru", sequences.path, config, tmp_path / "gru", tmp_path / "ray")
    assert signal.getsignal(signal.SIGINT) is handler
    result = train("gru", sequences, config, tmp_path / "gru")  # it is finished, so one process may tell
    assert len(result.history) == config.epochs and result.config["replicas"] == 2
    losses = [report.loss for report in result.history]
    assert losses == sorted(losses, reverse=True) and result.best.epoch > 1, "it learns"
    assert load_model(tmp_path / "gru").sha256 == result.sha256


def test_ctrl_c_is_a_keyboard_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train takes SIGINT for its own handler, which exits the process with code 0 or 1."""

    def fit(_: object) -> None:
        signal.signal(signal.SIGINT, lambda *_: sys.exit(1))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("ray.train.torch.TorchTrainer.fit", fit)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_on_ray("gru", tmp_path / "none", toy.CONFIG, tmp_path / "gru", tmp_path / "ray")
    assert signal.getsignal(signal.SIGINT) is handler


def test_shares_of_all_replicas_are_the_whole() -> None:
    items = torch.arange(11).numpy()
    shares = [Replica(rank, 3).share(items).tolist() for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items.tolist()
