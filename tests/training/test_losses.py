"""The losses: what counts as a negative, what text and energy losses reward, and the file of tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvm.sequences import SequenceSet
from lvm.training import BadConfig, load_model, train
from lvm.training.losses import energy_loss, info_nce, negatives_allowed, simhash
from lvm.training.reading import Reading, read_tokens
from tests.training.toy import (
    CONFIG,
    CONTEXT,
    DIM,
    ToyInverter,
    reading,
    texts_of,
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), context=st.integers(1, 4))
def test_which_negatives_count(seed: int, context: int) -> None:
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 6, size=20)
    starts, others = random.integers(0, 20 - context, size=5), random.integers(0, 20, size=7)
    rows = np.concatenate([starts + context, others])
    allowed = negatives_allowed(torch.from_numpy(starts), context, torch.from_numpy(rows), torch.from_numpy(hashes))
    for i, start in enumerate(starts):
        for j, row in enumerate(rows):
            own = start <= row < start + context
            copy = hashes[row] == hashes[start + context]
            assert bool(allowed[i, j]) == (i == j or not (own or copy))


def test_simhash_tells_copies_from_others() -> None:
    unit = torch.nn.functional.normalize(torch.randn(500, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    noisy = unit + 1e-7 * torch.randn(500, 32)
    hashes = simhash(torch.cat([unit, noisy]))
    assert (hashes[:500] == hashes[500:]).float().mean() > 0.99
    assert len(hashes[:500].unique()) == 500


def test_info_nce_is_cross_entropy_over_what_is_allowed() -> None:
    query, candidates = torch.eye(3)[:2], torch.eye(3)
    allowed = torch.tensor([[True, False, True], [True, True, True]])
    expected = (np.log(np.exp(10) + 1) - 10 + np.log(np.exp(10) + 2) - 10) / 2
    assert float(info_nce(query, candidates, allowed, 0.1)) == pytest.approx(expected, rel=1e-3)


def test_the_text_loss_makes_the_next_text_likelier(toy: SequenceSet, tmp_path: Path) -> None:
    texts = reading(toy, tmp_path / "tokens")
    starts = toy.starts["test"]

    def nats(folder: Path, **options: object) -> float:
        config = replace(CONFIG, epochs=8, text_share=0.5, **options)  # type: ignore[arg-type]
        train("gru", toy, config, folder, reading=texts)
        vector, _ = load_model(folder).predict(toy.contexts(starts))
        return float(texts.loss(torch.from_numpy(vector), starts + CONTEXT))

    without, mixed, alone = (
        nats(tmp_path / name, **options)
        for name, options in {
            "without": {},
            "mixed": {"text_weight": 4.0, "head_epochs": 12},
            "alone": {"loss": "text"},
        }.items()
    )
    assert mixed < without - 0.2
    assert alone < without - 0.1
    with pytest.raises(BadConfig, match="reads texts through an inverter, and none is given"):
        train("gru", toy, replace(CONFIG, loss="text"), tmp_path / "none")


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60), share=st.floats(0.01, 1.0), seed=st.integers(0, 99)
)
def test_windows_of_the_text_loss_have_similar_lengths(lengths: list[int], share: float, seed: int) -> None:
    ends = np.concatenate([[0], np.cumsum(lengths)])
    texts = Reading(ToyInverter(), 1.0, np.zeros(ends[-1], np.int32), ends)  # type: ignore[arg-type]
    rows = np.arange(len(lengths))
    torch.manual_seed(seed)
    chosen = texts.choose(rows, share).numpy()
    assert 1 <= len(chosen) == len(set(chosen.tolist())) <= max(1, round(share * len(lengths)))
    own = np.sort(texts.lengths(rows[chosen]))
    between = [length for row, length in enumerate(lengths) if row not in chosen and own[0] < length < own[-1]]
    assert not between, "no window of a length in between was passed over"


def test_a_file_of_tokens_is_read_only_as_what_it_is(toy: SequenceSet, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    written = reading(toy, path)
    assert [
        written.ids[written.ends[row] : written.ends[row + 1]].tolist() for row in range(3)
    ] == ToyInverter().token_ids(texts_of(toy)[:3])
    assert read_tokens(path, ToyInverter(), 1.0, "another") is None  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:-1])
    assert read_tokens(path, ToyInverter(), 1.0, toy.sha256) is None  # type: ignore[arg-type]
    assert read_tokens(tmp_path / "none", ToyInverter(), 1.0, toy.sha256) is None  # type: ignore[arg-type]


def test_the_energy_score_is_smallest_for_the_true_distribution() -> None:
    random = torch.Generator().manual_seed(0)

    def draw(spread: float, *shape: int) -> Tensor:
        centre = torch.zeros(DIM)
        centre[0] = 1.0
        return F.normalize(centre + spread * torch.randn(*shape, DIM, generator=random), dim=-1)

    targets = draw(0.5, 4000)
    scores = {spread: float(energy_loss(draw(spread, 4000, 8), targets)) for spread in (0.05, 0.25, 0.5, 1.0, 3.0)}
    assert min(scores, key=lambda spread: scores[spread]) == 0.5
    mean = F.normalize(targets.mean(0), dim=0).expand(4000, 8, DIM).clone().requires_grad_()
    energy_loss(mean, targets).backward()  # all samples equal, as when training starts
    assert torch.isfinite(mean.grad).all()
