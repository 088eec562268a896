"""Migrations that are interrupted go on, and many processes may migrate at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, create_engine, make_url, text

from lvm.settings import Settings
from lvm.store import migrate as migrations
from lvm.store import open_store
from tests.store.toy import DIM, FINGERPRINT, unit_rows

DOCUMENTS, CHUNKS = 20, 100
CONTENT = text(
    "SELECT md5(string_agg(concat_ws(':', c.id, document_id, position, text, norm, vector), '|' ORDER BY c.id)) "
    "FROM lvm.chunk c JOIN lvm.embedding e ON e.chunk_id = c.id"
)
OPEN = "from lvm.settings import Settings; from lvm.store import open_store; open_store(Settings()).close()"


@pytest.fixture
def old(postgres: str) -> Iterator[Engine]:
    """A database at migration 1 with two thousand chunks."""
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE interrupted")
    engine = create_engine(make_url(postgres).set(database="interrupted"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE EXTENSION vector; CREATE SCHEMA lvm")
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"""
            SET LOCAL search_path = lvm, public;
            INSERT INTO space (name, dim, fingerprint, recipe, probes)
                VALUES ('toy', {DIM}, '{FINGERPRINT}', '{{}}', '');
            INSERT INTO document (source, external_id, title, sha256)
                SELECT 's', 'd' || i, '', repeat('0', 64) FROM generate_series(1, {DOCUMENTS}) i;
            INSERT INTO chunk (document_id, position, token_count, text)
                SELECT d.id, p, 3, 'text ' || p FROM document d, generate_series(0, {CHUNKS - 1}) p;
            INSERT INTO embedding SELECT 1, id, 1, '{unit_rows(1)[0].tolist()}' FROM chunk;
        """)
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE interrupted WITH (FORCE)")
    admin.dispose()


def settings(engine: Engine) -> Settings:
    return Settings(database_url=engine.url.render_as_string(hide_password=False))


def opening(engine: Engine) -> subprocess.Popen[bytes]:
    """Another process that opens the database, and so migrates it."""
    environment = {**os.environ, "LVM_DATABASE_URL": engine.url.render_as_string(hide_password=False)}
    return subprocess.Popen([sys.executable, "-c", OPEN], env=environment)


def wait_for(connection: Connection, condition: str) -> None:
    deadline = time.monotonic() + 60
    while not connection.scalar(text(f"SELECT {condition}")):
        assert time.monotonic() < deadline, f"never: {condition}"
        time.sleep(0.05)


def test_a_killed_migration_is_undone_alone_and_the_next_opening_goes_on(old: Engine) -> None:
    with old.connect() as connection:
        before = connection.scalar(CONTENT)
    watching = old.execution_options(isolation_level="AUTOCOMMIT")
    with old.connect() as reader, watching.connect() as connection:
        reader.execute(text("LOCK TABLE lvm.embedding IN ACCESS SHARE MODE"))  # migration 3 waits in its midst
        process = opening(old)
        wait_for(connection, "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'lvm.embedding'::regclass)")
        process.kill()
        process.wait()
        reader.rollback()
        wait_for(connection, "NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')")
        assert migrations.current_revision(connection) == "0002"
        assert connection.scalar(CONTENT) == before
        columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'lvm' AND column_name = 'item'"
        assert connection.scalar(text(columns)) == 0
    with open_store(settings(old)) as store:
        chunks = DOCUMENTS * CHUNKS
        assert store.counts(1) == {"documents": DOCUMENTS, "chunks": chunks, "embeddings": chunks}
        assert store.corpus_revision(1) == store.recomputed_revision(1)
        with store.engine.connect() as connection:
            assert migrations.current_revision(connection) == migrations.script().get_current_head()
            assert connection.scalar(CONTENT) == before


def test_processes_that_migrate_at_once_do_it_once(old: Engine) -> None:
    processes = [opening(old) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    with old.connect() as connection:
        assert migrations.current_revision(connection) == migrations.script().get_current_head()
        assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0


@pytest.mark.parametrize(("large", "told"), [(1, True), (1 << 40, False)])
def test_the_user_is_told_before_a_large_database_is_migrated(
    old: Engine, large: int, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(migrations, "_LARGE", large)
    with caplog.at_level(logging.WARNING):
        open_store(settings(old)).close()
        open_store(settings(old)).close()  # a current one
    assert [record.getMessage().count("takes minutes") for record in caplog.records] == ([1] if told else [])
