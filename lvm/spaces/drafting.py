"""Greedy generation with a T5 that checks whole drafts at once instead of asking for one token at a time.

Contract: the token ids are those of ``model.generate(num_beams=1, do_sample=False)``, in fewer passes. A correction
repeats most of the hypothesis it corrects, and any text repeats itself; so what probably comes next is drafted from
both, one pass says at every drafted place which token the model would have chosen, and all up to the first that differs
are kept. On a CPU a pass over sixteen places costs little more than a pass over one.

Source: speculative decoding (Leviathan et al., ICML 2023), with drafts looked up instead of modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

_PLACES = 96  # checked in one pass, all rows together: beyond, a pass costs as much more as it checks
_FIRST, _LONGEST = 8, 32  # of a draft


@torch.inference_mode()
def greedy(
    model: Any, inputs_embeds: Tensor, attention_mask: Tensor, max_length: int, hypotheses: Sequence[Sequence[int]]
) -> list[tuple[int, ...]]:
    """The likeliest token at every place, up to the end token or ``max_length``.

    Args:
        model: a ``T5ForConditionalGeneration`` in evaluation mode.
        inputs_embeds: (n, length, width) and attention_mask: (n, length), what the encoder reads.
        max_length: of the result, decoder start included.
        hypotheses: n texts that the results may resemble, decoder start included; they may be empty.

    Returns:
        n rows of token ids, decoder start and end token included, padding not.
    """
    config = model.config
    encoded = model.encoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask).last_hidden_state
    known = [[int(config.decoder_start_token_id)] for _ in hypotheses]
    alive, cache = list(range(len(known))), None
    longest = min(_LONGEST, max(1, _PLACES // max(1, len(alive))))
    length = min(_FIRST, longest)
    while alive:
        done = min(len(known[row]) for row in alive) - 1  # places whose keys and values are in the cache
        count = min(length, max_length - 1 - done)
        given = []
        for row in alive:
            tokens = known[row][done : done + count]
            if len(tokens) < count:
                tokens = [*tokens, *draft(known[row], hypotheses[row], count - len(tokens))]
            given.append(tokens)
        output = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=attention_mask,
            decoder_input_ids=torch.tensor(given, device=encoded.device),
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        finished = []
        for place, (row, chosen) in enumerate(zip(alive, output.logits.argmax(dim=-1).tolist(), strict=True)):
            if _accept(known[row], given[place], chosen, done, int(config.eos_token_id), max_length):
                finished.append(place)
        if finished:
            stay = [place for place in range(len(alive)) if place not in finished]
            alive = [alive[place] for place in stay]
            if alive:
                rows = torch.tensor(stay, device=encoded.device)
                encoded, attention_mask = encoded[rows], attention_mask[rows]
                cache.batch_select_indices(rows)
                longest = min(_LONGEST, max(1, _PLACES // len(alive)))
        if alive:
            reached = min(len(known[row]) for row in alive) - 1
            if reached - done < count:
                cache.crop(reached - done - count)
            if reached - done == count:
                length = min(2 * length, longest)
            elif reached - done < count / 2:
                length = max(1, length // 2)
    return [_unpadded(row, int(config.pad_token_id)) for row in known]


def _accept(known: list[int], given: Sequence[int], chosen: Sequence[int], done: int, end: int, limit: int) -> bool:
    """Append to ``known`` every token that was chosen after tokens that hold; whether the row has come to its end."""
    for step, (token, following) in enumerate(zip(given, chosen, strict=True)):
        place = done + step
        if token != known[place]:  # from here on the model read a draft it would not have written
            return False
        if place + 1 == len(known):
            known.append(following)
            if following == end or len(known) == limit:
                return True
    return False


def draft(known: Sequence[int], hypothesis: Sequence[int], count: int) -> list[int]:
    """``count`` tokens that may come after ``known``.

    The last two tokens are looked for in the hypothesis, near the same place, then in ``known`` itself; a repetition is
    drafted to go on. If neither has them, the hypothesis goes on from the same place.
    """
    tail = tuple(known[-2:])
    places = [i for i in range(1, len(hypothesis)) if tuple(hypothesis[i - 1 : i + 1]) == tail]
    if places:
        after = min(places, key=lambda place: abs(place + 1 - len(known))) + 1
        found = list(hypothesis[after : after + count])
    else:
        back = next((i for i in range(len(known) - 2, 0, -1) if tuple(known[i - 1 : i + 1]) == tail), None)
        if back is not None:
            written = list(known)
            for _ in range(count):
                written.append(written[back + 1 + len(written) - len(known)])
            found = written[len(known) :]
        else:
            found = list(hypothesis[len(known) : len(known) + count])
    return found + [0] * (count - len(found))


def _unpadded(row: list[int], pad: int) -> tuple[int, ...]:
    end = len(row)
    while end > 1 and row[end - 1] == pad:
        end -= 1
    return tuple(row[:end])
