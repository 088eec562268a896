"""Claim: documents, chunks and vectors are written at 0.8 or more of the server's own ``COPY FROM`` a file.

The peer is as fast as Postgres gets: the server reads prepared binary files of the same rows, of all three tables,
into a database of the same schema, constraints and triggers. Both sides run in turns on fresh databases, each counted
by its fastest run. Prints chunks (a row of text and a 384-d vector each) a second and the ratio.

    python -m benchmarks.writing [--chunks 40000] [--runs 3]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sqlalchemy import text

from benchmarks.common import compare, databases, documents, options, register
from lvm.store import IngestedDocument, Store

TABLES = ("document", "chunk", "embedding")
GROUP = 4  # documents a commit, as ingestion does it: about 2,000 chunks


def columns(store: Store, table: str) -> str:
    query = text(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = ('lvm.' || :table)::regclass AND attnum > 0 AND NOT attisdropped"
    )
    with store.engine.connect() as connection:
        return str(connection.execute(query, {"table": table}).scalar_one())


def ours(store: Store, items: list[IngestedDocument]) -> float:
    space = register(store)
    began = time.perf_counter()
    with store.writer(space) as writer:
        for start in range(0, len(items), GROUP):
            writer.write_documents(items[start : start + GROUP])
    return time.perf_counter() - began


def dump(store: Store, folder: Path) -> None:
    for table in TABLES:
        with store.engine.begin() as connection:
            connection.exec_driver_sql(
                f"COPY lvm.{table} ({columns(store, table)}) TO '{folder / table}' (FORMAT binary)"
            )


def peer(store: Store, folder: Path) -> float:
    register(store)
    names = {table: columns(store, table) for table in TABLES}
    began = time.perf_counter()
    for table in TABLES:
        with store.engine.begin() as connection:
            connection.exec_driver_sql(f"COPY lvm.{table} ({names[table]}) FROM '{folder / table}' (FORMAT binary)")
    return time.perf_counter() - began


def main() -> int:
    asked = options(__doc__, chunks=40_000, runs=3)
    items = documents(asked.chunks)
    count = sum(len(each.chunk_texts) for each in items)
    mine, theirs = [], []
    with databases() as (server, folder):
        for run in range(asked.runs):
            with server.fresh() as store:
                mine.append(ours(store, items))
                if run == 0:
                    dump(store, folder)
            with server.fresh() as store:
                theirs.append(peer(store, folder))
    held = compare("chunks", count, mine, "COPY FROM", theirs, 0.8)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
