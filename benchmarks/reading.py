"""Claim: vectors are read in order at least 15 times as fast as by pgvector-python's idiom.

The peer is what pgvector-python shows: ``register_vector``, ``SELECT ... ORDER BY``, ``fetchall``, one NumPy array a
row, stacked. Both read the same rows of the same database, in turns, and must agree bit for bit; each is counted by
its fastest run. Prints rows a second and the ratio.

    python -m benchmarks.reading [--chunks 40000] [--runs 3]
"""

from __future__ import annotations

import sys
import time

import numpy as np
import psycopg
from pgvector.psycopg import register_vector

from benchmarks.common import compare, databases, documents, options, register
from lvm.store import Store

QUERY = """
SELECT d.id, c.id, c.position, e.norm, e.vector
FROM lvm.embedding e JOIN lvm.chunk c ON c.id = e.chunk_id JOIN lvm.document d ON d.id = c.document_id
WHERE e.space_id = %s ORDER BY d.source, d.external_id, c.position
"""


def ours(store: Store, space: int) -> np.ndarray:
    return np.concatenate([batch.unit for batch in store.read_vectors(space)])


def peer(connection: psycopg.Connection, space: int) -> np.ndarray:
    rows = connection.execute(QUERY, (space,)).fetchall()
    return np.stack([np.asarray(row[4].to_numpy() if hasattr(row[4], "to_numpy") else row[4]) for row in rows])


def main() -> int:
    asked = options(__doc__, chunks=40_000, runs=3)
    items = documents(asked.chunks)
    count = sum(len(each.chunk_texts) for each in items)
    mine, theirs = [], []
    with databases() as (server, _), server.fresh() as store:
        space = register(store)
        with store.writer(space) as writer:
            writer.write_documents(items)
        url = store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, options="-csearch_path=lvm,public") as connection:
            register_vector(connection)
            for _ in range(asked.runs):
                began = time.perf_counter()
                fast = ours(store, space)
                mine.append(time.perf_counter() - began)
                began = time.perf_counter()
                slow = peer(connection, space)
                theirs.append(time.perf_counter() - began)
                assert np.array_equal(fast, slow), "both must read the same"
    held = compare("rows", count, mine, "pgvector-python", theirs, 15)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
