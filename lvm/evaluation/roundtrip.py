"""The roundtrip measurement: does the inverter understand the vectors of the encoder?

Contract: ``measure`` encodes texts, decodes the vectors, encodes the decoded texts, and compares the two sets of
vectors: roundtrip cosine, chance cosine and identification. It may end before all texts are decoded, if the verdict is
certain (``lvm.gates.certain_roundtrip``). The texts must be new to the inverter (``lvm.evaluation.choosing``).
``lvm.gates`` judges the figures. The database computes them again from ``returned`` and decides the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lvm import gates
from lvm.arrays import FloatArray, IntArray
from lvm.evaluation.alignment import mean_pairwise_cosine, row_cosines
from lvm.evaluation.choosing import NothingToMeasure
from lvm.evaluation.intervals import interval
from lvm.evaluation.text import token_f1
from lvm.progress import Progress
from lvm.spaces import Decoded, Space, SpaceMismatch, Vectors

_CHECKED = 20  # texts decoded elsewhere that are encoded again to check their vectors
_EXAMPLES_EACH = 3  # best, median and worst examples


@dataclass(frozen=True)
class Example:
    """A text and its decoded text.

    Attributes:
        kind: whether its cosine is among the best, around the median or among the worst.
        chunk_id: id of the chunk.
        text: the text.
        decoded: the decoded text.
        cosine: the roundtrip cosine.
    """

    kind: Literal["best", "median", "worst"]
    chunk_id: int
    text: str
    decoded: str
    cosine: float


@dataclass(frozen=True)
class SourceFigures:
    """The measured chunks of one source.

    Attributes:
        source: name of the source.
        n: number of its chunks in the figures.
        mean: their mean roundtrip cosine.
        identify_r1: share of them identified.
    """

    source: str
    n: int
    mean: float
    identify_r1: float

    @property
    def passes(self) -> bool:
        """Whether its figures alone reach the thresholds of the gate."""
        return self.mean >= gates.ROUNDTRIP_MIN_COSINE and self.identify_r1 >= gates.IDENTIFICATION_MIN_R1

    def __str__(self) -> str:
        return f"{self.source} (mean cosine {self.mean:.3f}, identification {self.identify_r1:.3f}, n = {self.n})"


@dataclass(frozen=True)
class RoundtripFigures:
    """Figures of a gate's evidence, as the database stored them, without the values of single chunks.

    Field names are the keys of the evidence.

    Attributes:
        space: fingerprint of the space.
        inverter: sha256 of the inverter.
        inverter_encoder: fingerprint of the encoder that the inverter was trained for.
        seed: seed of the sampling and of the bootstrap.
        n: number of chunks in the figures.
        mean: mean roundtrip cosine.
        p10: 10th percentile of the roundtrip cosines.
        median: median roundtrip cosine.
        interval: 95 % interval of the mean, by bootstrap over documents; NaN for a single chunk.
        chance: chance cosine; None for a single chunk.
        identify_r1: identification R@1 among ``pool`` texts.
        pool: number of drawn chunks, among which identification ranks.
        drawn: number of chunks that the database drew.
        measured: number of drawn chunks that were decoded, the first of the draw.
        stopped: why no more were decoded; None if all were.
        overlap: mean F1 of shared words between text and decoded text.
        seconds: wall time.
        seen: ids of decoded chunks that the inverter was trained on. They are left out of the figures.
        examples: best, median and worst texts.
        sources: the same by source, in the order of their names; empty for a verdict from before migration 7.
    """

    space: str
    inverter: str
    inverter_encoder: str
    seed: int
    n: int
    mean: float
    p10: float
    median: float
    interval: tuple[float, float]
    chance: float | None
    identify_r1: float
    pool: int
    drawn: int
    measured: int
    stopped: str | None
    overlap: float
    seconds: float
    seen: list[int]
    examples: list[Example]
    sources: list[SourceFigures] = field(default_factory=list)

    @property
    def extent(self) -> str:
        """How many of the drawn chunks were measured, why no more, and how many of them do not count."""
        seen = (
            f"; measured chunks that the inverter was trained on do not count ({len(self.seen)})" if self.seen else ""
        )
        return (self.stopped or f"all {self.drawn} drawn chunks were measured") + seen

    @property
    def failing(self) -> list[SourceFigures]:
        """The sources whose figures alone do not reach the thresholds, the worst first."""
        return sorted((each for each in self.sources if not each.passes), key=lambda each: each.mean)

    @classmethod
    def from_evidence(cls, evidence: Mapping[str, Any]) -> RoundtripFigures:
        """Read the evidence of a verdict. Before migration 5 all drawn chunks were measured, and it did not say so.
        Before migration 7 it had no breakdown by source.

        Args:
            evidence: the JSON in column ``evidence`` of ``gate_result``.
        """
        evidence = {"measured": evidence["drawn"], "stopped": None, "sources": [], **evidence}
        low, high = (float("nan") if end is None else float(end) for end in evidence["interval"])
        values = {each.name: evidence[each.name] for each in fields(cls)}
        values |= {
            "interval": (low, high),
            "identify_r1": float(evidence["identify_r1"]),
            "examples": [Example(**each) for each in evidence["examples"]],
            "sources": [
                SourceFigures(each["source"], each["n"], float(each["mean"]), float(each["identify_r1"]))
                for each in evidence["sources"]
            ],
        }
        return cls(**values)


@dataclass(frozen=True)
class RoundtripMeasurement:
    """Result of ``measure``.

    Attributes:
        space: fingerprint of the space.
        inverter_encoder: fingerprint of the encoder that the inverter was trained for.
        seed: seed of the sampling and of the bootstrap.
        chunk_ids: (n,) ids of the measured chunks.
        cosines: (n,) roundtrip cosines, rounded to 6 decimals.
        ranks: (n,) ranks of the originals by their cosine to the re-encoded text, among all ``pool`` originals. Rank 1
            is the nearest. Equally near originals count as nearer, so a space of equal vectors identifies nothing.
        pool: number of texts, also of those that were not decoded.
        mean: mean of ``cosines``.
        p10: 10th percentile of ``cosines``.
        median: median of ``cosines``.
        interval: 95 % interval of the mean, by bootstrap over documents; NaN for a single chunk.
        chance: chance cosine; NaN for a single chunk.
        identify_r1: share of ranks that are 1.
        overlap: mean F1 of shared words between text and decoded text.
        examples: best, median and worst texts.
        returned: vectors of all decoded texts, also of those that the inverter was trained on.
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
        """Number of measured chunks."""
        return len(self.chunk_ids)

    @property
    def verdict(self) -> gates.Verdict:
        """The verdict of the roundtrip gate on these figures."""
        return gates.judge_roundtrip(self.mean, self.identify_r1, self.n, self.inverter_encoder == self.space)

    def evidence(self) -> dict[str, Any]:
        """All figures and the values of single chunks, as JSON-serialisable values.

        The chance cosine of a single chunk is None, and so are the ends of its interval.
        """
        return {
            "space": self.space,
            "inverter_encoder": self.inverter_encoder,
            "seed": self.seed,
            "n": self.n,
            "mean": self.mean,
            "p10": self.p10,
            "median": self.median,
            "interval": [None if np.isnan(end) else end for end in self.interval],
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


def measure(
    space: Space,
    texts: Sequence[str],
    chunk_ids: Sequence[int] | IntArray,
    *,
    documents: Sequence[object] | None = None,
    stored: Vectors | None = None,
    was_trained_on: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
    decode: Callable[[Vectors], Decoded] | None = None,
    looks: Sequence[int] = (),
    progress: Progress | None = None,
) -> RoundtripMeasurement:
    """Encode texts, decode the vectors, encode the decoded texts, and compare the two sets of vectors.

    All texts are encoded. Identification ranks among all, also where decoding ends early: among fewer it is easier.

    Args:
        space: the encoder and inverter to measure.
        texts: n distinct texts.
        chunk_ids: ids of the n chunks.
        documents: documents of the n chunks, for the interval; None takes every chunk for a document of its own.
        stored: vectors of the chunks in the database. They must equal those of the encoder, because the measurement
            does not hold for vectors of another encoder. Figures are computed from these, as the database does. None
            skips the comparison, and takes the encoder's.
        was_trained_on: (n,) which texts the inverter was trained on. These are decoded, but left out of the figures.
            None: no text.
        seed: seed of the sampling and of the bootstrap.
        decode: decodes vectors with the inverter of the space, e.g. on several machines; ``space.decode`` unless
            given. It is called for the vectors up to each look.
        looks: numbers of decoded texts, in ascending order, after which decoding ends if the verdict is certain. Where
            it ends, the figures are of the decoded texts. Empty: all are decoded.
        progress: called with the number of decoded texts, by ``space.decode`` only.

    Raises:
        NothingToMeasure: if there are no texts.
        SpaceMismatch: if ``stored`` are not the encoder's vectors of the texts.
    """
    if not texts:
        raise NothingToMeasure(
            "there are no chunks to measure the roundtrip on; ingest text that the inverter was not trained on"
        )
    started = time.monotonic()
    originals = space.encode(texts)
    if stored is not None:
        _check_stored(space, originals, stored)
    compared = originals.unit if stored is None else stored.unit
    is_new = ~was_trained_on if was_trained_on is not None else np.ones(len(texts), np.bool_)
    decoded: list[str] = []
    parts: list[Vectors] = []
    for end in (*(look for look in looks if look < len(texts)), len(texts)):
        wanted = originals[len(decoded) : end]
        if decode is None:
            result = space.decode(wanted, seed=seed, progress=progress)
        else:
            result = decode(wanted)
            _check_decoded(space, result, len(wanted), seed)
        decoded += result.texts
        parts.append(result.vectors)
        returned = Vectors.joined(parts)
        # Figures are computed from the rounded cosines that are stored, so that both agree to the last digit.
        cosines = np.round(row_cosines(returned.unit, compared[:end]), 6)
        ranks = identification_ranks(returned.unit, compared)
        if _certain(cosines, ranks, is_new[:end]):
            break

    new = np.flatnonzero(is_new[: len(decoded)])
    cosines, ranks = cosines[new], ranks[new]
    of_documents = None if documents is None else [documents[row] for row in new.tolist()]
    ids = np.asarray(chunk_ids, dtype=np.int64)[new]
    pairs = [(texts[row], decoded[row]) for row in new.tolist()]
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
        interval=interval(cosines, of_documents, seed=seed),
        chance=mean_pairwise_cosine(compared),
        identify_r1=float((ranks == 1).mean()),
        overlap=float(np.mean([token_f1(text, back) for text, back in pairs])),
        examples=_examples(ids, pairs, cosines),
        returned=returned,
        seconds=time.monotonic() - started,
    )


def identification_ranks(returned: FloatArray, originals: FloatArray) -> IntArray:
    """Ranks of the originals of decoded texts among all originals, by their cosine to the decoded text.

    Args:
        returned: (n, dim) unit vectors of the decoded texts.
        originals: (m, dim) unit vectors of the texts, m >= n; row i of both is of the same text.

    Returns:
        (n,) int64 ranks from 1. An equally near original counts as nearer.
    """
    similarity = returned.astype(np.float64) @ originals.astype(np.float64).T
    # The tolerance makes cosines equal that differ only by the rounding errors of the matrix product.
    ranks: IntArray = (similarity >= np.diag(similarity)[:, None] - 1e-7).sum(axis=1)
    return ranks


def _certain(cosines: npt.NDArray[np.float64], ranks: IntArray, is_new: npt.NDArray[np.bool_]) -> bool:
    """Whether more texts would not change the verdict, on the new texts and on all together.

    Args:
        cosines: (n,) roundtrip cosines.
        ranks: (n,) ranks.
        is_new: (n,) which texts the inverter was not trained on.
    """

    if is_new.sum() < gates.GATE_MIN_SAMPLES:
        return False
    verdicts = set()
    for own, rank in ((cosines, ranks), (cosines[is_new], ranks[is_new])):
        sd, identified = float(own.std(ddof=1)), float((rank == 1).mean())
        verdicts.add(gates.certain_roundtrip(len(own), float(own.mean()), sd, identified))
    return False in verdicts or verdicts == {True}


def _check_decoded(space: Space, decoded: Decoded, n: int, seed: int) -> None:
    """Refuse vectors that were decoded elsewhere unless they are what the space makes of their texts.

    Raises:
        SpaceMismatch: if there are not n of them, or a seeded sample encoded here differs.
    """
    if decoded.vectors.fingerprint != space.fingerprint or len(decoded.texts) != n or len(decoded.vectors) != n:
        raise SpaceMismatch(f"{len(decoded.texts)} decoded texts of space {space.name!r} came for {n}; measure again")
    rows = np.random.default_rng(seed).permutation(n)[:_CHECKED].tolist()
    agreement = row_cosines(space.encode([decoded.texts[row] for row in rows]).unit, decoded.vectors[rows].unit)
    if agreement.min() < gates.PROBE_MIN_COSINE:
        raise SpaceMismatch(
            f"decoded texts came with vectors that space {space.name!r} does not make of them (lowest cosine "
            f"{agreement.min():.3f}); decode with the space itself"
        )


def _check_stored(space: Space, fresh: Vectors, stored: Vectors) -> None:
    if stored.fingerprint != fresh.fingerprint:
        raise SpaceMismatch(
            f"the stored vectors belong to space {stored.fingerprint[:16]}, but the roundtrip is measured with "
            f"{space.name!r} ({fresh.fingerprint[:16]}): open the space of the stored vectors, or run `lvm clear` and "
            "ingest again"
        )
    agreement = row_cosines(stored.unit, fresh.unit)
    different = int((agreement < gates.PROBE_MIN_COSINE).sum())
    if different:
        raise SpaceMismatch(
            f"{different} of {len(stored)} stored vectors are not what space {space.name!r} makes of their "
            f"texts (lowest cosine {agreement.min():.3f}): another encoder filled this database, "
            "run `lvm clear` and ingest again"
        )


def _examples(ids: IntArray, pairs: Sequence[tuple[str, str]], cosines: npt.NDArray[np.float64]) -> tuple[Example, ...]:
    """The best texts, those around the median, and the worst. No chunk appears twice."""
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
