"""Tables are vacuumed after much was written; a worker, who may not, is not stopped."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import make_url, text

from lvm.store import Store
from lvm.store.connect import connect
from tests.store.toy import fill

TABLES = ("document", "chunk", "embedding")


def vacuumed(store: Store) -> int:
    """Number of tables whose rows are all known to be visible, as only a vacuum makes them."""
    seen = "SELECT count(*) FROM pg_class WHERE oid = ANY (CAST(:tables AS regclass[])) AND relallvisible > 0"
    with store.engine.connect() as connection:
        return connection.scalar(text(seen), {"tables": list(TABLES)}) or 0


def no_autovacuum(store: Store) -> None:
    with store.engine.begin() as connection:
        for table in TABLES:
            connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")


def test_tables_are_vacuumed_if_enough_was_written(database: Store, space: int) -> None:
    no_autovacuum(database)
    chunks = len(fill(database, space, documents=2, chunks=600))
    assert not database.vacuum(0)
    assert not database.vacuum(999)  # autovacuum would not either
    assert vacuumed(database) == 0
    assert database.vacuum(chunks)
    assert vacuumed(database) == len(TABLES)


def test_a_small_addition_to_many_chunks_is_left_to_autovacuum(database: Store, space: int) -> None:
    no_autovacuum(database)
    fill(database, space, documents=10, chunks=600)
    assert not database.vacuum(1_100)
    assert vacuumed(database) == 0


def test_a_worker_may_not_vacuum_and_goes_on(database: Store, database_url: str, space: int) -> None:
    no_autovacuum(database)
    user = f"vacuum_{make_url(database_url).database}"
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE USER {user} IN ROLE lvm_worker PASSWORD 'secret'")
    worker = replace(database, engine=connect(make_url(database_url).set(username=user, password="secret")))
    try:
        written = len(fill(worker, space, documents=2, chunks=600))
        assert worker.vacuum(written)
        assert vacuumed(database) == 0
    finally:
        worker.close()
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"DROP ROLE {user}")
