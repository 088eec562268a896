"""Search for the nearest chunks, and the index of the SQL function ``lvm.search``."""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from lvm.encoding.vectors import InvalidVectors, Vectors, require
from lvm.store.connect import Connections
from lvm.store.records import Hit
from lvm.store.tables import ChunkRow, DocumentRow, EmbeddingRow, SpaceRow, only

INDEX_FROM = 10_000
"""Vectors from which a space gets a search index."""


class Search(Connections):
    """Searches a space."""

    def search(self, space_id: int, query: Vectors, k: int) -> list[Hit]:
        """The k chunks nearest to one vector by cosine, nearest first. The search is exact and uses no index.

        Args:
            query: one vector of this space.
            k: number of chunks.

        Raises:
            SpaceMismatch: if the vector is of another space.
            InvalidVectors: if it is a bare array, or if there is not exactly one.
        """
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, space_id)
            require(query, space.name, space.fingerprint, space.dim)
        if len(query) != 1:
            raise InvalidVectors(f"the query has {len(query)} vectors and a search takes one; search for them in turn")
        distance = EmbeddingRow.vector.cosine_distance(query.unit[0])
        statement = (
            select(ChunkRow.id, ChunkRow.text, DocumentRow.title, ChunkRow.position, 1 - distance)
            .join(EmbeddingRow, EmbeddingRow.chunk_id == ChunkRow.id)
            .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
            .where(EmbeddingRow.space_id == space_id)
            .order_by(distance)
            .limit(k)
        )
        with Session(self.engine) as session:
            return [Hit(*row) for row in session.execute(only(statement))]

    def build_search_index(self, space_id: int) -> bool:
        """Build the HNSW index of ``lvm.search`` if the space has at least ``INDEX_FROM`` vectors and no index.

        Call it after bulk loading: Postgres adds later rows one by one.

        Returns:
            Whether it built an index.
        """
        with self.engine.begin() as connection:
            build = text("SELECT build_search_index(:space, :at_least)")
            return bool(connection.scalar(build, {"space": space_id, "at_least": INDEX_FROM}))
