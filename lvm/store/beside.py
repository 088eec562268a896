"""Databases beside a database, on the same server: a corpus that models are only measured on, or one source alone.

Contract: the database itself does not change. A database beside it has the same tables and triggers. It is named
``<database>_on_<key>`` or ``<database>_only_<key>``, its comment names the corpus, and it belongs to the owner of the
tables here or to a superuser: in a database of anybody else, their code would run in this user's name and verdicts
would be theirs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.sql import Literal as SqlLiteral
from sqlalchemy import Connection, text

from lvm.errors import first_line
from lvm.store.connect import connect, create_database
from lvm.store.errors import NotAllowed, missing_privilege, named_errors
from lvm.store.migrate import SCHEMA, migrate
from lvm.store.store import Store

_LONGEST_NAME = 63  # bytes of a name in Postgres
_KEY = 12  # hex digits

Kind = Literal["on", "only"]
"""``on``: models are only measured on it. ``only``: one source alone, with its own gate and models."""

_MARKS: dict[Kind, str] = {"on": "lvm: only measured on, ", "only": "lvm: one source alone, "}
"""Beginning of the comment of a database that this project made."""


@dataclass(frozen=True)
class Beside:
    """A database that this project made beside another one.

    Attributes:
        name: name of the database.
        about: what is in it.
        size: bytes on disk.
        kind: what it is for.
    """

    name: str
    about: str
    size: int
    kind: Kind


def key_of(*parts: str) -> str:
    """Twelve hex digits that stand for a corpus."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:_KEY]


def name_beside(database: str, key: str, kind: Kind = "on") -> str:
    """Name of the database beside ``database``. A name that would be too long is replaced by its digest."""
    room = _LONGEST_NAME - len(f"_{kind}_") - _KEY
    return f"{database if len(database.encode()) <= room else key_of(database)}_{kind}_{key}"


def open_beside(store: Store, key: str, about: str, kind: Kind = "on") -> Store:
    """Open a database beside another one, with the same users. It is created and migrated as needed.

    Args:
        store: the database itself.
        key: of the corpus; see ``key_of``.
        about: what the comment of the database says.
        kind: what the database is for.

    Raises:
        NotAllowed: if the database is missing and this user may not create it, or it belongs to somebody else.
        DatabaseUnavailable: if it cannot be reached.
        SchemaUnusable: if it cannot hold this project's schema, or this user may not read it.
    """
    name = name_beside(store.database_name, key, kind)
    with named_errors(store.engine):
        _create(store, name)
        _require_owner(store, name)
    engine = connect(store.engine.url.set(database=name))
    try:
        with named_errors(engine):
            migrate(engine)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                _describe(connection, name, about, kind)
    except BaseException:
        engine.dispose()
        raise
    gatekeeper = None if store.gatekeeper is None else connect(store.gatekeeper.url.set(database=name))
    return Store(engine, gatekeeper, store.index_memory)


def databases_beside(store: Store) -> list[Beside]:
    """The databases that this project made beside this one, by name, and after one of a source alone those beside it.

    Databases with another comment are not listed.
    """
    with store.engine.connect() as connection:
        found = []
        for each in _made_beside(connection, store.database_name):
            found += [each, *(_made_beside(connection, each.name) if each.kind == "only" else ())]
    return found


def _made_beside(connection: Connection, database: str) -> list[Beside]:
    statement = text(
        "SELECT datname, shobj_description(oid, 'pg_database'), "
        "CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) ELSE 0 END FROM pg_database "
        "WHERE starts_with(shobj_description(oid, 'pg_database'), :mark) AND starts_with(datname, :prefix) "
        "AND substr(datname, length(:prefix) + 1) ~ :key ORDER BY datname"
    )
    found = []
    for kind, mark in _MARKS.items():
        values = {"mark": mark, "prefix": name_beside(database, "", kind), "key": f"^[0-9a-f]{{{_KEY}}}$"}
        rows = connection.execute(statement, values)
        found += [Beside(name, about.removeprefix(mark), size, kind) for name, about, size in rows]
    return found


def drop_beside(store: Store) -> tuple[int, list[str]]:
    """Drop the databases that this project made beside this one.

    Returns:
        The number of dropped databases, and for every other one why it is left.
    """
    dropped, left = 0, []
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for each in databases_beside(store):
            try:
                _driver(connection).execute(SQL("DROP DATABASE {}").format(Identifier(each.name)))
                dropped += 1
            except psycopg.Error as error:  # in use, or of another owner
                left.append(f"database {each.name} ({first_line(error)})")
    return dropped, left


def _create(store: Store, name: str) -> None:
    """Create the database if it is missing. Only the owner of the tables may: it owns the new ones too."""
    known = text("SELECT 1 FROM pg_database WHERE datname = :name")
    owner = text("SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = :schema")
    with store.engine.connect() as connection:
        if connection.scalar(known, {"name": name}):
            return
        owned = connection.scalar(owner, {"schema": SCHEMA})
    user = store.engine.url.username

    def refused(reason: str) -> NotAllowed:
        return NotAllowed(
            f"another corpus needs a database of its own, and user {user!r} may not create it ({reason}); nothing was "
            f'stored: let the owner of database {store.database_name!r} run CREATE DATABASE "{name}", and '
            "`lvm db migrate` with LVM_DATABASE_URL naming that database"
        )

    if not owned:  # a worker who owned tables could write verdicts there
        raise refused(f"it does not own the tables of {store.database_name!r}")
    with missing_privilege(refused):
        create_database(store.engine.url, name)


def _require_owner(store: Store, name: str) -> None:
    """Refuse a database of a user who owns nothing here: its triggers would run in this user's name."""
    statement = text(
        "SELECT r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = :name "
        "AND NOT r.rolsuper AND d.datdba NOT IN (SELECT datdba FROM pg_database WHERE datname = current_database() "
        "UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname = :schema)"
    )
    with store.engine.connect() as connection:
        owner = connection.scalar(statement, {"name": name, "schema": SCHEMA})
    if owner is not None:
        raise NotAllowed(
            f"database {name!r} belongs to user {owner!r}, who does not own database {store.database_name!r}; nothing "
            "was stored: let an administrator drop it, or give it to that owner (ALTER DATABASE ... OWNER TO ...)"
        )


def _describe(connection: Connection, name: str, about: str, kind: Kind) -> None:
    """Give the database its comment, if it has none and this user owns it."""
    statement = text(
        "SELECT pg_has_role(datdba, 'USAGE') AND shobj_description(oid, 'pg_database') IS NULL "
        "FROM pg_database WHERE datname = :name"
    )
    if connection.scalar(statement, {"name": name}):
        said = SqlLiteral(_MARKS[kind] + about)
        _driver(connection).execute(SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(name), said))


def _driver(connection: Connection) -> psycopg.Connection:
    """The driver's connection, for statements that take no parameters."""
    driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver
