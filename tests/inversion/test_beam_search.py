"""Beams share a cache, and the sequences stay those of transformers."""

from __future__ import annotations

import pytest
import torch

from lvm.inversion.beam_search import beam_search
from tests.inversion.test_prompt_lookup import LONGEST, asked, fast, model


def theirs(row: int, beams: int, longest: int) -> list[tuple[int, ...]]:
    """transformers' sequences for one input by itself, without what it fills in after the end token."""
    inputs, mask = asked()
    trained = model()
    with torch.inference_mode():
        found = trained.generate(
            inputs_embeds=inputs[[row]], attention_mask=mask[[row]], max_length=longest, num_beams=beams,
            num_return_sequences=beams, do_sample=False, early_stopping=False, length_penalty=1.0,
        )  # fmt: skip
    return [fast().ids(ids[: ids.index(1) + 1] if 1 in ids else ids) for ids in found.tolist()]


@pytest.mark.parametrize(("beams", "longest"), [(1, LONGEST), (2, LONGEST), (3, LONGEST), (4, LONGEST), (3, 8), (3, 2)])
def test_the_sequences_are_those_of_transformers(beams: int, longest: int) -> None:
    expected = [theirs(row, beams, longest) for row in range(12)]
    assert longest < LONGEST or len({len(rows[0]) for rows in expected}) > 1, "else no search ends before another"
    assert beam_search(fast(), *asked(), longest, beams) == expected


def test_an_input_does_not_depend_on_its_batch() -> None:
    inputs, mask = asked()
    together = beam_search(fast(), inputs, mask, LONGEST, 3)
    assert [beam_search(fast(), inputs[[row]], mask[[row]], LONGEST, 3)[0] for row in range(12)] == together
