"""Drafts change how many passes greedy generation takes, never what it says."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from lvm.inversion.packed_t5 import Generation, PackedT5
from lvm.inversion.prompt_lookup import draft, greedy

VOCABULARY, LONGEST = 30, 40
IDS = st.lists(st.integers(0, VOCABULARY - 1), max_size=50)


@cache
def model() -> Any:
    """A tiny T5 that has begun to learn random texts of several lengths, so that it does not say one thing for ever."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
    )  # fmt: skip
    made = T5ForConditionalGeneration(config)
    inputs, mask = asked()
    labels = torch.randint(2, VOCABULARY, (len(inputs), 30))
    for row, length in enumerate(range(5, 5 + 2 * len(inputs), 2)):
        labels[row, length] = 1
        labels[row, length + 1 :] = -100
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        made(inputs_embeds=inputs, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
    return made.eval()


@cache
def fast() -> PackedT5:
    return PackedT5(model())


@cache
def asked() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(12, 7, 32, generator=torch.Generator().manual_seed(1)) * 3
    mask = torch.ones(12, 7, dtype=torch.long)
    mask[::2, 5:] = 0
    return inputs, mask


@cache
def theirs() -> list[tuple[int, ...]]:
    inputs, mask = asked()
    trained = model()
    with torch.inference_mode():
        found = trained.generate(
            inputs_embeds=inputs, attention_mask=mask, max_length=LONGEST, num_beams=1, do_sample=False
        )
    rows = []
    for row in found.tolist():
        while len(row) > 1 and row[-1] == 0:
            row.pop()
        rows.append(tuple(row))
    return rows


def test_the_model_says_different_things_of_different_lengths() -> None:
    assert len(set(theirs())) > 6 and len({len(row) for row in theirs()}) > 1, "else the tests below prove nothing"


def test_without_hypotheses() -> None:
    assert greedy(fast(), *asked(), LONGEST, [()] * 12) == theirs()


@settings(deadline=None, max_examples=25)
@given(st.lists(IDS, min_size=12, max_size=12))
def test_whatever_is_drafted(hypotheses: list[list[int]]) -> None:
    assert greedy(fast(), *asked(), LONGEST, hypotheses) == theirs()


def test_a_right_draft_saves_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = 0
    step = Generation.step

    def counting(*arguments: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return step(*arguments)

    monkeypatch.setattr(Generation, "step", counting)
    longest = max(theirs(), key=len)
    row = theirs().index(longest)
    inputs, mask = (part[row : row + 1] for part in asked())
    assert greedy(fast(), inputs, mask, LONGEST, [longest]) == [longest]
    assert passes <= 2 + len(longest) // 8


def test_a_text_of_one_token() -> None:
    inputs, mask = asked()
    assert greedy(fast(), inputs[:2], mask[:2], 2, [(), ()]) == [row[:2] for row in theirs()[:2]]


@pytest.mark.parametrize(
    ("known", "hypothesis", "expected"),
    [
        ([0], [0, 5, 6, 7], [5, 6, 7]),
        ([0, 5], [0, 5, 6, 7, 8], [6, 7, 8]),
        ([0, 9, 5, 6], [0, 5, 6, 7, 8, 1], [7, 8, 1]),  # something was put in: it goes on where the text goes on
        ([0, 4, 5, 4, 5], [], [4, 5, 4]),  # a repetition goes on
        ([0, 8], [0, 5, 6, 7], [6, 7, 0]),  # something was replaced
        ([0, 8], [], [0, 0, 0]),
    ],
)
def test_drafts(known: list[int], hypothesis: list[int], expected: list[int]) -> None:
    assert draft(known, hypothesis, 3) == expected
