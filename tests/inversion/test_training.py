"""An inverter's training: interrupted or not it ends at the same weights, and it holds whole documents out."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lvm import fitting
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.files import CannotWrite
from lvm.inversion import training
from lvm.inversion.config import InverterTraining
from lvm.inversion.data import NothingToTrainOn, Silent, TrainingText
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.training import train
from lvm.pipeline import inverter as make_inverter
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.spaces.statistics import FILE, Statistics
from tests.spaces.fixtures import SHIPPED, minilm_folder

SMALL = InverterTraining(epochs=0.5, tokens_per_batch=320, warmup=3, vocabulary=3000)


class Stopped(Exception):
    """Stands for a kill."""


class StopAfter(Silent):
    """Stops a training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left, self.training = steps, False

    def stage(self, name: str, total: int) -> None:
        self.training = name == "train"

    def advance(self, count: int) -> None:
        if self.training and count:
            self.left -= count
            if self.left <= 0:
                raise Stopped


@pytest.fixture(scope="module")
def text(minilm: Space) -> TrainingText:
    """Ten documents of at most sixteen chunks."""
    chunker = minilm.chunker()
    documents = [
        Document("test", f"{each.external_id}", each.title, " ".join(c.text for c in chunker.split(each.text)[0][:16]))
        for each in open_source("sotu", 10)
        if isinstance(each, Document)
    ]
    return TrainingText.collect(documents, chunker, Silent())


def run(
    minilm: Space,
    text: TrainingText,
    folder: Path,
    progress: Silent | None = None,
    start: PrefixInverter | None = None,
    options: InverterTraining = SMALL,
) -> PrefixInverter:
    return train(
        minilm.encoder, text, "test", folder / "inverter", folder / "scratch", options, "test", minilm_folder(),
        start=start, progress=progress,
    )  # fmt: skip


def test_every_tenth_document_is_held_out_whole(text: TrainingText) -> None:
    assert len(text.trained_documents) == 9 and len(text.held_out_documents) == 1
    assert not set(text.train) & set(text.held_out)


def test_too_few_documents_are_refused(minilm: Space) -> None:
    few = [Document("test", str(i), "", f"Sentence number {i}.") for i in range(9)]
    with pytest.raises(NothingToTrainOn, match="9 documents"):
        TrainingText.collect(few, minilm.chunker(), Silent())


def test_interrupted_training_ends_at_the_same_weights(
    minilm: Space, text: TrainingText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    whole = run(minilm, text, tmp_path / "whole")
    for steps in (3, 4):  # the second goes on from the first's checkpoint
        with pytest.raises(Stopped):
            run(minilm, text, tmp_path / "stopped", StopAfter(steps))
        assert not (tmp_path / "stopped" / "inverter").exists(), "nothing half-trained is left where it would be used"
    resumed = run(minilm, text, tmp_path / "stopped")
    for (name, ours), other in zip(
        whole.network.state_dict().items(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, other), name
    opened = PrefixInverter.load(tmp_path / "stopped" / "inverter")
    assert opened.sha256 == whole.sha256
    assert opened.card.encoder == minilm.fingerprint
    assert opened.was_trained_on(text.train).all() and not opened.was_trained_on(text.held_out).any()


def test_a_training_that_resumes_in_a_later_epoch_ends_at_the_same_weights(
    minilm: Space, text: TrainingText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(text, train=text.train[:16], held_out=text.held_out[:4])
    options, start = replace(SMALL, epochs=2.0), PrefixInverter.load(SHIPPED)
    scratch = tmp_path / "stopped" / "scratch"
    whole = run(minilm, few, tmp_path / "whole", start=start, options=options)
    steps, step = whole.card.training["steps"], fitting.step
    left = steps // 2 + 2
    monkeypatch.setattr(training, "SAVE_EVERY", steps // 2 + 1)

    def stopping(*given: Any, **named: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        step(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(fitting, "step", stopping)
        run(minilm, few, tmp_path / "stopped", start=start, options=options)
    (splices,) = scratch.glob("splices*")
    written = splices.stat().st_mtime_ns
    resumed = run(minilm, few, tmp_path / "stopped", start=start, options=options)
    assert list(scratch.glob("splices*")) == [splices] and splices.stat().st_mtime_ns == written, "encoded once"
    for (name, ours), other in zip(
        whole.network.state_dict().items(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, other), name
    run(minilm, few, tmp_path / "stopped", start=start, options=options)  # with nothing left to do
    assert list(scratch.glob("splices*")) == [splices], "there is no third epoch"


def test_finetuning_goes_on_from_an_inverter_and_remembers_what_that_saw(
    minilm: Space, text: TrainingText, tmp_path: Path
) -> None:
    tuned = run(minilm, text, tmp_path, start=PrefixInverter.load(SHIPPED))
    assert set(text.trained_documents) < set(tuned.card.trained_documents)
    assert minilm.trained_documents < set(tuned.card.trained_documents)
    assert (
        np.isin(minilm.inverter.trained_chunks, tuned.trained_chunks).all() and tuned.was_trained_on(text.train).all()
    )
    assert "then test" in tuned.card.corpus


def test_an_inverter_is_kept_with_the_statistics_of_its_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_inverter, "train", lambda *_, **__: PrefixInverter.load(SHIPPED))
    figures = make_inverter.Figures(1, 1.0, 1.0, 1.0, (1.0, 1.0), 0.1, 1.0, 1.0, 0.1, True)
    monkeypatch.setattr(make_inverter, "_measure", lambda *_: figures)
    (tmp_path / "texts").mkdir()
    for number in range(10):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"Sentence {number} of a text that nobody was trained on.")
    settings = Settings(home=tmp_path / "home", inverter=None, quiet=True)
    made = make_inverter.make_inverter(
        str(tmp_path / "texts"), 1, tmp_path / "made", settings, "minilm", kind="finetuned", command="test"
    )
    assert Statistics.load(made.folder / FILE).fingerprint == PrefixInverter.load(made.folder).encoder


def test_a_full_disk_leaves_no_inverter_that_opens(
    minilm: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotWrite, match="No space left"):
        minilm.inverter.save(tmp_path)
    assert not (tmp_path / "config.json").exists()
