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

from lvm.arrays import IntArray
from lvm.devices import attention_of_any_shape
from lvm.encoding.packing import Linear, pack, packed

PAD, UNK, END = 0, 1, 2
"""Special token ids: padding, unknown, end of text."""

_IGNORED = -100  # target of a padded position


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
    """Keys and values of past positions. Positions come first, so that a row is appended and copied without a detour.

    Args:
        config: sizes of the network.
        rows: largest number of rows.
        positions: largest number of positions.
        like: a tensor with the type and device of keys and values.
    """

    def __init__(self, config: DecoderConfig, rows: int, positions: int, like: Tensor) -> None:
        self.past = like.new_empty(2, config.layers, positions, rows, config.width)
        self.heads, self.length = config.heads, 0

    def copy(self, sources: IntArray, targets: IntArray) -> None:
        """Copy rows over other rows, none of which is a source."""
        past = self.past[:, :, : self.length]
        if past.device.type == "cpu":  # row by row is more than ten times as fast there
            for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
                past[:, :, :, target] = past[:, :, :, source]
        elif len(targets):
            past[:, :, :, torch.from_numpy(targets)] = past[:, :, :, torch.from_numpy(sources)]

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """Add the keys and values of new positions to a layer, and attend from them to these and all past positions.

        Args:
            layer: index of the layer.
            qkv: (rows, positions, 3 * width). The first positions may be several, then it is one at a time.

        Returns:
            (rows, positions, width).
        """
        rows, new, _ = qkv.shape
        end = self.length + new
        past = self.past[:, layer, :end, :rows]
        past[:, self.length :] = qkv.view(rows, new, 3, -1)[:, :, 1:].permute(2, 1, 0, 3)
        if new > 1:
            return causal_attention(qkv, self.heads)
        # For one query per row, products and sums are several times as fast on a CPU as scaled_dot_product_attention.
        keys, values = past.view(2, end, rows, self.heads, -1)
        q = qkv.view(rows, 3, self.heads, -1)[:, 0] * keys.shape[-1] ** -0.5
        weights = (keys * q).sum(dim=-1, keepdim=True).softmax(dim=0)
        attended: Tensor = (weights * values).sum(dim=0)
        return attended.view(rows, 1, -1)


def causal_attention(qkv: Tensor, heads: int) -> Tensor:
    """Causal attention: (batch, length, 3 * width) -> (batch, length, width).

    With gradients on a CPU, it is written out: for short texts in bfloat16, the gradient of torch's own takes six times
    as long there.
    """
    batch, length, _ = qkv.shape
    q, k, v = qkv.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    if torch.is_grad_enabled() and qkv.device.type == "cpu":
        later = torch.full((length, length), -torch.inf, dtype=q.dtype).triu(1).expand(batch * heads, -1, -1)
        scores = torch.baddbmm(later, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=q.shape[-1] ** -0.5)
        attended = torch.bmm(scores.softmax(dim=-1).to(v.dtype), v.flatten(0, 1)).view(q.shape)
    else:
        with attention_of_any_shape(qkv.device):
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return attended.transpose(1, 2).reshape(batch, length, -1)


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
        qkv = self.qkv(x)
        mixed = self.out(causal_attention(qkv, self.heads) if cache is None else cache.attend(index, qkv))
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
        self._words: Linear | None = None

    def pack(self) -> None:
        """Pack the weights for a CPU, where no gradients are needed. They must not change afterwards."""
        pack(self)
        self._words = packed(self.words.weight)

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

    def products(self, hidden: Tensor) -> Tensor:
        """Logits without their bias: (..., width) -> (..., vocabulary)."""
        if self._words is None or torch.is_grad_enabled():
            return F.linear(hidden, self.words.weight)
        return self._words(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next token, in float32: (..., width) -> (..., vocabulary)."""
        return self.products(hidden) + self.bias.float()

    def forward(self, prefix: Tensor, ids: Tensor) -> Tensor:
        """Logits of all tokens of a text, and of the token after the last.

        Args:
            prefix: (batch, positions, width) from ``prefix``.
            ids: (batch, length) token ids.

        Returns:
            (batch, length + 1, vocabulary).
        """
        return self.logits(self.states(prefix, ids))

    def states(self, prefix: Tensor, ids: Tensor) -> Tensor:
        """Hidden states that the logits of ``forward`` are made from: (batch, length + 1, width)."""
        embedded = torch.cat([prefix, self.embed(ids)], dim=1)
        return self.hidden(embedded)[:, prefix.shape[1] - 1 :]


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
    texts = torch.arange(len(ids), device=prefix.device).repeat_interleave(lengths)
    present = torch.arange(longest, device=prefix.device) < lengths[:, None]  # no logits of padding: they take long
    logits = network.logits(network.states(prefix, inputs)[present])
    nats = F.cross_entropy(logits, targets, reduction="none")
    return nats.new_zeros(len(ids)).index_add(0, texts, nats)
