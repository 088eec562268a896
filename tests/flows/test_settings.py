"""A database of Prefect's server with which the server would not start is named at once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

from flows.settings import require_startable
from lvm.errors import UsageError
from lvm.settings import Settings


@contextmanager
def database(path: Path, url: str = "sqlite+aiosqlite:///{}") -> Iterator[Path]:
    with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: url.format(path)}):
        yield path


def history(path: Path, revision: str) -> None:
    """Make a database of Prefect's server at a revision."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.commit()


def test_a_history_of_a_newer_prefect_is_named(tmp_path: Path) -> None:
    with database(tmp_path / "prefect.db") as path:
        require_startable()  # there is none yet
        history(path, "a3b9c7d2e5f1")
        require_startable()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'ffffeeee0000'")
            with pytest.raises(UsageError, match=r"prefect\.db, .* is of a newer Prefect than .* upgrade .* move it"):
                require_startable()
            connection.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            require_startable()  # what is locked is for Prefect's server to wait for
            assert time.monotonic() - began < 1


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    with database(tmp_path / "prefect.db") as path:
        path.write_bytes(b"")
        require_startable()  # Prefect fills it
        path.write_bytes(b"no database" * 200)
        with pytest.raises(UsageError, match=r"is damaged .* move it away"):
            require_startable()
        path.unlink()
        path.mkdir()
        with pytest.raises(UsageError, match=r"cannot be opened .* a file that you may read and write"):
            require_startable()


@pytest.mark.parametrize("url", ["postgresql+asyncpg://me@nowhere{}", "sqlite+aiosqlite:///:memory:"])
def test_another_database_is_not_looked_at(url: str, tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_bytes(b"no database" * 200)
    with database(tmp_path / "prefect.db", url):
        require_startable()


@pytest.mark.parametrize("command", [["run", "sotu", "--limit", "1"], ["ui", "--port", "4877"]])
def test_a_command_that_starts_the_server_names_it_at_once(
    command: list[str], settings: Settings, tmp_path: Path
) -> None:
    (settings.home / "prefect").mkdir(parents=True)
    (settings.home / "prefect" / "prefect.db").write_bytes(b"no database" * 200)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", "from lvm.cli import main; main()", *command],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    *_, said = done.stderr.splitlines()
    assert said.startswith("UsageError: ") and "prefect.db, the history of runs, is damaged" in said
    assert "Traceback" not in done.stderr
