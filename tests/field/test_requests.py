"""Requests of other people's clients: whatever the bytes, the answer is JSON and a status from 400 to 499.

The requests go over a raw socket, because client libraries refuse to send most of them.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lvm.errors import LvmError
from lvm.service import serve
from lvm.service.app import build
from lvm.service.batching import Batcher
from lvm.service.server import CannotListen
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.store import InvalidText
from tests.service.running import listening, untrained_gru


@pytest.fixture(scope="module")
def port(minilm: Space, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    artifacts = tmp_path_factory.mktemp("artifacts")
    untrained_gru(artifacts, minilm, 5)
    with listening(build(minilm, Settings(artifacts=artifacts, database_url=None))) as (_, port):
        yield port


def answer_to(port: int, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, header and body of the answer to these bytes. The client sends no more afterwards."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while more := client.recv(65_536):
            received += more
    header, _, body = received.partition(b"\r\n\r\n")
    return int(header.split()[1]), header, body


def raw(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *(headers or (b"Host: x",)), b"", body])


def posted(body: bytes | str, path: str = "/encode", kind: bytes = b"application/json") -> bytes:
    body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    length = b"Content-Length: %d" % len(body)
    return raw(
        f"POST {path} HTTP/1.1".encode(), b"Host: x", b"Connection: close", b"Content-Type: " + kind, length, body=body
    )


POST = b"POST /encode HTTP/1.1"
NO_REQUESTS = {
    "a negative length": raw(POST, b"Host: x", b"Content-Length: -5", body=b"{}"),
    "a huge length": raw(POST, b"Host: x", b"Content-Length: " + b"9" * 30, body=b"{}"),
    "two lengths": raw(POST, b"Host: x", b"Content-Length: 2", b"Content-Length: 3", body=b"{}"),
    "a length too long": raw(POST, b"Host: x", b"Content-Length: 100", body=b'{"texts": ["a'),
    "a header cut off": b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Le",
    "half a line": b"POST /enc",
    "a transfer encoding": raw(POST, b"Host: x", b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "a chunk of no size": raw(POST, b"Host: x", b"Transfer-Encoding: chunked", body=b"zz\r\n\r\n"),
    "a chunk cut off": raw(POST, b"Host: x", b"Transfer-Encoding: chunked", body=b"5\r\n{}"),
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": raw(b"GET /health HTTP/1.1", b"Host: a", b"Host: b"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "HTTP 0.9": b"GET /\r\n\r\n",
    "HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a NUL in a header": raw(b"GET /health HTTP/1.1", b"Host: x", b"X: a\0b"),
    "a header of 200 kB": raw(b"GET /health HTTP/1.1", b"Host: x", b"X: " + b"a" * 200_000),
    "a method of other letters": raw("GÉT /health HTTP/1.1".encode()),
    "a path of other letters": raw(b"GET /\xff HTTP/1.1"),
    "a space in a path": raw(b"GET /a b HTTP/1.1"),
}
PATHS = [
    "/%00",
    "/%ff",
    "//",
    "//encode",
    "/encode/",
    "/..%2f..",
    "/%0aERROR:%20forged",
    "/encode%0d%0aX:%20y",
    "/docs/%00",
]
BODIES = {
    "a surrogate": '{"texts": ["\\ud800"]}',
    "a surrogate in a text": '{"texts": ["a \\ud800 text"]}',
    "a surrogate as bytes": '{"texts": ["\ud800"]}',
    "a surrogate for a space": '{"texts": ["a text"], "space": "\\ud800"}',
    "a surrogate for a format": '{"texts": ["a text"], "format": "\\ud800"}',
    "Latin-1": '{"texts": ["café"]}'.encode("latin-1"),
    "compressed": b"\x1f\x8b\x08\x00",
    "nothing": "",
    "deep nesting": "[" * 100_000,
    "a number of 5000 digits": '{"texts": ' + "9" * 5000 + "}",
    "NaN": '{"texts": [NaN]}',
    "a line break in a format": '{"texts": ["a text"], "format": "a\\nERROR: forged\\u001b[31m"}',
    "a line break in a space": '{"texts": ["a text"], "space": "a\\nERROR: forged\\u001b[31m"}',
}
REQUESTS = {
    **NO_REQUESTS,
    **{f"{method} {path}": raw(f"{method} {path} HTTP/1.1".encode()) for path in PATHS for method in ("GET", "POST")},
    **{
        f"{method} {path}": raw(f"{method} {path} HTTP/1.1".encode())
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "BREW", "get")
        for path in ("/encode", "/health", "/", "*")
    },
    "another server's URL": raw(b"GET http://elsewhere/health HTTP/1.1"),
    "a tunnel": raw(b"CONNECT elsewhere:80 HTTP/1.1"),
    **{name: posted(body) for name, body in BODIES.items()},
    "a surrogate for a model": posted('{"texts": ["a text"], "model": "\\ud800"}', "/next"),
    "a surrogate for vectors": posted('{"vectors": "\\ud800", "space": "\\ud800"}', "/decode"),
    "a form": posted("--x\r\n\r\n--x--", kind=b"multipart/form-data; boundary=x"),
    "a charset": posted('{"texts": ["café"]}'.encode("latin-1"), kind=b"application/json; charset=\xff"),
}  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_whatever_is_sent_the_answer_is_json(request_: bytes, port: int, caplog: pytest.LogCaptureFixture) -> None:
    status, header, body = answer_to(port, request_)
    assert 400 <= status < 500 and b"content-type: application/json" in header.lower(), header
    answer = json.loads(body[: body.index(b"}") + 1])  # after an HTTP/2 preface come two answers
    assert set(answer) == {"error", "detail"} and answer["detail"]
    assert len(header) + len(body) < 2000 and not any(ord(c) < 32 for c in answer["detail"])
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not any(record.exc_info or "forged" in record.getMessage() for record in logged), caplog.text


def test_a_request_in_another_unicode_encoding_is_read(port: int) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert answer_to(port, posted('{"texts": ["café"]}'.encode(encoding)))[0] == 200, encoding


def test_a_redirect_cannot_be_led_elsewhere(port: int) -> None:
    _, header, _ = answer_to(port, raw(b"GET /health/ HTTP/1.1", b"Host: elsewhere.example"))
    assert b"elsewhere" not in header


def test_a_refused_body_gets_one_answer(port: int) -> None:
    _, _, body = answer_to(port, raw(b"POST /none HTTP/1.1", b"Host: x", b"Content-Length: 1000", body=b"{"))
    assert body.count(b"{") == 1


@pytest.mark.parametrize("path", ["/none", "/encode", "/spaces"])
def test_an_answer_reaches_a_client_that_still_sends(path: str, port: int) -> None:
    size = 12 * 2**20
    line = f"{'GET' if path == '/spaces' else 'POST'} {path} HTTP/1.1".encode()
    header = raw(line, b"Host: x", b"Connection: close", b"Content-Length: %d" % size)
    with socket.create_connection(("127.0.0.1", port), 20) as client, client.makefile("rb") as answer:
        client.sendall(header)
        for _ in range(size // 2**16):
            client.sendall(b" " * 2**16)
        assert answer.readline().split()[1] in (b"404", b"413", b"200")


@pytest.mark.parametrize("token", [b"pass\xc3\xa9", b"\xff", b"hunter2, hunter2", b"", b"hunter2\t;", b"\xed\xa0\x80"])
def test_a_token_of_other_letters_is_no_token(token: bytes, minilm: Space, tmp_path: Path) -> None:
    settings = Settings(artifacts=tmp_path, token=SecretStr("hunter2"))
    with TestClient(build(minilm, settings)) as client:
        refused = client.post("/encode", content=b"{}", headers={"Authorization": b"Bearer " + token})
        assert refused.status_code == 401 and refused.json()["error"] == "Unauthorized"


@pytest.mark.parametrize("host", ["..", "a" * 70 + ".x", "\udcff", "no such host"])
def test_a_host_that_is_no_name_is_refused(host: str) -> None:
    with pytest.raises(CannotListen, match="--host"):
        serve(host, 8765, None, Settings(token=SecretStr("hunter2")))


@pytest.mark.parametrize("error", [RuntimeError("a\nERROR: forged"), InvalidText("a\nERROR: forged")], ids=repr)
def test_a_fault_of_the_service_is_json_too_and_forges_no_line_of_the_log(
    error: Exception, minilm: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(Batcher, "__call__", broken)
    with TestClient(build(minilm, Settings(artifacts=tmp_path)), raise_server_exceptions=False) as client:
        answer = client.post("/encode", json={"texts": ["a text"]})
    assert answer.status_code == 500 and "forged" not in answer.text
    assert answer.json()["error"] == (type(error).__name__ if isinstance(error, LvmError) else "Failed")
    assert not any("\n" in record.getMessage() for record in caplog.records)
