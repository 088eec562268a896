"""Fixtures: a real Postgres for the whole session, and a fresh migrated database for each test that asks."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two tests run at a time
os.environ.setdefault("LVM_THREADS", "1")

import itertools
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from lvm.settings import Settings
from lvm.store import Store, open_store, server

pytest_plugins = ["tests.spaces.fixtures", "tests.pipeline.small", "tests.browser"]

signal.signal(signal.SIGINT, signal.default_int_handler)  # started in the background, Ctrl-C would be ignored by all
_numbers = itertools.count()


@pytest.fixture
def nothing_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No space ships a model, so that a test finds what it trained and nothing else."""
    monkeypatch.setattr("lvm.pipeline.shipped.FOLDER", "no such folder")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an embedded server with a migrated database ``template_lvm`` to copy from."""
    with tempfile.TemporaryDirectory(prefix="lvm-test-", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=Path(folder), database_url=None)
        url = make_url(server.start(settings)).set(drivername="postgresql+psycopg")
        admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE template_lvm")
        template = url.set(database="template_lvm").render_as_string(hide_password=False)
        open_store(Settings(database_url=template)).close()
        admin.dispose()
        yield url.set(database="postgres").render_as_string(hide_password=False)
        server.stop(settings)


@contextmanager
def fresh_database(postgres: str, template: str = "template_lvm") -> Iterator[str]:
    """URL of a fresh database, which is dropped at the end: a migrated one, or a copy of another that nobody uses."""
    name = f"test_{next(_numbers)}"
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """URL of a fresh, migrated database."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a fresh database and empty folders; subprocesses and flows see them through the environment."""
    monkeypatch.setenv("LVM_DATABASE_URL", database_url)
    monkeypatch.setenv("LVM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LVM_ARTIFACTS", str(tmp_path / "artifacts"))
    return Settings()


@pytest.fixture
def database(settings: Settings) -> Iterator[Store]:
    """A store on a fresh database."""
    with open_store(settings) as store:
        yield store
