"""Promise: a role that may only read cannot keep others waiting without a word, and needs no rights to look."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from lvm.pipeline.workspace import open_workspace
from lvm.settings import Settings
from lvm.store import Gate, LockTimeout, SchemaUnusable, Store, migrate, open_store

NO_GATE = Gate(1, "roundtrip", 1, "", 1, 1.0, 0.63, True, {}, None, datetime.now(UTC))
"""A verdict that no database holds."""


@pytest.fixture
def reader(database: Store, database_url: str) -> Iterator[str]:
    """URL of a user who may read the schema, and nothing else."""
    name = f"reader_of_{make_url(database_url).database}"
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN IN ROLE lvm_reader")
    yield make_url(database_url).set(username=name).render_as_string(hide_password=False)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP ROLE {name}")


@pytest.fixture
def as_reader(reader: str) -> Iterator[Engine]:
    url = make_url(reader).update_query_dict({"application_name": "a notebook"})
    engine = create_engine(url)
    yield engine
    engine.dispose()


def settings_of(url: str) -> Settings:
    return Settings(database_url=url)  # type: ignore[arg-type]


@pytest.mark.parametrize("lock", ["pg_advisory_lock", "pg_advisory_lock_shared"])
def test_the_lock_of_migrations_stops_nobody_where_the_schema_is_current(
    as_reader: Engine, settings: Settings, lock: str
) -> None:
    with as_reader.connect() as held:
        held.execute(text(f"SELECT {lock}({migrate._LOCK})"))
        began = time.monotonic()
        with open_store(settings) as store:
            assert store.contents()["document"] == 0
        assert time.monotonic() - began < 5


def test_where_a_lock_is_needed_it_is_waited_for_and_its_holder_named(
    as_reader: Engine, database: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm.store.connect.LOCK_SECONDS", 1)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lvm.alembic_version SET version_num = '0001'")
    with as_reader.connect() as held:
        held.execute(text(f"SELECT pg_advisory_lock({migrate._LOCK})"))
        pid = held.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(LockTimeout) as error:
            open_store(settings)
    said = str(error.value)
    assert "\n" not in said and f"pid {pid}, user reader_of_" in said and "'a notebook'" in said
    assert "pg_terminate_backend" in said


@pytest.mark.parametrize("key", ["lvm space", "lvm training"])
def test_no_other_lock_is_waited_for_without_end(
    as_reader: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr("lvm.store.connect.LOCK_SECONDS", 1)
    with as_reader.connect() as held:
        held.execute(text("SELECT pg_advisory_lock(hashtextextended(:key, 0))"), {"key": key})
        try:
            with open_workspace(settings=settings) as work:
                work.store.start_training_run("gru", 1, NO_GATE, 1, {})
        except Exception as error:  # without a gate it is refused, if nobody is in the way
            assert isinstance(error, LockTimeout) and "'a notebook'" in str(error)
        else:
            pytest.fail("nothing was waited for")


def test_a_reader_opens_a_current_schema_without_further_rights(reader: str) -> None:
    with open_store(settings_of(reader)) as store, store.engine.connect() as connection:
        assert store.contents()["chunk"] == 0
        assert connection.scalar(text("SHOW application_name")) == "lvm"
        assert connection.scalar(text("SHOW lock_timeout")) == "1min"


def test_a_reader_of_another_schema_is_told_who_can_migrate_it_and_waits_for_nobody(
    reader: str, database: Store, as_reader: Engine
) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lvm.alembic_version SET version_num = '0001'")
    with as_reader.connect() as held:
        held.execute(text(f"SELECT pg_advisory_lock({migrate._LOCK})"))
        with pytest.raises(SchemaUnusable, match=r"0001.*let its owner run `lvm db migrate`"):
            open_store(settings_of(reader))


def test_a_stranger_is_told_what_is_missing(database: Store, database_url: str, reader: str) -> None:
    name = make_url(reader).username
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"REVOKE lvm_reader FROM {name}")
    with pytest.raises(SchemaUnusable, match="lvm_reader"):
        open_store(settings_of(reader))


def test_a_url_may_say_otherwise(database_url: str) -> None:
    url = make_url(database_url).update_query_dict({"application_name": "mine", "options": "-c lock_timeout=7s"})
    with open_store(settings_of(url.render_as_string())) as store, store.engine.connect() as connection:
        assert connection.scalar(text("SHOW application_name")) == "mine"
        assert connection.scalar(text("SHOW lock_timeout")) == "7s"
