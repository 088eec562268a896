"""Claim: reading a corpus revision takes under 20 ms at a million chunks, and does not grow with the corpus.

The peer is the same revision computed from scratch, as ``lvm doctor --deep`` does it. Both must be equal. Prints the
median of the reads and the ratio.

    python -m benchmarks.revision [--chunks 1000000] [--reads 100]
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

from benchmarks.common import CHUNKS_EACH, databases, documents, options, register
from lvm.corpus.documents import Document

GROUP = 4  # documents a commit


def main() -> None:
    asked = options(__doc__, chunks=1_000_000, reads=100)
    with databases() as (server, _), server.fresh() as store:
        space = register(store)
        group = documents(GROUP * CHUNKS_EACH)
        began = time.perf_counter()
        with store.writer(space) as writer:
            for start in range(0, asked.chunks // CHUNKS_EACH, GROUP):
                names = (f"{start + i:09d}" for i in range(GROUP))
                writer.write_documents(
                    [
                        replace(item, document=Document("bench", name, name, name))
                        for item, name in zip(group, names, strict=True)
                    ]
                )
        written = store.counts(space)["chunks"]
        print(f"{written:,} chunks written, {written / (time.perf_counter() - began):,.0f} a second")
        reads = []
        for _ in range(asked.reads):
            began = time.perf_counter()
            revision = store.corpus_revision(space)
            reads.append(time.perf_counter() - began)
        began = time.perf_counter()
        recomputed = store.recomputed_revision(space)
        scratch = time.perf_counter() - began
        assert recomputed == revision, "the triggers and the rows disagree"
        median = statistics.median(reads)
        print(f"read {1000 * median:.2f} ms (median of {len(reads)}, slowest {1000 * max(reads):.2f} ms; claim: 20)")
        print(f"from scratch {scratch:.1f} s, ratio {scratch / median:,.0f}")


if __name__ == "__main__":
    main()
