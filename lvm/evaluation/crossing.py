"""The disaster, replayed: encode by one path, decode with the inverter of another, and measure what comes back.

Contract: every pair of an encoder and an inverter is measured as a space of its own, by the same ``measure`` and the
same gate that stand before training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lvm.evaluation.protocol import Progress
from lvm.evaluation.roundtrip import RoundtripMeasurement, measure
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
