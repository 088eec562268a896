"""Training: it learns, it is the same however often it dies, and what it leaves on disk is whole."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm.devices import NoDevice
from lvm.errors import LvmError, UsageError
from lvm.evaluation.baselines import baselines
from lvm.evaluation.retrieval import EmptySplit, evaluate
from lvm.files import CannotWrite, CorruptedFile, file_sha256
from lvm.gates import MAX_NORM_ERROR
from lvm.models import MODELS, UnknownModel
from lvm.sequences import SequenceSet
from lvm.training import LOSSES, BadConfig, TrainConfig, checkpoints, load_model, train
from lvm.training.data import runs_of
from tests.training.toy import (
    CONFIG,
    CONTEXT,
    HYPER,
    SMALL_SAMPLER,
    assert_same,
    corpus,
    reading,
)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_what_no_baseline_knows(name: str, toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=12, hyper=HYPER.get(name, {"hidden": 24, **SMALL_SAMPLER}))
    told = []
    result = train(name, toy, config, tmp_path, on_epoch=told.append)
    model = load_model(tmp_path)
    measured = evaluate(toy, model.predict)
    rivals = {rival: evaluate(toy, predictor) for rival, predictor in baselines(toy).items()}
    plain = [rivals[n] for n in ("copy_last", "context_mean", "recency_mean")]
    assert measured.mrr > 1.3 * max(r.mrr for r in plain)
    assert measured.cosine > 0.2 + max(r.cosine for r in plain)
    assert measured.norm_error <= MAX_NORM_ERROR
    assert told == result.history
    assert [r.epoch for r in told] == list(range(1, len(told) + 1))
    assert result.best.mrr == max(r.mrr for r in told)
    assert (model.name, model.loss, model.space, model.context) == (name, "mix", "ab" * 32, CONTEXT)
    assert model.sha256 == result.sha256
    assert result.parameters == sum(p.numel() for p in model.model.parameters())
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors", "last.safetensors", "config.json"}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_decides_which_head_speaks(loss: str, toy: SequenceSet, tmp_path: Path) -> None:
    texts = reading(toy, tmp_path / "tokens")
    train("gru", toy, replace(CONFIG, loss=loss, epochs=1), tmp_path, reading=texts)
    vector, query = load_model(tmp_path).predict(toy.contexts(toy.starts["test"]))
    assert np.array_equal(vector, query) == (loss != "mix")


def test_of_a_longer_context_a_model_sees_the_last_vectors(toy: SequenceSet, undisturbed: Path) -> None:
    model = load_model(undisturbed)
    context = toy.contexts(toy.starts["test"])
    longer = np.concatenate([context[:, ::-1], context], axis=1)
    for own, other in zip(model.predict(context), model.predict(longer), strict=True):
        np.testing.assert_array_equal(own, other)
    np.testing.assert_array_equal(model.sample(context, 2), model.sample(longer, 2))


def test_the_kept_model_is_the_best_epoch(toy: SequenceSet, undisturbed: Path) -> None:
    result = train("gru", toy, CONFIG, undisturbed)
    measured = evaluate(toy, load_model(undisturbed).predict, "validation")
    assert measured.mrr == pytest.approx(result.best.mrr)
    assert measured.cosine == pytest.approx(result.best.cosine)


def test_it_stops_when_retrieval_stops_getting_better(toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=40, patience=2, learning_rate=0.05)
    result = train("gru", toy, config, tmp_path)
    assert len(result.history) < 40
    assert len(result.history) - result.best.epoch == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("after", [1, 3])
def test_killed_and_run_again_it_ends_the_same(
    how: signal.Signals, after: int, toy: SequenceSet, undisturbed: Path, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("toy.py")
    command = [sys.executable, str(script), str(toy.path), str(tmp_path), "gru"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        # a shell starts its background jobs with Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for _ in range(after):
        assert "EpochReport" in process.stdout.readline()
    process.send_signal(how)
    assert process.wait(timeout=60) != 0
    process.stdout.close()
    result = train("gru", toy, CONFIG, tmp_path)
    assert result.note == f"resumed after epoch {after}"
    assert len(result.history) == CONFIG.epochs
    assert_same(undisturbed, tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_an_interruption_between_two_files_changes_nothing(
    name: str, toy: SequenceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the best weights are of the new epoch, the state to go on from is of the one before."""
    config = replace(CONFIG, epochs=3, hyper=HYPER.get(name, CONFIG.hyper))
    train(name, toy, config, tmp_path / "whole")
    original, calls = checkpoints.write, []

    def dying(path: Path, *rest: object) -> str:
        calls.append(path.name)
        if path.name == "last.safetensors" and calls.count(path.name) == 2:
            raise KeyboardInterrupt
        return original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoints, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        train(name, toy, config, tmp_path / "cut")
    monkeypatch.undo()
    again = train(name, toy, config, tmp_path / "cut")
    assert again.note == "resumed after epoch 1"
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_models_trained_at_the_same_time_are_those_trained_in_turn(toy: SequenceSet, tmp_path: Path) -> None:
    """Torch's random numbers belong to the process: threads took them from each other (LVM_WORKERS=2)."""

    def digest(name: str, folder: str) -> str:
        return train(name, toy, CONFIG, tmp_path / folder / name).sha256

    names = ["gru", "lstm"]
    in_turn = [digest(name, "in turn") for name in names]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(digest, names, ["at once"] * 2)) == in_turn


def test_a_finished_run_is_not_done_again(toy: SequenceSet, undisturbed: Path) -> None:
    before = (undisturbed / "model.safetensors").stat().st_mtime_ns
    told = []
    result = train("gru", toy, CONFIG, undisturbed, on_epoch=told.append)
    assert result.note == f"resumed after epoch {CONFIG.epochs}"
    assert len(told) == CONFIG.epochs
    assert (undisturbed / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["seed", "hyper", "loss", "sequences", "model"])
def test_another_configuration_starts_anew(change: str, toy: SequenceSet, tmp_path: Path) -> None:
    base = replace(CONFIG, epochs=1)
    train("gru", toy, base, tmp_path)
    other = {
        "seed": replace(base, seed=1),
        "hyper": replace(base, hyper={**base.hyper, "hidden": 8}),
        "loss": replace(base, loss="cosine"),
    }.get(change, base)
    data = corpus(tmp_path / "other.safetensors", seed=1) if change == "sequences" else toy
    result = train("lstm" if change == "model" else "gru", data, other, tmp_path)
    assert result.note.startswith("anew: the earlier run there had another configuration")
    assert load_model(tmp_path).config == result.config


def test_the_device_does_not_make_another_run(toy: SequenceSet, tmp_path: Path) -> None:
    train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    assert "resumed" in train("gru", toy, replace(CONFIG, epochs=1, device="cpu:0"), tmp_path).note


@pytest.mark.parametrize("file", ["last.safetensors", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_checkpoint_is_named(file: str, damage: str, toy: SequenceSet, tmp_path: Path) -> None:
    train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    raw = bytearray((tmp_path / file).read_bytes())
    if damage == "flipped":
        raw[-5] ^= 1
    (tmp_path / file).write_bytes({"cut": raw[:-9], "flipped": raw, "emptied": b""}[damage])
    with pytest.raises(CorruptedFile, match=f"{file} cannot be used.*delete it") as caught:
        train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    assert caught.value.exit_code == 1
    if file == "model.safetensors":
        with pytest.raises(CorruptedFile):
            load_model(tmp_path)


@pytest.mark.parametrize("damaged", [True, False])
def test_weights_that_are_deleted_are_trained_again(
    damaged: bool, toy: SequenceSet, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path / "gru")
    model = tmp_path / "gru" / "model.safetensors"
    before = file_sha256(model)
    if damaged:
        model.write_bytes(model.read_bytes()[:1000])
        with pytest.raises(CorruptedFile, match="delete it and run the command that writes it again"):
            train("gru", toy, CONFIG, tmp_path / "gru")
    model.unlink()
    result = train("gru", toy, CONFIG, tmp_path / "gru")
    assert result.note == "anew: model.safetensors of the earlier run is gone"
    assert result.sha256 == before == file_sha256(model)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(CorruptedFile, match="No such file"):
        load_model(tmp_path)


def test_a_full_disk_keeps_what_was_there(
    toy: SequenceSet, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotWrite, match=r"No space left on device.*intact"):
        train("gru", toy, CONFIG, tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"
    checkpoints.read(tmp_path / checkpoints.BEST)
    result = train("gru", toy, CONFIG, tmp_path)
    assert result.note.startswith("resumed")
    assert_same(undisturbed, tmp_path)


@pytest.mark.parametrize("loss", ["cosine", "infonce"])
def test_a_run_resumes_though_a_head_has_no_gradient(loss: str, toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, loss=loss, epochs=2)  # type: ignore[arg-type]

    def stop(report: object) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train("gru", toy, config, tmp_path, on_epoch=stop)
    assert train("gru", toy, config, tmp_path).note == "resumed after epoch 1"


def test_a_diverging_run_is_an_error_and_keeps_its_state(toy: SequenceSet, tmp_path: Path) -> None:
    with pytest.raises(LvmError, match="lower"):
        train("gru", toy, replace(CONFIG, learning_rate=1e38, clip=1e30), tmp_path)


def test_the_callers_random_state_is_left_alone(toy: SequenceSet, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"loss": "mse"},
        {"temperature": 0.0},
        {"learning_rate": -1.0},
        {"negatives": -1},
        {"head": "mean"},
        {"text_share": 0.0},
        {"energy_samples": 1},
        {"text_weight": -0.5},
        {"head_epochs": 0},
    ],
)
def test_options_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(BadConfig, match=next(iter(wrong))) as caught:
        TrainConfig(**wrong)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


def test_unknown_model_and_device(toy: SequenceSet, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="choose one of lstm"):
        train("rnn", toy, CONFIG, tmp_path / "x")
    for device in ("cuda:9", "abacus"):
        with pytest.raises(NoDevice, match="cpu") as caught:
            train("gru", toy, replace(CONFIG, device=device), tmp_path / "x")
        assert isinstance(caught.value, UsageError)
    assert not (tmp_path / "x").exists()


def test_no_validation_window(toy: SequenceSet, tmp_path: Path) -> None:
    empty = replace(toy, starts={**toy.starts, "validation": np.empty(0, np.int64)})
    with pytest.raises(EmptySplit):
        train("gru", empty, CONFIG, tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    gap=st.integers(2, 6),
    length=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_runs_hold_every_window_once(counts: list[int], gap: int, length: int, seed: int) -> None:
    starts, at = [], 3
    for count in counts:
        starts += list(range(at, at + count))
        at += count + gap - 1
    array = np.array(starts, dtype=np.int64)
    begins, sizes = runs_of(array, length, np.random.default_rng(seed))
    covered = np.concatenate([np.arange(b, b + n) for b, n in zip(begins, sizes, strict=True)])
    np.testing.assert_array_equal(covered, array)  # of one document each: else a row between two would be in
    assert sizes.max() <= length
    assert sizes.min() >= 1
