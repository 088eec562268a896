"""Claim: the inverter decodes at least 1.8 times as fast as plain sampling, both in float32.

The peer is the decoding of version 0.1.0, frozen here: float32, one forward a step for every text, noise for every word
of the vocabulary, 16 texts per vector. Weights and vectors are the same: held-out chunks of the sample corpus. Both
sides run in turns, part by part, and encode their texts to choose the nearest. The mean cosine must be at most 0.003
below the peer's, plus two standard errors of the difference: 0.004 for 384 vectors. Where the CPU multiplies bfloat16
the inverter uses it. Then it decodes once more so: its cosine has the same claim, and its ratio, which depends on the
CPU, has none. The speeds of a matrix product in both number types are printed beside it.

    python -m benchmarks.inverter [--vectors 256] [--seed 0]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import claim, compare, options, product_speed
from lvm import devices
from lvm.arrays import FloatArray
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.network import END, PAD, UNK, VectorDecoder
from lvm.inversion.protocol import Encode
from lvm.settings import Settings
from lvm.spaces import Space, open_space

CANDIDATES, TEMPERATURE, VECTORS_AT_ONCE = 16, 0.5, 8  # the peer's
Side = Callable[[PrefixInverter, FloatArray, Encode, int], FloatArray]

PART = 64  # vectors that a side decodes in its turn
TOLERANCE = 0.003  # of the mean cosine


class Plain:
    """The peer: keys and values of past positions, per layer (rows, heads, positions, width / heads)."""

    def __init__(self, network: VectorDecoder) -> None:
        self.network = network
        self.keys, self.values = list[Tensor](), list[Tensor]()

    def hidden(self, embedded: Tensor) -> Tensor:
        """Run all layers over the prefix, or over one new position: (rows, length, width) of both."""
        x: Tensor = self.network.norm(embedded)
        first = not self.keys
        for index, layer in enumerate(self.network.layers):
            q, k, v = layer.qkv(x).unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
            if first:
                self.keys.append(k)
                self.values.append(v)
            else:
                self.keys[index] = torch.cat([self.keys[index], k], dim=2)
                self.values[index] = torch.cat([self.values[index], v], dim=2)
            attended = F.scaled_dot_product_attention(q, self.keys[index], self.values[index], is_causal=first)
            x = layer.norm_attention(x + layer.out(attended.transpose(1, 2).flatten(2)))
            x = layer.norm_feedforward(x + layer.down(F.gelu(layer.up(x))))
        return x

    def keep(self, rows: Tensor) -> None:
        """Keep the rows with these indices."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]

    @torch.inference_mode()
    def generate(self, vectors: Tensor, generator: torch.Generator) -> list[list[int]]:
        """Token ids of ``CANDIDATES`` texts per vector, the first of them greedy."""
        device = vectors.device
        of_vector = torch.tensor([0.0] + [TEMPERATURE] * (CANDIDATES - 1), device=device)
        temperature = of_vector.repeat(len(vectors))[:, None]
        last = self.hidden(self.network.prefix(vectors))[:, -1].repeat_interleave(CANDIDATES, dim=0)
        rows = torch.arange(len(last), device=device)
        self.keep(rows // CANDIDATES)
        alive = torch.ones(len(last), dtype=torch.bool, device=device)
        length = self.network.config.max_length
        output = torch.full((len(last), length), END, device=device)
        for step in range(length):
            logits = self.network.logits(last)
            logits[:, (PAD, UNK)] = -torch.inf
            uniform = torch.rand(logits.shape, generator=generator, device=device).clamp_(1e-9, 1 - 1e-7)
            chosen = (logits - temperature * torch.log(-torch.log(uniform))).argmax(dim=-1)
            output[rows, step] = chosen
            alive &= chosen != END
            if step + 1 == length or not bool(alive.any()):
                break
            if int(alive.sum()) < 0.75 * len(alive):
                kept = alive.nonzero()[:, 0]
                rows, temperature, chosen, alive = rows[kept], temperature[kept], chosen[kept], alive[kept]
                self.keep(kept)
            last = self.hidden(self.network.embed(chosen[:, None], step))[:, 0]
        return [row[: row.index(END)] if END in row else row for row in output.tolist()]


def plain(inverter: PrefixInverter, raw: FloatArray, encode: Encode, seed: int) -> FloatArray:
    """Vectors of the texts that the peer decodes: (n, dim) unit vectors."""
    best = []
    for start in range(0, len(raw), VECTORS_AT_ONCE):
        part = raw[start : start + VECTORS_AT_ONCE]
        generator = torch.Generator(inverter.device).manual_seed(seed + start)
        vectors = torch.from_numpy(part).to(inverter.device)
        texts = inverter.texts(Plain(inverter.network).generate(vectors, generator))
        different = list(dict.fromkeys(texts))
        row_of = {text: row for row, text in enumerate(different)}
        unit = normalised(encode(different))[[row_of[text] for text in texts]].reshape(len(part), CANDIDATES, -1)
        nearest = np.einsum("nd,ncd->nc", part, unit).argmax(axis=1)
        best.append(unit[np.arange(len(part)), nearest])
    return np.concatenate(best)


def ours(inverter: PrefixInverter, raw: FloatArray, encode: Encode, seed: int) -> FloatArray:
    """Vectors of the texts that the inverter decodes: (n, dim) unit vectors."""
    found = inverter.decode(raw, encode, seed=seed).raw
    assert found is not None
    return normalised(found)


def normalised(raw: FloatArray) -> FloatArray:
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), dtype=np.float32)


def held_out(space: Space, inverter: PrefixInverter, count: int) -> list[str]:
    """Chunks of speeches that the inverter has not seen, drawn from all of them."""
    chunker, names = space.chunker(), set(inverter.card.held_out_documents)
    documents = [item for item in open_source("sotu") if isinstance(item, Document) and item.external_id in names]
    texts = [chunk.text for document in documents for chunk in chunker.split(document.text)[0]]
    texts = [text for text, known in zip(texts, space.was_trained_on(texts), strict=True) if not known]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:count]]


def measured(vectors: int, seed: int, least: float | None) -> bool:
    """Decode with both sides in this CPU's number type, and claim the ratio of speeds and the cosine."""
    space = open_space("minilm", Settings())
    inverter = space.inverter
    assert isinstance(inverter, PrefixInverter), "the default space has this project's inverter"
    unit = space.encode(held_out(space, inverter, vectors)).unit
    raw = np.asarray(unit * space.median_norm, dtype=np.float32)
    sides: dict[str, Side] = {"ours": ours, "plain": plain}
    seconds, cosines = dict.fromkeys(sides, 0.0), {name: list[float]() for name in sides}

    def encode(texts: Sequence[str]) -> FloatArray:
        return space.encode(texts).raw

    for side in sides.values():  # opens and converts what is opened on first use
        side(inverter, raw[:1], encode, 0)
    for start in range(0, len(raw), PART):
        rows = slice(start, start + PART)
        for name, side in sides.items():
            began = time.perf_counter()
            back = side(inverter, raw[rows], encode, seed + start)
            seconds[name] += time.perf_counter() - began
            cosines[name] += np.einsum("nd,nd->n", back, unit[rows]).tolist()
    fast = compare("vectors", len(raw), [seconds["ours"]], "plain", [seconds["plain"]], least)
    means = {name: float(np.mean(each)) for name, each in cosines.items()}
    print(f"{'roundtrip cosine':22} {means['ours']:9.4f}, plain {means['plain']:.4f}", flush=True)
    error = float(np.std(np.subtract(cosines["ours"], cosines["plain"]))) / len(raw) ** 0.5
    well = means["ours"] >= means["plain"] - TOLERANCE - 2 * error
    if not well:
        print("the cosine is lower than the plain side's: the claim DOES NOT HOLD")
    return fast and well


def main() -> int:
    asked = options(__doc__, vectors=256, seed=0)
    bf16 = devices.bf16_available()
    with mock.patch("lvm.devices.bf16_available", lambda: False):
        held = measured(asked.vectors, asked.seed, 1.8)
    if bf16:
        print("with bfloat16")
        held &= measured(asked.vectors, asked.seed, None)
        for dtype in (torch.float32, torch.bfloat16):
            claim(f"{str(dtype).removeprefix('torch.')}, GFLOP/s", product_speed(256, 384, 1536, dtype), None)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
