"""What a database can do to its clients: each a named error of one line, and nothing that was stored is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from lvm.pipeline.ingest import ingest
from lvm.pipeline.workspace import open_workspace
from lvm.progress import Progress
from lvm.settings import Settings
from lvm.store import DatabaseUnavailable, SchemaUnusable, Store, open_store


def as_user(url: str, **changes: object) -> Settings:
    return Settings(database_url=make_url(url).set(**changes).render_as_string(hide_password=False))  # type: ignore[arg-type]


@pytest.fixture
def admin(postgres: str) -> Iterator[list[str]]:
    """Statements run by the superuser; roles and databases made here are gone afterwards."""
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")

    class Statements(list[str]):
        def append(self, statement: str) -> None:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)

    yield Statements()
    with engine.connect() as connection:
        for (name,) in list(connection.execute(text("SELECT datname FROM pg_database WHERE datname LIKE 'failing%'"))):
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        for (name,) in list(connection.execute(text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'failing%'"))):
            connection.exec_driver_sql(f"DROP ROLE {name}")
    engine.dispose()


def drop_connections(url: str) -> None:
    engine = create_engine(make_url(url).set(database="postgres"))
    with engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": make_url(url).database},
        )
    engine.dispose()


def test_a_connection_dropped_in_the_middle_is_named_and_what_is_stored_stays(
    database: Store, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm.pipeline.ingest.GROUP_CHUNKS", 60)
    seen = 0

    def drop(count: int) -> None:
        nonlocal seen
        seen += count
        if seen > 25_000:  # characters: a document or two are stored
            drop_connections(database_url)

    @contextmanager
    def dropping(description: str, total: int | None) -> Iterator[Progress]:
        yield drop

    with pytest.raises(DatabaseUnavailable) as error, open_workspace(settings=settings) as work:
        ingest(work, "sotu", 6, bars=dropping)
    assert "\n" not in str(error.value) and "nothing that was stored is lost" in str(error.value)
    with open_workspace(settings=settings) as work:
        before = work.store.counts(work.space_id)
        assert 0 < before["documents"] < 6
        report = ingest(work, "sotu", 6)
        assert report.unchanged == before["documents"]
        assert work.store.counts(work.space_id)["documents"] == 6


def test_a_lock_whose_session_is_gone_does_not_hide_why(database: Store, database_url: str) -> None:
    with pytest.raises(RuntimeError, match="the real reason"), database.lock("ingest"):
        drop_connections(database_url)
        raise RuntimeError("the real reason")
    with database.lock("ingest"):
        pass


def test_a_training_run_whose_session_is_gone_is_interrupted(
    database: Store, settings: Settings, database_url: str
) -> None:
    assert database.active_training_runs() == []
    drop_connections(database_url)
    assert database.active_training_runs() == [], "the pool makes new connections"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"username": "failing_nobody"}, "check the user"),
        ({"database": "failing_none"}, "create it"),
        ({"query": {"host": "/nowhere"}}, "check LVM_DATABASE_URL"),
    ],
    ids=["user", "database", "host"],
)
def test_what_does_not_exist_is_named(database_url: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=said) as error:
        open_store(as_user(database_url, **changes))
    assert "\n" not in str(error.value)


def test_a_full_server_is_named(admin: list[str], database_url: str) -> None:
    admin.append("CREATE ROLE failing_limited LOGIN CONNECTION LIMIT 0")
    with pytest.raises(DatabaseUnavailable, match="no free connection"):
        open_store(as_user(database_url, username="failing_limited"))


def test_a_full_pool_is_named(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatabaseUnavailable, match="LVM_WORKERS"), open_workspace(settings=settings) as work:
        monkeypatch.setattr(work.store.engine.pool, "_timeout", 0.1)
        held = [work.store.engine.connect() for _ in range(11)]
        assert not held


def test_rights_that_lack_are_named(admin: list[str], database_url: str) -> None:
    admin.append("CREATE ROLE failing_guest LOGIN")
    admin.append("CREATE DATABASE failing_bare")
    with pytest.raises(SchemaUnusable, match="CREATE EXTENSION vector as a superuser"):
        open_store(as_user(database_url, username="failing_guest", database="failing_bare"))
    engine = create_engine(make_url(database_url).set(database="failing_bare"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE EXTENSION vector")
    engine.dispose()
    with pytest.raises(SchemaUnusable, match="let its owner run"):
        open_store(as_user(database_url, username="failing_guest", database="failing_bare"))


def test_a_newer_database_is_named(database: Store, settings: Settings) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE lvm.alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaUnusable, match=r"9999.*upgrade lvm"):
        open_store(settings)


def test_a_read_only_database_is_named(
    admin: list[str], database: Store, database_url: str, settings: Settings
) -> None:
    admin.append(f"ALTER DATABASE {make_url(database_url).database} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable, match="name the primary"), open_workspace(settings=settings):
        pass


def test_a_host_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket
    import time

    with socket.socket() as silent:  # it accepts and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr("lvm.store.connect.CONNECT_SECONDS", 2)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            open_store(Settings(database_url=f"postgresql://a:secret@127.0.0.1:{silent.getsockname()[1]}/b"))  # type: ignore[arg-type]
        assert time.monotonic() - began < 20
