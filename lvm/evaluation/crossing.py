"""The disaster, replayed: encode by one path, decode with the inverter of another, and measure what comes back.

Contract: every pair of an encoder and an inverter is measured as a space of its own, by the same ``measure`` and the
same gate that stand before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.evaluation.protocol import Progress
from lvm.evaluation.roundtrip import RoundtripMeasurement, choose_chunks, measure
from lvm.spaces import Space
from lvm.spaces.space import Inverter


@dataclass(frozen=True)
class Crossing:
    """One cell of the matrix.

    Attributes:
        encoded_by, decoded_by: names of the space that encoded and of the one whose inverter decoded.
        found: the roundtrip, or None where the inverter reads vectors of another dimension.
    """

    encoded_by: str
    decoded_by: str
    found: RoundtripMeasurement | None


def unseen(spaces: Iterable[Space], source: str, count: int, seed: int) -> list[str]:
    """At most ``count`` different chunks of a source, from documents that none of the inverters was trained on.

    Args:
        source: see ``lvm.corpus.sources.open_source``; its texts are cut into chunks by the first space.

    Raises:
        NothingToMeasure: if there is none.
    """
    first, *others = spaces
    trained = frozenset().union(*(space.trained_documents for space in (first, *others)))
    chunker = first.chunker()
    pieces = [
        (chunk.text, document.sha256)
        for document in open_source(source)
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
    """Measure every encoder of ``spaces`` with every inverter of them; an inverter that several share counts once.

    Args:
        spaces: by name, opened.
        texts: n different texts that no inverter was trained on.
        seed: of candidates, pools and bootstrap.
        progress: called with the number of texts decoded.
    """
    inverters: dict[str, str] = {}
    for name, space in spaces.items():
        inverters.setdefault(space.inverter.sha256, name)
    crossings = []
    for encoded_by, space in spaces.items():
        for decoded_by in inverters.values():
            inverter = spaces[decoded_by].inverter
            found = None
            if inverter.dim == space.dim:
                crossed = Space(f"{encoded_by} by {decoded_by}", space.encoder, partial(_same, inverter))
                found = measure(crossed, texts, range(len(texts)), seed=seed, progress=progress)
            crossings.append(Crossing(encoded_by, decoded_by, found))
    return crossings


def _same(inverter: Inverter) -> Inverter:
    return inverter
