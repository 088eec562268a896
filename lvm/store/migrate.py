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
from sqlalchemy.exc import DBAPIError, PendingRollbackError

import lvm
from lvm.errors import first_line
from lvm.store.errors import SchemaUnusable, driver_error, lacks_privilege, sqlstate

log = logging.getLogger(__name__)

SCHEMA = "lvm"
PGVECTOR = (0, 8)
"""The oldest version of pgvector that the schema can use: it has halfvec and iterative scans."""

_LOCK = 0x6C766D00  # key of the advisory lock: one migration at a time
_LARGE = 256 << 20  # bytes of vectors from which on a migration may take minutes: about 100,000 of 384 numbers
_DEPENDENT_OBJECTS = "2BP01"


def folder() -> Path:
    """The folder of the migrations: inside the package in a wheel, beside it in a checkout."""
    packaged = Path(lvm.__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(lvm.__file__).parent.parent / "migrations"


def run_statements(connection: Connection, revision: str, parts: Sequence[str], named: Mapping[str, str]) -> None:
    """Run the statements of a migration, from ``sql/REVISION/PART.sql`` beside the migrations.

    Args:
        connection: ``op.get_bind()``.
        revision: the migration.
        parts: names of the files, in order.
        named: what ``{NAME}`` stands for in them. ``@.`` stands for pgvector's schema.
    """
    # The driver itself, without parameters: the percent signs of RAISE are not placeholders.
    driver: Any = connection.connection.driver_connection
    found = driver.execute(
        "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE extname = 'vector'"
    ).fetchone()
    driver.execute(f"SET LOCAL search_path = {SCHEMA}, {found[0]}")
    for part in parts:
        sql = (folder() / "sql" / revision / f"{part}.sql").read_text(encoding="utf-8")
        for name, meaning in named.items():
            sql = sql.replace(f"{{{name}}}", meaning)
        driver.execute(sql.replace("@.", f"{found[0]}."))


def migrate(engine: Engine) -> None:
    """Create the extension and the schema if needed, and apply missing migrations.

    A current schema is only read: any role that may read it can open it, and no lock is taken.

    Raises:
        SchemaUnusable: if pgvector is missing and cannot be created, if the database is newer than this code, or if
            this user may not read or migrate the schema.
    """
    try:
        with engine.connect() as connection:
            if current_revision(connection) == script().get_current_head():
                return
            _owned(connection)
        with engine.connect() as connection, _one_at_a_time(connection):
            with connection.begin():
                _extension(connection)
                # Load the library: without it, only a superuser may set hnsw.ef_search in a function.
                connection.execute(text("SELECT CAST('[1]' AS vector)"))
                if not connection.scalar(text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": SCHEMA}):
                    connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            upgrade(connection)
    except (DBAPIError, psycopg.Error) as error:  # migrations use the driver too
        if sqlstate(error) == _DEPENDENT_OBJECTS:
            raise SchemaUnusable(
                f"database {engine.url.database!r} was not migrated, because objects of yours depend on what "
                f"a migration replaces ({_detail(error)}); drop them, run `lvm db migrate`, and create them again"
            ) from error
        if not lacks_privilege(error):
            raise
        raise SchemaUnusable(
            f"user {engine.url.username!r} may not read or create this project's schema in database "
            f"{engine.url.database!r} ({first_line(driver_error(error))}); let its owner run `lvm db migrate` once, "
            "and grant this user the role lvm_reader or more"
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


def upgrade(connection: Connection) -> None:
    """Apply missing migrations: inside the caller's transaction if there is one, else each in its own.

    Raises:
        SchemaUnusable: if the database is newer than this code.
    """
    config, known, outer = _config(), script(), connection.in_transaction()
    current = current_revision(connection)
    if current == known.get_current_head():
        return
    if current is not None and current not in {revision.revision for revision in known.walk_revisions()}:
        raise SchemaUnusable(
            f"the database is at migration {current}, which this version of lvm does not know; "
            "a newer version used it: upgrade lvm, or use another database"
        )
    if current is not None:
        _announce(connection, current, str(known.get_current_head()))
    if not outer:
        connection.rollback()  # Alembic begins its own transactions
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _announce(connection: Connection, current: str, newest: str) -> None:
    """Tell the user that the migration of a large database takes time."""
    size = connection.scalar(text("SELECT pg_table_size(to_regclass(:name))"), {"name": f"{SCHEMA}.embedding"}) or 0
    if size >= _LARGE:
        log.warning(
            "database %r has %.1f GB of vectors and goes from migration %s to %s: this takes minutes; "
            "if it is interrupted, the next command goes on",
            connection.engine.url.database,
            size / 1e9,
            current,
            newest,
        )


@contextmanager
def _one_at_a_time(connection: Connection) -> Iterator[None]:
    """Hold the lock of migrations for this session. Postgres releases it if the process dies."""
    with suppress(DBAPIError), connection.begin():  # not every platform can
        # A long statement of a process that died ends within seconds, and so does its lock.
        connection.execute(text("SELECT set_config('client_connection_check_interval', '2s', false)"))
    with connection.begin():
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    try:
        yield
    finally:
        # If the session died, Postgres released the lock. The original error is reported.
        with suppress(DBAPIError, PendingRollbackError):
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()


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
    """Create the extension in schema public, where the project looks for it."""
    found = connection.execute(
        text("SELECT extnamespace::regnamespace::text, extversion FROM pg_extension WHERE extname = 'vector'")
    ).first()
    schema, extension = found or (None, None)
    if extension is not None and version_of(extension) < PGVECTOR:
        raise SchemaUnusable(
            f"pgvector is {extension} and this version of lvm needs {'.'.join(map(str, PGVECTOR))}; install it on the "
            "server, then let the extension's owner run ALTER EXTENSION vector UPDATE"
        )
    if schema == "public":
        return
    if schema is not None:
        raise SchemaUnusable(
            f"pgvector is in schema {schema} and this project uses it in schema public; let its owner run "
            "ALTER EXTENSION vector SET SCHEMA public"
        )
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public"))
    except DBAPIError as error:
        raise SchemaUnusable(
            f"pgvector cannot be enabled in this database ({first_line(error.orig)}); install pgvector on the "
            "server and run CREATE EXTENSION vector as a superuser"
        ) from error
