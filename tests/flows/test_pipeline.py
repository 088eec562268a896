"""The real pipeline on real speeches, a real Prefect server, a real Postgres; and its gate, which blocks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import State
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from flows.clear import clear_flow
from flows.extract import extract_flow
from flows.ingest import ingest_flow
from flows.pipeline import pipeline_flow
from flows.train import train_flow
from flows.validate import validate_flow
from lvm.pipeline.errors import GateBlocked, GateMissing
from lvm.sequences import NotEnoughDocuments
from lvm.settings import Settings
from lvm.spaces import SpaceMismatch, registry
from lvm.store import NotConfirmed, Store
from tests.flows.corpora import write_unseen

TABLES = ("document", "chunk", "embedding", "gate_result", "sequence_set", "training_run")


def rows(store: Store) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {table: connection.execute(text(f"SELECT count(*) FROM lvm.{table}")).scalar_one() for table in TABLES}


def pool_like(monkeypatch: pytest.MonkeyPatch, pooling: Any) -> None:
    """As if a library pooled otherwise: the disaster."""
    right = registry.configured(Settings())
    wrong = {**right, "minilm": right["minilm"].model_copy(update={"pooling": pooling})}
    monkeypatch.setattr(registry, "configured", lambda _: wrong)


def test_text_to_models_to_text_and_again_for_nothing(
    settings: Settings, database: Store, small: None, tmp_path: Path
) -> None:
    source = str(write_unseen(tmp_path / "texts", documents=8, characters=3000))
    summary = pipeline_flow(source=source, epochs=2)

    assert summary.corpus.documents == 8
    assert summary.roundtrip.mean >= 0.75 and 20 <= summary.roundtrip.n <= 30
    assert set(summary.models) == {"lstm", "gru", "mamba2", "transformer"}
    assert {"copy_last", "context_mean", "recency_mean", "ridge"} <= set(summary.baselines)
    for name, figures in summary.models.items():
        assert figures.norm_error <= 1e-5
        assert figures.pipeline_cosine >= 0.6, name
        assert (settings.artifacts / name / "model.safetensors").is_file()
    written = json.loads((settings.artifacts / "summary.json").read_text())
    models = {name: asdict(figures) for name, figures in summary.models.items()}
    assert written["models"] == models and written["roundtrip"]["mean"] == summary.roundtrip.mean
    page = (settings.artifacts / "report.html").read_text()
    assert page.count("<svg") == 7 and "<img" not in page
    assert set(summary.leads) == set(summary.order) - {"recency_mean"} == set(summary.models)
    assert sum(group.n for group in summary.roundtrip_by_length) == summary.roundtrip.n
    assert "http://" not in page and "https://" not in page, "one self-contained page"
    for example in summary.examples:
        assert set(example.decoded) >= set(summary.models) and example.truth

    before = rows(database)
    files = {path: path.stat().st_mtime_ns for path in settings.artifacts.rglob("model.safetensors")}
    assert before["training_run"] == 4
    again = pipeline_flow(source=source, epochs=2)
    after = rows(database)
    assert after == before, "nothing is done twice"
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert again.models == summary.models

    extract_flow(export="npz")
    with np.load(settings.artifacts / "training_sequences_ctx16.npz") as data:
        assert data["context_sequences"].shape == (summary.corpus.sequences["train"], 16, 384)
        np.testing.assert_allclose(np.linalg.norm(data["target_vectors"], axis=1), 1, atol=1e-5)

    asked: State[Any] = clear_flow(return_state=True)
    assert asked.is_completed() and f"lvm clear --confirm {database.database_name}" in str(asked.message)
    with pytest.raises(NotConfirmed):
        clear_flow(confirm="another")
    assert rows(database)["document"] == 8
    clear_flow(confirm=database.database_name)
    assert not any(rows(database).values()) and not settings.artifacts.exists()


def test_a_book_in_one_file_is_refused_before_the_gate(
    settings: Settings, database: Store, small: None, tmp_path: Path
) -> None:
    (book,) = write_unseen(tmp_path / "book", documents=1, characters=4000).iterdir()
    with pytest.raises(NotEnoughDocuments, match=r"1 of 1 documents have more than 3 chunks.*a file a chapter"):
        pipeline_flow(source=str(book), context=3)
    assert rows(database)["document"] == 1 and rows(database)["gate_result"] == 0


def test_wrong_pooling_is_measured_blocked_and_nothing_is_trained(
    settings: Settings, database: Store, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_like(monkeypatch, "cls")
    with pytest.raises(GateBlocked, match="identification R@1 0"):
        pipeline_flow(source="sotu", limit=12, epochs=1)
    state = rows(database)
    assert (state["gate_result"], state["sequence_set"], state["training_run"]) == (1, 0, 0)
    assert not list(settings.artifacts.rglob("*.safetensors"))
    with pytest.raises(GateBlocked):  # the verdict stands; asking again does not change it
        validate_flow()
    with pytest.raises(GateMissing, match="lvm validate"):
        extract_flow()
    with pytest.raises(GateMissing):
        train_flow(model="gru", epochs=1)
    insert = (
        "INSERT INTO lvm.sequence_set "
        "(space_id, corpus_revision, gate_result_id, inverter_id, context_length, counts, file, sha256) "
        "SELECT space_id, corpus_revision, id, inverter_id, 5, '{}', 'x', repeat('a', 64) FROM lvm.gate_result"
    )
    with database.engine.begin() as connection, pytest.raises(DBAPIError, match="no passing roundtrip gate"):
        connection.execute(text(insert))


def test_another_encoder_is_refused_by_a_database_that_knows_one(
    settings: Settings, database: Store, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_flow(source="sotu", limit=2)
    before = rows(database)
    known = registry.open_space("minilm", settings).fingerprint
    pool_like(monkeypatch, "max")
    with pytest.raises(SpaceMismatch) as refused:
        ingest_flow(source="sotu", limit=4)
    assert known in str(refused.value) and registry.open_space("minilm", settings).fingerprint in str(refused.value)
    assert rows(database) == before


def test_new_chunks_make_the_verdict_stale(settings: Settings, database: Store, small: None, tmp_path: Path) -> None:
    ingest_flow(source=str(write_unseen(tmp_path / "texts", documents=6, characters=1500)))
    assert validate_flow().reused is False
    assert validate_flow().reused is True
    (tmp_path / "more.txt").write_text("A sentence that was not there before. And another one.")
    ingest_flow(source=str(tmp_path / "more.txt"))
    with pytest.raises(GateMissing):
        extract_flow()
    assert validate_flow().reused is False
    assert extract_flow(context=5).counts["documents_without_window"] == 1
