"""Claim: ingestion end to end runs at 0.85 or more of the speed of encoding alone.

End to end is reading speeches, chunking, encoding and storing them in Postgres; the peer is the encoder on the same
chunks, ready in memory. Both sides run in turns, each counted by its fastest run.

    python -m benchmarks.ingestion [--limit 20] [--runs 3]
"""

from __future__ import annotations

import argparse
import time

from benchmarks.common import databases
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.ingest import ingest
from lvm.settings import Settings
from lvm.spaces import open_space


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    space = open_space("minilm", Settings())
    chunker = space.chunker()
    speeches = [item for item in open_source("sotu", asked.limit) if isinstance(item, Document)]
    texts = [chunk.text for speech in speeches for chunk in chunker.split(speech.text)[0]]
    probes = space.probe().unit
    whole, alone = [], []
    with databases() as (server, _):
        for _ in range(asked.runs):
            with server.fresh() as store:
                number = store.register_space(space.name, space.dim, space.fingerprint, space.recipe, probes)
                report = ingest(store, number, space, "sotu", open_source("sotu", asked.limit))
                whole.append(report.seconds)
                assert report.chunks == len(texts)
            began = time.perf_counter()
            space.encode(texts)
            alone.append(time.perf_counter() - began)
    n = len(texts)
    print(f"end to end      {n / min(whole):7,.0f} chunks/s (runs: {', '.join(f'{n / s:,.0f}' for s in whole)})")
    print(f"encoding alone  {n / min(alone):7,.0f} chunks/s (runs: {', '.join(f'{n / s:,.0f}' for s in alone)})")
    print(f"ratio           {min(alone) / min(whole):7.2f} (claim: 0.85)")


if __name__ == "__main__":
    main()
