"""Locks between processes, vacuuming after bulk writing, and clearing of a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from lvm.store.errors import Busy, NotAllowed, NotConfirmed, TrainingActive, lock_holders, missing_privilege
from lvm.store.lineage import Lineage
from lvm.store.migrate import SCHEMA, migration_errors, upgrade

TABLES = (
    "space",
    "document",
    "chunk",
    "embedding",
    "inverter",
    "gate_result",
    "sequence_set",
    "training_run",
    "evaluation",
    "promotion",
)
"""The tables that ``Store.clear`` empties."""

VACUUM_FROM, VACUUM_SHARE = 1_000, 0.2
"""New chunks, and their share of all, from which on tables are vacuumed: the defaults of autovacuum."""


class Maintenance(Lineage):
    """Locks and clears a database. Active training runs prevent clearing, so it builds on ``Lineage``."""

    @contextmanager
    def lock(self, name: str, wait: bool = False, shared: bool = False) -> Iterator[None]:
        """Let one process at a time into the block. Postgres releases the lock if the process dies.

        Args:
            name: the work that is locked, e.g. ``ingest``.
            wait: whether to wait while another process holds the lock.
            shared: let other processes in that share the lock too.

        Raises:
            Busy: if another process holds the lock, and this one does not wait.
            LockLost: by the next commit of this store, if the session that holds the lock ends.
        """
        kind = "_shared" if shared else ""
        taken = f"pg_try_advisory_xact_lock{kind}(hashtextextended(:name, 0))"
        lock = self.take_lock(repr(name), taken, {"name": f"lvm lock {name}"}, wait)
        if lock is None:
            raise Busy(
                f"another process is doing {name!r} on database {self.database_name!r}"
                f"{lock_holders(self.engine)}, so nothing was done here; "
                "wait for it to end, then run this again"
            )
        try:
            yield
        finally:
            self.release_lock(lock)

    def vacuum(self, written: int) -> bool:
        """Vacuum and analyse documents, chunks and vectors after much was written, without waiting for autovacuum.

        Until then the planner guesses, and index scans read the tables as well. Tables that this user does not own,
        or that another session has locked, are skipped.

        Args:
            written: number of chunks written since the last time.

        Returns:
            Whether it was enough.
        """
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            stored = "SELECT sum(chunk_count) FROM ONLY lvm.document"  # no transaction, so no search path
            if written < VACUUM_FROM or written < VACUUM_SHARE * (connection.scalar(text(stored)) or 0):
                return False
            connection.execute(text("VACUUM (ANALYZE, SKIP_LOCKED) lvm.document, lvm.chunk, lvm.embedding"))
        return True

    def contents(self) -> dict[str, int]:
        """Number of rows by table."""
        with self.engine.connect() as connection:
            return {
                table: connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0  # noqa: S608  names from above
                for table in TABLES
            }

    def clear(self, confirm: str) -> dict[str, int]:
        """Empty the database.

        Args:
            confirm: the database's name.

        Returns:
            Number of deleted rows by table.

        Raises:
            NotConfirmed: if ``confirm`` is not the database's name.
            TrainingActive: while a training run is active.
            NotAllowed: if this user does not own the tables.
        """
        if confirm != self.database_name:
            raise NotConfirmed(
                f"this would empty database {self.database_name!r}; nothing was touched, "
                f"type its name to do it: --confirm {self.database_name}"
            )
        self.refuse_while_training()
        deleted = self.contents()
        with migration_errors(self.engine), missing_privilege(self._not_owner), self.engine.begin() as connection:
            # The triggers let nobody delete the rows of a gate, so the schema is dropped and made anew.
            connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            upgrade(connection)
        return deleted

    def refuse_while_training(self) -> None:
        """Refuse to go on if a run of a living process trains on what is stored.

        Raises:
            TrainingActive: while a training run is active.
        """
        active = self.active_training_runs()
        if active:
            names = ", ".join(f"{run.id} ({run.architecture})" for run in active)
            raise TrainingActive(f"training run {names} is active; nothing was touched, wait for it or stop it first")

    def _not_owner(self, reason: str) -> NotAllowed:
        return NotAllowed(
            f"user {self.engine.url.username!r} does not own the tables of database {self.database_name!r} ({reason}); "
            "nothing was touched, name their owner in LVM_DATABASE_URL"
        )
