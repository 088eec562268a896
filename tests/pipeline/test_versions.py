"""Promise: a trained model stays what it was. Its run names its file and the sha256 of that, and any version opens."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

import lvm
from lvm.files import CorruptedFile
from lvm.pipeline import evaluate, train
from lvm.pipeline.clear import clear
from lvm.pipeline.errors import AmbiguousVersion, ModelGone, NoModel
from lvm.pipeline.predict import best_model, open_model, usable_models
from lvm.pipeline.promote import versions
from lvm.pipeline.workspace import Workspace
from lvm.report import Summary
from lvm.sequences import SequenceSet
from lvm.settings import Settings
from lvm.store import Store
from lvm.training import checkpoints
from tests.conftest import fresh_database
from tests.pipeline.small import shrink, small_corpus

pytestmark = pytest.mark.usefixtures("nothing_shipped")


@pytest.fixture(scope="module")
def shared(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, SequenceSet]]:
    """A corpus behind a passing gate. Each test trains models of its own there: a seed makes them different."""
    folder = tmp_path_factory.mktemp("versions")
    with fresh_database(postgres) as url:
        settings = Settings(
            database_url=SecretStr(url), home=folder / "home", artifacts=folder / "artifacts", quiet=True, inverter=None
        )
        with lvm.open_workspace("minilm", settings) as work:
            yield work, small_corpus(work, folder / "texts")


def sha256sum(path: str | Path) -> str:
    return subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]


def test_both_versions_of_a_model_that_is_trained_twice_open(
    settings: Settings, database: Store, tmp_path: Path
) -> None:
    folder = settings.artifacts / "gru"
    with lvm.open_workspace() as work:
        sequences = small_corpus(work, tmp_path / "texts")
        first = lvm.train(work, sequences, "gru", epochs=1)
        second = lvm.train(work, sequences, "gru", epochs=2)
        assert first.sha256 != second.sha256
        with database.engine.connect() as connection:
            rows = connection.execute(text("SELECT * FROM training_runs ORDER BY training_run_id")).all()
        assert [row.sha256 for row in rows] == [sha256sum(row.checkpoint) for row in rows]
        assert [row.sha256 for row in rows] == [first.sha256, second.sha256]
        assert [row.latest for row in rows] == [False, True] and not any(row.champion for row in rows)
        assert (folder / checkpoints.MODEL).samefile(rows[1].checkpoint), "nothing is stored twice"

        for name, model in (("gru", second), (second.version, second), (first.version, first)):
            opened = open_model(name, work.space, settings, work)
            assert (opened.sha256, opened.version) == (model.sha256, model.version)
        assert best_model(work).sha256 == second.sha256
        by_name = lvm.predict_next(work, first.version, ["We met."], seed=1)
        assert by_name.text == lvm.predict_next(work, first, ["We met."], seed=1).text
        assert lvm.write(work, first.version, "We met.", steps=1).model.sha256 == first.sha256
        assert [(each.run.version, each.latest, each.kept) for each in versions(work)] == [
            (first.version, False, True),
            (second.version, True, True),
        ]
        alone = settings.model_copy(update={"database_url": None, "home": tmp_path / "nothing"})
        assert open_model(first.version, work.space, alone).sha256 == first.sha256, "also without the database"

        for wrong in ("gru@", "gru@xyz", "../gru@1a", "gru@" + "0" * 64, "lstm@" + first.sha256):
            with pytest.raises(NoModel, match="lvm models"):
                open_model(wrong, work.space, settings, work)
        checkpoints.version_file(folder, first.sha256).unlink()
        with pytest.raises(ModelGone, match=rf"{first.version} is gone from .* \(training run 1\)"):
            open_model(first.version, work.space, settings, work)
        assert [each.kept for each in versions(work)] == [False, True]
        assert lvm.train(work, sequences, "gru", epochs=1).sha256 == first.sha256
        assert open_model(first.version, work.space, settings, work).sha256 == first.sha256, "trained again"
    assert clear(database.database_name).files and not folder.exists()


def test_digits_of_several_versions_are_refused(
    shared: tuple[Workspace, SequenceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, sequences = shared
    model = lvm.train(work, sequences, "gru", epochs=1, seed=1)
    run = work.finished_run("gru")
    assert run is not None
    twin = replace(run, sha256="f" * 64)
    monkeypatch.setattr(type(work.store), "finished_runs", lambda *_: [run, twin])
    with pytest.raises(AmbiguousVersion, match=f"{model.version} or gru@ffffffffffff; give more digits"):
        open_model("gru@a", work.space, work.settings, work)


def test_a_model_of_version_0_1_0_is_kept_when_it_is_trained_again(
    settings: Settings, database: Store, tmp_path: Path
) -> None:
    """It has no versions, and its run has the digest of the content."""
    folder = settings.artifacts / "gru"
    with lvm.open_workspace() as work:
        sequences = small_corpus(work, tmp_path / "texts")
        first = lvm.train(work, sequences, "gru", epochs=1)
        with database.engine.begin() as connection:  # the owner of the tables, past the triggers
            connection.exec_driver_sql("ALTER TABLE training_run DISABLE TRIGGER ALL")
            connection.execute(
                text("UPDATE training_run SET sha256 = :digest, checkpoint = :file"),
                {"digest": first.digest, "file": str((folder / checkpoints.MODEL).resolve())},
            )
            connection.exec_driver_sql("ALTER TABLE training_run ENABLE ALWAYS TRIGGER training_run_gated")
        for file in (folder / checkpoints.VERSIONS).iterdir():
            file.unlink()
        name = f"gru@{first.digest[:12]}"
        opened = open_model("gru", work.space, settings, work)
        assert (opened.version, opened.digest) == (name, first.digest)
        assert lvm.train(work, sequences, "gru", epochs=1).sha256 == first.digest, "it is not trained again"
        assert len(database.training_runs()) == 1
        for file in (folder / checkpoints.VERSIONS).iterdir():
            file.unlink()
        second = lvm.train(work, sequences, "gru", epochs=2)
        assert open_model(name, work.space, settings, work).digest == first.digest
        assert open_model("gru", work.space, settings, work).sha256 == second.sha256


def test_a_version_with_other_weights_is_not_used(shared: tuple[Workspace, SequenceSet]) -> None:
    work, sequences = shared
    first, second = (lvm.train(work, sequences, "gru", epochs=1, seed=seed) for seed in (2, 3))
    folder = work.settings.artifacts / "gru"
    file = checkpoints.version_file(folder, first.sha256)
    file.unlink()
    file.write_bytes(checkpoints.version_file(folder, second.sha256).read_bytes())
    with pytest.raises(CorruptedFile, match=f"{first.sha256}.* is not one that a finished training run recorded"):
        open_model(first.version, work.space, work.settings, work)


def test_a_model_that_is_trained_again_meanwhile_is_evaluated_as_it_was(
    shared: tuple[Workspace, SequenceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    work, sequences = shared
    first = lvm.train(work, sequences, "gru", epochs=2)
    retrieval, trained = evaluate.retrieval, list[str]()

    def meanwhile(*arguments: Any) -> Any:
        trained.append(lvm.train(work, sequences, "gru", epochs=1, seed=4).sha256)
        return retrieval(*arguments)

    monkeypatch.setattr(evaluate, "retrieval", meanwhile)
    try:
        summary = lvm.evaluate(work, sequences, first)
    except lvm.GateBlocked as blocked:  # two epochs may be too few; the figures are there all the same
        assert isinstance(blocked.report, Summary)
        summary = blocked.report
    assert summary.models["gru"].checkpoint == first.sha256 != trained[0]
    with work.store.engine.connect() as connection:
        rows = text("SELECT DISTINCT sha256 FROM evaluations WHERE kind = 'model'")
        assert connection.scalars(rows).all() == [first.sha256]
    judged = work.store.latest_gate(work.space_id, "pipeline")
    assert judged is not None and judged.evidence["checkpoint"] == first.sha256


def test_while_a_model_trains_the_finished_one_answers(
    shared: tuple[Workspace, SequenceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file in its folder is of a run that is not finished then."""
    work, sequences = shared
    first = lvm.train(work, sequences, "gru", epochs=1, seed=5)
    fit, answered = train.fit, list[str]()

    def killed(*arguments: Any) -> None:
        fit(*arguments)
        answered.append(open_model("gru", work.space, work.settings, work).sha256)
        answered.append(best_model(work).sha256)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        lvm.train(work, sequences, "gru", epochs=1, seed=6)
    assert answered == [first.sha256] * 2
    assert list(usable_models(work.space, work.settings, work)) == ["gru"]


def test_where_there_are_no_hard_links_a_version_is_a_copy(
    shared: tuple[Workspace, SequenceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    work, sequences = shared
    model = lvm.train(work, sequences, "gru", epochs=1, seed=7)
    file = checkpoints.version_file(work.settings.artifacts / "gru", model.sha256)
    assert sha256sum(file) == model.sha256
    assert not file.samefile(work.settings.artifacts / "gru" / checkpoints.MODEL)


def test_a_name_in_a_row_is_no_path(shared: tuple[Workspace, SequenceSet]) -> None:
    work, sequences = shared
    model = lvm.train(work, sequences, "gru", epochs=1, seed=8)
    run = work.finished_run("gru", model.sha256)
    assert run is not None
    (work.settings.artifacts / "gru").rename(work.settings.artifacts.parent / "gru")
    with pytest.raises(ModelGone):
        work.model_of(replace(run, architecture="../gru"))
    (work.settings.artifacts.parent / "gru").rename(work.settings.artifacts / "gru")
    assert work.model_of(run).sha256 == model.sha256


def test_nothing_behind_a_link_is_cleared(settings: Settings, database: Store, tmp_path: Path) -> None:
    elsewhere = checkpoints.version_file(tmp_path / "elsewhere", "a" * 64)
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(b"mine")
    settings.artifacts.mkdir(parents=True)
    (settings.artifacts / "gru").symlink_to(tmp_path / "elsewhere")
    assert clear(database.database_name).files == 0 and elsewhere.read_bytes() == b"mine"
