"""How a database is doing, read without changing it: what ``lvm doctor`` asks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from lvm.settings import Settings
from lvm.store import server
from lvm.store.migrate import current_revision, script
from lvm.store.store import connect, named_errors


@dataclass(frozen=True)
class Health:
    """What was found.

    Attributes:
        version: of the server, e.g. ``18.1``.
        pgvector: its version; None where it is not enabled. ``pgvector_available``: where it could be.
        migration, newest: of the schema and of this code; None before the first migration.
        known: whether this code knows that migration.
        connections, most: in use, and allowed.
        busy: what other processes are doing under a lock: names of locks, and training runs.
        incomplete: documents that have a chunk without a vector in the space asked for.
        size: bytes of the database.
    """

    version: str
    pgvector: str | None
    pgvector_available: bool
    migration: str | None
    newest: str | None
    known: bool
    connections: int
    most: int
    busy: int
    incomplete: int
    size: int


def examine(settings: Settings, space: str) -> Health:
    """Ask the database; an embedded server that is there is started, none is made.

    Raises:
        DatabaseUnavailable, ServerUnavailable, InvalidDatabaseUrl
    """
    engine = connect(server.database_url(settings))
    try:
        with named_errors(engine), engine.connect() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            migration = current_revision(connection)
            incomplete = 0
            if migration is not None:
                incomplete = connection.scalar(
                    text(
                        "SELECT count(DISTINCT c.document_id) FROM lvm.chunk c JOIN lvm.space s ON s.name = :space "
                        "WHERE NOT EXISTS (SELECT FROM lvm.embedding e WHERE e.chunk_id = c.id AND e.space_id = s.id)"
                    ),
                    {"space": space},
                )
            return Health(
                version=str(connection.scalar(text("SHOW server_version"))).split()[0],
                pgvector=connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")),
                pgvector_available=bool(
                    connection.scalar(text("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"))
                ),
                migration=migration,
                newest=script().get_current_head(),
                known=migration in {None, *(each.revision for each in script().walk_revisions())},
                connections=connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")),
                most=int(str(connection.scalar(text("SHOW max_connections")))),
                busy=connection.scalar(
                    text(
                        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() "
                        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    )
                ),
                incomplete=incomplete or 0,
                size=connection.scalar(text("SELECT pg_database_size(current_database())")),
            )
    finally:
        engine.dispose()
