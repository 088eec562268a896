"""Reports over HTTP: what is served, and everything else that is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lvm.service.artifacts import served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artifacts = tmp_path / "artifacts"
    (artifacts / "gru").mkdir(parents=True)
    (artifacts / "elsewhere" / "corpus-1").mkdir(parents=True)
    (artifacts / "elsewhere" / "corpus-1" / "report.html").write_text("<p>another corpus")
    (artifacts / "report.html").write_text("<p>the report")
    (artifacts / "summary.json").write_text("{}")
    (artifacts / "gru" / "model.safetensors").write_text("weights")
    (artifacts / ".env").write_text("LVM_TOKEN=secret")
    (artifacts / ".report.html.tmp").write_text("half")
    (tmp_path / "report.html").write_text("secret")
    (artifacts / "gru" / "report.html").symlink_to(tmp_path / "report.html")
    return artifacts


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(folder, "127.0.0.1", port) as address:
        assert address == f"http://127.0.0.1:{port}"
        yield address


def test_reports_are_served_and_nothing_can_be_loaded_by_them(address: str) -> None:
    page = httpx.get(f"{address}/report.html")
    assert page.text == "<p>the report" and page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert httpx.get(address, follow_redirects=True).text == page.text
    assert httpx.get(f"{address}/elsewhere/corpus-1/report.html").text == "<p>another corpus"
    assert httpx.get(f"{address}/summary.json").json() == {}


@pytest.mark.parametrize(
    "path",
    [
        "/gru/model.safetensors", "/.env", "/.report.html.tmp", "/gru/", "/gru", "/elsewhere", "/none/report.html",
        "/../report.html", "/%2e%2e/report.html", "/..%2freport.html", "/gru/..%2f..%2freport.html",
        "//etc/report.html", "/gru/report.html", "/report.html/../.env", "/report.html%00",
    ],
)  # fmt: skip
def test_nothing_else_is_served(address: str, path: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as raw:  # a client library would tidy the path
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 404") and "secret" not in answer, answer


def test_nothing_is_written_and_no_other_name_is_answered(address: str, folder: Path) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert httpx.request(method, f"{address}/report.html").status_code == 405
    assert (folder / "report.html").read_text() == "<p>the report"
    assert httpx.get(f"{address}/report.html", headers={"Host": "evil.example"}).status_code == 400


def test_a_taken_port_a_missing_folder_and_the_end(tmp_path: Path) -> None:
    with served(tmp_path / "none", "127.0.0.1", 0) as one:
        port = int(one.rsplit(":", 1)[1])
        with served(tmp_path / "none", "127.0.0.1", port, names=["proxy.example"]) as other:
            assert other != one
            assert httpx.get(f"{other}/report.html", headers={"Host": "proxy.example"}).status_code == 404
            (tmp_path / "none").mkdir()
            (tmp_path / "none" / "report.html").write_text("now")
            assert httpx.get(f"{other}/report.html").text == "now", "a run wrote it meanwhile"
    with pytest.raises(httpx.HTTPError):
        httpx.get(one)
