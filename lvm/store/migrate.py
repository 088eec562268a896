"""Bring a database to the newest schema, on first use or by ``lvm db migrate``; safe to run from many processes."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

import lvm
from lvm.errors import LvmError, first_line

SCHEMA = "lvm"
_LOCK = 0x6C766D00  # one migration at a time


class SchemaUnusable(LvmError):
    """The database cannot hold this project's schema."""


def folder() -> Path:
    """Where the migrations are: in an installed wheel inside the package, in a checkout beside it."""
    packaged = Path(lvm.__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(lvm.__file__).parent.parent / "migrations"


def migrate(engine: Engine) -> None:
    """Create the extension and the schema if needed and apply what is missing.

    Raises:
        SchemaUnusable: without pgvector or the right to create it, or if the database is newer than this code.
    """
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        _extension(connection)
        try:
            with connection.begin_nested():
                if not connection.scalar(text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": SCHEMA}):
                    connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
                upgrade(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "42501":  # insufficient privilege
                raise
            raise SchemaUnusable(
                f"user {engine.url.username!r} may not make this project's schema in database "
                f"{engine.url.database!r} ({first_line(error.orig)}); let its owner run `lvm db migrate` once"
            ) from error


def upgrade(connection: Connection) -> None:
    """Apply missing migrations inside the caller's transaction."""
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    current = context.get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise SchemaUnusable(
            f"the database is at migration {current}, which this version of lvm does not know; "
            "it was used by a newer version: upgrade lvm, or use another database"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _extension(connection: Connection) -> None:
    if connection.scalar(text("SELECT 1 FROM pg_extension WHERE extname = 'vector'")):
        return
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public"))
    except DBAPIError as error:
        raise SchemaUnusable(
            f"pgvector cannot be enabled in this database ({first_line(error.orig)}); install pgvector on the "
            "server and run CREATE EXTENSION vector as a superuser"
        ) from error
