"""The network of the project's inverter: a causal decoder. The vector is a prefix of a few positions before the text.

Contract: (batch, dim) vectors and (batch, length) token ids in, logits or generated ids out. The network knows nothing
about files, tokenizers or spaces. Its layers are those of BERT (post-norm, GELU) with causal attention, so it can start
from MiniLM's weights; from random weights it learns many times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, UNK, END = 0, 1, 2
"""Special token ids: padding, unknown, end of text."""

_KEPT = 0.75  # finished sequences leave the batch when less than this share of the batch is unfinished


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder.

    Attributes:
        dim: dimension of the vectors.
        vocabulary: number of tokens.
        width: width of the layers.
        layers: number of layers.
        heads: number of attention heads.
        feedforward: width of the hidden layer of the MLP.
        prefix: number of positions that a vector is projected to.
        bottleneck: width of the hidden layer of this projection.
        max_length: longest text in tokens, with the end token.
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
    """Keys and values of past positions: per layer, two tensors of shape (batch, heads, positions, width / heads).

    Args:
        config: sizes of the network.
        batch: number of sequences.
        positions: largest number of positions.
        like: a tensor with the type and device of keys and values.
    """

    def __init__(self, config: DecoderConfig, batch: int, positions: int, like: Tensor) -> None:
        shape = (batch, config.heads, positions, config.width // config.heads)
        self.keys = [like.new_empty(shape) for _ in range(config.layers)]
        self.values = [like.new_empty(shape) for _ in range(config.layers)]
        self.length = 0

    def keep(self, rows: Tensor) -> None:
        """Keep the sequences with indices ``rows`` and drop the others."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]


def _attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """``scaled_dot_product_attention`` of (batch, heads, length, width) tensors.

    With gradients on a CPU, it is written out: for short texts in bfloat16, torch's own takes six times as long there.
    """
    if not torch.is_grad_enabled() or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    length, width = q.shape[-2:]
    hidden = torch.full((length, length), -torch.inf if is_causal else 0.0, dtype=q.dtype).triu(1)
    flat_q, flat_k, flat_v = (x.flatten(0, 1) for x in (q, k, v))
    scores = torch.baddbmm(hidden.expand(len(flat_q), -1, -1), flat_q, flat_k.mT, alpha=width**-0.5)
    return torch.bmm(scores.softmax(dim=-1).to(v.dtype), flat_v).view(q.shape)


class Layer(nn.Module):
    """One post-norm Transformer layer of BERT (Devlin et al., 2019), with causal attention."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_attention = nn.LayerNorm(config.width, eps=1e-12)
        self.up = nn.Linear(config.width, config.feedforward)
        self.down = nn.Linear(config.feedforward, config.width)
        self.norm_feedforward = nn.LayerNorm(config.width, eps=1e-12)

    def forward(self, x: Tensor, cache: Cache | None, index: int, dropout: float = 0.0) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            end = cache.length + length
            cache.keys[index][:, :, cache.length : end] = k
            cache.values[index][:, :, cache.length : end] = v
            k, v = cache.keys[index][:, :, :end], cache.values[index][:, :, :end]
        # With a cache, the input is the whole prefix (causal) or one new position, which attends to all positions.
        attended = _attention(q, k, v, is_causal=length > 1)
        mixed = self.out(attended.transpose(1, 2).reshape(batch, length, width))
        x = self.norm_attention(x + F.dropout(mixed, dropout, self.training))
        changed = self.down(F.gelu(self.up(x)))
        hidden: Tensor = self.norm_feedforward(x + F.dropout(changed, dropout, self.training))
        return hidden


class VectorDecoder(nn.Module):
    """Models p(text | vector). Input and output embeddings are tied.

    Args:
        config: sizes of the network.

    Attributes:
        dropout: dropout rate of the layers in training mode.
    """

    dropout = 0.0

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
        """Project vectors to the positions before the text.

        Args:
            vectors: (batch, dim) vectors at the space's median norm.

        Returns:
            (batch, prefix, width).
        """
        # the factor scales the entries of a unit vector to about 1
        projected: Tensor = self.project(vectors * self.config.dim**0.5)
        return projected.view(len(vectors), self.config.prefix, -1) + self.positions.weight[: self.config.prefix]

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """Embed token ids: (batch, length) -> (batch, length, width).

        Args:
            ids: (batch, length) token ids.
            start: position of the first token in the text.
        """
        first = self.config.prefix + start
        embedded: Tensor = self.words(ids) + self.positions.weight[first : first + ids.shape[1]]
        return embedded

    def hidden(self, embedded: Tensor, cache: Cache | None = None) -> Tensor:
        """Run all layers: (batch, length, width) -> (batch, length, width).

        Args:
            embedded: embedded positions.
            cache: keys and values of earlier positions. The new positions are added to it.
        """
        x: Tensor = self.norm(embedded)
        for index, layer in enumerate(self.layers):
            x = layer(x, cache, index, self.dropout)
        if cache is not None:
            cache.length += embedded.shape[1]
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next token: (..., width) -> (..., vocabulary)."""
        logits: Tensor = F.linear(hidden, self.words.weight, self.bias)
        return logits

    def forward(self, prefix: Tensor, ids: Tensor) -> Tensor:
        """Logits of all tokens of a text, and of the token after the last.

        Args:
            prefix: (batch, positions, width) from ``prefix``.
            ids: (batch, length) token ids.

        Returns:
            (batch, length + 1, vocabulary).
        """
        embedded = torch.cat([prefix, self.embed(ids)], dim=1)
        return self.logits(self.hidden(embedded)[:, prefix.shape[1] - 1 :])

    @torch.inference_mode()
    def generate(self, prefix: Tensor, temperatures: Sequence[float], generator: torch.Generator) -> list[list[int]]:
        """Generate ``len(temperatures)`` texts per vector.

        Finished sequences leave the batch in groups, because every removal copies all keys and values.

        Args:
            prefix: (batch, positions, width) from ``prefix``.
            temperatures: temperature of the first, second, ... text of a vector; 0 is greedy.
            generator: source of random numbers.

        Returns:
            Token ids of ``batch * len(temperatures)`` texts, vector by vector, without the end token.
        """
        copies, length = len(temperatures), self.config.max_length
        device = prefix.device
        temperature = torch.tensor(temperatures, device=device).repeat(len(prefix))[:, None]
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
            # Gumbel-max sampling, with noise scaled by the temperature: at temperature 0 it is exactly the argmax
            uniform = torch.rand(logits.shape, generator=generator, device=device).clamp_(1e-9, 1 - 1e-7)
            chosen = (logits - temperature * torch.log(-torch.log(uniform))).argmax(dim=-1)
            output[rows, step] = chosen
            alive &= chosen != END
            if step + 1 == length or not bool(alive.any()):
                break
            if int(alive.sum()) < _KEPT * len(alive):
                keep = alive.nonzero()[:, 0]
                rows, temperature, chosen, alive = rows[keep], temperature[keep], chosen[keep], alive[keep]
                cache.keep(keep)
            last = self.hidden(self.embed(chosen[:, None], step), cache)[:, 0]
        return [row[: row.index(END)] if END in row else row for row in output.tolist()]


def text_nats(network: VectorDecoder, prefix: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
    """Cross-entropy of texts, in nats, summed over the tokens of a text.

    Shorter texts are padded at the end. Padding does not count, and attention is causal, so padding changes nothing.

    Args:
        network: the network.
        prefix: (batch, positions, width) from ``VectorDecoder.prefix``.
        ids: token ids of ``batch`` texts. The end token is one of them, if the text has an end.

    Returns:
        (batch,) float32.
    """
    longest = max(map(len, ids))
    inputs = torch.tensor([[*each[:-1], *[PAD] * (longest - len(each))] for each in ids], device=prefix.device).long()
    lengths = torch.tensor([len(each) for each in ids], device=prefix.device)
    targets = torch.tensor([token for each in ids for token in each], device=prefix.device)
    embedded = torch.cat([prefix, network.embed(inputs)], dim=1)
    hidden = network.hidden(embedded)[:, prefix.shape[1] - 1 :]
    # the logits of padding are not computed: they are a third of the work
    texts = torch.arange(len(ids), device=prefix.device).repeat_interleave(lengths)
    logits = network.logits(hidden[torch.arange(longest, device=prefix.device) < lengths[:, None]])
    nats = F.cross_entropy(logits.float(), targets, reduction="none")
    return nats.new_zeros(len(ids)).index_add(0, texts, nats)
