"""The network of an inverter: a causal decoder that reads a vector as a few prefix positions.

Contract: (batch, dim) vectors and (batch, length) token ids in, logits out; it knows nothing of files,
tokenizers or spaces. The layers are BERT's (post-norm, GELU), made causal, so that MiniLM's own weights
can start it: from random weights the same network learns many times slower.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder.

    Attributes:
        dim: dimension of the vectors it inverts.
        vocabulary: number of tokens.
        width, layers, heads, feedforward: of the Transformer.
        prefix: positions a vector is projected into.
        bottleneck: width of that projection's hidden layer.
        max_length: longest text in tokens, end token included.
    """

    dim: int = 384
    vocabulary: int = 10_000
    width: int = 384
    layers: int = 6
    heads: int = 12
    feedforward: int = 1536
    prefix: int = 4
    bottleneck: int = 1024
    max_length: int = 48


class Cache:
    """Keys and values of past positions, one preallocated pair of (batch, heads, positions, width / heads) a layer."""

    def __init__(self, config: DecoderConfig, batch: int, like: Tensor) -> None:
        shape = (batch, config.heads, config.prefix + config.max_length, config.width // config.heads)
        self.keys = [like.new_empty(shape) for _ in range(config.layers)]
        self.values = [like.new_empty(shape) for _ in range(config.layers)]
        self.length = 0

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences but ``rows``: finished ones need no more work."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]


class Layer(nn.Module):
    """One post-norm Transformer layer as in BERT (Devlin et al. 2019), attending to the past only."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_attention = nn.LayerNorm(config.width, eps=1e-12)
        self.up = nn.Linear(config.width, config.feedforward)
        self.down = nn.Linear(config.feedforward, config.width)
        self.norm_feedforward = nn.LayerNorm(config.width, eps=1e-12)

    def forward(self, x: Tensor, cache: Cache | None, index: int) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            end = cache.length + length
            cache.keys[index][:, :, cache.length : end] = k
            cache.values[index][:, :, cache.length : end] = v
            k, v = cache.keys[index][:, :, :end], cache.values[index][:, :, :end]
        # With a cache, either the whole prefix arrives (causal) or one new position that may see everything.
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        x = self.norm_attention(x + self.out(attended.transpose(1, 2).reshape(batch, length, width)))
        hidden: Tensor = self.norm_feedforward(x + self.down(F.gelu(self.up(x))))
        return hidden


class VectorDecoder(nn.Module):
    """p(text | vector): the vector stands in front of the text as ``prefix`` positions; the head is tied."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Sequential(
            nn.Linear(config.dim, config.bottleneck),
            nn.GELU(),
            nn.Linear(config.bottleneck, config.prefix * config.width),
        )
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.prefix + config.max_length, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def prefix(self, vectors: Tensor) -> Tensor:
        """(batch, dim) unit vectors -> (batch, prefix, width); scaled so that a coordinate is about 1."""
        projected: Tensor = self.project(vectors * self.config.dim**0.5)
        return projected.view(len(vectors), self.config.prefix, self.config.width)

    def hidden(self, embedded: Tensor, cache: Cache | None = None) -> Tensor:
        """Run the layers over embedded positions that follow those in the cache."""
        past = cache.length if cache is not None else 0
        places = torch.arange(past, past + embedded.shape[1], device=embedded.device)
        x: Tensor = self.norm(embedded + self.positions(places))
        for index, layer in enumerate(self.layers):
            x = layer(x, cache, index)
        if cache is not None:
            cache.length += embedded.shape[1]
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) states -> (..., vocabulary)."""
        logits: Tensor = F.linear(hidden, self.words.weight, self.bias)
        return logits

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Logits (batch, length + 1, vocabulary) of every token of ``ids`` (batch, length) and of what follows them."""
        embedded = torch.cat([self.prefix(vectors), self.words(ids)], dim=1)
        return self.logits(self.hidden(embedded)[:, self.config.prefix - 1 :])
