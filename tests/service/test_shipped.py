"""The service where nothing is trained: the shipped model is listed last, and answers if no better one is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lvm.pipeline.shipped import FOLDER
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from tests.pipeline.shipping import other_inverter, ship, space_of_its_own
from tests.service.running import untrained
from tests.service.test_write import events

TEXTS = ["The harbour froze before the last ship came in."]


@pytest.fixture
def settings(minilm: Space, tmp_path: Path) -> Settings:
    """No database, no model of its own, and a space that ships one."""
    spaces = space_of_its_own(tmp_path / "own")
    ship(spaces, minilm)
    return Settings(
        artifacts=tmp_path / "artifacts", home=tmp_path / "home", database_url=None, spaces=spaces, inverter=None
    )


def test_it_answers_until_a_model_is_trained(minilm: Space, settings: Settings) -> None:
    shipped = {"name": "shipped", "samples": True, "context": 4}
    with TestClient(build(minilm, settings)) as client:
        assert client.get("/models").json()["models"] == [shipped]
        *texts, (last, end) = events(client.post("/write", json={"texts": TEXTS, "steps": 1, "samples": 2}).text)
        assert texts and (last, end["model"]) == ("end", "shipped")
        answer = client.post("/next", json={"texts": TEXTS, "samples": 2}).json()
        assert answer["model"] == "shipped" and answer["text"] == texts[0][1]["text"]
        untrained(settings.artifacts, minilm, 5, "gru")
        shutil.copytree(settings.artifacts / "gru", settings.artifacts / "shipped")
        models = client.get("/models").json()["models"]
        assert models == [{"name": "gru", "samples": False, "context": 5}, shipped]
        assert client.post("/next", json={"texts": TEXTS}).json()["model"] == "gru"
        asked = client.post("/next", json={"texts": TEXTS, "samples": 2, "model": "shipped"}).json()
        assert (asked["model"], asked["text"]) == ("shipped", answer["text"])
    assert not settings.home.exists(), "no server is started for it"


def test_one_that_does_not_fit_is_not_listed_and_named_if_asked_for(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"inverter": other_inverter(tmp_path)})
    with TestClient(build(open_space("minilm", other), other), raise_server_exceptions=False) as client:
        assert client.get("/models").json()["models"] == []
        for body in ({"texts": TEXTS}, {"texts": TEXTS, "model": "shipped"}):
            for path_ in ("/next", "/write"):
                answer = client.post(path_, json=body)
                assert answer.status_code == 409 and answer.json()["error"] == "ShippedUnusable"
                assert "LVM_INVERTER" in answer.json()["detail"] and str(tmp_path) not in answer.text


def test_a_damaged_one_names_no_path(minilm: Space, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    (settings.spaces.parent / "minilm" / FOLDER / "card.json").unlink()
    with TestClient(build(minilm, settings), raise_server_exceptions=False) as client:
        answer = client.post("/write", json={"texts": TEXTS})
        assert answer.status_code == 500 and answer.json()["error"] == "CorruptedFile"
        assert "card.json" not in answer.text and "card.json" in caplog.text
        shutil.rmtree(settings.spaces.parent / "minilm" / FOLDER)
        answer = client.post("/write", json={"texts": TEXTS})
        assert answer.status_code == 422 and answer.json()["error"] == "NoModel"
