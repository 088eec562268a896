"""Splices are nobody's text, noise leaves half of the vectors alone, and both are decided by their seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvm.encoding.encoder import TextEncoder
from lvm.inversion.augmentation import Noise, splices
from lvm.inversion.config import InverterTraining
from lvm.inversion.data import Epochs, Silent
from lvm.inversion.inverter import PrefixInverter
from lvm.spaces import Space

CHUNKS = [" ".join(f"{letter}{place}" for place in range(3 + 2 * number)) for number, letter in enumerate("abcdefgh")]


@given(st.integers(0, 200), st.integers(0, 50), st.integers(0, 3))
def test_a_splice_is_the_head_of_one_chunk_and_the_tail_of_another(count: int, seed: int, epoch: int) -> None:
    found = splices(CHUNKS, count, seed, epoch)
    assert len(found) <= count and found == splices(CHUNKS, count, seed, epoch)
    for text in found:
        words = text.split()
        first = next(chunk for chunk in CHUNKS if chunk.split()[0] == words[0]).split()
        cut = next(place for place, word in enumerate(words) if word not in first)
        second = next(chunk for chunk in CHUNKS if chunk.split()[-1] == words[-1]).split()
        assert first != second and words == first[:cut] + second[len(second) - (len(words) - cut) :]
        assert len(words) >= 6


def test_another_epoch_has_other_splices() -> None:
    many = [set(splices(CHUNKS, 300, 0, epoch)) for epoch in range(2)]
    assert len(many[0]) > 100 and many[0] != many[1]


def test_noise_is_in_half_of_the_vectors_and_in_the_scale_of_the_corpus() -> None:
    random = np.random.default_rng(0)
    corpus = random.normal(size=(4000, 16)) * np.linspace(0.1, 2.0, 16) + 0.3
    corpus = (corpus / np.linalg.norm(corpus, axis=1, keepdims=True)).astype(np.float32)
    noise, unit = Noise(corpus, 0.3, seed=5), torch.from_numpy(corpus[:2000])
    noisy = noise(unit, 7)
    changed = (noisy - unit).norm(dim=1) > 1e-5
    assert 0.45 < changed.float().mean() < 0.55
    assert torch.equal(noisy, noise(unit, 7)) and not torch.equal(noisy, noise(unit, 8))
    torch.testing.assert_close(noisy.norm(dim=1), torch.ones(2000))
    spread = (noisy - unit)[changed].std(dim=0)
    assert spread[-1] > 4 * spread[0], "a coordinate that hardly varies gets little noise"
    assert float((noisy * unit).sum(1).min()) > 0.2
    assert torch.equal(Noise(corpus, 0.0, seed=5)(unit, 7), unit)


def test_every_epoch_has_all_chunks_and_new_splices(minilm: Space, tmp_path: Path) -> None:
    inverter = minilm.inverter
    assert isinstance(inverter, PrefixInverter)
    chunks = [f"The harbour of town number {number} froze before the last ship came in." for number in range(40)]
    training = InverterTraining(epochs=2.0, tokens_per_batch=120, splices=1.0)

    def made() -> Epochs:
        return Epochs(minilm.encoder, chunks, inverter.tokenizer, inverter.network, training, tmp_path, Silent())

    epochs = made()
    half = epochs.steps // 2
    seen = [
        [tuple(ids) for step in steps for ids in epochs.batch(step)[1]]
        for steps in (range(half), range(half, 2 * half))
    ]
    own = {tuple(ids) for ids in epochs._chunk_ids}
    assert own <= set(seen[0]) and len(own & set(seen[1])) >= 0.7 * len(own)
    assert set(seen[0]) - own and not (set(seen[0]) - own) & (set(seen[1]) - own)
    unit, ids = made().batch(half + 1)  # as after an interruption
    again, same = epochs.batch(half + 1)
    assert torch.equal(unit, again) and ids == same
    texts = inverter.texts([list(each) for each in ids])
    cosines = (minilm.encode(texts).unit * unit.numpy()).sum(1)
    assert np.median(cosines) > 0.95, "a vector is that of its text"


def test_only_the_splices_of_one_epoch_are_encoded_and_kept(
    minilm: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inverter = minilm.inverter
    assert isinstance(inverter, PrefixInverter)
    chunks = [f"The harbour of town number {number} froze before the last ship came in." for number in range(40)]
    training = InverterTraining(epochs=3.0, tokens_per_batch=120, splices=1.0)
    encoded: list[list[str]] = []
    encode = TextEncoder.encode
    monkeypatch.setattr(
        TextEncoder, "encode", lambda self, texts, *rest: (encoded.append(list(texts)), encode(self, texts, *rest))[1]
    )

    def made(scratch: Path) -> Epochs:
        return Epochs(minilm.encoder, chunks, inverter.tokenizer, inverter.network, training, scratch, Silent())

    def files() -> list[str]:
        return sorted(path.name for path in tmp_path.glob("splices*"))

    epochs, kept = made(tmp_path), []
    assert encoded == [chunks], "no batch yet, no splices encoded"
    an_epoch = epochs.steps // 3
    for step in range(epochs.steps):
        epochs.batch(step)
        kept += files()
        assert len(files()) == 1
    assert len(encoded) == 1 + 3 and len(set(kept)) == 3
    encoded.clear()
    resumed, other = made(tmp_path), made(tmp_path / "other")
    assert resumed.steps == epochs.steps and encoded == [chunks], "the other folder has no vectors of chunks yet"
    unit, ids = resumed.batch(2 * an_epoch + 1)
    assert encoded == [chunks] and files() == kept[-1:], "the file of the last epoch is used again"
    elsewhere, same = other.batch(2 * an_epoch + 1)
    assert len(encoded) == 2 and torch.equal(unit, elsewhere) and ids == same, "splices of one epoch are encoded"
    assert other.open(0).shape[1] == minilm.dim and len(encoded) == 3


@pytest.mark.parametrize("epochs", [0.5, 1.0, 1.5])
def test_epochs_may_be_a_fraction(epochs: float, minilm: Space, tmp_path: Path) -> None:
    inverter = minilm.inverter
    assert isinstance(inverter, PrefixInverter)
    chunks = [f"The harbour of town number {number} froze." for number in range(24)]

    def steps(epochs: float) -> int:
        training = InverterTraining(epochs=epochs, tokens_per_batch=60, splices=0.0)
        return Epochs(minilm.encoder, chunks, inverter.tokenizer, inverter.network, training, tmp_path, Silent()).steps

    assert steps(epochs) == round(epochs * steps(1.0))
