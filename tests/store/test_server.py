"""The embedded server: shared by processes, stopped by the last of them, and one line when it cannot run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvm.settings import Settings
from lvm.store import ServerUnavailable, open_store, server

TWICE = """
from lvm.settings import Settings
from lvm.store import open_store, server

for _ in range(2):  # as the stages of a pipeline do
    with open_store(Settings()) as store:
        assert store.counts(1)["documents"] == 0
assert server.running(Settings())
"""

KILLED = "import os, signal; from lvm.store import server; from lvm.settings import Settings; " + (
    "server.start(Settings()); os.kill(os.getpid(), signal.SIGKILL)"
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="lvm-server-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("LVM_HOME", folder)
        monkeypatch.delenv("LVM_DATABASE_URL", raising=False)
        settings = Settings()
        yield settings
        server.stop(settings)


def python(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


def test_the_last_user_stops_it(home: Settings) -> None:
    assert python(TWICE) == 0
    assert not server.running(home)


def test_a_killed_user_does_not_keep_it_running(home: Settings) -> None:
    assert python(KILLED) == -9
    assert server.running(home), "nobody was left to stop it"
    assert python(TWICE) == 0
    assert not server.running(home)


def test_kept_on_request(home: Settings) -> None:
    server.start(home, keep=True)
    assert python(TWICE) == 0
    assert server.running(home)
    assert server.stop(home) and not server.running(home)
    assert not server.stop(home)


def test_a_folder_that_cannot_be_used_is_one_line(home: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ServerUnavailable, match="LVM_HOME") as caught:
        server.start(Settings(home=tmp_path / "file"))
    assert "\n" not in str(caught.value)


def test_stopped_and_started_again_by_one_process(home: Settings) -> None:
    for _ in range(2):
        with open_store(home) as store:
            assert store.contents()["document"] == 0
        assert server.stop(home) and not server.running(home)
