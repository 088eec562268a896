"""Health of a database, as ``lvm doctor`` reports it. Reading it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from lvm.settings import Settings
from lvm.store import server
from lvm.store.connect import connect
from lvm.store.errors import named_errors
from lvm.store.migrate import current_revision, script
from lvm.store.search import INDEX_FROM

RULES = frozenset(
    {
        *(f"chunk_{name}" for name in ("hashed", "immutable", "in", "no_truncate", "out")),
        "corpus_change_by_hand",
        *(f"document_{name}" for name in ("in", "kept", "no_truncate", "out")),
        *(f"embedding_{name}" for name in ("hashed", "immutable", "in", "no_truncate", "out")),
        *("evaluation_figure_immutable", "evaluation_figure_in", "evaluation_immutable", "evaluation_stamped"),
        *("promotion_gated", "promotion_immutable"),
        *("gate_judged", "gate_result_current", "gate_result_immutable", "gate_sourced", "inverter_immutable"),
        *(f"sequence_set_{name}" for name in ("current", "gated", "immutable", "no_delete")),
        *("space_immutable", "space_no_delete"),
        *(f"training_run_{name}" for name in ("current", "gated", "no_delete")),
    }
)
"""The triggers that guard the tables. The owner of the tables can disable them."""


@dataclass(frozen=True)
class Health:
    """State of a database and its server.

    Attributes:
        version: of the server, e.g. ``18.1``.
        encoding: of the database, e.g. ``UTF8``.
        pgvector: version of the extension; None if it is not enabled.
        pgvector_available: version that the server can enable; None if it is not installed.
        pgvector_moved: the schema that it was in when the schema was migrated, if it is in another one now.
        rights: what this user may not do, and a migration or every statement must: in words, with what to do.
        migration: of the schema; None before the first migration.
        newest: the newest migration of this code.
        known: whether this code knows the schema's migration.
        connections: open connections of the server.
        most: connections that the server allows.
        busy: locks that other processes hold on this database: ingestion, clearing, training runs.
        incomplete: documents that have a chunk without a vector in the space.
        unindexed: vectors of the space if it should have a search index and has none; else 0.
        size: of the database, in bytes.
        off: triggers of ``RULES`` that are disabled or missing.
        children: tables that inherit from ours; the store does not read their rows.
    """

    version: str
    encoding: str
    pgvector: str | None
    pgvector_available: str | None
    migration: str | None
    newest: str | None
    known: bool
    connections: int
    most: int
    busy: int
    incomplete: int
    unindexed: int
    size: int
    pgvector_moved: str | None = None
    rights: tuple[tuple[str, str], ...] = ()
    off: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


def examine(settings: Settings, space: str) -> Health:
    """Read the state of the database in a read-only transaction. An embedded server is started if needed.

    Args:
        space: name of the space whose documents are checked.

    Raises:
        DatabaseUnavailable: if the database cannot be reached.
        LockTimeout: if another session held a lock for too long.
        ServerUnavailable: if the embedded server cannot be started.
        InvalidDatabaseUrl: if ``LVM_DATABASE_URL`` cannot be read.
    """
    engine = connect(server.database_url(settings))
    try:
        with named_errors(engine), engine.connect() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            migration, migrations = current_revision(connection), script()
            incomplete, unindexed, off, children = 0, 0, RULES, ()
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
                unindexed = connection.scalar(
                    text(
                        "SELECT count(*) FROM lvm.space s JOIN ONLY lvm.embedding e ON e.space_id = s.id "
                        "WHERE s.name = :space AND to_regclass('lvm.embedding_search_' || s.id) IS NULL"
                    ),
                    {"space": space},
                )
            return Health(
                version=str(connection.scalar(text("SHOW server_version"))).split()[0],
                encoding=str(connection.scalar(text("SHOW server_encoding"))),
                pgvector=connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")),
                pgvector_available=connection.scalar(
                    text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
                ),
                pgvector_moved=connection.scalar(_MOVED) if migration is not None else None,
                rights=_missing_rights(connection, migration == migrations.get_current_head()),
                migration=migration,
                newest=migrations.get_current_head(),
                known=migration in {None, *(step.revision for step in migrations.walk_revisions())},
                connections=connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")),
                most=int(str(connection.scalar(text("SHOW max_connections")))),
                busy=connection.scalar(
                    text(
                        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() "
                        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    )
                ),
                incomplete=incomplete or 0,
                unindexed=unindexed if unindexed and unindexed >= INDEX_FROM else 0,
                size=connection.scalar(text("SELECT pg_database_size(current_database())")),
                off=tuple(sorted(off)),
                children=children,
            )
    finally:
        engine.dispose()


_MOVED = text(
    r"""SELECT known FROM (SELECT substring(prosrc FROM '("[^"]+"|\w+)\.vector_dims\(') AS known FROM pg_proc """
    "WHERE pronamespace = 'lvm'::regnamespace AND proname = 'embedding_in') f "
    "WHERE known NOT IN (SELECT quote_ident(n.nspname) FROM pg_extension e "
    "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector')"
)
"""The functions name pgvector's schema."""

_RIGHTS = text(
    "SELECT quote_ident(current_user), quote_ident(current_database()), "
    "has_database_privilege(current_database(), 'CREATE'), "
    "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user), "
    "(SELECT bool_or(trusted) FROM pg_available_extension_versions WHERE name = 'vector'), "
    "(SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'vector' AND NOT has_schema_privilege(n.oid, 'USAGE')), "
    "EXISTS (SELECT FROM pg_extension WHERE extname = 'vector'), "
    "(SELECT pg_has_role(nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = 'lvm')"
)


def _missing_rights(connection: Connection, current: bool) -> tuple[tuple[str, str], ...]:
    """What this user may not do, with what to do.

    Args:
        connection: of this user.
        current: whether nothing is to be migrated.
    """
    user, database, creates, superuser, trusted, closed, enabled, owned = connection.execute(_RIGHTS).one()
    missing = []
    if not enabled and not superuser and not (trusted and creates):
        missing.append(("may not enable pgvector", "let an administrator run CREATE EXTENSION vector in this database"))
    if closed is not None:
        missing.append((f"may not use pgvector's schema {closed}", f"GRANT USAGE ON SCHEMA {closed} TO {user}"))
    if owned is None and not creates and not current:
        missing.append(("may not create the schema lvm", f"GRANT CREATE ON DATABASE {database} TO {user}"))
    if owned is False and not current:
        missing.append(("does not own the schema lvm", "let its owner run `lvm db migrate`"))
    return tuple((f"user {user} {what}", advice) for what, advice in missing)
