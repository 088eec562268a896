"""A T5 made for generation on a CPU: packed weights, and one cache for all sequences of an input.

Contract: the logits are those of ``T5ForConditionalGeneration`` in evaluation mode, up to rounding. The caller says
which cached positions a new position sees. So a cache holds a chain (``lvm.inversion.prompt_lookup``) or a tree
(``lvm.inversion.beam_search``), and no beam search copies it. Sequences of one input share its encoder states.

Weights are packed (``lvm.encoding.packing``).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lvm.encoding.packing import pack, packed


class _Layer:
    """Weights of one layer of the decoder."""

    def __init__(self, block: Any, eps: float) -> None:
        own, cross, feedforward = block.layer[0], block.layer[1], block.layer[2]
        inner = feedforward.DenseReluDense
        attention = own.SelfAttention
        self.qkv = packed(torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]))
        self.out = packed(attention.o.weight)
        attention = cross.EncDecAttention
        self.cross_q, self.cross_out = packed(attention.q.weight), packed(attention.o.weight)
        self.cross_kv = packed(torch.cat([attention.k.weight, attention.v.weight]))
        self.gated = hasattr(inner, "wi_0")
        self.up = packed(torch.cat([inner.wi_0.weight, inner.wi_1.weight]) if self.gated else inner.wi.weight)
        self.down, self.act = packed(inner.wo.weight), inner.act
        self.norms = [each.layer_norm.weight for each in (own, cross, feedforward)]
        self.eps = eps

    def norm(self, number: int, x: Tensor) -> Tensor:
        weight = self.norms[number]
        return F.rms_norm(x, weight.shape, weight, self.eps)

    def feedforward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        if self.gated:
            gate, rest = up.chunk(2, dim=-1)
            return self.down(self.act(gate) * rest)
        return self.down(self.act(up))


class PackedT5:
    """A T5 without gradients. The linear layers of the model's own encoder are replaced by packed ones.

    Args:
        model: a ``T5ForConditionalGeneration`` in evaluation mode. Its weights must not change afterwards.
    """

    def __init__(self, model: Any) -> None:
        config, decoder = model.config, model.decoder
        self.first, self.end, self.pad = (
            int(token) for token in (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id)
        )
        self.heads, self.width = int(config.num_heads), int(config.d_kv)
        self.encoder = model.encoder
        pack(self.encoder)
        self.embedding = model.shared.weight.detach()
        self.scale = float(config.d_model) ** -0.5 if config.scale_decoder_outputs else 1.0
        self.layers = [_Layer(block, config.layer_norm_epsilon) for block in decoder.block]
        self.norm, self.eps = decoder.final_layer_norm.weight, config.layer_norm_epsilon
        self.head = packed(model.lm_head.weight)
        self._attention = decoder.block[0].layer[0].SelfAttention

    @torch.inference_mode()
    def bias(self, length: int) -> Tensor:
        """(heads, length) bias of attention by distance: 0 for a position itself, 1 for the position before it."""
        attention = self._attention
        buckets = attention._relative_position_bucket(
            -torch.arange(length, device=self.embedding.device),
            bidirectional=False,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        table: Tensor = attention.relative_attention_bias.weight[buckets].T
        return table

    @torch.inference_mode()
    def start(self, inputs_embeds: Tensor, attention_mask: Tensor, slots: int) -> Generation:
        """Run the encoder and begin a generation.

        Args:
            inputs_embeds: (n, length, model width) input of the encoder.
            attention_mask: (n, length), 0 for padding.
            slots: largest number of positions in the cache of an input.
        """
        encoded = self.encoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask).last_hidden_state
        return Generation(self, encoded, attention_mask, slots)

    def ids(self, row: list[int]) -> tuple[int, ...]:
        """Token ids without padding at the end. The first token, which has the id of padding, stays."""
        end = len(row)
        while end > 1 and row[end - 1] == self.pad:
            end -= 1
        return tuple(row[:end])


class Generation:
    """Keys and values of n inputs: ``slots`` positions of the decoder, and all positions of the encoder."""

    def __init__(self, t5: PackedT5, encoded: Tensor, attention_mask: Tensor, slots: int) -> None:
        self.t5 = t5
        n, length = attention_mask.shape
        self.cross = []
        for layer in t5.layers:
            keys_values = layer.cross_kv(encoded).view(n, length, 2, t5.heads, t5.width)
            self.cross.append(keys_values.permute(2, 0, 3, 1, 4).contiguous())
        seen = torch.zeros(n, 1, 1, length, device=encoded.device)
        self.cross_mask = seen.masked_fill_(attention_mask[:, None, None, :] == 0, -torch.inf)
        shape = (2, n, t5.heads, slots, t5.width)
        self.own = [torch.empty(shape, device=encoded.device) for _ in t5.layers]

    def keep(self, rows: Tensor, filled: int) -> None:
        """Keep the inputs with these indices, and their first ``filled`` slots."""
        self.cross = [each[:, rows] for each in self.cross]
        self.cross_mask = self.cross_mask[rows]
        for number, old in enumerate(self.own):
            new = old.new_empty((2, len(rows), *old.shape[2:]))
            new[:, :, :, :filled] = old[:, rows, :, :filled]
            self.own[number] = new

    @torch.inference_mode()
    def step(self, ids: Tensor, filled: int, mask: Tensor) -> Tensor:
        """Run the decoder at new positions. They take the slots after the first ``filled`` ones.

        Args:
            ids: (n, positions) token ids.
            filled: number of slots before the new positions.
            mask: (n or 1, heads, positions, ``filled`` + positions), added to the scores of attention: the bias of the
                distance, or -inf for a slot that the position does not see.

        Returns:
            (n, positions, vocabulary) logits.
        """
        t5 = self.t5
        n, count = ids.shape
        heads = (n, count, -1, t5.heads, t5.width)
        end = filled + count
        x = F.embedding(ids, t5.embedding)
        for layer, own, cross in zip(t5.layers, self.own, self.cross, strict=True):
            qkv = layer.qkv(layer.norm(0, x)).view(heads).permute(2, 0, 3, 1, 4)
            own[:, :, :, filled:end] = qkv[1:]
            x = x + layer.out(_attend(qkv[0], own[:, :, :, :end], mask))
            q = layer.cross_q(layer.norm(1, x)).view(heads)[:, :, 0].transpose(1, 2)
            x = x + layer.cross_out(_attend(q, cross, self.cross_mask))
            x = x + layer.feedforward(layer.norm(2, x))
        x = F.rms_norm(x, t5.norm.shape, t5.norm, t5.eps)
        return t5.head(x * t5.scale)


def _attend(q: Tensor, keys_values: Tensor, mask: Tensor) -> Tensor:
    """(n, heads, positions, width) queries -> (n, positions, heads * width). T5 does not scale the scores."""
    attended = F.scaled_dot_product_attention(q, keys_values[0], keys_values[1], attn_mask=mask, scale=1.0)
    return attended.transpose(1, 2).flatten(2)
