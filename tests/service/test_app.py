"""The service: every answer names its space, a request that names another is refused, and overload is no crash."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lvm.service import batching, limits
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space

TEXTS = ["The harbour froze before the last ship came in.", "Her report names every street of the old town."]


@pytest.fixture
def client(minilm: Space, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(build(minilm, Settings(artifacts=tmp_path)), raise_server_exceptions=False) as client:
        yield client


def test_encode_is_the_librarys_encode(client: TestClient, minilm: Space) -> None:
    answer = client.post("/encode", json={"texts": TEXTS}).json()
    expected = minilm.encode(TEXTS)
    assert (answer["space"], answer["dim"], answer["truncated"]) == (minilm.fingerprint, 384, [])
    np.testing.assert_allclose(np.array(answer["vectors"]), expected.unit, atol=1e-6)
    np.testing.assert_allclose(answer["norms"], expected.norms, rtol=1e-6)
    packed = client.post("/encode", json={"texts": TEXTS, "format": "base64"}).json()["vectors"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), "<f4").reshape(2, 384), expected.unit, atol=1e-6)


def test_a_text_past_the_token_limit_is_said(client: TestClient) -> None:
    answer = client.post("/encode", json={"texts": [TEXTS[0], "word " * 60]}).json()
    assert answer["truncated"] == [1]


def test_decode_gives_texts_that_come_back(client: TestClient, minilm: Space) -> None:
    unit = minilm.encode(TEXTS).unit
    answer = client.post("/decode", json={"vectors": unit.tolist(), "space": minilm.fingerprint}).json()
    assert len(answer["texts"]) == 2 and min(answer["cosine"]) > 0.5 and answer["space"] == minilm.fingerprint
    packed = base64.b64encode(unit.astype("<f4").tobytes()).decode()
    assert client.post("/decode", json={"vectors": packed, "space": minilm.fingerprint}).json() == answer


def test_candidates_come_with_their_cosines(client: TestClient, minilm: Space) -> None:
    vectors = minilm.encode(TEXTS)
    body = {"vectors": vectors.unit.tolist(), "space": minilm.fingerprint}
    plain = client.post("/decode", json=body).json()
    assert set(plain) == {"space", "texts", "cosine"}
    answer = client.post("/decode", json={**body, "n_best": 3}).json()
    assert {name: answer[name] for name in plain} == plain
    expected = minilm.decode(vectors, 3, seed=Settings().seed).candidates
    assert expected is not None
    for given, of_vector in zip(answer["candidates"], expected, strict=True):
        assert [each["text"] for each in given] == [each.text for each in of_vector]
        assert [each["cosine"] for each in given] == pytest.approx([each.cosine for each in of_vector], abs=1e-5)
    assert [of_vector[0]["text"] for of_vector in answer["candidates"]] == answer["texts"]


@pytest.mark.parametrize("n_best", [0, -1, 17, 65, 10**30, "4", 2.5, True, None, [2]])
def test_a_wrong_number_of_candidates_is_named(n_best: object, client: TestClient, minilm: Space) -> None:
    body = {"vectors": minilm.encode(TEXTS).unit.tolist(), "space": minilm.fingerprint, "n_best": n_best}
    answer = client.post("/decode", json=body)
    assert answer.status_code == 422 and "n_best" in answer.json()["detail"]


def test_vectors_that_cannot_be_of_the_space_are_refused(client: TestClient, minilm: Space) -> None:
    unit = minilm.encode(TEXTS).unit
    for wrong in (unit[:, ::-1], unit * 5):
        answer = client.post("/decode", json={"vectors": wrong.tolist(), "space": minilm.fingerprint})
        assert answer.status_code == 409 and answer.json()["error"] == "ForeignVectors"


def test_another_space_is_refused(client: TestClient, minilm: Space) -> None:
    for path, body in (
        ("/encode", {"texts": TEXTS}),
        ("/decode", {"vectors": [[0.0] * 384]}),
        ("/next", {"texts": TEXTS}),
        ("/write", {"texts": TEXTS}),
    ):
        answer = client.post(path, json={**body, "space": "0123456789abcdef"})
        assert answer.status_code == 409 and answer.json()["error"] == "SpaceMismatch"
        assert minilm.fingerprint in answer.json()["detail"]


@pytest.mark.parametrize(
    "vectors",
    [[[0.0] * 384], [[0.5] * 383], [[1.0], [1.0, 2.0]], [], [1.0], "not base64!", "AAAA", [[0.1] * 384] * 65],
    ids=["zero", "dimension", "ragged", "empty", "flat", "text", "short", "many"],
)
def test_bad_vectors_are_named(vectors: object, client: TestClient, minilm: Space) -> None:
    answer = client.post("/decode", json={"vectors": vectors, "space": minilm.fingerprint})
    assert answer.status_code == 422, answer.text


def test_nan_is_named(client: TestClient, minilm: Space) -> None:
    body = json.dumps({"vectors": [[float("nan")] * 384], "space": minilm.fingerprint})
    answer = client.post("/decode", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "body", [{"texts": []}, {"texts": ["a"] * 513}, {"texts": ["x" * 20_001]}, {"texts": [1]}, {}, {"texts": "one"}]
)
def test_bad_texts_are_named(body: dict[str, object], client: TestClient) -> None:
    assert client.post("/encode", json=body).status_code == 422


def test_a_body_too_large_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODY", 1000)
    assert client.post("/encode", json={"texts": ["words " * 100] * 10}).status_code == 413
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/next", "/write"])
def test_a_model_that_is_not_trained_is_named(path: str, client: TestClient) -> None:
    for name in ("gru", "../../etc"):
        answer = client.post(path, json={"texts": TEXTS, "model": name})
        assert answer.status_code == 422 and "lvm train" in answer.json()["detail"]


def test_a_token_is_asked_for(minilm: Space, tmp_path: Path) -> None:
    settings = Settings(artifacts=tmp_path, token=SecretStr("hunter2"))
    with TestClient(build(minilm, settings)) as client:
        assert client.get("/health").status_code == 200
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "hunter2"}):
            assert client.post("/encode", json={"texts": TEXTS}, headers=header).status_code == 401
        headers = {"Authorization": "Bearer hunter2"}
        assert client.post("/encode", json={"texts": TEXTS}, headers=headers).status_code == 200


def test_the_page_describes_every_answer(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    assert set(page["paths"]) == {"/health", "/spaces", "/encode", "/decode", "/models", "/next", "/write"}
    assert client.get("/docs").status_code == 200
    assert set(page["paths"]["/write"]["post"]["responses"]["200"]["content"]) == {"text/event-stream"}
    assert page["components"]["schemas"]["EncodeRequest"]["examples"]
    served = client.get("/spaces").json()
    assert served["served"]["name"] == "minilm" and "gtr-base" in served["configured"]


def test_requests_that_wait_together_are_encoded_together() -> None:
    calls: list[int] = []
    gate = threading.Event()

    def encode(texts: Sequence[str]) -> batching.Encoded:
        calls.append(len(texts))
        gate.wait(10)
        rows = np.array([[float(text)] for text in texts], np.float32)
        no = np.zeros(len(rows), dtype=np.bool_)
        return rows, rows[:, 0], no, no

    async def clients() -> list[float]:
        batched = batching.Batcher(encode, ThreadPoolExecutor(1))
        asked = [asyncio.create_task(batched([str(i)])) for i in range(16)]
        await asyncio.sleep(0.2)
        gate.set()
        return [float(norms[0]) for _, norms, *_ in await asyncio.gather(*asked)]

    assert asyncio.run(clients()) == [float(i) for i in range(16)], "every client gets its own rows"
    assert sum(calls) == 16 and len(calls) <= 2


def test_an_encoder_that_answers_nonsense_leaves_nobody_waiting() -> None:
    async def clients() -> None:
        batched = batching.Batcher(lambda texts: (np.zeros((1, 4)),), ThreadPoolExecutor(1))  # type: ignore[arg-type,return-value]
        with pytest.raises(ValueError, match="unpack"):
            await asyncio.wait_for(batched(["a"]), 10)
        assert batched.waiting == 0

    asyncio.run(clients())


def test_too_much_waiting_is_503_and_passes(minilm: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_WAITING", 3)
    with TestClient(build(minilm, Settings(artifacts=tmp_path)), raise_server_exceptions=False) as client:
        refused = client.post("/encode", json={"texts": TEXTS * 2})
        assert refused.status_code == 503 and refused.headers["Retry-After"]
        assert client.post("/encode", json={"texts": TEXTS}).status_code == 200


def test_an_encoder_that_fails_fails_its_requests_only(minilm: Space, tmp_path: Path) -> None:
    broken = Space("broken", minilm.encoder, lambda: minilm.inverter)
    failures = [RuntimeError("no memory")]

    def encode(texts: object, progress: object = None) -> object:
        if failures:
            raise failures.pop()
        return minilm.encode(texts)  # type: ignore[arg-type]

    broken.encode = encode  # type: ignore[method-assign,assignment]
    with TestClient(build(broken, Settings(artifacts=tmp_path)), raise_server_exceptions=False) as client:
        assert client.post("/encode", json={"texts": TEXTS}).status_code == 500
        assert client.post("/encode", json={"texts": TEXTS}).status_code == 200
        assert client.get("/health").json()["waiting"] == 0
