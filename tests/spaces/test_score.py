"""``Space.score``: the inverter's own cross-entropy, whatever the order and the batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lvm.encoding.vectors import InvalidVectors, Vectors
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.network import END
from lvm.spaces import Space, SpaceMismatch
from lvm.spaces.space import NotTexts

TEXTS = ["The harbour froze.", "Two engines failed above the northern desert, and nobody saw it.", "He planted apples."]


def test_nats_are_the_cross_entropy_of_the_network(minilm: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    inverter = minilm.inverter
    assert isinstance(inverter, PrefixInverter)
    vectors = minilm.encode(TEXTS)
    monkeypatch.setitem(vars(inverter), "_reader", inverter.network)  # float32, to compare
    found = minilm.score(TEXTS, vectors)
    ids = inverter.token_ids(TEXTS)
    assert [each[-1] for each in ids] == [END] * 3 and found.tokens.tolist() == [len(each) for each in ids]
    for row, tokens in enumerate(ids):
        with torch.inference_mode():
            prefix = inverter.network.prefix(torch.from_numpy(vectors.unit[[row]] * np.float32(minilm.median_norm)))
            logits = inverter.network(prefix, torch.tensor([tokens[:-1]]))[0].log_softmax(-1)
        by_hand = -sum(float(logits[place, token]) for place, token in enumerate(tokens))
        assert found.nats[row] == pytest.approx(by_hand, rel=1e-4)
    np.testing.assert_allclose(found.per_token, found.nats / found.tokens)
    assert found.nll == pytest.approx(found.nats.sum() / found.tokens.sum())


def test_bfloat16_scores_nearly_the_same(minilm: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = minilm.encode(TEXTS)
    half = minilm.score(TEXTS, vectors)
    monkeypatch.setitem(vars(minilm.inverter), "_reader", minilm.inverter.network)  # type: ignore[attr-defined]
    np.testing.assert_allclose(half.per_token, minilm.score(TEXTS, vectors).per_token, atol=0.05)


def test_order_and_batches_do_not_matter(minilm: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = TEXTS * 3
    vectors, told = minilm.encode(texts), list[int]()
    together = minilm.score(texts, vectors, progress=told.append)
    assert sum(told) == 9
    monkeypatch.setattr("lvm.spaces.space._POSITIONS_ON_CPU", 20)  # one or two texts a batch
    np.testing.assert_allclose(minilm.score(texts, vectors).per_token, together.per_token, atol=0.03)
    turned = minilm.score(texts[::-1], Vectors.from_raw(minilm.fingerprint, vectors.unit[::-1]))
    np.testing.assert_allclose(turned.per_token[::-1], together.per_token, atol=0.03)


def test_a_text_is_likelier_for_its_own_vector(minilm: Space) -> None:
    vectors = minilm.encode(TEXTS)
    own = minilm.score(TEXTS, vectors).nll
    assert own < minilm.score(TEXTS, Vectors.from_raw(minilm.fingerprint, vectors.unit[[1, 2, 0]])).nll - 0.5


def test_long_and_empty_texts_are_scored(minilm: Space) -> None:
    texts = ["word " * 500, "", "?!"]
    found = minilm.score(texts, minilm.encode(["word", "nothing", "?"]))
    assert found.tokens.tolist()[:2] == [48, 1]
    assert np.isfinite(found.nats).all()
    nothing = minilm.score([], minilm.encode([]))
    assert len(nothing.nats) == 0 and math.isnan(nothing.nll)


def test_bad_input_is_named(minilm: Space) -> None:
    vectors = minilm.encode(TEXTS)
    with pytest.raises(NotTexts, match="a text for each of the 3 vectors"):
        minilm.score(TEXTS[:2], vectors)
    with pytest.raises(NotTexts):
        minilm.score(TEXTS[0], vectors)
    with pytest.raises(SpaceMismatch):
        minilm.score(TEXTS, Vectors("0" * 16, vectors.unit, vectors.norms))
    with pytest.raises(InvalidVectors):
        minilm.score(TEXTS, vectors.unit)  # type: ignore[arg-type]
