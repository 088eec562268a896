"""Claim: vectors are read in order at least 15 times as fast as by pgvector-python's idiom.

The peer is what pgvector-python shows: ``register_vector``, ``SELECT ... ORDER BY``, ``fetchall``, one NumPy array a
row, stacked. Both read the same rows of the same database, in turns, and must agree bit for bit; each is counted by
its fastest run. Prints rows a second and the ratio.

    python -m benchmarks.reading [--chunks 40000] [--runs 3]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import psycopg
from pgvector.psycopg import register_vector

from benchmarks.common import databases, documents, register
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
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
    print(f"ours             {count / min(mine):9,.0f} rows/s (runs: {', '.join(f'{count / s:,.0f}' for s in mine)})")
    print(
        f"pgvector-python  {count / min(theirs):9,.0f} rows/s (runs: {', '.join(f'{count / s:,.0f}' for s in theirs)})"
    )
    print(f"ratio            {min(theirs) / min(mine):9.1f} (claim: 15)")


if __name__ == "__main__":
    main()
