"""Migrations of the schema, applied on first use or by ``lvm db migrate``.

Contract: many processes may migrate at once; one of them applies the migrations. Each migration commits by itself: one
that was interrupted is undone and runs again at the next opening, those before it stay. Opening a current schema only
reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

import lvm
from lvm.errors import first_line
from lvm.store.errors import SchemaUnusable, driver_error, error_of, lacks_privilege, sqlstate

log = logging.getLogger(__name__)

SCHEMA = "lvm"
ENCODING = "UTF8"
ENCODING_ADVICE = "use one in UTF-8: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
EXTENSION_SCHEMA = (
    "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'vector'"
)
"""Query of pgvector's schema, quoted."""

PGVECTOR = (0, 8)
"""The oldest version of pgvector that the schema can use: it has halfvec and iterative scans."""

_LOCK = 0x6C766D00  # key of the advisory lock: one migration at a time
_LARGE = 256 << 20  # bytes of vectors from which on a migration may take minutes: about 100,000 of 384 numbers
_DEPENDENT_OBJECTS = "2BP01"


def folder() -> Path:
    """The folder of the migrations: inside the package in a wheel, beside it in a checkout."""
    packaged = Path(lvm.__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(lvm.__file__).parent.parent / "migrations"


def prepared(connection: Connection) -> tuple[Any, str]:
    """Prepare the transaction of a migration: the search path, and pgvector's library.

    Without the library only a superuser may set ``hnsw.ef_search`` in a function.

    Args:
        connection: ``op.get_bind()``.

    Returns:
        The driver's connection, and pgvector's schema, quoted. The driver, without parameters, takes no percent sign
        for a placeholder.

    Raises:
        SchemaUnusable: if pgvector is not enabled.
    """
    driver: Any = connection.connection.driver_connection
    found = driver.execute(EXTENSION_SCHEMA).fetchone()
    if found is None:
        raise SchemaUnusable("pgvector is not enabled in this database; run CREATE EXTENSION vector as a superuser")
    schema = str(found[0])
    driver.execute(f"SET LOCAL search_path = {SCHEMA}, {schema}")
    driver.execute(f"SELECT '[1]'::{schema}.vector")
    return driver, schema


def run_statements(connection: Connection, revision: str, parts: Sequence[str], named: Mapping[str, str]) -> None:
    """Run the statements of a migration, from ``sql/REVISION/PART.sql`` beside the migrations.

    Args:
        connection: ``op.get_bind()``.
        revision: the migration.
        parts: names of the files, in order.
        named: what ``{NAME}`` stands for in them. ``@.`` stands for pgvector's schema.
    """
    driver, schema = prepared(connection)
    for part in parts:
        sql = (folder() / "sql" / revision / f"{part}.sql").read_text(encoding="utf-8")
        for name, meaning in named.items():
            sql = sql.replace(f"{{{name}}}", meaning)
        driver.execute(sql.replace("@.", f"{schema}."))


def migrate(engine: Engine) -> None:
    """Create the extension and the schema if needed, and apply missing migrations.

    A current schema is only read: any role that may read it can open it, and no lock is taken.

    Raises:
        SchemaUnusable: if the database is not in UTF-8, if pgvector is missing and cannot be created, if the database
            is newer than this code, if this user may not read or migrate the schema, or if a migration fails.
    """
    with migration_errors(engine):
        with engine.connect() as connection:
            _require_utf8(connection)
            if current_revision(connection) == script().get_current_head():
                return
            _owned(connection)
            _announce(connection)
        while _step(engine):
            pass


def _step(engine: Engine) -> bool:
    """Apply the next migration in a transaction of its own.

    Returns:
        Whether there was one.
    """
    with engine.connect() as connection, connection.begin():
        _one_at_a_time(connection)
        current, known = current_revision(connection), script()
        if current == known.get_current_head():
            return False
        if current is None:
            _extension(connection)
            if not connection.scalar(text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": SCHEMA}):
                connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        upgrade(connection, "+1")
        return True


@contextmanager
def migration_errors(engine: Engine) -> Iterator[None]:
    """Turn whatever the driver raises in a migration into a named error.

    Raises:
        SchemaUnusable: if the database refuses a statement.
        DatabaseUnavailable: and the other errors of ``named_errors``.
    """
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:  # migrations use the driver too
        database, reason = engine.url.database, first_line(driver_error(error))
        if sqlstate(error) == _DEPENDENT_OBJECTS:
            raise SchemaUnusable(
                f"database {database!r} was not migrated, because objects of yours depend on what "
                f"a migration replaces ({_detail(error)}); drop them, run `lvm db migrate`, and create them again"
            ) from error
        if lacks_privilege(error):
            raise SchemaUnusable(
                f"user {engine.url.username!r} may not read or create this project's schema in database "
                f"{database!r} ({reason}); let its owner run `lvm db migrate` once, "
                "and grant this user the role lvm_reader or more"
            ) from error
        raise error_of(engine, error) or SchemaUnusable(
            f"database {database!r} was not migrated, because it refused a statement ({reason}); the migration was "
            "undone and nothing that was stored is lost: see `lvm doctor` and the server's log, then run "
            "`lvm db migrate`"
        ) from error


def current_revision(connection: Connection) -> str | None:
    """The migration of the database; None before the first one."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()


def script() -> ScriptDirectory:
    """The migrations that this code knows."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return config


def upgrade(connection: Connection, to: str = "head") -> None:
    """Apply missing migrations inside the caller's transaction.

    Args:
        connection: a transaction's.
        to: the last migration to apply, or ``+1`` for the next one.

    Raises:
        SchemaUnusable: if the database is newer than this code.
    """
    config, known = _config(), script()
    current = current_revision(connection)
    if current == known.get_current_head():
        return
    if current is not None and current not in {revision.revision for revision in known.walk_revisions()}:
        raise SchemaUnusable(
            f"the database is at migration {current}, which this version of lvm does not know; "
            "a newer version used it: upgrade lvm, or use another database"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _announce(connection: Connection) -> None:
    """Tell the user that the migration of a large database takes time."""
    size = connection.scalar(text("SELECT pg_table_size(to_regclass(:name))"), {"name": f"{SCHEMA}.embedding"}) or 0
    if size >= _LARGE:
        log.warning(
            "database %r has %.1f GB of vectors and goes from migration %s to %s: this takes minutes; "
            "if it is interrupted, the next command goes on",
            connection.engine.url.database,
            size / 1e9,
            current_revision(connection),
            script().get_current_head(),
        )


def _one_at_a_time(connection: Connection) -> None:
    """Take the lock of migrations for this transaction. Postgres releases it if the process dies."""
    with suppress(DBAPIError), connection.begin_nested():  # not every platform can
        # A long statement of a process that died ends within seconds, and so does its lock.
        connection.execute(text("SELECT set_config('client_connection_check_interval', '2s', true)"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _require_utf8(connection: Connection) -> None:
    """Refuse a database that cannot hold every text."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != ENCODING:
        raise SchemaUnusable(
            f"database {connection.engine.url.database!r} is in encoding {encoding}, which cannot hold every text, so "
            f"nothing is stored there; {ENCODING_ADVICE}"
        )


def _owned(connection: Connection) -> None:
    """Refuse a role that does not own the schema, before it waits for a lock."""
    owner = text("SELECT pg_has_role(nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = :name")
    if connection.scalar(owner, {"name": SCHEMA}) is False:
        current, newest = current_revision(connection), script().get_current_head()
        raise SchemaUnusable(
            f"the schema is at migration {current}, this version of lvm needs {newest}, and user "
            f"{connection.engine.url.username!r} does not own it; let its owner run `lvm db migrate` "
            "with this version of lvm"
        )


def version_of(extension: str) -> tuple[int, ...]:
    """Major and minor number of a version such as ``0.8.5``."""
    return tuple(int(part) for part in extension.split(".")[:2])


def _detail(error: BaseException) -> str:
    """Postgres' detail of an error, in one line."""
    cause = driver_error(error)
    detail = cause.diag.message_detail if isinstance(cause, psycopg.Error) else None
    return first_line(detail or "")


def _extension(connection: Connection) -> None:
    """Create the extension, unless it is there, in whatever schema."""
    version = connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    if version is not None:
        if version_of(version) < PGVECTOR:
            raise SchemaUnusable(
                f"pgvector is {version} and this version of lvm needs {'.'.join(map(str, PGVECTOR))}; install it on "
                "the server, then let the extension's owner run ALTER EXTENSION vector UPDATE"
            )
        return
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION vector WITH SCHEMA public"))
    except DBAPIError as error:
        raise SchemaUnusable(
            f"pgvector cannot be enabled in this database ({first_line(error.orig)}); install pgvector on the "
            "server and run CREATE EXTENSION vector as a superuser"
        ) from error
