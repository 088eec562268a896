"""Which chunks a roundtrip is measured on: new to the inverter, distinct, and spread over documents.

Contract: the database draws a gate's sample; ``known_texts`` says which of its chunks are not new. ``choose_chunks``
chooses where no database draws one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lvm.arrays import IntArray
from lvm.errors import LvmError
from lvm.evaluation.text import same_words_key
from lvm.spaces import Space

SAMPLE_CHUNKS = 500
"""Largest number of measured chunks outside a gate. The database draws samples of the same size."""

_TEXTS_AT_ONCE = 2000  # texts that are read together in the search for new chunks


class NothingToMeasure(LvmError):
    """There are no chunks, or the inverter was trained on all of them."""


@dataclass(frozen=True)
class Sample:
    """Chunks to measure: distinct texts that the inverter was not trained on.

    Attributes:
        chunk_ids: (n,) ids of the chunks.
        texts: n texts; all differ, also without case and white space.
        documents: number of their documents.
        candidates: number of chunks in documents that the inverter was not trained on.
    """

    chunk_ids: IntArray
    texts: list[str]
    documents: int
    candidates: int


def spread(documents: Sequence[object], seed: int) -> IntArray:
    """A random order of items in which every document comes once before a document comes twice.

    Args:
        documents: the document of every item; n items.
        seed: seed of the order. The order depends on ``documents`` and ``seed`` only, not on database ids.

    Returns:
        (n,) indices. Every prefix is spread evenly over documents.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(documents))
    visits: dict[object, int] = {}
    turn = np.empty(len(documents), dtype=np.int64)
    for place, index in enumerate(shuffled.tolist()):
        turn[place] = visits.get(documents[index], 0)
        visits[documents[index]] = int(turn[place]) + 1
    order: IntArray = shuffled[np.argsort(turn, kind="stable")].astype(np.int64)
    return order


def known_texts(space: Space, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which texts of a gate's sample the inverter was trained on: (n,) bool.

    Args:
        space: the space with the inverter.
        texts: the n texts of the sample.

    Raises:
        NothingToMeasure: if the inverter was trained on all texts, or there are none.
    """
    known = space.was_trained_on(texts) if texts else np.empty(0, np.bool_)
    if known.all():
        raise _nothing_new(space)
    return known


def _nothing_new(space: Space) -> NothingToMeasure:
    return NothingToMeasure(
        f"the inverter of space {space.name!r} was trained on every chunk of this corpus, so a roundtrip measures "
        "nothing; ingest text that the inverter was not trained on"
    )


def choose_chunks(
    space: Space,
    chunk_ids: Sequence[int] | IntArray,
    documents: Sequence[str],
    texts_of: Callable[[list[int]], list[str]],
    *,
    n: int = SAMPLE_CHUNKS,
    seed: int = 0,
) -> Sample:
    """Choose distinct chunks that the inverter was not trained on, spread over documents.

    Args:
        space: the space with the inverter.
        chunk_ids: ids of all chunks of the corpus, in corpus order.
        documents: sha256 of every chunk's document.
        texts_of: returns the texts of chunk ids. It is called until enough chunks are chosen.
        n: largest number of chunks.
        seed: seed of the choice.

    Raises:
        NothingToMeasure: if the inverter was trained on every chunk.
    """
    trained = space.trained_documents
    candidates = [index for index, document in enumerate(documents) if document not in trained]
    order = spread([documents[index] for index in candidates], seed)
    keys: set[str] = set()
    chosen: list[int] = []
    texts: list[str] = []
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        indices = [candidates[place] for place in order[start : start + _TEXTS_AT_ONCE].tolist()]
        part = texts_of([int(chunk_ids[index]) for index in indices])
        for index, text, was_trained_on in zip(indices, part, space.was_trained_on(part), strict=True):
            key = same_words_key(text)
            if was_trained_on or key in keys or len(chosen) == n:
                continue
            keys.add(key)
            chosen.append(index)
            texts.append(text)
        if len(chosen) == n:
            break
    if not chosen:
        raise _nothing_new(space)
    return Sample(
        chunk_ids=np.array([int(chunk_ids[index]) for index in chosen], dtype=np.int64),
        texts=texts,
        documents=len({documents[index] for index in chosen}),
        candidates=len(candidates),
    )
