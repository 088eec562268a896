"""The store: Postgres and pgvector behind plain methods.

Contract: the store is the one place with SQL. It takes and returns NumPy arrays, strings and frozen dataclasses
(``records``), and knows neither models nor Prefect. Its concerns are one file each.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from lvm.settings import Settings
from lvm.store import server
from lvm.store.connect import connect, create_database
from lvm.store.errors import named_errors
from lvm.store.migrate import migrate
from lvm.store.promotions import Promotions
from lvm.store.reader import Reader
from lvm.store.search import Search
from lvm.store.sources import Sources
from lvm.store.spaces import Spaces
from lvm.store.writer import Writer


@dataclass
class Store(Spaces, Writer, Reader, Search, Sources, Promotions):
    """An open database. Close it, or use it as a context manager."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_store(settings: Settings) -> Store:
    """Open the database of the settings. Start the embedded server and apply migrations as needed.

    Raises:
        DatabaseUnavailable: if the database cannot be reached.
        ServerUnavailable: if the embedded server cannot be started.
        InvalidDatabaseUrl: if a URL is not a Postgres URL.
        SchemaUnusable: if the schema is newer than this code, or cannot be created or read.
        LockTimeout: if another session blocks the migration.
    """
    url = server.database_url(settings)
    if settings.database_url is None:
        create_database(url.set(database="postgres"), str(url.database))
    engine = connect(url)
    try:
        with named_errors(engine):
            migrate(engine)
        gatekeeper = server.gatekeeper_url(settings)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, connect(gatekeeper) if gatekeeper is not None else None, server.index_memory(settings))
