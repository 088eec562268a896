"""``GET /models`` and the stored chunks of ``POST /next``: what a service has, with a database and without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url

import lvm
from lvm.pipeline.predict import best_model, usable_models
from lvm.pipeline.workspace import Workspace
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.training import checkpoints
from tests.conftest import fresh_database
from tests.pipeline.small import small_corpus
from tests.service.running import untrained
from tests.spaces.fixtures import Variant

pytestmark = pytest.mark.usefixtures("nothing_shipped")

TEXTS = ["The state of our union is strong.", "We have created more jobs."]


@pytest.fixture
def alone(tmp_path: Path) -> Settings:
    """Settings without a database."""
    return Settings(artifacts=tmp_path / "artifacts", home=tmp_path / "home", database_url=None)


@pytest.fixture(scope="module")
def trained(minilm: Space, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a database with chunks and a trained ``gru``."""
    folder = tmp_path_factory.mktemp("models")
    with fresh_database(postgres) as url:
        settings = Settings(
            database_url=SecretStr(url), home=folder / "home", artifacts=folder / "artifacts", quiet=True, inverter=None
        )
        with lvm.open_workspace(minilm, settings) as work:
            lvm.train(work, small_corpus(work, folder / "texts"), "gru", epochs=1)
        yield settings


def test_without_models_the_list_is_empty(minilm: Space, alone: Settings) -> None:
    with TestClient(build(minilm, alone)) as client:
        answer = client.get("/models").json()
    assert answer == {"space": minilm.fingerprint, "name": "minilm", "models": [], "database": False}
    assert not alone.home.exists(), "no server is started for it"


def test_a_model_that_samples_is_first_and_unusable_ones_are_left_out(
    minilm: Space, variant: Variant, alone: Settings
) -> None:
    untrained(alone.artifacts, minilm, 5, "gru")
    untrained(alone.artifacts, minilm, 4, "lstm", "energy")
    untrained(alone.artifacts, minilm, 5, "mamba2")
    (alone.artifacts / "transformer").mkdir()
    (alone.artifacts / "transformer" / checkpoints.MODEL).write_bytes(b"torn")
    (alone.artifacts / "sequences").mkdir()
    assert usable_models(variant(pooling="cls"), alone) == {}
    with TestClient(build(minilm, alone)) as client:
        models = client.get("/models").json()["models"]
        assert models[0] == {"name": "lstm", "samples": True, "context": 4}
        assert models[1:] == [{"name": name, "samples": False, "context": 5} for name in ("gru", "mamba2")]
        answer = client.post("/next", json={"texts": TEXTS, "model": models[0]["name"], "samples": 3}).json()
    assert answer["candidates"] and all("nearest" not in each for each in (answer, *answer["candidates"]))


def test_chunks_of_no_database_are_refused(minilm: Space, alone: Settings) -> None:
    untrained(alone.artifacts, minilm, 5, "gru")
    with TestClient(build(minilm, alone)) as client:
        answer = client.post("/next", json={"texts": TEXTS, "nearest": 2})
        assert answer.status_code == 422 and answer.json()["error"] == "NoDatabase"
        for wrong in (-1, 11, 1.5, "x"):
            assert client.post("/next", json={"texts": TEXTS, "nearest": wrong}).status_code == 422


def test_the_recorded_models_are_listed(minilm: Space, trained: Settings) -> None:
    untrained(trained.artifacts, minilm, 3, "lstm")
    with TestClient(build(minilm, trained)) as client:
        answer = client.get("/models").json()
    with lvm.open_workspace(minilm, trained) as work:
        samples = best_model(work).samples
    assert answer["models"] == [{"name": "gru", "samples": samples, "context": 3}] and answer["database"] is True


def test_the_stored_chunks_are_those_of_a_search(minilm: Space, trained: Settings) -> None:
    with TestClient(build(minilm, trained)) as client, lvm.open_workspace(minilm, trained) as work:
        plain = client.post("/next", json={"texts": TEXTS, "seed": 3}).json()
        answer = client.post("/next", json={"texts": TEXTS, "seed": 3, "nearest": 2}).json()
        predicted = lvm.predict_next(work, "gru", TEXTS, seed=3)
        ways = [answer, *answer["candidates"]]
        assert len(ways) == 1 + len(predicted.others)
        queries = [each.vector for each in (predicted, *predicted.others)] if len(ways) > 1 else [predicted.query]
        for way, query in zip(ways, queries, strict=True):
            hits = work.search(query, 2)
            assert [each["text"] for each in way["nearest"]] == [hit.text for hit in hits]
            assert [(each["title"], each["position"]) for each in way["nearest"]] == [
                (hit.title, hit.position) for hit in hits
            ]
            cosines = [each["cosine"] for each in way["nearest"]]
            assert cosines == pytest.approx([hit.cosine for hit in hits], abs=1e-4)
        for way in ways:
            del way["nearest"]
        assert answer == plain, "nothing else changes"


def test_a_gate_that_is_missing_is_409(minilm: Space, trained: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "inverter_id", None)
    with TestClient(build(minilm, trained)) as client:
        for answer in (client.get("/models"), client.post("/next", json={"texts": TEXTS})):
            assert answer.status_code == 409 and "`lvm validate`" in answer.json()["detail"]


def test_a_database_that_went_away_is_503_and_not_named(minilm: Space, trained: Settings) -> None:
    assert trained.database_url is not None
    url = make_url(trained.database_url.get_secret_value()).set(database="gone").render_as_string(hide_password=False)
    gone = trained.model_copy(update={"database_url": SecretStr(url)})
    with TestClient(build(minilm, gone), raise_server_exceptions=False) as client:
        for answer in (client.get("/models"), client.post("/next", json={"texts": TEXTS, "nearest": 1})):
            assert answer.status_code == 503 and answer.headers["Retry-After"]
            assert answer.json()["error"] == "DatabaseUnavailable" and "gone" not in answer.text
        assert client.post("/encode", json={"texts": TEXTS}).status_code == 200


def test_while_the_database_is_away_the_model_that_is_known_answers(
    minilm: Space, trained: Settings, postgres: str
) -> None:
    assert trained.database_url is not None
    name = make_url(trained.database_url.get_secret_value()).database
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with TestClient(build(minilm, trained)) as client, admin.connect() as connection:
        known = client.post("/next", json={"texts": TEXTS, "seed": 3}).json()
        connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            assert client.post("/next", json={"texts": TEXTS, "seed": 3}).json() == known
            answer = client.post("/next", json={"texts": TEXTS, "model": "gru"})
            assert (answer.status_code, answer.json()["error"]) == (503, "DatabaseUnavailable"), (
                "it was not asked before"
            )
        finally:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert client.post("/next", json={"texts": TEXTS, "model": "gru"}).json()["sha256"] == known["sha256"]
    admin.dispose()
