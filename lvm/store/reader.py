"""Reading of documents, chunks and vectors.

Contract: vectors come in a fixed order: by source and external id (byte order), then by position in the document.
``read_vectors`` reads any number of them in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ARRAY, BigInteger, CollectionAggregate, Select, Text, any_, func, literal, select, text
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from lvm.arrays import IntArray
from lvm.encoding.vectors import Vectors
from lvm.store import copying
from lvm.store.connect import Connections
from lvm.store.errors import refused_by_gate
from lvm.store.records import Candidate, StoredDocument, VectorBatch, document_groups
from lvm.store.tables import ChunkRow, DocumentRow, EmbeddingRow, SpaceRow, only

READ_ROWS = 16_384
"""Rows of a batch: about 25 MB at 384 dimensions."""


_BY_INDEX = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL max_parallel_workers_per_gather = 0
"""
"""A batch is looked up by the indexes. A hash or merge join would read all vectors once a batch."""


class Reader(Connections):
    """Reads what is stored in a space."""

    def corpus_revision(self, space_id: int) -> str:
        """Digest of all documents and chunks, and of a space's vectors and norms. Equal content has an equal digest."""
        with self.engine.connect() as connection:
            return str(connection.scalar(text("SELECT corpus_revision(:space)"), {"space": space_id}))

    def recomputed_revision(self, space_id: int) -> str:
        """The same digest, computed from every row instead of the sums that triggers keep."""
        with self.engine.connect() as connection:
            return str(connection.scalar(text("SELECT corpus_revision_recomputed(:space)"), {"space": space_id}))

    def counts(self, space_id: int) -> dict[str, int]:
        """Number of ``documents`` and ``chunks`` that have their vectors in a space, and of its ``embeddings``.

        Vectors are written for whole documents. If somebody deleted some, ``embeddings`` is below ``chunks``.
        """
        stored = select(func.count(), func.coalesce(func.sum(DocumentRow.chunk_count), 0)).where(
            DocumentRow.id.in_(_embedded(space_id))
        )
        vectors = text("SELECT (corpus_total(:space)).items")  # triggers keep it: no row is read
        with Session(self.engine) as session:
            documents, chunks = session.execute(only(stored)).one()
            return {
                "documents": documents,
                "chunks": chunks,
                "embeddings": int(session.scalar(vectors, {"space": space_id}) or 0),
            }

    def documents(self, space_id: int) -> list[StoredDocument]:
        """Documents of a space, ordered by source and external id."""
        statement = (
            select(
                DocumentRow.id,
                DocumentRow.source,
                DocumentRow.external_id,
                DocumentRow.title,
                DocumentRow.sha256,
                DocumentRow.chunk_count,
                DocumentRow.details.label("metadata"),
            )
            .where(DocumentRow.id.in_(_embedded(space_id)))
            .order_by(DocumentRow.source.collate("C"), DocumentRow.external_id.collate("C"))
        )
        with Session(self.engine) as session:
            return [StoredDocument(**row) for row in session.execute(only(statement)).mappings()]

    def known_documents(self, space_id: int, external_ids: Sequence[str] | None = None) -> set[tuple[str, str, str]]:
        """(source, external id, sha256) of the documents that have their vectors in this space.

        Args:
            external_ids: look at documents of these ids only; at all by default.
        """
        statement = select(DocumentRow.source, DocumentRow.external_id, DocumentRow.sha256).where(
            DocumentRow.id.in_(_embedded(space_id))
        )
        if external_ids is not None:
            statement = statement.where(DocumentRow.external_id == _any_of(external_ids, Text))
        with Session(self.engine) as session:
            return {(source, name, sha256) for source, name, sha256 in session.execute(only(statement))}

    def read_vectors(self, space_id: int, document_ids: Sequence[int] | None = None) -> Iterator[VectorBatch]:
        """Vectors of a space in order, in batches of whole documents, in constant memory.

        Args:
            document_ids: read these documents only, in the order of ``documents``; all by default.

        Yields:
            Batches of about ``READ_ROWS`` vectors; more if one document has more.
        """
        documents = self.documents(space_id)
        if document_ids is not None:
            wanted = set(document_ids)
            documents = [document for document in documents if document.id in wanted]
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, space_id)
            dim, fingerprint = space.dim, space.fingerprint
        dtype = copying.vector_dtype(dim)
        # The server does not sort: NumPy sorts the rows of a batch, and a batch holds whole documents.
        statement = (
            "COPY (SELECT c.document_id, c.id, c.position, e.norm, e.vector FROM ONLY chunk c "
            "JOIN ONLY embedding e ON e.chunk_id = c.id WHERE c.document_id = ANY(%s) AND e.space_id = %s) "
            "TO STDOUT (FORMAT binary)"
        )
        with self.engine.begin() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(_BY_INDEX)
            for group in document_groups(documents, READ_ROWS):
                ids = [document.id for document in group]
                with cursor.copy(statement, (ids, space_id)) as copy:
                    table = copying.parse(copying.receive(copy), dtype)
                order = _order(table, ids)
                unit = table["vector"].astype(np.float32)
                yield VectorBatch(
                    fingerprint=fingerprint,
                    document_ids=table["document"].astype(np.int64)[order],
                    chunk_ids=table["chunk"].astype(np.int64)[order],
                    positions=table["position"].astype(np.int32)[order],
                    unit=unit[order],
                    norms=table["norm"].astype(np.float32)[order],
                )

    def vectors(self, space_id: int, chunk_ids: Sequence[int]) -> Vectors:
        """Stored vectors of n chunks, in the order of ``chunk_ids``.

        Raises:
            KeyError: if a chunk has no vector in this space.
        """
        ids = [int(i) for i in chunk_ids]
        statement = select(EmbeddingRow.chunk_id, EmbeddingRow.norm, EmbeddingRow.vector).where(
            EmbeddingRow.space_id == space_id, EmbeddingRow.chunk_id == _any_of(ids, BigInteger)
        )
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, space_id)
            stored = {chunk_id: (norm, vector) for chunk_id, norm, vector in session.execute(only(statement))}
            unit = np.array([np.asarray(stored[i][1]) for i in ids], np.float32).reshape(len(ids), space.dim)
            return Vectors(space.fingerprint, unit, np.array([stored[i][0] for i in ids], np.float32))

    def chunk_ids(self, space_id: int) -> IntArray:
        """(N,) int64, ids of a space's chunks in the order of ``read_vectors``."""
        statement = (
            "COPY (SELECT c.document_id, c.id, c.position FROM ONLY chunk c "
            "JOIN ONLY embedding e ON e.chunk_id = c.id WHERE e.space_id = %s) TO STDOUT (FORMAT binary)"
        )
        ids = [document.id for document in self.documents(space_id)]
        with self.engine.begin() as connection, connection.connection.cursor().copy(statement, (space_id,)) as copy:
            table = copying.parse(copying.receive(copy), copying.CHUNK_KEYS)
        table = table[np.isin(table["document"], ids)]
        return table["chunk"].astype(np.int64)[_order(table, ids)]

    def chunk_texts(self, chunk_ids: Sequence[int]) -> list[str]:
        """Texts of n chunks, in the order of ``chunk_ids``.

        Raises:
            KeyError: if a chunk is not stored.
        """
        ids = [int(i) for i in chunk_ids]
        statement = select(ChunkRow.id, ChunkRow.text).where(ChunkRow.id == _any_of(ids, BigInteger))
        with Session(self.engine) as session:
            stored = {chunk_id: chunk for chunk_id, chunk in session.execute(only(statement))}
        return [stored[i] for i in ids]

    def token_counts(self, chunk_ids: Sequence[int]) -> dict[int, int]:
        """Token counts of chunks by id. Ids that are not stored any more are left out."""
        ids = [int(i) for i in chunk_ids]
        statement = select(ChunkRow.id, ChunkRow.token_count).where(ChunkRow.id == _any_of(ids, BigInteger))
        with Session(self.engine) as session:
            return {chunk_id: tokens for chunk_id, tokens in session.execute(only(statement))}

    def document_chunks(self, document_ids: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
        """(text, token count) of all chunks of these documents in order, by document id."""
        statement = (
            select(ChunkRow.document_id, ChunkRow.text, ChunkRow.token_count)
            .where(ChunkRow.document_id == _any_of([int(i) for i in document_ids], BigInteger))
            .order_by(ChunkRow.document_id, ChunkRow.position)
        )
        chunks: dict[int, list[tuple[str, int]]] = {}
        with Session(self.engine) as session:
            for document_id, chunk, tokens in session.execute(only(statement)):
                chunks.setdefault(document_id, []).append((chunk, tokens))
        return chunks

    def gate_sample(self, space_id: int, inverter_id: int) -> list[Candidate]:
        """The chunks that a gate measures, in the order in which the database draws them: at most 500.

        The sample depends on the corpus revision and the inverter only. It has no chunk of a document that the
        inverter was trained on, and no text twice.

        Raises:
            CorpusIncomplete: if chunks or vectors of a document are missing.
        """
        statement = text(
            "SELECT c.id, c.text, c.document_id FROM gate_sample(:space, :inverter) s "
            "JOIN ONLY chunk c ON c.id = s.chunk_id ORDER BY s.place"
        )
        with refused_by_gate(), self.engine.connect() as connection:
            rows = connection.execute(statement, {"space": space_id, "inverter": inverter_id})
            return [Candidate(*row) for row in rows]


def _any_of(values: Sequence[Any], kind: type[TypeEngine[Any]]) -> CollectionAggregate[bool]:
    """Any of these values, as one parameter: a statement has room for 65,535."""
    return any_(literal(list(values), ARRAY(kind)))


def _order(table: npt.NDArray[np.void], document_ids: Sequence[int]) -> IntArray | slice:
    """What puts rows in order: by place of their document in ``document_ids``, then by position."""
    known = np.array(document_ids, np.int64)
    by_id = np.argsort(known)
    ranks = by_id[np.searchsorted(known, table["document"], sorter=by_id)]
    positions = table["position"].astype(np.int64)
    key = (ranks << 32) | positions
    return slice(None) if (key[1:] > key[:-1]).all() else np.argsort(key)


def _embedded(space_id: int) -> Select[int]:
    """Ids of the documents that have their vectors in a space. Vectors are written for whole documents."""
    return (
        select(ChunkRow.document_id)
        .join(EmbeddingRow, EmbeddingRow.chunk_id == ChunkRow.id)
        .where(EmbeddingRow.space_id == space_id, ChunkRow.position == 0)
    )
