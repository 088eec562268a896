"""Beam search with a T5, as transformers does it, without copies of the cache.

Contract: the sequences are those of ``model.generate(num_beams=k, num_return_sequences=k, early_stopping=False)`` with
a length penalty of 1, for each input by itself, up to their end token. What follows it differs: transformers 5 fills up
with end tokens where padding has id 0, as in T5, as many as the batch needs. Up to rounding, they do not depend on the
batch. A beam search of transformers gives every beam a cache and copies all of them at every token, also the encoder's
states, which are the same for all beams of an input. Here the beams of an input are a tree in one cache, and each beam
sees its ancestors. An input leaves the batch when its search ends.

Source: ``GenerationMixin._beam_search`` of transformers 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lvm.inversion.packed_t5 import PackedT5

_NEVER = -1e9  # transformers' score of what must not be chosen


@torch.inference_mode()
def beam_search(
    t5: PackedT5, inputs_embeds: Tensor, attention_mask: Tensor, max_length: int, beams: int
) -> list[list[tuple[int, ...]]]:
    """Generate the ``beams`` most likely sequences that the search finds.

    Args:
        t5: the network.
        inputs_embeds: (n, length, width) input of the encoder.
        attention_mask: (n, length), 0 for padding.
        max_length: largest number of tokens, with the decoder start token.
        beams: sequences that are extended together.

    Returns:
        For every input ``beams`` sequences of token ids, the best first, with decoder start and end token, without
        padding.
    """
    device, n = inputs_embeds.device, len(inputs_embeds)
    slots = beams * (max_length - 1)
    generation = t5.start(inputs_embeds, attention_mask, slots)
    distances = t5.bias(max_length).flip(1).repeat_interleave(beams, dim=1)  # ends with the bias of the newest slots
    beam = torch.arange(beams, device=device)
    running = torch.full((n, beams, max_length), t5.pad, device=device)
    running[:, :, 0] = t5.first
    ended = running.clone()
    scores = torch.full((n, beams), _NEVER, device=device)
    ended_scores = scores.clone()
    scores[:, 0] = 0.0  # all beams are equal at first
    has_ended = torch.zeros(n, beams, dtype=torch.bool, device=device)
    sees = torch.full((n, beams, slots), -torch.inf, device=device)
    found: list[list[tuple[int, ...]]] = [[] for _ in range(n)]
    alive = torch.arange(n, device=device)
    for length in range(1, max_length):
        # one more token for every beam
        filled, width = (length - 1) * beams, length * beams
        sees[:, beam, filled + beam] = 0.0
        mask = sees[:, None, :, :width] + distances[None, :, None, -width:]
        log_probs = generation.step(running[:, :, length - 1], filled, mask).log_softmax(dim=-1)
        vocabulary = log_probs.shape[-1]
        best, places = (log_probs + scores[:, :, None]).flatten(1).topk(2 * beams)
        parents, tokens = places // vocabulary, places % vocabulary
        extended = _of(running, parents)
        extended[:, :, length] = tokens
        ends = (tokens == t5.end) | (length + 1 == max_length)

        # ended sequences: only the first ``beams`` of the new ones count
        counts = ends & (torch.arange(2 * beams, device=device) < beams)
        merged = torch.cat([ended_scores, best / length + ~counts * _NEVER], dim=1)
        ended_scores, kept = merged.topk(beams)
        ended = _of(torch.cat([ended, extended], dim=1), kept)
        has_ended = torch.cat([has_ended, counts], dim=1).gather(1, kept)

        # running sequences
        scores, kept = (best + ends * _NEVER).topk(beams)
        running, sees = _of(extended, kept), _of(sees, parents.gather(1, kept))
        worst = torch.where(has_ended, ended_scores.amin(dim=1, keepdim=True), _NEVER)
        going = (scores[:, :1] / length > worst).any(dim=1)
        if length + 1 == max_length:
            going = torch.zeros_like(going)
        if not bool(going.all()):
            for row in (~going).nonzero()[:, 0].tolist():
                found[int(alive[row])] = [t5.ids(ids) for ids in ended[row].tolist()]
            stay = going.nonzero()[:, 0]
            if not len(stay):
                break
            generation.keep(stay, width)
            running, ended, scores, ended_scores, has_ended, sees, alive = (
                each[stay] for each in (running, ended, scores, ended_scores, has_ended, sees, alive)
            )
    return found


def _of(rows: Tensor, index: Tensor) -> Tensor:
    """(n, a, width) rows and (n, b) indices of them -> (n, b, width)."""
    return rows.gather(1, index[:, :, None].expand(-1, -1, rows.shape[2]))
