"""Sources of a database: what is stored of each, and how documents are removed or get another name.

Contract: a removal or a move is one transaction. Chunks and vectors of every space go with their documents, and the
revision of the corpus changes. Nothing is removed or moved while a stage reads the corpus or a training run is active.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, select, text

from lvm.corpus.documents import DocumentInfo
from lvm.store.errors import NotAllowed, missing_privilege
from lvm.store.maintenance import Maintenance
from lvm.store.records import StoredSource
from lvm.store.tables import DocumentRow, only

READING = "a stage that reads the corpus"
"""Name of the lock that such stages share."""


Key = tuple[str, str]
"""Source and external id of a document."""


class Sources(Maintenance):
    """Lists and removes sources, and gives documents other names."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let no document be removed inside the block. It begins when a removal that goes on has ended."""
        with self.lock(READING, wait=True, shared=True):
            yield

    def sources(self) -> list[StoredSource]:
        """What is stored of each source, by name."""
        statement = text("SELECT source, documents, chunks, first_stored, last_stored FROM sources")
        with self.engine.connect() as connection:
            return [StoredSource(*row) for row in connection.execute(statement)]

    def has_source(self, source: str) -> bool:
        """Whether a document of a source is stored, in whatever space it has vectors."""
        if "\0" in source:  # no text of Postgres has one
            return False
        statement = text("SELECT EXISTS (SELECT FROM ONLY document WHERE source = :source)")
        with self.engine.connect() as connection:
            return bool(connection.scalar(statement, {"source": source}))

    def source_documents(self, source: str) -> dict[str, str]:
        """sha256 of the documents of a source by external id, in whatever space they have vectors."""
        statement = select(DocumentRow.external_id, DocumentRow.sha256).where(DocumentRow.source == source)
        with self.engine.connect() as connection:
            return {name: sha256 for name, sha256 in connection.execute(only(statement))}

    def remove_source(self, source: str) -> dict[str, int]:
        """Delete a source's documents, with their chunks and vectors of every space. The caller holds lock ``ingest``.

        Returns:
            Number of deleted ``document``, ``chunk`` and ``embedding``.

        Raises:
            TrainingActive: while a training run is active.
            Busy: while a stage reads the corpus.
            NotAllowed: if this user may not delete documents.
        """
        with self._changing() as connection:
            chunks, vectors = connection.execute(_COUNT, {"source": source}).one()
            documents = connection.execute(_DELETE, {"source": source}).rowcount
        return {"document": documents, "chunk": chunks, "embedding": vectors}

    def move_documents(self, moves: Sequence[tuple[Key, DocumentInfo]], gone: Sequence[Key]) -> None:
        """Give documents another name, and delete others. Nothing is encoded. The caller holds lock ``ingest``.

        Args:
            moves: keys of stored documents, and what they become: documents with the same text that are not stored yet.
            gone: keys of documents that are deleted, with their chunks and vectors of every space.

        Raises:
            TrainingActive: while a training run is active.
            Busy: while a stage reads the corpus.
            NotAllowed: if this user may not write documents.
        """
        infos = [info for _, info in moves]
        values = {
            "old_sources": [source for (source, _), _ in moves],
            "old_names": [name for (_, name), _ in moves],
            "sources": [info.source for info in infos],
            "names": [info.external_id for info in infos],
            "titles": [info.title for info in infos],
            "hashes": [info.sha256 for info in infos],
            "metadata": [json.dumps(info.metadata) for info in infos],
        }
        deleted = [*gone, *(key for key, _ in moves)]
        with self._changing() as connection:
            if moves:
                for statement in (_COPY_DOCUMENTS, _COPY_CHUNKS, _COPY_VECTORS):
                    connection.execute(statement, values)
            keys = {"sources": [source for source, _ in deleted], "names": [name for _, name in deleted]}
            connection.execute(_DELETE_KEYS, keys)

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction in which documents may be deleted: nothing trains or reads."""
        with missing_privilege(self._no_writer):
            self.refuse_while_training()
            with self.lock(READING), self.engine.begin() as connection:
                yield connection

    def _no_writer(self, reason: str) -> NotAllowed:
        return NotAllowed(
            f"user {self.engine.url.username!r} may not delete documents of database {self.database_name!r} "
            f"({reason}); nothing was touched, name a user with the role lvm_worker in LVM_DATABASE_URL"
        )


_COUNT = text(
    "SELECT count(*), coalesce(sum((SELECT count(*) FROM ONLY embedding e WHERE e.chunk_id = c.id)), 0)::bigint "
    "FROM ONLY document d JOIN ONLY chunk c ON c.document_id = d.id WHERE d.source = :source"
)
_DELETE = text("DELETE FROM ONLY document WHERE source = :source")  # triggers delete chunks and vectors
_DELETE_KEYS = text(
    "DELETE FROM ONLY document d USING unnest(CAST(:sources AS text[]), CAST(:names AS text[])) "
    "AS k(source, external_id) WHERE k.source = d.source AND k.external_id = d.external_id"
)
_COPY_DOCUMENTS = text(
    "INSERT INTO document (source, external_id, title, sha256, metadata) SELECT * FROM unnest("
    "CAST(:sources AS text[]), CAST(:names AS text[]), CAST(:titles AS text[]), CAST(:hashes AS text[]), "
    "CAST(CAST(:metadata AS text[]) AS jsonb[]))"
)
_MOVED = (
    "FROM unnest(CAST(:old_sources AS text[]), CAST(:old_names AS text[]), CAST(:sources AS text[]), "
    "CAST(:names AS text[])) AS m(old_source, old_name, source, name) "
    "JOIN ONLY document o ON o.source = m.old_source AND o.external_id = m.old_name "
    "JOIN ONLY document n ON n.source = m.source AND n.external_id = m.name AND n.sha256 = o.sha256 "
    "JOIN ONLY chunk c ON c.document_id = o.id"
)
_COPY_CHUNKS = text(
    "INSERT INTO chunk (document_id, position, token_count, text) SELECT n.id, c.position, c.token_count, c.text "
    f"{_MOVED} ORDER BY n.id, c.position"
)
_COPY_VECTORS = text(
    "INSERT INTO embedding (space_id, chunk_id, norm, vector) SELECT e.space_id, k.id, e.norm, e.vector "
    f"{_MOVED} JOIN ONLY chunk k ON k.document_id = n.id AND k.position = c.position "
    "JOIN ONLY embedding e ON e.chunk_id = c.id"
)
