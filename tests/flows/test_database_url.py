"""A database URL that is kept in Prefect: found, missing, unreachable, never shown."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.variables import Variable
from sqlalchemy import make_url

from flows.common import reach_database
from flows.database_url import read
from lvm.settings import Settings
from lvm.store import open_store
from lvm.store.errors import InvalidDatabaseUrl


@pytest.fixture(autouse=True)
def nothing_read() -> Iterator[None]:
    read.cache_clear()
    yield
    read.cache_clear()


def test_a_block_and_a_variable_hold_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    Secret(value=url).save("lvm-database", overwrite=True)
    Variable.set("lvm_database", url, overwrite=True)
    for reference in ("prefect:secret/lvm-database", "prefect:variable/lvm_database"):
        monkeypatch.setenv("LVM_DATABASE_URL", reference)
        with open_store(Settings()) as store:
            assert store.database_name == make_url(url).database
        reach_database.fn()

    secret = make_url(url).set(password="sesame", host="db.example.org", query={}).render_as_string(hide_password=False)
    Secret(value=secret).save("lvm-database", overwrite=True)
    environment = {
        **os.environ,
        "LVM_DATABASE_URL": "prefect:secret/lvm-database",
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
    }
    command = [sys.executable, "-c", "from lvm.cli import main; main()", "db", "url"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "@db.example.org" in done.stdout, done.stderr
    assert "sesame" not in done.stdout + done.stderr
    plain = "import lvm; lvm.open_workspace()"  # neither command line nor flows: nobody reads it
    done = subprocess.run([sys.executable, "-c", plain], env=environment, capture_output=True, text=True, check=False)
    assert "InvalidDatabaseUrl: LVM_DATABASE_URL names a block of Prefect" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("prefect:secret/no-such-block", "the Secret block 'no-such-block' of Prefect, but the server at http"),
        ("prefect:variable/no_such", "the variable 'no_such' of Prefect, but the server at http"),
        ("prefect:password/x", "write prefect:secret/NAME or prefect:variable/NAME"),
        ("prefect:secret/", "write prefect:secret/NAME"),
    ],
)
def test_what_is_not_there_is_one_line(
    reference: str, said: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LVM_DATABASE_URL", reference)
    with pytest.raises(InvalidDatabaseUrl) as raised:
        open_store(Settings())
    assert said in str(raised.value)


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVM_DATABASE_URL", "prefect:secret/lvm-database")
    unreachable = temporary_settings({PREFECT_API_URL: "http://me:sesame@127.0.0.1:9/api"})
    with unreachable, pytest.raises(InvalidDatabaseUrl, match=r"cannot be used .*start it") as raised:
        open_store(Settings())
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(("status", "body"), [(401, b"no"), (200, b"<html>Log in</html>")])
def test_what_is_no_prefect_server_is_one_line_without_its_login(
    status: int, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("LVM_DATABASE_URL", "prefect:secret/lvm-database")
    address = f"http://me:sesame@127.0.0.1:{server.server_port}/api"
    try:
        with temporary_settings({PREFECT_API_URL: address}), pytest.raises(InvalidDatabaseUrl) as raised:
            open_store(Settings())
    finally:
        server.shutdown()
        server.server_close()
    assert "sesame" not in str(raised.value) and "cannot be used (" in str(raised.value)
    assert "\n" not in str(raised.value)
