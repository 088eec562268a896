"""The space of then, and its database, restored as docs/production.md says a backup is made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import server
from tests.compatibility import made


@pytest.fixture
def old_space(tmp_path: Path) -> Space:
    return open_space("toy", made.settings(tmp_path / "home"))


@pytest.fixture
def restored(postgres: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a database that holds what ``pg_dump -n lvm`` wrote."""
    name = "restored"
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = make_url(postgres).set(database=name)
    target = url.set(drivername="postgresql").render_as_string(hide_password=False)
    psql = [server.psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target]
    for what in (["-c", "CREATE EXTENSION vector"], ["-f", made.FOLDER / "database.sql"]):
        subprocess.run([*psql, *what], check=True, stdout=subprocess.DEVNULL)
    yield made.settings(tmp_path / "home", database_url=url.render_as_string(hide_password=False))
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()
