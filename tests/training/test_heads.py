"""The second part of a training: heads on the frozen rest, the same however often it dies."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lvm import fitting
from lvm.evaluation.samples import sample_figures
from lvm.files import CorruptedFile
from lvm.gates import MAX_NORM_ERROR
from lvm.models import MODELS, UnknownModel
from lvm.sequences import SequenceSet
from lvm.training import NoSamples, checkpoints, load_model, train
from tests.training.toy import (
    CONFIG,
    DIM,
    HYPER,
    assert_same,
    reading,
)


@pytest.mark.parametrize("name", MODELS)
def test_a_sampling_head_learns_the_distribution(name: str, toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=12, patience=12, head_epochs=12, hyper={**CONFIG.hyper, **HYPER.get(name, {})})
    train(name, toy, config, tmp_path)
    model = load_model(tmp_path)
    contexts, targets = toy.contexts(toy.starts["test"]), toy.targets(toy.starts["test"])
    drawn = model.sample(contexts, 8, seed=3)
    assert drawn.shape == (len(contexts), 8, DIM) and model.samples
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 1.0, atol=MAX_NORM_ERROR)
    np.testing.assert_array_equal(drawn, model.sample(contexts, 8, seed=3))
    assert not np.array_equal(drawn, model.sample(contexts, 8, seed=4))
    sampled, point = sample_figures(drawn, targets), sample_figures(model.predict(contexts)[0][:, None], targets)
    assert sampled.energy_score < point.energy_score - 0.1
    assert sampled.within is not None and sampled.within < 0.995
    still = model.sample(contexts, 8, temperature=0.0)
    np.testing.assert_allclose(still, still[:, :1].repeat(8, axis=1), atol=1e-6)


def test_the_second_part_changes_samples_and_no_prediction(toy: SequenceSet, tmp_path: Path) -> None:
    contexts, targets = toy.contexts(toy.starts["test"]), toy.targets(toy.starts["test"])
    found, told = {}, []
    for epochs in (1, 12):
        folder = tmp_path / str(epochs)
        config = replace(CONFIG, head_epochs=epochs)
        result = train("gru", toy, config, folder, on_head_epoch=lambda: told.append(1))
        model = load_model(folder)
        assert model.sha256 == result.sha256
        found[epochs] = (*model.predict(contexts), sample_figures(model.sample(contexts, 8), targets).energy_score)
        assert {p.name for p in folder.iterdir()} == {"model.safetensors", "last.safetensors", "config.json"}
    assert len(told) == 13
    for part in range(2):
        np.testing.assert_array_equal(found[1][part], found[12][part])
    assert found[12][2] < found[1][2] - 0.01
    again = train("gru", toy, replace(CONFIG, head_epochs=12), tmp_path / "12", on_head_epoch=lambda: told.append(1))
    assert again.seconds == result.seconds > sum(report.seconds for report in result.history)
    assert again.sha256 == result.sha256 and len(told) == 25, "a finished run tells its epochs, and is not done again"


def test_text_after_the_best_epoch_changes_no_ranking(toy: SequenceSet, tmp_path: Path) -> None:
    contexts, texts = toy.contexts(toy.starts["test"]), reading(toy, tmp_path / "tokens")
    found = {}
    for weight in (0.0, 4.0):
        folder = tmp_path / str(weight)
        train(
            "gru", toy, replace(CONFIG, head="point", text_weight=weight, hyper={"hidden": 16}), folder, reading=texts
        )
        found[weight] = load_model(folder).predict(contexts)
    np.testing.assert_array_equal(found[0.0][1], found[4.0][1])
    assert not np.array_equal(found[0.0][0], found[4.0][0])


@pytest.mark.parametrize("death", ["heads", "before the model", "after the model", "after the state"])
def test_killed_in_the_second_part_and_run_again_it_ends_the_same(
    death: str, toy: SequenceSet, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written, unlink = checkpoints.write, [], Path.unlink

    def dying(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
        written.append(path.name)
        if death == "before the model" and path.name == "model.safetensors":
            raise KeyboardInterrupt
        if death == "after the model" and "model.safetensors" in written and path.name == "last.safetensors":
            raise KeyboardInterrupt
        digest = real(path, tensors, metadata)
        if death == "heads" and written.count("heads.safetensors") == 3:
            raise KeyboardInterrupt
        return digest

    def dead(path: Path, missing_ok: bool = False) -> None:
        if path.name == "best.safetensors":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "write", dying)
        if death == "after the state":
            patch.setattr(Path, "unlink", dead)
        train("gru", toy, CONFIG, tmp_path)
    told = []
    train("gru", toy, CONFIG, tmp_path, on_epoch=told.append)
    assert len(told) == CONFIG.epochs
    assert_same(tmp_path, undisturbed)


def test_best_weights_that_another_program_changed_are_named(toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    with pytest.raises(RuntimeError, match="stopped"):
        train("gru", toy, config, tmp_path, on_head_epoch=lambda: (_ for _ in ()).throw(RuntimeError("stopped")))
    best = tmp_path / "best.safetensors"
    tensors, metadata = checkpoints.read(best)
    tensors["recency"] += 1
    checkpoints.write(
        best, tensors, {name: value for name, value in metadata.items() if name not in ("format", "sha256")}
    )
    with pytest.raises(CorruptedFile, match="another program changed it"):
        train("gru", toy, config, tmp_path)
    best.unlink()  # as the error says
    assert train("gru", toy, config, tmp_path).note == "anew: best.safetensors of the earlier run is gone"


def test_a_point_model_has_no_samples(toy: SequenceSet, tmp_path: Path) -> None:
    train("gru", toy, replace(CONFIG, epochs=1, head="point", hyper={"hidden": 16}), tmp_path)
    model = load_model(tmp_path)
    assert not model.samples
    with pytest.raises(NoSamples, match="has no sampling head"):
        model.sample(toy.contexts(toy.starts["test"]), 8)
    with pytest.raises(UnknownModel, match="has no sampler_width"):
        train("gru", toy, replace(CONFIG, head="point", hyper={"sampler_width": 8}), tmp_path)


def test_opening_a_model_takes_no_random_numbers_from_others(toy: SequenceSet, tmp_path: Path) -> None:
    train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    load_model(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    opened = threading.Event()

    def other() -> None:
        load_model(tmp_path)
        opened.set()

    with fitting.seeded(1, torch.device("cpu")):  # as in an epoch of a training in this thread
        thread = threading.Thread(target=other)
        thread.start()
        assert not opened.wait(0.5)
        assert torch.initial_seed() == 1
    thread.join(10)
    assert opened.is_set()
