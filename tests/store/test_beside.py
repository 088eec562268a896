"""A database beside another one: its name, its owner, what is listed and dropped, and which documents stay in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import create_engine, make_url

from lvm.settings import Settings
from lvm.store import (
    NotAllowed,
    NoVerdicts,
    SchemaUnusable,
    Store,
    databases_beside,
    drop_beside,
    key_of,
    open_beside,
    open_store,
)
from lvm.store.beside import name_beside
from tests.store.toy import fill, gate, measured, register

KEY = key_of("a corpus")


@pytest.fixture
def admin(database: Store) -> Iterator[Store]:
    """The database, whose neighbours and users are dropped at the end."""
    yield database
    drop_beside(database)


def test_names_are_short_and_differ() -> None:
    assert name_beside("lvm", KEY) == f"lvm_on_{KEY}"
    long = {name_beside("d" * 60 + end, KEY) for end in "ab"}
    assert len(long) == 2 and all(len(name) <= 63 for name in long)
    assert len(name_beside("ä" * 30, KEY).encode()) <= 63
    assert key_of("ab", "c") != key_of("a", "bc")


def test_it_has_the_same_tables_and_nothing_of_the_other(admin: Store) -> None:
    fill(admin, register(admin))
    revision = admin.corpus_revision(1)
    for _ in range(2):  # the second time it is there
        with open_beside(admin, KEY, "it's 100 % new") as other:
            assert other.database_name == f"{admin.database_name}_on_{KEY}"
            assert other.known_documents(register(other)) == set()
    with open_beside(admin, KEY, "another comment") as other:
        fill(other, register(other), documents=2)
        assert other.contents()["document"] == 2
    assert admin.corpus_revision(1) == revision and admin.contents()["document"] == 5
    (listed,) = databases_beside(admin)
    assert listed.about == "it's 100 % new" and listed.size > 0
    with open_beside(admin, key_of("b"), "b"):
        assert len(databases_beside(admin)) == 2
        dropped, (left,) = drop_beside(admin)
        assert dropped == 1 and "being accessed by other users" in left


def test_a_database_that_is_not_ours_is_not_listed(admin: Store) -> None:
    name = f"{admin.database_name}_on_{key_of('not ours')}"
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        connection.exec_driver_sql(f"COMMENT ON DATABASE {name} IS 'photos'")
        try:
            assert databases_beside(admin) == [] and drop_beside(admin) == (0, [])
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name}")


def test_other_documents_go(database: Store) -> None:
    space = register(database)
    fill(database, space, documents=4)
    before = database.corpus_revision(space)
    assert database.keep_documents({("test", f"doc{i}") for i in range(4)}) == 0
    assert database.corpus_revision(space) == before
    assert database.keep_documents({("test", "doc1"), ("elsewhere", "doc2"), ("test", "new")}) == 3
    assert {name for _, name, _ in database.known_documents(space)} == {"doc1"}
    assert database.counts(space) == {"documents": 1, "chunks": 6, "embeddings": 6}
    assert database.corpus_revision(space) == database.recomputed_revision(space) != before


def test_roles(admin: Store, database_url: str) -> None:
    """Only the owner of the tables creates it; a worker uses it, and verdicts there are the gatekeeper's too."""
    name = f"{admin.database_name}_on_{KEY}"
    root = create_engine(make_url(database_url).set(database="postgres"), isolation_level="AUTOCOMMIT")

    def url(user: str) -> str:
        return make_url(database_url).set(username=user, password="secret").render_as_string(hide_password=False)

    users = {f"{role}_{admin.database_name}": role for role in ("lvm_worker", "lvm_gatekeeper", "lvm_reader")}
    worker, gatekeeper, stranger = users
    with root.connect() as connection, ExitStack() as stack:
        for user, role in users.items():
            rights = "CREATEDB" if user != gatekeeper else ""
            connection.exec_driver_sql(f"CREATE USER {user} {rights} IN ROLE {role} PASSWORD 'secret'")
            stack.callback(connection.exec_driver_sql, f"DROP USER {user}")
            stack.callback(admin.engine.dispose)
        stack.callback(connection.exec_driver_sql, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        settings = Settings(database_url=url(worker), gatekeeper_url=url(gatekeeper))  # type: ignore[arg-type]
        with open_store(settings) as store:
            with pytest.raises(NotAllowed, match=rf'CREATE DATABASE "{name}"'):
                open_beside(store, KEY, "x")  # though it may create databases: it would own the verdicts there
            for owner in (worker, stranger):
                connection.exec_driver_sql(f"CREATE DATABASE {name} OWNER {owner}")
                with pytest.raises(NotAllowed, match=f"belongs to user '{owner}'"):
                    open_beside(store, KEY, "x")
                connection.exec_driver_sql(f"DROP DATABASE {name}")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
            with pytest.raises(SchemaUnusable, match="as a superuser"):
                open_beside(store, KEY, "x")
            open_beside(admin, KEY, "x").close()
            with open_beside(store, KEY, "x") as other:
                space = register(other)
                fill(other, space)
                assert other.engine.url.username == worker and gate(other, space).value > 0
                other.keep_documents({("test", "doc1")})
                assert other.counts(space)["documents"] == 1
                other.gatekeeper.dispose()  # type: ignore[union-attr]
                other.gatekeeper = None
                with pytest.raises(NoVerdicts):
                    other.record_gate(measured(other, space))
    root.dispose()
