"""Promise: the champion answers where none is named; it passed its gates, and a worse one needs a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text
from typer.testing import CliRunner

import lvm
from lvm.cli import app
from lvm.pipeline.errors import ModelGone, NoModel
from lvm.pipeline.predict import best_model, usable_models
from lvm.pipeline.promote import promote, versions
from lvm.pipeline.workspace import Workspace
from lvm.report import Summary
from lvm.report.rows import rows
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.store import Busy, PromotionRefused
from lvm.training import TrainedModel
from lvm.training.checkpoints import version_file
from tests.conftest import fresh_database
from tests.pipeline.small import shrink, small_corpus

pytestmark = pytest.mark.usefixtures("nothing_shipped")


@pytest.fixture
def work(minilm: Space, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A corpus behind a passing gate."""
    shrink(monkeypatch)
    with fresh_database(postgres) as url:
        monkeypatch.setenv("LVM_DATABASE_URL", url)
        monkeypatch.setenv("LVM_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("LVM_ARTIFACTS", str(tmp_path / "artifacts"))
        settings = Settings(database_url=SecretStr(url), quiet=True, inverter=None)
        with lvm.open_workspace(minilm, settings) as opened:
            yield opened


def evaluated(work: Workspace, *models: TrainedModel) -> Summary:
    return lvm.evaluate(work, lvm.extract(work, context=3), models or None)


def test_a_day_with_champions(work: Workspace, tmp_path: Path, minilm: Space) -> None:
    sequences = small_corpus(work, tmp_path / "texts")
    models = {name: lvm.train(work, sequences, name, epochs=2) for name in ("gru", "lstm")}
    with pytest.raises(lvm.GateMissing, match="not evaluated on the corpus as it is now"):
        lvm.promote(work, "gru")
    with pytest.raises(PromotionRefused, match="no model was promoted"):
        lvm.promote(work, back=True)
    for wrong in ("mamba2", "shipped", "gru@00"):
        with pytest.raises(NoModel, match="lvm models"):
            lvm.promote(work, wrong)
    summary = evaluated(work)
    _all_figures_are_rows(work, summary)
    worse, better = sorted(models, key=lambda name: -summary.text_nll[name].nll)

    first = lvm.promote(work, worse)
    assert first.before is None and first.promotion.value == pytest.approx(summary.text_nll[worse].nll)
    assert best_model(work).sha256 == models[worse].sha256
    assert lvm.promote(work, worse).unchanged and work.store.contents()["promotion"] == 1
    assert lvm.promote(work, models[better]).promotion.champion_value == first.promotion.value
    with pytest.raises(PromotionRefused, match="lower is better"):
        lvm.promote(work, worse)
    assert best_model(work).name == better

    # the service goes with it, without a restart
    with TestClient(build(minilm, work.settings)) as client:

        def asked() -> str:
            return str(client.post("/next", json={"texts": ["We met."], "samples": 1}).json()["sha256"])

        assert asked() == models[better].sha256
        assert client.get("/models").json()["models"][0]["name"] == better
        runner = CliRunner()
        shown = runner.invoke(app, ["promote", worse, "--reason", "shorter sentences"])
        assert shown.exit_code == 0, shown.output
        assert asked() == models[worse].sha256
        assert runner.invoke(app, ["promote", "--back"]).exit_code == 0
        assert asked() == models[better].sha256
        again = lvm.train(work, sequences, better, epochs=1)
        assert asked() == models[better].sha256, "the champion is a version, not a name"
        answer = client.post("/next", json={"texts": ["We met."], "samples": 1, "model": better}).json()
        assert answer["sha256"] == again.sha256, "a name is the last version"
        listed = [each["name"] for each in client.get("/models").json()["models"]]
        assert listed[0] == models[better].version and better in listed
    told = runner.invoke(app, ["models"], env={"COLUMNS": "200"})
    assert told.exit_code == 0 and re.search(rf"{models[better].version}.*champion", told.output)

    # the champion is measured beside what was trained since, and a plot shows both evaluations
    with pytest.raises(lvm.GateMissing, match="not evaluated"):
        lvm.promote(work, again)
    try:
        summary = evaluated(work)
    except lvm.GateBlocked as blocked:
        assert isinstance(blocked.report, Summary)
        summary = blocked.report
    assert {better, worse, models[better].version} == set(summary.models)
    assert summary.models[models[better].version].checkpoint == models[better].sha256
    assert "Did models become better?" in (work.settings.artifacts / "report.html").read_text()
    assert lvm.promote(work, back=True).promotion.model == worse
    with pytest.raises(PromotionRefused, match="first champion"):
        lvm.promote(work, back=True)

    # a champion whose file is gone is said, not replaced by another
    version_file(work.settings.artifacts / worse, models[worse].sha256).unlink()
    (work.settings.artifacts / worse / "model.safetensors").unlink()
    with pytest.raises(ModelGone, match="it is the champion"):
        best_model(work)
    assert worse not in usable_models(minilm, work.settings, work)
    assert [each.kept for each in versions(work) if each.champion] == [False]


def _all_figures_are_rows(work: Workspace, summary: Summary) -> None:
    """The view has every figure of the summary."""
    with work.store.engine.connect() as connection:
        found = connection.execute(text("SELECT model, metric, value FROM evaluations")).all()
    runs = {run.architecture: run.id for run in work.store.training_runs()}
    assert {(name, metric): value for name, metric, value in found} == {
        (row.name, row.metric): row.value for row in rows(summary, runs)
    }


def test_a_model_that_did_not_pass_is_not_promoted(
    work: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = small_corpus(work, tmp_path / "texts")
    model = lvm.train(work, sequences, "gru", epochs=1)
    predict = TrainedModel.predict
    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "predict", lambda self, contexts: tuple(-each for each in predict(self, contexts)))
        with pytest.raises(lvm.GateBlocked):
            evaluated(work, model)
    with pytest.raises(PromotionRefused, match="did not pass the pipeline gate"):
        promote(work, model, reason="I want it")
    assert work.store.champion(work.space_id) is None


def test_while_one_promotes_another_is_told(work: Workspace) -> None:
    with (
        work.store.lock(f"promote in space {work.space.name}"),
        pytest.raises(Busy, match="another process is doing 'promote in space minilm'"),
    ):
        promote(work, "gru")


def test_one_of_model_and_back_is_named(work: Workspace) -> None:
    for arguments in ({}, {"model": "gru", "back": True}):
        with pytest.raises(NoModel, match="not both"):
            promote(work, **arguments)  # type: ignore[arg-type]
