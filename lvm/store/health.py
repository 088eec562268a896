"""How a database is doing, read without changing it: what ``lvm doctor`` asks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from lvm.settings import Settings
from lvm.store import server
from lvm.store.migrate import current_revision, script
from lvm.store.store import connect, named_errors

RULES = frozenset(
    {
        *(f"chunk_{name}" for name in ("hashed", "immutable", "in", "no_truncate", "out")),
        "corpus_change_by_hand",
        *(f"document_{name}" for name in ("in", "kept", "no_truncate", "out")),
        *(f"embedding_{name}" for name in ("hashed", "immutable", "in", "no_truncate", "out")),
        *("gate_judged", "gate_result_current", "gate_result_immutable", "inverter_immutable"),
        *(f"sequence_set_{name}" for name in ("current", "gated", "immutable", "no_delete")),
        *("space_immutable", "space_no_delete"),
        *(f"training_run_{name}" for name in ("current", "gated", "no_delete")),
    }
)
"""The triggers that keep the database true; the owner of the tables can disable them."""


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
        off: triggers of ``RULES`` that are disabled or gone.
        children: tables that inherit from ours; their rows are not read.
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
    off: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


def examine(settings: Settings, space: str) -> Health:
    """Ask the database; an embedded server that is there is started, none is made.

    Raises:
        DatabaseUnavailable, ServerUnavailable, InvalidDatabaseUrl
    """
    engine = connect(server.database_url(settings))
    try:
        with named_errors(engine), engine.connect() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            migration, ours = current_revision(connection), script()
            incomplete, off, children = 0, RULES, ()
            if migration is not None:
                rules = text(
                    "SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
                    "WHERE c.relnamespace = 'lvm'::regnamespace AND t.tgenabled = 'A'"
                )
                off = RULES - set(connection.scalars(rules))
                inherited = text(
                    "SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent "
                    "WHERE c.relnamespace = 'lvm'::regnamespace AND c.relkind = 'r' ORDER BY 1"
                )
                children = tuple(connection.scalars(inherited))
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
                newest=ours.get_current_head(),
                known=migration in {None, *(each.revision for each in ours.walk_revisions())},
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
                off=tuple(sorted(off)),
                children=children,
            )
    finally:
        engine.dispose()
