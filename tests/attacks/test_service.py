"""Promise: no request makes ``lvm serve`` fail, tell what it should not, or keep others waiting."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lvm.service import connections, limits, messages
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.training import checkpoints
from tests.service.running import listening, untrained_gru

TEXTS = ["The harbour froze before the last ship came in.", "Her report names every street of the old town."]
CONTEXT = 5


@pytest.fixture
def artifacts(minilm: Space, tmp_path: Path) -> Path:
    """A folder with a model ``gru``, not trained, and beside it what a folder of artifacts holds."""
    folder = tmp_path / "artifacts"
    untrained_gru(folder, minilm, CONTEXT)
    (folder / "sequences").mkdir()
    (folder / "torn").mkdir()
    (folder / "torn" / checkpoints.MODEL).write_bytes(b"torn")
    return folder


@pytest.fixture
def client(minilm: Space, artifacts: Path) -> Iterator[TestClient]:
    with TestClient(build(minilm, Settings(artifacts=artifacts)), raise_server_exceptions=False) as client:
        yield client


BODIES: dict[str, tuple[str, str]] = {
    **{
        f"{path} {body[:40]}": (path, body)
        for path in ("/encode", "/decode", "/next", "/write")
        for body in (
            "", "{", "[]", "7", "null", '"x"', "NaN", "{}", "[" * 200_000, '{"a":' * 200_000,
            '{"texts":' + "9" * 5000 + "}",
            '{"texts": [NaN], "space": NaN, "vectors": NaN}',
            '{"texts": ["\\ud800"], "vectors": "\\ud800", "space": "x"}',
            '{"texts": [1e400], "vectors": [1e400], "space": "x"}',
            '{"texts": {"a": 1}, "vectors": {"a": 1}, "space": "x"}',
            '{"texts": [[]], "vectors": [[[]]], "space": "x"}', '{"texts": [true], "vectors": true, "space": "x"}',
        )
    },
    **{
        f"space {value}": ("/encode", f'{{"texts": ["a text"], "space": {value}}}')
        for value in ("NaN", '"\\ud800"', "7", "[]", "true", "1e400", '"' + "x" * 100_000 + '"')
    },
    **{
        f"model {value[:30]}": ("/next", f'{{"texts": ["a text"], "model": {value}}}')
        for value in (
            '""', '"sequences"', '"../gru"', '"/etc"', '"."', '".."', '"gru/."', '"gru/../gru"', '"\\u0000"',
            '"\\ud800"',
            '"' + "x" * 5000 + '"', '"gr\\u00fc"', "NaN", "7", "true", "[]", '"a\\nb"', '"none"', '"torn\\n"',
        )
    },
    **{
        f"{path} {name} {value}": (path, f'{{"texts": ["a text"], "{name}": {value}}}')
        for path in ("/next", "/write")
        for name in ("steps", "samples", "temperature", "seed", "nearest")
        if (path, name) not in (("/next", "steps"), ("/write", "nearest"))
        for value in ("-1", "NaN", "-Infinity", "1e400", '"x"', "[]", "1" + "0" * 30)
    },
    "no steps": ("/write", '{"texts": ["a text"], "steps": 0}'),
    "too many steps": ("/write", '{"texts": ["a text"], "steps": 65}'),
    "too many samples": ("/write", '{"texts": ["a text"], "samples": 17}'),
    "samples of a model that draws none": ("/write", '{"texts": ["a text"], "samples": 2}'),
    "samples of a next text": ("/next", '{"texts": ["a text"], "samples": 2}'),
    "chunks of no database": ("/next", '{"texts": ["a text"], "nearest": 2}'),
    "too many chunks": ("/next", '{"texts": ["a text"], "nearest": 11}'),
    "nothing to write from": ("/write", '{"texts": ["...", ""]}'),
    "a model to write with": ("/write", '{"texts": ["a text"], "model": "none"}'),
    "a surrogate in a text": ("/encode", '{"texts": ["a \\ud800 text"]}'),
    "a format": ("/encode", '{"texts": ["a text"], "format": "pickle"}'),
    "a list too long": ("/encode", json.dumps({"texts": ["x" * 7] * 400_000})),
    "a million errors": ("/encode", json.dumps({"texts": [7] * 512})),
    "numbers for rows": ("/decode", json.dumps({"vectors": [7] * 1_000_000, "space": "x"})),
    "too many rows": ("/decode", json.dumps({"vectors": [[]] * 1_000_000, "space": "x"})),
    "texts in rows": ("/decode", json.dumps({"vectors": [["x"] * 60_000] * 20, "space": "x"})),
    "a row too long": ("/decode", json.dumps({"vectors": [[0] * 70_000], "space": "x"})),
    "dots": ("/next", json.dumps({"texts": ["...", "!?"]})),
    "texts too long together": ("/next", json.dumps({"texts": ["a word " * 2000] * 40})),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=[key.encode("ascii", "replace") for key in BODIES])
def test_a_bad_request_gets_a_short_answer(
    path: str, body: str, client: TestClient, artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert len(answer.content) < 2000 and isinstance(answer.json()["detail"], str)
    assert str(artifacts.parent) not in answer.text and "xxxxxxxx" * 20 not in answer.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "vectors",
    [
        [[True] * 384], [["1"] * 384], [[None] * 384], [[1e39] * 384], [[1e-40] * 384], ["x" * 384], "A" * 2047, "AA==",
        "\u00e9", "=" * 100, "////" * 128, [[0.1] * 383 + [10**400]],
    ],
    ids=lambda vectors: str(vectors)[:20].encode("ascii", "replace"),
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_bad_vectors_get_a_short_answer(vectors: Any, client: TestClient, minilm: Space) -> None:
    answer = client.post("/decode", content=json.dumps({"vectors": vectors, "space": minilm.fingerprint}))
    assert 400 <= answer.status_code < 500 and len(answer.content) < 2000, (answer.status_code, answer.text[:300])


def test_whole_numbers_are_numbers(client: TestClient, minilm: Space) -> None:
    answer = client.post("/decode", json={"vectors": [[1] + [0] * 383], "space": minilm.fingerprint})
    assert answer.json()["error"] == "ForeignVectors", "it is read as a vector, which cannot be of this space"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "\xff"])
def test_another_content_type_gets_a_short_answer(kind: str, client: TestClient) -> None:
    answer = client.post("/encode", content=b"\xff\xfe{" * 1000, headers={"Content-Type": kind.encode("latin-1")})
    assert 400 <= answer.status_code < 500 and len(answer.content) < 2000


def test_a_broken_model_is_the_services_affair(
    client: TestClient, artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/next", json={"texts": TEXTS, "model": "torn"})
    assert answer.status_code == 500 and str(artifacts) not in answer.text and answer.json()["error"] == "CorruptedFile"
    [record] = caplog.records
    assert str(artifacts) in record.getMessage() and not record.exc_info, "one line for whoever runs it"


def test_only_the_last_texts_are_chunked_and_encoded(
    client: TestClient, minilm: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [
        f"Sentence {number} of a long story about the harbour and its ships, told slowly." for number in range(400)
    ]
    last = [f"On day {number} the ice broke." for number in range(CONTEXT)]
    answer = client.post("/next", json={"texts": [*before, *last]})
    assert answer.status_code == 200
    encoded: list[str] = []
    split: list[str] = []
    encode, chunker = minilm.encode, minilm.chunker()

    def counted(texts: Sequence[str], progress: Any = None) -> Any:
        encoded.extend(texts)
        return encode(texts, progress)

    class Counting:
        def split(self, text: str) -> Any:
            split.append(text)
            return chunker.split(text)

    monkeypatch.setattr(minilm, "encode", counted)
    monkeypatch.setattr(minilm, "chunker", Counting)
    again = client.post("/next", json={"texts": [*before, *last]})
    assert split == last[::-1]
    assert encoded[:CONTEXT] == last and len(encoded) <= CONTEXT + 17, "those, and the candidates of one decoded vector"
    np.testing.assert_allclose(again.json()["vector"], answer.json()["vector"], atol=1e-6)
    long_text = " ".join(before + last)[-20_000:]
    alone = client.post("/next", json={"texts": [long_text]})
    np.testing.assert_allclose(alone.json()["vector"], answer.json()["vector"], atol=1e-6)


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/spaces", "/models", "/docs/oauth2-redirect", "/none", "/page.html"]
)
def test_nothing_is_described_without_the_token(path: str, minilm: Space, artifacts: Path) -> None:
    settings = Settings(artifacts=artifacts, token=SecretStr("hunter2"))
    with TestClient(build(minilm, settings)) as client:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}):
            answer = client.get(path, headers=header)
            assert answer.status_code == 401 and minilm.fingerprint not in answer.text
        assert client.get(path, headers={"Authorization": "Bearer hunter2"}).status_code in (200, 404)


def test_health_tells_strangers_nothing(minilm: Space, artifacts: Path) -> None:
    settings = Settings(artifacts=artifacts, token=SecretStr("hunter2"))
    with TestClient(build(minilm, settings)) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/health", headers={"Authorization": b"Bearer \xff"}).json() == {"status": "ok"}
        known = client.get("/health", headers={"Authorization": "Bearer hunter2"}).json()
        assert known["space"] == minilm.fingerprint
    with TestClient(build(minilm, Settings(artifacts=artifacts))) as client:
        assert client.get("/health").json()["space"] == minilm.fingerprint


def test_a_stranger_does_not_make_the_service_read(minilm: Space, artifacts: Path) -> None:
    settings = Settings(artifacts=artifacts, token=SecretStr("hunter2"))
    with TestClient(build(minilm, settings), raise_server_exceptions=False) as client:
        for path in ("/encode", "/decode", "/next", "/write"):
            assert client.post(path, content=b"[" * 100_000).status_code == 401


# -- slow clients and many of them, over real sockets -------------------------------------------------------------


@pytest.fixture
def served(minilm: Space, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[uvicorn.Server, int]]:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    with listening(build(minilm, Settings(artifacts=artifacts))) as served:
        yield served


def answers(port: int) -> bool:
    body = {"texts": TEXTS}
    return httpx.post(f"http://127.0.0.1:{port}/encode", json=body, timeout=30, trust_env=False).status_code == 200


def cut_off_after(client: socket.socket, pieces: Sequence[bytes]) -> float:
    """Seconds until the service closes a connection on which a piece is sent every tenth of a second."""
    began = time.monotonic()
    client.settimeout(0.1)
    for piece in [*pieces, *[b""] * 100]:
        try:
            if piece:
                client.sendall(piece)
            if not client.recv(1000):
                return time.monotonic() - began
        except TimeoutError:
            continue
        except ConnectionError:
            return time.monotonic() - began
    raise AssertionError("the connection stayed open")


HEADER = b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
SLOW = {
    "nothing": [],
    "a header byte by byte": [HEADER[i : i + 1] for i in range(80)],
    "a header without end": [HEADER, *[b"X-A: b\r\n"] * 80],
    "a body byte by byte": [HEADER + b"\r\n", *[b"["] * 80],
    "a body that never comes": [HEADER + b"\r\n"],
    "a chunked body": [
        b"POST /encode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[b"1\r\n[\r\n"] * 80,
    ],
    "a second request": [b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", *[b"G"], *[b"E"] * 80],
    "a body that was refused": [b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 80],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
def test_a_slow_client_is_cut_off(
    pieces: list[bytes], served: tuple[uvicorn.Server, int], caplog: pytest.LogCaptureFixture
) -> None:
    _, port = served
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert cut_off_after(client, pieces) < 4
    assert answers(port)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text


def test_a_client_that_does_not_take_its_answer_is_cut_off(
    served: tuple[uvicorn.Server, int], caplog: pytest.LogCaptureFixture
) -> None:
    server, port = served
    body = json.dumps({"texts": TEXTS * 256}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(HEADER.replace(b"1000", str(len(body)).encode()) + b"\r\n" + body)
        deadline = time.monotonic() + 60
        while not server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server_state.connections, "the answer of 4 MB is held in memory for ever"
    assert answers(port)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text


def test_idle_connections_are_bounded_and_pass(served: tuple[uvicorn.Server, int]) -> None:
    server, port = served
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    try:
        time.sleep(0.3)
        assert len(server.server_state.connections) <= 20
        refused = idle[-1].recv(1000)
        assert refused.startswith(b"HTTP/1.1 503")
        time.sleep(1.5)
        assert answers(port), "those that said nothing are gone"
    finally:
        for client in idle:
            client.close()


def test_a_client_in_time_is_not_cut_off(served: tuple[uvicorn.Server, int]) -> None:
    _, port = served
    with httpx.Client(trust_env=False) as client:
        for _ in range(4):  # one connection, longer than the deadline of one request
            assert client.get(f"http://127.0.0.1:{port}/health").status_code == 200
            time.sleep(0.4)


def test_limits_fit_each_other() -> None:
    assert messages.MAX_ALL_CHARACTERS * 12 < limits.MAX_BODY, "a text of escaped characters fits into a body"
    assert connections.MAX_CONNECTIONS < 1024
