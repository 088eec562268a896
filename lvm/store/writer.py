"""Bulk writing of documents, chunks and vectors.

Contract: a document is stored whole or not at all. Vectors move by binary COPY, thousands of rows at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import Engine, select, text

from lvm.arrays import FloatArray, IntArray
from lvm.encoding.vectors import InvalidVectors, require
from lvm.errors import first_line
from lvm.store import copying
from lvm.store.connect import Connections
from lvm.store.errors import ChunkingDiffers, InvalidText
from lvm.store.migrate import SCHEMA
from lvm.store.records import IngestedDocument
from lvm.store.tables import SpaceRow


class Writer(Connections):
    """Opens bulk writers."""

    @contextmanager
    def writer(self, space_id: int) -> Iterator[BulkWriter]:
        """A writer of whole documents into one space."""
        with self.engine.connect() as connection:
            statement = select(SpaceRow.name, SpaceRow.fingerprint, SpaceRow.dim).where(SpaceRow.id == space_id)
            name, fingerprint, dim = connection.execute(statement).one()
        yield BulkWriter(self.engine, space_id, name, fingerprint, dim)

    def keep_documents(self, keys: Collection[tuple[str, str]]) -> int:
        """Delete all other documents, with their chunks and vectors of every space.

        Args:
            keys: (source, external id) of the documents that stay.

        Returns:
            Number of deleted documents.
        """
        statement = text(
            "DELETE FROM document d WHERE NOT EXISTS (SELECT FROM unnest(CAST(:sources AS text[]), "
            "CAST(:names AS text[])) AS k(source, external_id) "
            "WHERE k.source = d.source AND k.external_id = d.external_id)"
        )
        values = {"sources": [source for source, _ in keys], "names": [name for _, name in keys]}
        with self.engine.begin() as connection:
            return connection.execute(statement, values).rowcount


class BulkWriter:
    """Writes whole documents into one space. A call of ``write_documents`` is one transaction."""

    def __init__(self, engine: Engine, space_id: int, space_name: str, fingerprint: str, dim: int) -> None:
        self._engine = engine  # no connection is idle while texts are encoded
        self.space_id, self.space_name, self.fingerprint, self.dim = space_id, space_name, fingerprint, dim

    def write_documents(self, documents: Sequence[IngestedDocument]) -> int:
        """Store documents with their chunks and vectors, all of them or none.

        A stored document with the same text is left alone. A stored document with another text is replaced.

        Returns:
            Number of chunks written.

        Raises:
            InvalidText: for NUL bytes or lone surrogates.
            SpaceMismatch: for vectors of another space.
            InvalidVectors: for bare arrays, and for NaN, infinite, zero or wrongly shaped vectors.
            ChunkingDiffers: if the document is stored with other chunks, made under another space's token limit.
        """
        for item in documents:
            require(item.vectors, self.space_name, self.fingerprint, self.dim)
            _check(item)
        try:
            with self._engine.begin() as connection:
                return self._write(connection.connection.cursor(), documents)
        except psycopg.errors.CheckViolation as error:
            raise InvalidVectors(first_line(error)) from error

    def _write(self, cursor: Any, documents: Sequence[IngestedDocument]) -> int:
        keys = [(item.document.source, item.document.external_id) for item in documents]
        cursor.execute(
            "SELECT d.source, d.external_id, d.id, d.sha256, EXISTS (SELECT FROM chunk c JOIN embedding e "
            "ON e.chunk_id = c.id WHERE c.document_id = d.id AND c.position = 0 AND e.space_id = %s) FROM document d "
            "JOIN unnest(%s::text[], %s::text[]) AS k(source, external_id) USING (source, external_id) FOR UPDATE OF d",
            (self.space_id, [source for source, _ in keys], [external_id for _, external_id in keys]),
        )
        stored = {(row[0], row[1]): row[2:] for row in cursor.fetchall()}
        new: list[IngestedDocument] = []
        without_vectors: list[tuple[int, IngestedDocument]] = []
        outdated: list[int] = []
        for item, key in zip(documents, keys, strict=True):
            if key not in stored:
                new.append(item)
                continue
            document_id, sha256, has_vectors = stored[key]
            if sha256 != item.document.sha256:
                outdated.append(document_id)
                new.append(item)
            elif not has_vectors:
                without_vectors.append((document_id, item))
        if outdated:
            cursor.execute("DELETE FROM document WHERE id = ANY(%s)", (outdated,))
        written = self._write_new(cursor, new) if new else 0
        for document_id, item in without_vectors:
            written += self._write_vectors(cursor, document_id, item)
        return written

    def _write_new(self, cursor: Any, documents: Sequence[IngestedDocument]) -> int:
        """Write documents, chunks and vectors; the number of chunks."""
        document_ids = _next_ids(cursor, "document", len(documents))
        with cursor.copy("COPY document (id, source, external_id, title, sha256, metadata) FROM STDIN") as copy:
            for number, item in zip(document_ids.tolist(), documents, strict=True):
                info = item.document
                copy.write_row((number, info.source, info.external_id, info.title, info.sha256, Jsonb(info.metadata)))
        sizes = np.array([len(item.chunk_texts) for item in documents])
        chunk_ids = _next_ids(cursor, "chunk", int(sizes.sum()))
        positions = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        tokens = np.concatenate([np.asarray(item.token_counts, np.int32) for item in documents])
        texts = [chunk for item in documents for chunk in item.chunk_texts]
        with cursor.copy(
            "COPY chunk (id, document_id, position, token_count, text) FROM STDIN (FORMAT binary)"
        ) as copy:
            copy.write(copying.chunk_rows(chunk_ids, np.repeat(document_ids, sizes), positions, tokens, texts))
        norms = np.concatenate([item.vectors.norms for item in documents])
        self._copy_embeddings(cursor, chunk_ids, norms, [item.vectors.unit for item in documents])
        return len(chunk_ids)

    def _write_vectors(self, cursor: Any, document_id: int, item: IngestedDocument) -> int:
        """Write the vectors of a document whose chunks are stored for another space; the number of chunks."""
        cursor.execute("SELECT id, text FROM chunk WHERE document_id = %s ORDER BY position", (document_id,))
        rows = cursor.fetchall()
        if [row[1] for row in rows] != list(item.chunk_texts):
            raise ChunkingDiffers(
                f"document {item.document.external_id!r} is stored with other chunks than this space makes, and a "
                "database holds one chunking of a document; use another database for this space"
            )
        chunk_ids = np.array([row[0] for row in rows], np.int64)
        self._copy_embeddings(cursor, chunk_ids, item.vectors.norms, [item.vectors.unit])
        return len(rows)

    def _copy_embeddings(self, cursor: Any, chunk_ids: IntArray, norms: FloatArray, unit: Sequence[FloatArray]) -> None:
        with cursor.copy("COPY embedding (space_id, chunk_id, norm, vector) FROM STDIN (FORMAT binary)") as copy:
            copy.write(copying.embedding_rows(self.space_id, chunk_ids, norms, unit))


def _next_ids(cursor: Any, table: str, count: int) -> IntArray:
    """Reserve (count,) ids of a table in one statement."""
    cursor.execute(
        "SELECT array_agg(nextval(pg_get_serial_sequence(%s, 'id'))) FROM generate_series(1, %s)",
        (f"{SCHEMA}.{table}", count),
    )
    return np.array(cursor.fetchone()[0], dtype=np.int64)


def _check(item: IngestedDocument) -> None:
    """Refuse a document that Postgres cannot store, or whose parts do not fit together."""
    info, count, vectors = item.document, len(item.chunk_texts), item.vectors
    if count == 0 or len(item.token_counts) != count or len(vectors) != count:
        raise InvalidVectors(
            f"document {info.external_id!r} has {count} chunks, {len(item.token_counts)} token counts and "
            f"{len(vectors)} vectors; nothing of it was stored: pass as many of each, and at least one"
        )
    for value in (info.source, info.external_id, info.title, *item.chunk_texts):
        if "\0" in value:
            raise InvalidText(f"document {info.external_id!r} has a NUL byte, which Postgres cannot store; remove it")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidText(
                f"document {info.external_id!r} is not valid Unicode ({error.reason}); save it as UTF-8"
            ) from error
    if not (np.isfinite(vectors.unit).all() and np.isfinite(vectors.norms).all() and (vectors.norms > 0).all()):
        raise InvalidVectors(
            f"document {info.external_id!r} has NaN, infinite or zero vectors; nothing of it was stored: "
            "check the encoder"
        )
