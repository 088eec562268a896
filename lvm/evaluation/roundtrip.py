"""The roundtrip measurement: does the inverter understand these vectors?

Contract: ``known_texts`` tells which chunks of a gate's sample the inverter was trained on, and ``choose_chunks``
picks, where no database draws, chunks that it was not trained on;
``measure`` sends them text -> vector -> text -> vector through the space that would be used, whichever that
is, and says how close they come back, what closeness is worth there (the chance cosine), and whether each
text can still be told apart from others (identification). Judging is ``lvm.gates``' business, storing is the store's.
The database computes the same figures again from ``returned``, and its figures are the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lvm import gates
from lvm.errors import LvmError
from lvm.evaluation.alignment import crowding, row_cosines
from lvm.evaluation.protocol import InvertibleSpace, Progress
from lvm.evaluation.text import same_words_key, token_f1
from lvm.spaces.vectors import FloatArray, SpaceMismatch, Vectors

SAMPLE_CHUNKS = 500
"""Chunks measured outside a gate; the gate measures those that the database draws, as many where there are."""

_RESAMPLES = 2000  # of the bootstrap: enough for a steady 95 % interval
_EXAMPLES_EACH = 3
_TEXTS_AT_ONCE = 2000  # texts fetched in one go while looking for chunks the inverter has not seen

IntArray = npt.NDArray[np.int64]


class NothingToMeasure(LvmError):
    """No chunk of the corpus is unknown to the inverter, so nothing can be said about it."""


@dataclass(frozen=True)
class Sample:
    """Chunks to measure: distinct texts that the inverter was not trained on.

    Attributes:
        chunk_ids: (n,) ids in the store.
        texts: their n texts, no two the same but for case and spacing.
        documents: how many documents they come from.
        candidates: chunks in documents the inverter was not trained on, of which these were chosen.
    """

    chunk_ids: IntArray
    texts: list[str]
    documents: int
    candidates: int


@dataclass(frozen=True)
class Example:
    """One text and what came back."""

    kind: Literal["best", "median", "worst"]
    chunk_id: int
    text: str
    decoded: str
    cosine: float


@dataclass(frozen=True)
class RoundtripMeasurement:
    """What ``measure`` found.

    Attributes:
        space: fingerprint of the space measured.
        inverter_encoder: fingerprint of the encoder that its inverter was trained for.
        seed: of candidates and bootstrap.
        chunk_ids: (n,) chunks measured.
        cosines: (n,) roundtrip cosine of each, rounded to 6 decimals.
        ranks: (n,) rank of each chunk's own original for its re-encoded text among all that were decoded; 1 is nearest.
            Another that is just as near counts as nearer: a space of equal vectors gets no credit.
        pool: how many were decoded.
        mean, p10, median: of ``cosines``.
        interval: 95 % bootstrap interval (percentile) of the mean.
        chance: mean cosine between the vectors of different chunks.
        identify_r1: share of ranks that are 1.
        overlap: mean F1 of shared words between text and decoded text.
        examples: the best, the most ordinary and the worst.
        returned: (pool, dim) vectors of all decoded texts, those of known texts included.
        seconds: wall time.
    """

    space: str
    inverter_encoder: str
    seed: int
    chunk_ids: IntArray
    cosines: npt.NDArray[np.float64]
    ranks: IntArray
    pool: int
    mean: float
    p10: float
    median: float
    interval: tuple[float, float]
    chance: float
    identify_r1: float
    overlap: float
    examples: tuple[Example, ...]
    returned: Vectors
    seconds: float

    @property
    def n(self) -> int:
        return len(self.chunk_ids)

    @property
    def verdict(self) -> gates.Verdict:
        return gates.judge_roundtrip(self.mean, self.identify_r1, self.n, self.inverter_encoder == self.space)

    def evidence(self) -> dict[str, Any]:
        """Everything above as JSON: the summary, and the per-chunk arrays it can be computed from again.

        A figure that does not exist (the chance cosine of one chunk) is None.
        """
        return {
            "space": self.space,
            "inverter_encoder": self.inverter_encoder,
            "seed": self.seed,
            "n": self.n,
            "mean": self.mean,
            "p10": self.p10,
            "median": self.median,
            "interval": list(self.interval),
            "chance": None if np.isnan(self.chance) else self.chance,
            "identify_r1": self.identify_r1,
            "pool": self.pool,
            "overlap": self.overlap,
            "seconds": self.seconds,
            "examples": [asdict(example) for example in self.examples],
            "chunk_ids": self.chunk_ids.tolist(),
            "cosines": self.cosines.tolist(),
            "ranks": self.ranks.tolist(),
        }


def spread(documents: Sequence[object], seed: int) -> IntArray:
    """A seeded order of all items that visits every document once before any document twice.

    Args:
        documents: the document each item belongs to; n items.
        seed: of the order, which depends on nothing else than this sequence (not on ids in a database).

    Returns:
        (n,) indices; any prefix of it is as evenly spread over documents as it can be.
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


def known_texts(space: InvertibleSpace, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(n,) which texts of a gate's sample the inverter was trained on.

    Raises:
        NothingToMeasure: if it was trained on all of them.
    """
    known = space.inverter_saw(texts) if texts else np.empty(0, np.bool_)
    if known.all():
        raise NothingToMeasure(
            f"the inverter of space {space.name!r} was trained on every chunk of this corpus, so its roundtrip on them "
            "says nothing; ingest text that it has not seen"
        )
    return known


def choose_chunks(
    space: InvertibleSpace,
    chunk_ids: Sequence[int] | IntArray,
    documents: Sequence[str],
    texts_of: Callable[[list[int]], list[str]],
    *,
    n: int = SAMPLE_CHUNKS,
    seed: int = 0,
) -> Sample:
    """Choose up to ``n`` distinct chunks that the inverter was not trained on, spread over documents.

    Args:
        space: knows which documents and which chunks its inverter was trained on.
        chunk_ids: all chunks of the corpus, in corpus order.
        documents: sha256 of the document of each chunk.
        texts_of: gives the texts of chunk ids; only as many as needed are asked for.
        n: chunks to choose; all there are where the corpus has fewer.
        seed: of the choice.

    Raises:
        NothingToMeasure: if the inverter was trained on every chunk.
    """
    trained = space.trained_documents
    unseen = [index for index, document in enumerate(documents) if document not in trained]
    order = spread([documents[index] for index in unseen], seed)
    keys: set[str] = set()
    chosen: list[int] = []
    texts: list[str] = []
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        indices = [unseen[place] for place in order[start : start + _TEXTS_AT_ONCE].tolist()]
        slab = texts_of([int(chunk_ids[index]) for index in indices])
        for index, text, seen in zip(indices, slab, space.inverter_saw(slab), strict=True):
            key = same_words_key(text)
            if seen or key in keys or len(chosen) == n:
                continue
            keys.add(key)
            chosen.append(index)
            texts.append(text)
        if len(chosen) == n:
            break
    if not chosen:
        raise NothingToMeasure(
            f"the inverter of space {space.name!r} was trained on every chunk of this corpus, so its roundtrip on them "
            "says nothing; ingest text that it has not seen"
        )
    return Sample(
        chunk_ids=np.array([int(chunk_ids[index]) for index in chosen], dtype=np.int64),
        texts=texts,
        documents=len({documents[index] for index in chosen}),
        candidates=len(unseen),
    )


def measure(
    space: InvertibleSpace,
    texts: Sequence[str],
    chunk_ids: Sequence[int] | IntArray,
    *,
    stored: Vectors | None = None,
    seen: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
    decode: Callable[[Vectors], Sequence[str]] | None = None,
    progress: Progress | None = None,
) -> RoundtripMeasurement:
    """Send ``texts`` to vectors, to text and to vectors again, and measure what came back.

    Args:
        space: the encoder and inverter to measure, used as everything else uses them.
        texts: n distinct texts that the inverter was not trained on (see ``choose_chunks``).
        chunk_ids: their n ids.
        stored: the vectors the database holds for them. A passing roundtrip says nothing about a database
            that another encoder filled, so they must be what the space makes of the texts today.
        seen: (n,) which of the texts the inverter was trained on after all: decoded, and left out of the figures.
        seed: of the inverter's candidates and of the bootstrap.
        decode: gives the texts of n vectors, by this very space, wherever; here unless given.
        progress: called with the number of texts decoded here.

    Raises:
        NothingToMeasure: if there are no texts.
        SpaceMismatch: if ``stored`` are not this space's vectors of these texts.
    """
    if not texts:
        raise NothingToMeasure("no chunks to measure the roundtrip on; ingest text that the inverter has not seen")
    started = time.monotonic()
    originals = space.encode(texts)
    if stored is not None:
        _check_stored(space, originals, stored)
    decoded = list(decode(originals) if decode else space.decode(originals, seed=seed, progress=progress).texts)
    returned = space.encode(decoded)

    fresh = np.flatnonzero(~seen) if seen is not None else np.arange(len(texts))
    # The summary is computed from the figures as they are stored, so that both agree to the last digit.
    cosines = np.round(row_cosines(returned.unit, originals.unit), 6)[fresh]
    ranks = identification_ranks(returned.unit, originals.unit)[fresh]
    low, high = _bootstrap_interval(cosines, np.random.default_rng(seed))
    ids = np.asarray(chunk_ids, dtype=np.int64)[fresh]
    pairs = [(texts[row], decoded[row]) for row in fresh.tolist()]
    return RoundtripMeasurement(
        space=originals.fingerprint,
        inverter_encoder=space.inverter_encoder,
        seed=seed,
        chunk_ids=ids,
        cosines=cosines,
        ranks=ranks,
        pool=len(texts),
        mean=float(cosines.mean()),
        p10=float(np.quantile(cosines, 0.1)),
        median=float(np.median(cosines)),
        interval=(low, high),
        chance=crowding(originals.unit),
        identify_r1=float((ranks == 1).mean()),
        overlap=float(np.mean([token_f1(text, back) for text, back in pairs])),
        examples=_examples(ids, pairs, cosines),
        returned=returned,
        seconds=time.monotonic() - started,
    )


def identification_ranks(returned: FloatArray, originals: FloatArray) -> IntArray:
    """Rank of each row's own original among all originals, by the cosine to the row's decoded text.

    Args:
        returned: (n, dim) unit vectors of the decoded texts.
        originals: (n, dim) unit vectors of the texts.

    Returns:
        (n,) ranks from 1; ties count against the own original.
    """
    similarity = returned.astype(np.float64) @ originals.astype(np.float64).T
    # Equal vectors come out of a matrix product a rounding error apart; that must not count as nearer.
    ranks: IntArray = (similarity >= np.diag(similarity)[:, None] - 1e-7).sum(axis=1)
    return ranks


def _check_stored(space: InvertibleSpace, fresh: Vectors, stored: Vectors) -> None:
    if stored.fingerprint != fresh.fingerprint:
        raise SpaceMismatch(
            f"the stored vectors belong to space {stored.fingerprint[:16]}, but the roundtrip is measured with "
            f"{space.name!r} ({fresh.fingerprint[:16]}): open the space they were made with, or clear and "
            "ingest again"
        )
    agreement = row_cosines(stored.unit, fresh.unit)
    strangers = int((agreement < gates.PROBE_MIN_COSINE).sum())
    if strangers:
        raise SpaceMismatch(
            f"{strangers} of {len(stored)} stored vectors are not what space {space.name!r} makes of their "
            f"texts (lowest cosine {agreement.min():.3f}): another encoder filled this database, "
            "clear it and ingest again"
        )


def _bootstrap_interval(cosines: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    means = [float(cosines[rng.integers(0, len(cosines), len(cosines))].mean()) for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _examples(ids: IntArray, pairs: Sequence[tuple[str, str]], cosines: npt.NDArray[np.float64]) -> tuple[Example, ...]:
    """The best, the ones around the median, and the worst; no chunk twice, however few there are."""
    order = np.argsort(-cosines, kind="stable").tolist()
    middle = max(0, len(order) // 2 - _EXAMPLES_EACH // 2)
    groups: tuple[tuple[Literal["best", "median", "worst"], list[int]], ...] = (
        ("best", order[:_EXAMPLES_EACH]),
        ("worst", order[::-1][:_EXAMPLES_EACH]),
        ("median", order[middle : middle + _EXAMPLES_EACH]),
    )
    kinds: dict[int, Literal["best", "median", "worst"]] = {}
    for kind, rows in groups:
        for row in rows:
            kinds.setdefault(row, kind)
    return tuple(
        Example(kinds[row], int(ids[row]), pairs[row][0], pairs[row][1], float(cosines[row]))
        for row in order
        if row in kinds
    )
