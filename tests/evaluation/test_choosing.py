"""Chunks to measure are new to the inverter, distinct, and spread over documents."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.evaluation.choosing import NothingToMeasure, choose_chunks, spread


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 2**32 - 1))
def test_spread_visits_documents_evenly_and_every_item_once(documents: list[int], seed: int) -> None:
    order = spread(documents, seed).tolist()
    assert sorted(order) == list(range(len(documents)))
    sizes = Counter(documents)
    for stop in range(len(order) + 1):
        visits = Counter(documents[index] for index in order[:stop])
        most = max(visits.values(), default=0)
        assert all(visits[d] >= min(size, most - 1) for d, size in sizes.items())
    assert order == spread(documents, seed).tolist()


class Corpus:
    """Ten documents of thirty sentences, and a note of how many texts were asked for."""

    def __init__(self, sentences: list[str]) -> None:
        self.sentences = sentences
        self.ids = np.arange(300) * 7 + 11
        self.documents = [f"sha{i // 30}" for i in range(300)]
        self.asked = 0

    def texts_of(self, ids: list[int]) -> list[str]:
        self.asked += len(ids)
        return [self.sentences[(chunk - 11) // 7] for chunk in ids]


def test_chosen_chunks_are_unseen_distinct_and_spread(fake_space, sentences) -> None:
    corpus = Corpus([*sentences[:299], sentences[0].upper()])
    seen = frozenset(sentences[200:205])
    space = fake_space(sentences, trained_documents=frozenset({"sha0", "sha1"}), trained_texts=seen)
    sample = choose_chunks(space, corpus.ids, corpus.documents, corpus.texts_of, n=100, seed=1)
    assert len(sample.texts) == 100 and sample.documents == 8 and sample.candidates == 240
    assert corpus.texts_of(sample.chunk_ids.tolist()) == sample.texts
    per_document = Counter(corpus.documents[(chunk - 11) // 7] for chunk in sample.chunk_ids.tolist())
    assert "sha0" not in per_document and "sha1" not in per_document
    assert max(per_document.values()) - min(per_document.values()) <= 3  # five seen chunks at most get in between
    assert not seen & set(sample.texts)
    again = choose_chunks(
        space,
        corpus.ids + 1_000_000,
        corpus.documents,
        lambda ids: corpus.texts_of([i - 1_000_000 for i in ids]),
        n=100,
        seed=1,
    )
    assert again.texts == sample.texts  # ids in the database do not matter
    other = choose_chunks(space, corpus.ids, corpus.documents, corpus.texts_of, n=100, seed=2)
    assert other.texts != sample.texts


def test_a_small_corpus_gives_all_there_is_and_one_of_each_text(fake_space) -> None:
    texts = ["Thank you.", "thank  YOU.", "God bless America.", "a third"]
    sample = choose_chunks(fake_space(texts), [1, 2, 3, 4], ["d"] * 4, lambda ids: [texts[i - 1] for i in ids])
    assert len(sample.texts) == 3
    assert {t.casefold().split()[0] for t in sample.texts} == {"thank", "god", "a"}


def test_a_corpus_the_inverter_was_trained_on_cannot_be_measured(fake_space, sentences) -> None:
    corpus = Corpus(sentences)
    space = fake_space(sentences, trained_documents=frozenset(corpus.documents))
    with pytest.raises(NothingToMeasure, match=r"trained on every chunk.*ingest text"):
        choose_chunks(space, corpus.ids, corpus.documents, corpus.texts_of)
    assert corpus.asked == 0
    with pytest.raises(NothingToMeasure):
        choose_chunks(space, [], [], corpus.texts_of)
    with pytest.raises(NothingToMeasure):
        choose_chunks(
            fake_space(sentences, trained_texts=frozenset(sentences)),
            corpus.ids,
            corpus.documents,
            corpus.texts_of,
        )
