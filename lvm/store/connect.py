"""Connections to the database, and locks between processes.

Contract: no connection waits forever. Connect timeout and lock timeout have defaults; the URL may override them.
Statements and results do not depend on settings of the user, the database or the environment. Nothing depends on a
session: settings hold for a transaction, a transaction holds a lock, and no statement is prepared. So a pooler that
hands out a server connection for each transaction serves as well as the server itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from lvm.errors import first_line
from lvm.store.errors import LockLost
from lvm.store.migrate import ENCODING, EXTENSION_SCHEMA, SCHEMA

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
"""Default connect timeout."""

LOCK_SECONDS = 60
"""Default lock timeout."""

ALIVE_SECONDS = 60
"""How long an idle connection is silent before its server is asked whether it is there: firewalls drop silent ones. And
how long an answer may take."""

_WAIT_SECONDS = 0.1  # between two attempts to take a lock

# The text of dates and floats depends on these, and what a backslash in a statement means.
_TRANSACTION = """
SELECT set_config('search_path', %s, true), set_config('datestyle', 'ISO', true),
    set_config('intervalstyle', 'postgres', true), set_config('standard_conforming_strings', 'on', true),
    set_config('extra_float_digits', '1', true),
    CASE current_setting('lock_timeout') WHEN '0' THEN set_config('lock_timeout', %s, true) END
"""
_UNLIMITED = text(
    "SELECT set_config('idle_in_transaction_session_timeout', '0', true), "
    "CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL "
    "THEN set_config('transaction_timeout', '0', true) END"
)
"""A lock's transaction is idle as long as the work goes on. It has no snapshot, so it keeps no vacuum from its work."""


@dataclass(frozen=True, eq=False)
class Lock:
    """An advisory lock that an open transaction holds. A pooler keeps the server connection of a transaction.

    Attributes:
        work: what is locked, for messages.
        connection: the transaction's.
    """

    work: str
    connection: Connection

    def require(self) -> None:
        """Ask the server whether the transaction is still there.

        Raises:
            LockLost: if it is not: Postgres released the lock.
        """
        try:
            driver: Any = self.connection.connection.driver_connection
            driver.execute("SELECT")
        except (psycopg.Error, PendingRollbackError) as error:
            raise LockLost(
                f"the session that held the lock of {self.work} ended ({first_line(error)}), so another process may be "
                "doing the same work; nothing was written since then, and nothing that was stored is lost: run the "
                "same command again"
            ) from error


@dataclass
class Connections:
    """The engines of a store. Every concern of the store inherits from this class.

    Attributes:
        engine: connections of the user in ``LVM_DATABASE_URL``.
        gatekeeper: connections of the user who writes verdicts; None if it is the same user.
        index_memory: bytes that the server may take while it builds an index; None for its own setting, or 512 MB if
            that is more.
    """

    engine: Engine
    gatekeeper: Engine | None = None
    index_memory: int | None = None
    _locks: list[Lock] = field(default_factory=list, init=False, repr=False)
    _locks_change: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        for engine in {self.engine, self.verdict_engine}:
            event.listen(engine, "commit", self._require_locks)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        if self.gatekeeper is not None:
            self.gatekeeper.dispose()

    @property
    def database_name(self) -> str:
        """Name of the database. A user types it before the database is cleared."""
        return str(self.engine.url.database)

    @property
    def verdict_engine(self) -> Engine:
        """Connections of the user who writes verdicts."""
        return self.gatekeeper or self.engine

    def search_path(self) -> str:
        """Schemas of this project and of pgvector, as SQL has them."""
        with self.engine.connect() as connection:
            return str(connection.scalar(text("SHOW search_path")))

    def take_lock(self, work: str, function: str, values: Mapping[str, Any], wait: bool = False) -> Lock | None:
        """Take an advisory lock. Until its release, no transaction of this store commits once it is lost.

        Args:
            work: what is locked, for messages.
            function: call of a ``pg_try_advisory_xact_lock`` function.
            values: its parameters.
            wait: whether to wait while another process holds the lock.

        Returns:
            The lock; None if another process holds it.
        """
        connection, taken = self.engine.connect(), text(f"SELECT {function}")
        try:
            connection.execute(_UNLIMITED)
            while not connection.scalar(taken, values):
                if not wait:
                    connection.close()
                    return None
                time.sleep(_WAIT_SECONDS)
        except BaseException:
            connection.close()
            raise
        lock = Lock(f"{work} in database {self.database_name!r}", connection)
        with self._locks_change:
            self._locks.append(lock)
        return lock

    def release_lock(self, lock: Lock) -> None:
        """Release a lock and return its connection to the pool. It may be lost already."""
        with self._locks_change:
            self._locks.remove(lock)
        with ignore_lost_session():
            lock.connection.rollback()
        lock.connection.close()

    def _require_locks(self, _: Connection) -> None:
        """Before a commit: refuse it if a lock of this store was lost."""
        with self._locks_change:  # so that no lock's connection goes back to the pool meanwhile
            for lock in self._locks:
                lock.require()


def connect(url: URL) -> Engine:
    """A pool of up to ten connections to a database. It connects on first use."""
    engine = create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=5,
        connect_args=_arguments(url),
    )
    path = f"{SCHEMA}, public"

    @event.listens_for(engine, "connect")
    def _look_up(connection: Any, _: Any) -> None:
        nonlocal path
        if found := connection.execute(EXTENSION_SCHEMA).fetchone():
            path = f"{SCHEMA}, {found[0]}"
        connection.rollback()

    @event.listens_for(engine, "begin")
    def _prepare(connection: Connection) -> None:
        connection.exec_driver_sql(_TRANSACTION, (path, f"{LOCK_SECONDS}s"))

    return engine


def _arguments(url: URL) -> dict[str, Any]:
    """Arguments of every connection."""
    defaults = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "lvm",
        "keepalives_idle": ALIVE_SECONDS,
        "tcp_user_timeout": ALIVE_SECONDS * 1000,
    }
    unset = {name: value for name, value in defaults.items() if name not in url.query}
    # COPY sends UTF-8 whatever a session says. Behind a pooler, the next server connection lacks a prepared statement.
    return {**unset, "client_encoding": "utf8", "prepare_threshold": None}


def create_database(url: URL, name: str) -> None:
    """Create a database if it does not exist.

    Args:
        url: another database of the same server.
        name: the database to create.
    """
    engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args=_arguments(url))
    quoted = '"' + name.replace('"', '""') + '"'
    try:
        with engine.connect() as connection:
            if _exists(connection, name):
                return
            try:
                connection.exec_driver_sql(f"CREATE DATABASE {quoted} {_in_utf8(connection)}")
                # For people in psql. The project sets the path on its own connections.
                connection.exec_driver_sql(f"ALTER DATABASE {quoted} SET search_path TO {SCHEMA}, public")
            except DBAPIError:
                if not _exists(connection, name):  # else another process created it at the same time
                    raise
    finally:
        engine.dispose()


def _in_utf8(connection: Connection) -> str:
    """What makes a new database UTF-8, where the template is not: the locale of this database, which is UTF-8."""
    statement = text(
        "SELECT quote_literal(datcollate), quote_literal(datctype) FROM pg_database WHERE datname = current_database() "
        "AND (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1') <> :encoding"
    )
    found = connection.execute(statement, {"encoding": ENCODING}).first()
    return f"TEMPLATE template0 ENCODING '{ENCODING}' LC_COLLATE {found[0]} LC_CTYPE {found[1]}" if found else ""


def _exists(connection: Connection, name: str) -> bool:
    statement = text("SELECT 1 FROM pg_database WHERE datname = :name")
    return connection.scalar(statement, {"name": name}) is not None


@contextmanager
def ignore_lost_session() -> Iterator[None]:
    """Ignore unlock errors: if the session died, Postgres released the lock. The original error is reported."""
    try:
        yield
    except (DBAPIError, PendingRollbackError):
        log.debug("the session ended before its lock was released", exc_info=True)
