"""Roundtrips with the encoder of one space and the inverter of another: what happens if vectors mix.

Contract: a pair of encoder and inverter is measured as a space of its own, with the ``measure`` and the gate that the
pipeline uses before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.evaluation.choosing import choose_chunks
from lvm.evaluation.roundtrip import RoundtripMeasurement, measure
from lvm.inversion.protocol import Inverter
from lvm.progress import Progress
from lvm.spaces import Space


@dataclass(frozen=True)
class Crossing:
    """The roundtrip of one pair.

    Attributes:
        encoded_by: name of the space whose encoder encodes.
        decoded_by: name of the space whose inverter decodes.
        roundtrip: the measurement; None if the inverter decodes vectors of another dimension.
    """

    encoded_by: str
    decoded_by: str
    roundtrip: RoundtripMeasurement | None


def unseen(spaces: Iterable[Space], source: str, count: int, seed: int, text_column: str | None = None) -> list[str]:
    """Choose chunks of a source that no inverter was trained on.

    Args:
        spaces: the spaces. The first one cuts texts into chunks; the others exclude documents only, not chunks.
        source: see ``lvm.corpus.sources.open_source``.
        count: largest number of chunks.
        seed: seed of the choice.
        text_column: column of the text in a table or dataset; ``text`` unless given.

    Returns:
        Distinct chunk texts.

    Raises:
        NothingToMeasure: if there is no such chunk.
    """
    first, *others = spaces
    trained = frozenset().union(*(space.trained_documents for space in (first, *others)))
    chunker = first.chunker()
    pieces = [
        (chunk.text, document.sha256)
        for document in open_source(source, text_column=text_column)
        if isinstance(document, Document) and document.sha256 not in trained
        for chunk in chunker.split(document.text)[0]
    ]
    sample = choose_chunks(
        first,
        range(len(pieces)),
        [document for _, document in pieces],
        lambda ids: [pieces[i][0] for i in ids],
        n=count,
        seed=seed,
    )
    return sample.texts


def cross(
    spaces: Mapping[str, Space], texts: Sequence[str], *, seed: int = 0, progress: Progress | None = None
) -> list[Crossing]:
    """Measure every pair of encoder and inverter. An inverter that several spaces share is used once.

    Args:
        spaces: opened spaces by name.
        texts: n distinct texts that no inverter was trained on.
        seed: seed of the sampling and of the bootstrap.
        progress: called with the number of decoded texts.
    """
    inverters: dict[str, str] = {}
    for name, space in spaces.items():
        inverters.setdefault(space.inverter.sha256, name)
    crossings = []
    for encoded_by, space in spaces.items():
        for decoded_by in inverters.values():
            inverter = spaces[decoded_by].inverter
            roundtrip = None
            if inverter.dim == space.dim:
                crossed = Space(f"{encoded_by} by {decoded_by}", space.encoder, partial(_opened, inverter))
                roundtrip = measure(crossed, texts, range(len(texts)), seed=seed, progress=progress)
            crossings.append(Crossing(encoded_by, decoded_by, roundtrip))
    return crossings


def _opened(inverter: Inverter) -> Inverter:
    return inverter
