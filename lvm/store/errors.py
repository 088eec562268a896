"""The errors of the store, and what Postgres' error codes mean.

Contract: a failure that a user can act on is a named error of one line. Any other error passes through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from lvm.errors import LvmError, UsageError, first_line

_INSUFFICIENT_PRIVILEGE = "42501"
_LOCK_NOT_AVAILABLE = "55P03"
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

_MEANINGS = {
    "28P01": "the password is wrong; put the right one into LVM_DATABASE_URL",
    "28000": "the user may not log in; check the user in LVM_DATABASE_URL",
    "3D000": "there is no such database; create it: CREATE DATABASE name",
    "53300": "it has no free connection; raise max_connections or the user's limit, or end other clients",
    "53100": "the server's disk is full; free some space there and run the same command again",
    "25006": "it is read-only, perhaps a standby; name the primary in LVM_DATABASE_URL",
}
"""What an error code means for the user, and what to do."""

_CODES_BY_TEXT = {
    "53300": "too many c",
    "28P01": "password authentication failed",
    "28000": 'role "',
    "3D000": "does not exist",
}
"""Parts of messages that stand for a code: libpq reports no code while it connects."""


RETRY_SECONDS = (2, 5, 15)
"""Pauses before a stage tries again to reach a database that is unavailable."""


class DatabaseUnavailable(LvmError):
    """The database cannot be reached."""


class ServerUnavailable(LvmError):
    """The embedded server cannot be started or stopped."""


class InvalidDatabaseUrl(UsageError):
    """``LVM_DATABASE_URL`` or ``LVM_GATEKEEPER_URL`` is not a Postgres URL."""


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
    """Turn a lost connection, a full pool and a lock timeout inside the block into named errors.

    Committed data stays. The same command continues from it.

    Raises:
        DatabaseUnavailable: if the database cannot be reached or goes away.
        LockTimeout: if another session holds a lock for too long.
    """
    name = engine.url.database
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable(
            f"all connections of this process to database {name!r} are in use; nothing that was stored is lost: "
            "lower LVM_WORKERS, then run the same command again"
        ) from error
    except (DBAPIError, psycopg.Error) as error:
        cause = driver_error(error)
        code = sqlstate(error)
        if code == _LOCK_NOT_AVAILABLE:
            raise LockTimeout(
                f"another session holds a lock in database {name!r}{lock_holders(engine)}; nothing that was stored is "
                "lost: run the same command again when that session has ended, or have an administrator end it "
                "(SELECT pg_terminate_backend(PID))"
            ) from error
        if code is None:
            code = next((code for code, part in _CODES_BY_TEXT.items() if part in str(cause)), None)
        lost = isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError))
        if code not in _MEANINGS and not lost:
            raise
        meaning = _MEANINGS.get(code or "", "check LVM_DATABASE_URL and that the server is up")
        raise DatabaseUnavailable(
            f"database {name!r} on {engine.url.host or 'the local socket'} cannot be used ({first_line(cause)}): "
            f"{meaning}; nothing that was stored is lost"
        ) from error


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
