"""Generated texts: greedy is the argmax, samples follow the network, equal beginnings are computed once."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lvm.arrays import FloatArray
from lvm.inversion import inverter as inverter_module
from lvm.inversion.generation import generate, inverse_cdf, stratified
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.network import END, PAD, UNK, DecoderConfig, VectorDecoder
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from tests.hardware import needs_bfloat16

TEMPERATURE = 0.7


def small_network(vocabulary: int, max_length: int) -> VectorDecoder:
    """A random network whose texts end at different lengths."""
    torch.manual_seed(0)
    sizes = DecoderConfig(
        dim=8, vocabulary=vocabulary, width=16, layers=2, heads=2, feedforward=32, prefix=3, bottleneck=16,
        max_length=max_length,
    )  # fmt: skip
    network = VectorDecoder(sizes).eval().requires_grad_(False)
    network.words.weight *= 0.5
    network.bias[END] = 2.0
    return network


def generated(network: VectorDecoder, vectors: Tensor, copies: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return generate(network, network.prefix(vectors), copies, TEMPERATURE, generator)


def chi_square(counts: Tensor, probabilities: Tensor) -> tuple[float, float]:
    """The statistic, and a limit that it exceeds by chance in less than one of a thousand tests."""
    expected = probabilities * counts.sum()
    freedom = len(counts) - 1
    return float(((counts - expected) ** 2 / expected).sum()), freedom + 4 * (2 * freedom) ** 0.5


def greedy_by_hand(network: VectorDecoder, vector: Tensor) -> list[int]:
    """The argmax of the whole text so far, token by token, without a cache."""
    prefix, ids = network.prefix(vector[None]), list[int]()
    while len(ids) < network.config.max_length:
        logits = network(prefix, torch.tensor([ids], dtype=torch.int64))[0, -1]
        logits[[PAD, UNK]] = -torch.inf
        token = int(logits.argmax())
        if token == END:
            break
        ids.append(token)
    return ids


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_the_first_text_is_the_argmax(copies: int) -> None:
    network, vectors = small_network(30, 12), torch.randn(9, 8, generator=torch.Generator().manual_seed(1))
    by_hand = [greedy_by_hand(network, vector) for vector in vectors]
    assert len({len(ids) for ids in by_hand}) > 1, "rows must end at different steps"
    assert generated(network, vectors, copies)[::copies] == by_hand


@pytest.mark.parametrize("copies", [2, 5])
def test_samples_have_the_distribution_of_the_network(copies: int) -> None:
    network, vectors = small_network(6, 3), torch.randn(1, 8, generator=torch.Generator().manual_seed(1))
    words = [token for token in range(6) if token not in (PAD, UNK, END)]
    probability: dict[tuple[int, ...], float] = {}
    for length in range(4):
        for ids in product(words, repeat=length):
            logits = network(network.prefix(vectors), torch.tensor([ids], dtype=torch.int64))[0] / TEMPERATURE
            logits[:, [PAD, UNK]] = -torch.inf
            tokens = [*ids, END][:3]
            probability[ids] = float(logits.softmax(-1)[torch.arange(len(tokens)), torch.tensor(tokens)].prod())
    assert sum(probability.values()) == pytest.approx(1, abs=1e-5)
    texts = generated(network, vectors.expand(3000, -1), copies)
    found = Counter(tuple(ids) for place, ids in enumerate(texts) if place % copies)
    assert set(found) <= set(probability)
    counts = torch.tensor([float(found[ids]) for ids in probability])
    statistic, limit = chi_square(counts, torch.tensor(list(probability.values())))
    assert statistic < limit


def test_inverse_cdf_agrees_with_the_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 60, generator=generator) * 2
    logits[0, [0, 7, 59]] = -torch.inf
    tokens = inverse_cdf(logits, 1 - torch.rand(1, 100_000, generator=generator))
    counts, possible = tokens[0].bincount(minlength=60).float(), logits[0].isfinite()
    assert counts[~possible].sum() == 0
    statistic, limit = chi_square(counts[possible], logits.softmax(-1)[0, possible])
    assert statistic < limit


@given(st.integers(0, 2**32), st.floats(0.01, 30))
def test_a_token_of_probability_0_is_never_chosen(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 20, generator=generator) * scale
    logits[:, (0, 1, 19)] = -torch.inf
    extreme = torch.tensor([2.0**-30, 0.5, 1 - 2.0**-24, 1.0]).expand(3, -1).contiguous()
    assert logits.gather(1, inverse_cdf(logits, extreme)).isfinite().all()


@given(st.lists(st.integers(0, 16), min_size=1, max_size=9).filter(any), st.integers(0, 2**32))
def test_stratified_numbers_are_one_in_every_part(counts: list[int], seed: int) -> None:
    numbers = stratified(torch.tensor(counts), torch.Generator().manual_seed(seed)).double()
    assert numbers.shape == (len(counts), max(counts)) and (numbers > 0).all() and (numbers <= 1).all()
    for count, row in zip(counts, numbers, strict=True):
        for place in range(count):
            assert place / count - 1e-6 <= row[place] <= (place + 1) / count + 1e-6


def test_equal_beginnings_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, vectors = small_network(30, 12), torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    computed, hidden = list[int](), network.hidden

    def counting(embedded: Tensor, *rest: object) -> Tensor:
        computed.append(len(embedded))
        return hidden(embedded, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "hidden", counting)
    texts = generated(network, vectors, 8)
    longest = network.config.max_length
    beginnings = {
        (place // 8, tuple(ids[:end]))
        for place, ids in enumerate(texts)
        for end in range(min(len(ids), longest - 1) + 1)
    }
    assert sum(computed) == len(beginnings)


def test_equal_seeds_give_equal_texts() -> None:
    network, vectors = small_network(30, 12), torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    texts = generated(network, vectors, 6, seed=3)
    assert generated(network, vectors, 6, seed=3) == texts
    assert generated(network, vectors, 6, seed=4) != texts
    assert len({tuple(ids) for ids in texts}) > 10


@pytest.mark.parametrize("multiplies", [pytest.param(True, marks=needs_bfloat16), False])
def test_bfloat16_decodes_only_where_the_device_multiplies_it(
    multiplies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = open_space("minilm", Settings(inverter=None))
    inverter = space.inverter
    assert isinstance(inverter, PrefixInverter)
    used: list[VectorDecoder] = []

    def recording(network: VectorDecoder, *rest: object) -> list[list[int]]:
        used.append(network)
        return generate(network, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(inverter_module, "multiplies_bf16", lambda device: multiplies)
    monkeypatch.setattr(inverter_module, "generate", recording)
    texts = ["The harbour froze.", "He planted apples."]
    vectors = space.encode(texts)
    assert space.decode(vectors, tries=2).texts == space.decode(vectors, tries=2).texts
    space.score(texts, vectors)
    assert len({id(network) for network in used}) == 1, "the network is converted once"
    assert used[0].bias.dtype == (torch.bfloat16 if multiplies else torch.float32)
    assert inverter.network.bias.dtype == torch.float32


def test_bfloat16_decodes_as_near(minilm: Space, held_out: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = minilm.encode(held_out[:32])

    def cosines() -> FloatArray:
        return minilm.decode(vectors, tries=4).cosine

    own = cosines()
    monkeypatch.setitem(vars(minilm.inverter), "_reader", minilm.inverter.network)  # type: ignore[attr-defined]
    assert abs(np.mean(own) - np.mean(cosines())) < 0.03
