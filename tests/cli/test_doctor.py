"""``lvm doctor`` finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import text

from lvm.cli.doctor import Finding, examine_all
from lvm.settings import Settings
from lvm.store import Store
from tests.cli.test_cli import lvm
from tests.store.toy import fill, register


def examined(settings: Settings, **environment: str) -> dict[str, Finding]:
    return {each.name: each for each in examine_all(settings, environment)}


@pytest.fixture
def prefect() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Something that answers like a Prefect server, or does not."""
    answers = {"/api/admin/version": json.dumps(version("prefect")).encode()}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b"<html>"))

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api", answers
    server.shutdown()
    server.server_close()


def test_all_is_well(settings: Settings, database: Store, prefect: tuple[str, dict[str, bytes]]) -> None:
    before = database.contents()
    found = examined(settings, PREFECT_API_URL=prefect[0])
    assert {each.verdict for each in found.values()} <= {"ok", "warning"}, found  # little room may be left here
    assert {"versions", "database", "pgvector", "schema", "connections", "space", "Prefect"} <= set(found)
    assert database.contents() == before


def test_prefect_of_another_version_or_none(settings: Settings, prefect: tuple[str, dict[str, bytes]]) -> None:
    api, answers = prefect
    answers["/api/admin/version"] = b'"2.20.1"'
    assert "2.20.1" in examined(settings, PREFECT_API_URL=api)["Prefect"].found
    assert examined(settings, PREFECT_API_URL=api)["Prefect"].verdict == "warning"
    answers.clear()
    assert examined(settings, PREFECT_API_URL=api)["Prefect"].verdict == "problem"
    assert "/api" in examined(settings, PREFECT_API_URL=api.removesuffix("/api"))["Prefect"].advice
    assert "lvm ui" in examined(settings, PREFECT_API_URL="http://127.0.0.1:9/api")["Prefect"].advice


def test_what_is_wrong_with_a_database_is_said_and_left(database: Store, settings: Settings) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE lvm.alembic_version SET version_num = '9999'"))
    found = examined(settings)["schema"]
    assert found.verdict == "problem" and "newer" in found.found
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE lvm.alembic_version SET version_num = '0001'"))
    assert examined(settings)["schema"].advice == "lvm db migrate"
    with database.engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM lvm.alembic_version")) == "0001", "it only looks"


def test_a_missing_search_index_is_named(database: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    space = register(database, settings.space)
    fill(database, space)
    assert "search index" not in examined(settings), "a small space needs none"
    monkeypatch.setattr("lvm.store.health.INDEX_FROM", 10)
    found = examined(settings)["search index"]
    assert (found.verdict, found.advice) == ("warning", "lvm db index") and "30 vectors" in found.found
    monkeypatch.setattr("lvm.store.search.INDEX_FROM", 10)
    assert database.build_search_index(space)
    assert "search index" not in examined(settings)


def test_an_unreachable_database_and_a_misspelt_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LVM_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:9/lvm")
    monkeypatch.setenv("LVM_SPAEC", "minilm")
    assert lvm(monkeypatch, "doctor", "--json") == 1
    said = capfd.readouterr().out
    assert "hunter2" not in said
    found = {each["name"]: each for each in json.loads(said)}
    assert found["database"]["verdict"] == "problem" and "127.0.0.1" in found["database"]["found"]
    assert found["settings"]["advice"] == "did you mean LVM_SPACE?"


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    found = examined(Settings(home=tmp_path / "home", artifacts=tmp_path / "artifacts", database_url=None))
    assert found["database"].advice == "the first run makes it"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = examined(Settings(home=tmp_path, artifacts=tmp_path / "file", database_url=None))
    assert found["LVM_ARTIFACTS"].verdict == "problem" and "LVM_ARTIFACTS" in found["LVM_ARTIFACTS"].advice
