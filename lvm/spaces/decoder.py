"""The networks of an inverter: causal decoders that read a vector as a few positions in front of a text.

Contract: (batch, dim) vectors and (batch, length) token ids in, logits or generated ids out; they know nothing of
files, tokenizers or spaces. The layers are BERT's (post-norm, GELU), made causal, so that MiniLM's own weights
can start them: from random weights the same network learns many times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, UNK, END = 0, 1, 2
"""Token ids that are no word; END ends a text."""

_KEPT = 0.75  # the batch shrinks when this share of it or less is unfinished


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

    def __init__(self, config: DecoderConfig, batch: int, positions: int, like: Tensor) -> None:
        shape = (batch, config.heads, positions, config.width // config.heads)
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
        self.project = _projection(config)
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.prefix + config.max_length, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def _spread(self, projection: nn.Module, vectors: Tensor) -> Tensor:
        """(batch, dim) vectors -> (batch, prefix, width); scaled so that a coordinate of a direction is about 1."""
        spread: Tensor = projection(vectors * self.config.dim**0.5)
        return spread.view(len(vectors), self.config.prefix, self.config.width)

    def prefix(self, vectors: Tensor) -> Tensor:
        """What stands in front of the text: (batch, dim) unit vectors -> (batch, prefix, width)."""
        return self._spread(self.project, vectors) + self.positions.weight[: self.config.prefix]

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """Token ids (batch, length) that begin at place ``start`` of the text -> (batch, length, width)."""
        first = self.config.prefix + start
        embedded: Tensor = self.words(ids) + self.positions.weight[first : first + ids.shape[1]]
        return embedded

    def hidden(self, embedded: Tensor, cache: Cache | None = None) -> Tensor:
        """Run the layers over embedded positions that follow those in the cache."""
        x: Tensor = self.norm(embedded)
        for index, layer in enumerate(self.layers):
            x = layer(x, cache, index)
        if cache is not None:
            cache.length += embedded.shape[1]
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) states -> (..., vocabulary)."""
        logits: Tensor = F.linear(hidden, self.words.weight, self.bias)
        return logits

    def forward(self, prefix: Tensor, ids: Tensor) -> Tensor:
        """Logits (batch, length + 1, vocabulary) of every token of ``ids`` (batch, length) and of what follows them.

        Args:
            prefix: what stands in front of the text, (batch, positions, width).
        """
        embedded = torch.cat([prefix, self.embed(ids)], dim=1)
        return self.logits(self.hidden(embedded)[:, prefix.shape[1] - 1 :])

    @torch.inference_mode()
    def generate(self, prefix: Tensor, temperature: Sequence[float], generator: torch.Generator) -> list[list[int]]:
        """Token ids of ``len(temperature)`` texts for each row of ``prefix`` in turn; temperature 0 is greedy.

        Finished sequences leave the batch, so it costs what its texts need; not each at once, for that would move
        all keys and values at every step.
        """
        copies, length = len(temperature), self.config.max_length
        device = prefix.device
        heat = torch.tensor(temperature, device=device).repeat(len(prefix))[:, None]
        cache = Cache(self.config, len(prefix), prefix.shape[1] + length, self.words.weight)
        last = self.hidden(prefix, cache)[:, -1].repeat_interleave(copies, dim=0)
        rows = torch.arange(len(last), device=device)
        if copies > 1:
            cache.keep(rows // copies)
        alive = torch.ones(len(last), dtype=torch.bool, device=device)
        output = torch.full((len(last), length), END, device=device)
        for step in range(length):
            logits = self.logits(last).float()
            logits[:, (PAD, UNK)] = -torch.inf
            # Gumbel noise scaled by the temperature: an exact sample, and at 0 exactly the argmax
            uniform = torch.rand(logits.shape, generator=generator, device=device).clamp_(1e-9, 1 - 1e-7)
            chosen = (logits - heat * torch.log(-torch.log(uniform))).argmax(dim=-1)
            output[rows, step] = chosen
            alive &= chosen != END
            if step + 1 == length or not bool(alive.any()):
                break
            if int(alive.sum()) < _KEPT * len(alive):
                keep = alive.nonzero()[:, 0]
                rows, heat, chosen, alive = rows[keep], heat[keep], chosen[keep], alive[keep]
                cache.keep(keep)
            last = self.hidden(self.embed(chosen[:, None], step), cache)[:, 0]
        return [row[: row.index(END)] if END in row else row for row in output.tolist()]


class VectorCorrector(VectorDecoder):
    """p(text | vector, hypothesis, vector of the hypothesis), as vec2text's corrector: see the error of a guess, retry.

    In front of the text stand the difference of the two vectors, the hypothesis' own, its tokens, and last, as in
    ``VectorDecoder``, the vector itself. Source: Morris et al., "Text Embeddings Reveal (Almost) As Much As Text",
    EMNLP 2023; here for vectors of any dimension.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.project_difference = _projection(config)
        self.project_hypothesis = _projection(config)
        self.hypothesis_positions = nn.Embedding(2 * config.prefix + config.max_length, config.width)

    def corrected_prefix(self, vectors: Tensor, hypotheses: Tensor, ids: Tensor) -> Tensor:
        """What stands in front of a correction, (batch, positions, width).

        Args:
            vectors, hypotheses: (batch, dim) unit vectors: what is wanted, and what the hypothesis encodes to.
            ids: (batch, length) tokens of the hypothesis, at most ``max_length``.
        """
        seen = torch.cat(
            [
                self._spread(self.project_difference, vectors - hypotheses),
                self._spread(self.project_hypothesis, hypotheses),
                self.words(ids),
            ],
            dim=1,
        )
        return torch.cat([seen + self.hypothesis_positions.weight[: seen.shape[1]], self.prefix(vectors)], dim=1)


def _projection(config: DecoderConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.dim, config.bottleneck),
        nn.GELU(),
        nn.Linear(config.bottleneck, config.prefix * config.width),
    )
