"""``POST /write``: an event for every text, an end with its reason, and nothing goes on for who has gone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from lvm.pipeline.generate import Writing
from lvm.pipeline.predict import Prediction
from lvm.service import app
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space, Vectors
from tests.service.running import listening, untrained_gru

TEXTS = ["The harbour froze before the last ship came in.", "Her report names every street of the old town."]
UNIT = np.eye(1, 384, dtype=np.float32)


@pytest.fixture
def settings(minilm: Space, tmp_path: Path) -> Settings:
    untrained_gru(tmp_path / "artifacts", minilm, 5)
    return Settings(artifacts=tmp_path / "artifacts")


@pytest.fixture
def client(minilm: Space, settings: Settings) -> Iterator[TestClient]:
    with TestClient(build(minilm, settings), raise_server_exceptions=False) as client:
        yield client


def events(body: str) -> list[tuple[str, dict[str, Any]]]:
    parts = [part.split("\n") for part in body.removesuffix("\n\n").split("\n\n")]
    assert all(name.startswith("event: ") and data.startswith("data: ") for name, data in parts)
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


class Endless(Writing):
    """Writes a text every few milliseconds, for ever."""

    made = 0

    def __next__(self) -> Prediction:
        time.sleep(0.02)
        Endless.made += 1
        self.texts.append(f"text {len(self.texts)}")
        row = Vectors(self.model.space, UNIT, np.ones(1, np.float32))
        return Prediction(vector=row, text=self.texts[-1], encoded=row, cosine=1.0, score=0.5, query=row)


def test_every_text_is_an_event_and_the_end_says_why(client: TestClient, minilm: Space) -> None:
    body = {"texts": TEXTS, "steps": 2, "space": minilm.fingerprint, "seed": 3}
    answer = client.post("/write", json=body)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    *texts, (last, end) = events(answer.text)
    assert [name for name, _ in texts] == ["text"] * end["texts"] and last == "end"
    assert {data["space"] for _, data in texts} == {end["space"]} == {minilm.fingerprint}
    assert [data["step"] for _, data in texts] == [1, 2][: len(texts)] and end["model"] == "gru"
    assert end["reason"] == ("steps" if len(texts) == 2 else "repetition") and end["detail"]
    first = texts[0][1]
    assert first["text"] and -1 <= first["score"] <= 1 and 0 < first["cosine"] <= 1 and first["candidates"] == []
    assert client.post("/write", json=body).text == answer.text
    following = client.post("/next", json={"texts": TEXTS, "seed": 3}).json()
    assert (following["text"], following["score"]) == (first["text"], pytest.approx(first["score"], abs=1e-5))


def test_samples_are_candidates(client: TestClient, sampling: None) -> None:
    answer = client.post("/next", json={"texts": TEXTS, "samples": 3}).json()
    ways = [answer, *answer["candidates"]]
    assert 1 < len(ways) <= 3 and len({way["text"] for way in ways}) == len(ways)
    assert [way["score"] for way in ways] == sorted((way["score"] for way in ways), reverse=True)
    assert client.post("/next", json={"texts": TEXTS, "samples": 1}).json()["candidates"] == []
    (name, data), *_ = events(client.post("/write", json={"texts": TEXTS, "samples": 3, "steps": 1}).text)
    assert name == "text" and data["text"] == answer["text"] and data["candidates"] == answer["candidates"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"texts": ["..."]}, 422, "NothingToContinue"),
        ({"texts": TEXTS, "model": "none"}, 422, "NoModel"),
        ({"texts": TEXTS, "samples": 4}, 422, "NoSamples"),
        ({"texts": TEXTS, "steps": 0}, 422, "InvalidRequest"),
        ({"texts": TEXTS, "steps": 65}, 422, "InvalidRequest"),
        ({"texts": TEXTS, "temperature": -1}, 422, "InvalidRequest"),
        ({"texts": TEXTS, "space": "0123456789abcdef"}, 409, "SpaceMismatch"),
    ],
)
def test_a_bad_request_is_answered_before_the_first_text(
    body: dict[str, Any], status: int, error: str, client: TestClient
) -> None:
    for _ in range(app.MAX_WRITINGS + 1):  # none of them keeps a place
        answer = client.post("/write", json=body)
        assert answer.status_code == status and answer.json()["error"] == error


def test_a_failure_on_the_way_is_an_event(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Endless):
        def __next__(self) -> Prediction:
            if self.texts:
                raise RuntimeError("no memory at /secret/place")
            return super().__next__()

    monkeypatch.setattr(app, "Writing", Broken)
    answer = client.post("/write", json={"texts": TEXTS})
    assert [name for name, _ in events(answer.text)] == ["text", "error"]
    assert "/secret" not in answer.text and "/secret" in caplog.text
    assert client.get("/health").status_code == 200


def test_who_goes_away_stops_the_work_and_leaves_the_place(
    minilm: Space, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "Writing", Endless)
    with listening(build(minilm, settings)) as (_, port):
        url = f"http://127.0.0.1:{port}"
        ready = threading.Barrier(app.MAX_WRITINGS + 1)

        def reader() -> None:
            with (
                httpx.Client(trust_env=False, timeout=60) as client,
                client.stream("POST", f"{url}/write", json={"texts": TEXTS}) as answer,
            ):
                lines = answer.iter_lines()
                assert next(lines) == "event: text" and '"step":1' in next(lines), "it comes while more is written"
                ready.wait(60)
                ready.wait(60)

        readers = [threading.Thread(target=reader) for _ in range(app.MAX_WRITINGS)]
        for each in readers:
            each.start()
        with httpx.Client(trust_env=False, timeout=60, base_url=url) as client:
            ready.wait(60)
            refused = client.post("/write", json={"texts": TEXTS})
            assert refused.status_code == 503 and refused.json()["error"] == "Overloaded"
            assert client.post("/encode", json={"texts": TEXTS}).status_code == 200, "others are not kept waiting"
            ready.wait(60)
            for each in readers:
                each.join(60)
            until = time.monotonic() + 60
            made = -1
            while made != Endless.made:
                made = Endless.made
                assert time.monotonic() < until, "it is written on for nobody"
                time.sleep(0.5)
            monkeypatch.setattr(app, "Writing", Writing)
            answer = client.post("/write", json={"texts": TEXTS, "steps": 1})
            assert answer.status_code == 200 and "event: end" in answer.text
