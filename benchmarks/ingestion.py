"""Claim: ingestion end to end runs at 0.85 or more of the speed of encoding alone.

End to end is reading speeches, chunking, encoding and storing them in Postgres; the peer is the encoder on the same
chunks, ready in memory. Both sides run in turns, each counted by its fastest run.

    python -m benchmarks.ingestion [--limit 20] [--runs 3]
"""

from __future__ import annotations

import time

from benchmarks.common import compare, databases, options
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.pipeline.ingest import ingest
from lvm.pipeline.workspace import Workspace, register
from lvm.settings import Settings
from lvm.spaces import open_space


def main() -> None:
    asked = options(__doc__, limit=20, runs=3)
    settings = Settings()
    space = open_space("minilm", settings)
    chunker = space.chunker()
    speeches = [item for item in open_source("sotu", asked.limit) if isinstance(item, Document)]
    texts = [chunk.text for speech in speeches for chunk in chunker.split(speech.text)[0]]
    whole, alone = [], []
    with databases() as (server, _):
        for _ in range(asked.runs):
            with server.fresh() as store:
                report = ingest(Workspace(settings, store, space, register(store, space)), "sotu", asked.limit)
                whole.append(report.seconds)
                assert report.chunks == len(texts)
            began = time.perf_counter()
            space.encode(texts)
            alone.append(time.perf_counter() - began)
    compare("chunks", len(texts), whole, "encoding alone", alone, "0.85")


if __name__ == "__main__":
    main()
