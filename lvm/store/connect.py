"""Connections to the database.

Contract: no connection waits forever. Connect timeout and lock timeout have defaults; the URL may override them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from lvm.store.migrate import SCHEMA

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
"""Default connect timeout."""

LOCK_SECONDS = 60
"""Default lock timeout."""


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


def connect(url: URL) -> Engine:
    """A pool of up to ten connections to a database. It connects on first use."""
    defaults = {"connect_timeout": CONNECT_SECONDS, "application_name": "lvm"}
    unset = {name: value for name, value in defaults.items() if name not in url.query}
    engine = create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=5, connect_args=unset)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.execute(f"SET search_path TO {SCHEMA}, public")
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false) WHERE current_setting('lock_timeout') = '0'",
            (f"{LOCK_SECONDS}s",),
        )
        connection.commit()

    return engine


def create_database(url: URL, name: str) -> None:
    """Create a database if it does not exist.

    Args:
        url: another database of the same server.
        name: the database to create.
    """
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    quoted = '"' + name.replace('"', '""') + '"'
    try:
        with engine.connect() as connection:
            if _exists(connection, name):
                return
            try:
                connection.exec_driver_sql(f"CREATE DATABASE {quoted}")
                # For people in psql. The project sets the path on its own connections.
                connection.exec_driver_sql(f"ALTER DATABASE {quoted} SET search_path TO {SCHEMA}, public")
            except DBAPIError:
                if not _exists(connection, name):  # else another process created it at the same time
                    raise
    finally:
        engine.dispose()


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
