"""Greedy generation with a T5 by prompt-lookup decoding: several tokens per pass of the decoder.

Contract: the token ids are those of ``model.generate(num_beams=1, do_sample=False)``, in fewer passes. A correction
repeats most of its hypothesis, and texts repeat themselves. So a draft of the next tokens is copied from the hypothesis
or from the text so far. One pass computes the model's choice at every drafted position. The draft is accepted up to the
first difference. On a CPU, a pass over sixteen positions costs little more than a pass over one.

Source: speculative decoding (Leviathan et al., ICML 2023), with a lookup in place of a draft model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lvm.inversion.packed_t5 import PackedT5

_POSITIONS_ON_CPU = 96  # positions in one pass over all rows; beyond this number, time grows with the positions
_POSITIONS_ON_GPU = 2048
_FIRST_DRAFT, _LONGEST_DRAFT = 8, 32  # tokens


@torch.inference_mode()
def greedy(
    t5: PackedT5, inputs_embeds: Tensor, attention_mask: Tensor, max_length: int, hypotheses: Sequence[Sequence[int]]
) -> list[tuple[int, ...]]:
    """Generate the most likely token at every position, up to the end token or ``max_length``.

    Args:
        t5: the network.
        inputs_embeds: (n, length, width) input of the encoder.
        attention_mask: (n, length), 0 for padding.
        max_length: largest number of tokens, with the decoder start token.
        hypotheses: token ids of n texts that the results may resemble, with the decoder start token; may be empty.

    Returns:
        n sequences of token ids, with decoder start and end token, without padding.
    """
    generation = t5.start(inputs_embeds, attention_mask, max_length)
    position = torch.arange(max_length, device=inputs_embeds.device)
    behind = position[:, None] - position
    bias = t5.bias(max_length)[:, behind.clamp(min=0)].masked_fill(behind < 0, -torch.inf)
    known = [[t5.first] for _ in hypotheses]
    alive = list(range(len(known)))
    positions = _POSITIONS_ON_CPU if inputs_embeds.device.type == "cpu" else _POSITIONS_ON_GPU
    longest = min(_LONGEST_DRAFT, max(1, positions // max(1, len(alive))))
    length = min(_FIRST_DRAFT, longest)
    while alive:
        done = min(len(known[row]) for row in alive) - 1  # positions in the cache
        count = min(length, max_length - 1 - done)
        given = []
        for row in alive:
            tokens = known[row][done : done + count]
            if len(tokens) < count:
                tokens = [*tokens, *draft(known[row], hypotheses[row], count - len(tokens))]
            given.append(tokens)
        ids = torch.tensor(given, device=inputs_embeds.device)
        logits = generation.step(ids, done, bias[None, :, done : done + count, : done + count])
        finished = []
        for place, (row, chosen) in enumerate(zip(alive, logits.argmax(dim=-1).tolist(), strict=True)):
            if _accept(known[row], given[place], chosen, done, t5.end, max_length):
                finished.append(place)
        if finished:
            stay = [place for place in range(len(alive)) if place not in finished]
            alive = [alive[place] for place in stay]
            if alive:
                generation.keep(torch.tensor(stay, device=inputs_embeds.device), done + count)
                longest = min(_LONGEST_DRAFT, max(1, positions // len(alive)))
        if alive:
            reached = min(len(known[row]) for row in alive) - 1
            if reached - done == count:
                length = min(2 * length, longest)
            elif reached - done < count / 2:
                length = max(1, length // 2)
    return [t5.ids(row) for row in known]


def _accept(known: list[int], given: Sequence[int], chosen: Sequence[int], done: int, end: int, limit: int) -> bool:
    """Append the accepted tokens and the model's next choice to ``known``. Returns whether the row is finished."""
    for step, (token, following) in enumerate(zip(given, chosen, strict=True)):
        place = done + step
        if token != known[place]:  # the draft is wrong here, so the model's later choices are invalid
            return False
        if place + 1 == len(known):
            known.append(following)
            if following == end or len(known) == limit:
                return True
    return False


def draft(known: Sequence[int], hypothesis: Sequence[int], count: int) -> list[int]:
    """Guess the ``count`` tokens after ``known``.

    The last two tokens of ``known`` are looked up in the hypothesis, at the position nearest to the end of ``known``.
    If they are not there, they are looked up in ``known`` itself, and the repetition is continued. If they are in
    neither, the draft is the hypothesis from the same position on.

    Args:
        known: token ids so far.
        hypothesis: token ids of the hypothesis.
        count: number of tokens to guess.
    """
    tail = tuple(known[-2:])
    places = [i for i in range(1, len(hypothesis)) if tuple(hypothesis[i - 1 : i + 1]) == tail]
    if places:
        after = min(places, key=lambda place: abs(place + 1 - len(known))) + 1
        guess = list(hypothesis[after : after + count])
    else:
        back = next((i for i in range(len(known) - 2, 0, -1) if tuple(known[i - 1 : i + 1]) == tail), None)
        if back is not None:
            written = list(known)
            for _ in range(count):
                written.append(written[back + 1 + len(written) - len(known)])
            guess = written[len(known) :]
        else:
            guess = list(hypothesis[len(known) : len(known) + count])
    return guess + [0] * (count - len(guess))
