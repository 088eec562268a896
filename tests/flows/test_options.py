"""Hyperparameters reach a training from everywhere, and equal ones are one run wherever they came from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

import lvm
from flows.common import Where, opened, standing
from flows.options import OWN, form
from flows.pipeline import pipeline_flow
from flows.train import configurations, train_flow, train_stage
from lvm import cli
from lvm.models import hyperparameters
from lvm.options import BadConfig
from lvm.pipeline.train import OutOfMemory
from lvm.settings import Settings
from lvm.store import Store
from lvm.training import TrainConfig
from lvm.training.options import FIXED
from tests.flows.corpora import write_unseen


def test_the_form_has_every_hyperparameter() -> None:
    found = form()["properties"]
    config = TrainConfig().as_dict()
    assert list(found) == [name for name in config if name not in (*FIXED, *OWN)]
    for name, field in found.items():
        assert field["description"] and field["default"] == config[name] and field["title"] == name
    assert found["learning_rate"]["type"] == "number" and found["learning_rate"]["exclusiveMinimum"] == 0
    assert found["batch_size"]["type"] == "integer" and found["batch_size"]["minimum"] == 1
    assert found["negatives"]["minimum"] == 0
    assert "mamba2: hidden 128, layers 1" in found["hyper"]["description"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"hyper": {"hiden": 3}}, "did you mean hidden"),
        ({"hyper": {"epochs": 3}}, "epochs is given twice"),
        ({"epochs": 3}, "epochs is given twice"),
        ({"hyper": {"seed": 3}}, "LVM_SEED"),
    ],
    ids=str,
)
def test_wrong_options_of_a_flow_change_nothing(
    options: dict[str, Any], said: str, settings: Settings, database: Store, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("The harbour froze. The last ship came in late.")
    before = database.contents()
    with pytest.raises(BadConfig, match=said):
        pipeline_flow(source=str(tmp_path / "text.txt"), options=options)
    with pytest.raises(BadConfig, match=said):
        train_flow(options=options)
    assert database.contents() == before


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["lvm", *arguments])
    cli.main()


@pytest.mark.usefixtures("small")
def test_one_run_for_equal_hyperparameters(
    settings: Settings,
    database: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    toml = tmp_path / "train.toml"
    toml.write_text("learning_rate = 2e-3\nepochs = 9\n[gru]\nhidden = 48\n[transformer]\nheads = 2\n")
    with lvm.open_workspace() as work:
        lvm.ingest(work, str(write_unseen(tmp_path / "texts", documents=6, characters=2000)))
        lvm.validate(work)
        sequences = lvm.extract(work, context=3)
        lvm.train(work, sequences, "gru", epochs=1)
        files = {path: path.stat().st_mtime_ns for path in settings.artifacts.rglob("*") if path.is_file()}
        for wrong in ({"hidden": 0}, {"hiden": 3}, {"epochs": "3"}, {"layers": 2}, {"epochs": 1.0}):
            with pytest.raises(BadConfig):
                lvm.train(work, sequences, "gru", **wrong)
        assert len(database.training_runs()) == 1
        assert {path: path.stat().st_mtime_ns for path in files} == files

        model = lvm.train(work, sequences, "gru", epochs=1, learning_rate=2e-3, hidden=32)
        assert model.report is not None
        assert "hidden 128, now 32" in model.report.note and "learning_rate 0.001, now 0.002" in model.report.note
        run = database.training_runs()[-1]
        assert run.hyperparameters["hyper"] == {**hyperparameters("gru", "energy"), "hidden": 32}
        assert run.hyperparameters["learning_rate"] == 0.002 and len(database.training_runs()) == 2
        lvm.train(work, sequences, "gru", epochs=1, learning_rate=2e-3, hyper={"hidden": 32})

    asked = ("train", "--model", "gru", "--context", "3", "--epochs", "1", "--config", str(toml), "--set", "hidden=32")
    capfd.readouterr()
    command(monkeypatch, *asked)
    with monkeypatch.context() as several:  # as with a Prefect server: the command hands the options to the flow
        several.setenv("LVM_WORKERS", "2")
        several.setattr("lvm.cli.common.prepare_prefect", lambda _: None)
        command(several, *asked)
    assert capfd.readouterr().out.count(": best epoch 1 of 1") == 2
    options = {"learning_rate": 0.002, "hyper": {"hidden": 32}}
    result = train_flow(model="gru", epochs=1, context=3, options=options)["gru"]
    assert result.sha256 == model.sha256 and result.note == "resumed after epoch 1"
    assert len(database.training_runs()) == 2, "the front door, the command and the flow ask for one run"

    with opened(Where()) as work:
        stands_on = standing(work)
    other = {"learning_rate": 0.002, "hyper": {"gru": {"hidden": 24}}}

    @flow
    def attempts() -> list[str | None]:
        asked = [configurations("gru", 1, "mix", "energy", each) for each in (options, options, other)]
        return [train_stage(each, 3, Where(), stands_on, return_state=True).name for each in asked]

    assert attempts() == ["Completed", "Cached", "Completed"]
    assert database.training_runs()[-1].hyperparameters["hyper"]["hidden"] == 24

    with opened(Where()) as work, pytest.raises(OutOfMemory, match="make batch_size, run, negatives"):
        lvm.train(work, sequences, "gru", epochs=1, negatives=10**15)
    assert [run.status for run in database.training_runs()] == ["finished"] * 3 + ["failed"]
