"""The errors of the store, and what Postgres' error codes mean.

Contract: a failure that a user can act on is a named error of one line. Any other error passes through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from lvm.errors import LvmError, UsageError, first_line

_INSUFFICIENT_PRIVILEGE = "42501"
_LOCK_NOT_AVAILABLE = "55P03"
_PROTOCOL_VIOLATION = "08P01"  # poolers report their own errors with it
_INCOMPLETE = "55000"  # of lvm.gate_places
_NO_ROOM = {
    "53000": "free memory and disk space on the server",
    "53100": "free disk space on the server (a vector takes about 2 KB)",
    "53200": "free memory on the server, or lower its maintenance_work_mem",
    "53400": "raise that limit",
    "57014": "raise the user's statement_timeout",
}
"""What to do about an error code of a build of an index."""

_WRONG_JSON = {"22023", "22P02", "22P05", "22021"}
"""Codes of a filter that the database refuses."""

_CANCELED = "57014"
_TIMEOUT = "the server ended the session because of {}; raise it for this user (ALTER ROLE name SET {} = 0)"

_NOT_THERE = {"3F000", "42P01", "42703", "42704", "42883"}
"""Codes of a schema, table, column, type or function that does not exist, e.g. because pgvector was moved."""

_MEANINGS = {
    "28P01": "the password is wrong; put the right one into LVM_DATABASE_URL",
    "28000": "the user may not log in; check the user in LVM_DATABASE_URL",
    "3D000": "there is no such database; create it: CREATE DATABASE name",
    "53300": "it has no free connection; raise max_connections or the user's limit, or end other clients",
    "53100": "the server's disk is full; free some space there and run the same command again",
    "53200": "the server is out of memory; free some there, or lower its work_mem and maintenance_work_mem",
    "53400": "a limit of the server is reached; raise it there",
    "58030": "the server cannot read or write its files; its log says more",
    "25006": "it is read-only, perhaps a standby; name the primary in LVM_DATABASE_URL, or set "
    "default_transaction_read_only = off for this user",
    "25P03": _TIMEOUT.format("idle_in_transaction_session_timeout", "idle_in_transaction_session_timeout"),
    "25P04": _TIMEOUT.format("transaction_timeout", "transaction_timeout"),
    "57P05": _TIMEOUT.format("idle_session_timeout", "idle_session_timeout"),
    "57P01": "an administrator ended the session or stops the server; run the same command again",
    "57P03": "the server is starting or stopping; run the same command again in a moment",
    "40P01": "another session waited for this one; run the same command again",
    "40001": "another session was in the way; run the same command again",
    "pooler full": "the pooler has no free server connection: a process of lvm needs up to ten; raise its "
    "default_pool_size, or end other clients",
    "pool mode": "the pooler splits transactions; set its pool_mode to transaction or session",
}
"""What an error code means for the user, and what to do."""

_CODES_BY_TEXT = {
    "too many c": "53300",
    "remaining connection slots": "53300",
    "query_wait_timeout": "pooler full",
    "no more connections allowed": "pooler full",
    "statement pooling mode": "pool mode",
    "query_timeout": _CANCELED,
    "password authentication failed": "28P01",
    "idle-in-transaction timeout": "25P03",
    "transaction timeout": "25P04",
    "idle-session timeout": "57P05",
    "administrator command": "57P01",
    "is starting up": "57P03",
    "is shutting down": "57P03",
    'role "': "28000",
    "does not exist": "3D000",
}
"""Codes by parts of messages: libpq reports no code while it connects, and a pooler one that says little."""


RETRY_SECONDS = (2, 5, 15)
"""Pauses before a stage tries again to reach a database that is unavailable."""


class DatabaseUnavailable(LvmError):
    """The database cannot be reached."""


class ServerUnavailable(LvmError):
    """The embedded server cannot be started or stopped."""


class InvalidDatabaseUrl(UsageError):
    """``LVM_DATABASE_URL`` or ``LVM_GATEKEEPER_URL`` is not a Postgres URL."""


class LockLost(DatabaseUnavailable):
    """The session that held a lock ended, so another process may be doing the same work. Nothing more is written."""


class StatementTimeout(LvmError):
    """The server ended a statement that took too long."""


class SchemaUnusable(LvmError):
    """The database cannot hold this project's schema."""


class LockTimeout(LvmError):
    """Another session held a lock for longer than the lock timeout."""


class Busy(LvmError):
    """Another process is doing the same work."""


class InvalidText(LvmError):
    """Postgres cannot store this text."""


class ChunkingDiffers(LvmError):
    """The document is stored with other chunks."""


class GateRequired(LvmError):
    """The database refused: no passing gate of this space, corpus revision and inverter."""


class PromotionRefused(LvmError):
    """The database refused a promotion: gates, evaluation, or the champion is better. The champion stays."""


class CorpusIncomplete(LvmError):
    """Chunks or vectors of a document are missing, so no sample of the corpus can be drawn."""


class NoVerdicts(LvmError):
    """The database user may not write verdicts."""


class NotAllowed(UsageError):
    """Only the owner of the tables may do this."""


class NotConfirmed(UsageError):
    """The database's name was not typed, so no data is destroyed."""


class InvalidFilter(UsageError):
    """The filter of a search has an unknown key or a wrong type."""


class IndexNotBuilt(LvmError):
    """The server had no room or no time to build a search index."""


class TrainingActive(LvmError):
    """A training run is active, so its data stays."""


@contextmanager
def named_errors(engine: Engine) -> Iterator[None]:
    """Turn a lost connection, a full pool, a timeout and a missing right inside the block into named errors.

    Committed data stays. The same command continues from it.

    Raises:
        DatabaseUnavailable: if the database cannot be reached or goes away.
        LockTimeout: if another session holds a lock for too long.
        StatementTimeout: if a statement takes longer than the server allows.
        NotAllowed: if the user lacks a right.
    """
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable(
            f"all connections of this process to database {engine.url.database!r} are in use; nothing that was stored "
            "is lost: lower LVM_WORKERS, then run the same command again"
        ) from error
    except (DBAPIError, psycopg.Error) as error:
        named = error_of(engine, error)
        if named is None:
            raise
        raise named from error


def error_of(engine: Engine, error: DBAPIError | psycopg.Error) -> LvmError | None:
    """The named error of an error of the driver; None if it has no meaning for a user."""
    name, cause, code = engine.url.database, driver_error(error), sqlstate(error)
    reason = first_line(cause)
    if code is None or code == _PROTOCOL_VIOLATION:
        code = next((code for part, code in _CODES_BY_TEXT.items() if part in str(cause)), code)
    if code == _LOCK_NOT_AVAILABLE:
        return LockTimeout(
            f"another session holds a lock in database {name!r}{lock_holders(engine)}; nothing that was stored is "
            "lost: run the same command again when that session has ended, or have an administrator end it "
            "(SELECT pg_terminate_backend(PID))"
        )
    if code == _CANCELED and "user request" in reason:
        return StatementTimeout(
            f"somebody canceled a statement in database {name!r}; nothing that was stored is lost: run the same "
            "command again"
        )
    if code == _CANCELED:
        return StatementTimeout(
            f"a statement took longer than database {name!r} allows user {engine.url.username!r} ({reason}); nothing "
            "that was stored is lost: raise the limit (ALTER ROLE name SET statement_timeout = 0; in a pooler, "
            "query_timeout), then run the same command again"
        )
    if code == _INSUFFICIENT_PRIVILEGE:
        return NotAllowed(
            f"user {engine.url.username!r} lacks a right in database {name!r} ({reason}); nothing that was stored is "
            "lost: let the owner grant it, or name another user in LVM_DATABASE_URL"
        )
    if code in _NOT_THERE:
        return SchemaUnusable(
            f"the schema of database {name!r} is not as this project made it ({reason}); nothing that was stored is "
            "lost: see `lvm doctor`"
        )
    failed = isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError))
    if code not in _MEANINGS and not failed:
        return None
    lost = code is None or code.startswith(("08", "57"))
    meaning = "check LVM_DATABASE_URL and that the server is up" if lost else "the server's log says more"
    return DatabaseUnavailable(
        f"database {name!r} on {host_of(engine.url)} cannot be used ({reason}): {_MEANINGS.get(code or '', meaning)}; "
        "nothing that was stored is lost"
    )


def host_of(url: URL) -> str:
    """The host or hosts of a URL, or the folder of its socket."""
    host = url.host or url.query.get("host") or "the local socket"
    return host if isinstance(host, str) else ",".join(host)


@contextmanager
def refused_by_gate() -> Iterator[None]:
    """Turn a refusal of the gate's triggers and sample into a named error with the database's own message.

    Raises:
        CorpusIncomplete: if no sample can be drawn.
        GateRequired: for every other refusal.
    """
    try:
        yield
    except DBAPIError as error:
        reason = first_line(error.orig)
        if sqlstate(error) == _INCOMPLETE:
            raise CorpusIncomplete(reason) from error
        if " refused: " in reason:
            raise GateRequired(reason) from error
        raise


@contextmanager
def no_room_for_index() -> Iterator[None]:
    """Turn a build of an index that ran out of memory, disk or time into ``IndexNotBuilt``."""
    try:
        yield
    except DBAPIError as error:
        remedy = _NO_ROOM.get(sqlstate(error) or "")
        if remedy is None:
            raise
        raise IndexNotBuilt(
            f"the search index was not built ({first_line(error.orig)}); the corpus is stored and search is exact "
            f"without an index, only slower: {remedy}, then run `lvm db index`"
        ) from error


@contextmanager
def refused_filter() -> Iterator[None]:
    """Turn a refusal of a search's filter into ``InvalidFilter``."""
    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) not in _WRONG_JSON:
            raise
        raise InvalidFilter(first_line(error.orig)) from error


@contextmanager
def missing_privilege(named: Callable[[str], LvmError]) -> Iterator[None]:
    """Turn a missing privilege into the error that ``named`` makes of the server's message."""
    try:
        yield
    except DBAPIError as error:
        if not lacks_privilege(error):
            raise
        raise named(first_line(error.orig)) from error


def no_verdicts(reason: str) -> NoVerdicts:
    """The error of a user who may not write verdicts."""
    return NoVerdicts(
        f"this database user may not write verdicts ({reason}); nothing was stored: set LVM_GATEKEEPER_URL to a user "
        "with the role lvm_gatekeeper"
    )


def driver_error(error: BaseException) -> BaseException | None:
    """The error of psycopg inside an error of SQLAlchemy."""
    return error.orig if isinstance(error, DBAPIError) else error


def sqlstate(error: BaseException) -> str | None:
    """Postgres' five-character error code; None if there is none."""
    return getattr(driver_error(error), "sqlstate", None)


def lacks_privilege(error: BaseException) -> bool:
    """Whether the user lacks the privilege for a statement."""
    return sqlstate(error) == _INSUFFICIENT_PRIVILEGE


def lock_holders(engine: Engine) -> str:
    """The sessions that hold locks, in parentheses; empty if this role sees none."""
    statement = text(
        "SELECT DISTINCT a.pid, a.usename, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.granted AND a.pid <> pg_backend_pid() AND a.datname = current_database() "
        "AND l.locktype <> 'virtualxid' AND l.mode <> 'AccessShareLock' ORDER BY a.pid LIMIT 4"
    )
    try:
        with engine.connect() as connection:
            rows = connection.execute(statement).all()
    except (DBAPIError, PoolTimeout):
        return ""
    sessions = [f"pid {pid}, user {user}, application {name!r}" for pid, user, name in rows]
    return f" (locks are held by {'; '.join(sessions)})" if sessions else ""
