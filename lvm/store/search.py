"""Search for chunks by vector, and by words and vector, and the index that makes it fast.

Contract: cosines are exact with and without an index. With one, a search may miss a chunk that is about as near as the
last one that it returns; words are always all found. An index is whole or absent: a build that fails or is stopped
leaves none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import Any

import psycopg
from pgvector import Vector
from sqlalchemy import text
from sqlalchemy.orm import Session

from lvm.encoding.vectors import InvalidVectors, Vectors, require
from lvm.progress import Progress
from lvm.store.connect import Connections
from lvm.store.errors import InvalidFilter, no_room_for_index, refused_filter
from lvm.store.records import Hit
from lvm.store.tables import SpaceRow

INDEX_FROM = 50_000
"""Vectors from which a space gets a search index."""

INDEXED_K = 1000
"""The most chunks that are searched for by index."""

POLL_SECONDS = 0.5
"""Pause between two looks at the progress of a build."""

_NEAREST = text(
    "SELECT chunk_id, text, title, position, cosine "
    "FROM search(CAST(:query AS vector), :k, :space, CAST(:filter AS jsonb), :exact) OFFSET :skip"
)
_HYBRID = text(
    "SELECT chunk_id, text, title, position, cosine, score, highlights "
    "FROM hybrid(:words, CAST(:query AS vector), :k, :space, CAST(:filter AS jsonb), :exact) OFFSET :skip"
)


class Search(Connections):
    """Searches a space."""

    def search(
        self,
        space_id: int,
        query: Vectors,
        k: int,
        *,
        words: str | None = None,
        skip: int = 0,
        filter: Mapping[str, Any] | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The k chunks nearest to one vector by cosine, nearest first.

        Args:
            query: one vector of this space.
            k: number of chunks.
            words: also search for chunks that have these words, and order by both (``lvm.hybrid``).
            skip: leave out so many of the first: those of earlier pages.
            filter: what the chunks' documents must be; all unless given. ``source`` and ``document`` (external id): a
                string or a list of strings. ``metadata``: a dict that the document's metadata contains.
            exact: compare with every chunk. Otherwise the space's index is used if there is one, for the first 1000.

        Raises:
            SpaceMismatch: if the vector is of another space.
            InvalidVectors: if it is a bare array, or if there is not exactly one.
            InvalidFilter: if the filter has another key, or a value of a wrong type.
        """
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, space_id)
            require(query, space.name, space.fingerprint, space.dim)
            name = space.name
        if len(query) != 1:
            raise InvalidVectors(f"the query has {len(query)} vectors and a search takes one; search for them in turn")
        if k < 1:
            return []
        values = {
            "query": Vector(query.unit[0]).to_text(),
            "words": None if words is None else words.replace("\0", " "),
            "k": int(skip + k),  # NumPy's are bigint to the driver, and ``search`` takes integer
            "skip": int(skip),
            "space": name,
            "filter": _json(filter),
            "exact": exact or skip + k > INDEXED_K,
        }
        with refused_filter(), self.engine.connect() as connection:
            return [Hit(*row) for row in connection.execute(_NEAREST if words is None else _HYBRID, values)]

    def similar_metadata(self, key: str, value: str, count: int = 5) -> list[Any]:
        """Values of a key of the documents' metadata that contain a text, upper and lower case alike.

        Args:
            key: of the metadata.
            value: what is looked for.
            count: values at most, the most frequent first.
        """
        statement = text(
            "SELECT metadata -> CAST(:key AS text) FROM ONLY document "
            "WHERE position(lower(CAST(:value AS text)) IN lower(metadata ->> CAST(:key AS text))) > 0 "
            "GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT :count"
        )
        with self.engine.connect() as connection:
            return [*connection.scalars(statement, {"key": key, "value": value, "count": count})]

    def vectors_to_index(self, space_id: int) -> int:
        """Vectors of a space that should have an index and has none; 0 for any other space."""
        indexed = text("SELECT to_regclass(:name) IS NOT NULL")
        count = text("SELECT count(*) FROM ONLY embedding WHERE space_id = :space")
        with self.engine.connect() as connection:
            if connection.scalar(indexed, {"name": f"lvm.embedding_search_{space_id}"}):
                return 0
            vectors = connection.scalar(count, {"space": space_id}) or 0
        return vectors if vectors >= INDEX_FROM else 0

    def build_search_index(self, space_id: int, progress: Progress | None = None) -> bool:
        """Build the HNSW index of ``lvm.search`` if the space has at least ``INDEX_FROM`` vectors and no index.

        Call it after bulk loading: Postgres adds later rows one by one. An interrupt stops the build on the server.

        Args:
            progress: called with the number of vectors that are in the index since the last call.

        Returns:
            Whether it built an index.

        Raises:
            IndexNotBuilt: if the server has no memory, disk space or time for it. There is no index then.
        """
        build = text("SELECT build_search_index(:space, :at_least, :memory)")
        values = {"space": space_id, "at_least": INDEX_FROM, "memory": self.index_memory}
        with no_room_for_index(), self.engine.begin() as connection, ThreadPoolExecutor(1) as thread:
            process = connection.scalar(text("SELECT pg_backend_pid()"))
            driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]
            built: Future[Any] = thread.submit(connection.scalar, build, values)
            try:
                if progress is not None:
                    self._follow(built, process, progress)
                return bool(built.result())
            except BaseException:
                if not built.done():
                    with suppress(psycopg.Error):
                        driver.cancel()  # from this thread; the other one waits for the server
                raise

    def _follow(self, built: Future[Any], process: int, progress: Progress) -> None:
        """Report the progress of a build until it ends."""
        done, told = text("SELECT tuples_done FROM pg_stat_progress_create_index WHERE pid = :process"), 0
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not built.done():
                with suppress(NotYet):
                    built.exception(POLL_SECONDS)
                now = connection.scalar(done, {"process": process}) or 0
                if now > told:
                    progress(now - told)
                    told = now


def _json(filter: Mapping[str, Any] | None) -> str | None:
    """A filter as JSON; None for no filter."""
    if filter is None:
        return None
    try:
        return json.dumps(filter, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidFilter(
            f"the filter cannot be written as JSON ({error}); it takes strings, lists and dicts"
        ) from error
