"""The gate ends when its verdict is certain, whoever decodes, and measures the whole sample if that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

import lvm
from lvm.pipeline.validate import PART_CHUNKS, validate
from lvm.pipeline.workspace import Workspace
from lvm.report import markdown
from lvm.settings import Settings
from lvm.spaces import Decoded, Vectors
from lvm.store import Store
from tests.flows.corpora import write_unseen


class Parts:
    """Stands for the inverter: a piece of the sample comes back as its texts, without their last words.

    Attributes:
        sizes: of the pieces of each call.
    """

    def __init__(self, work: Workspace, keep: float = 1.0) -> None:
        self.space, self.keep, self.sizes = work.space, keep, list[list[int]]()
        ids = work.store.chunk_ids(work.space_id).tolist()
        self.texts, self.stored = work.store.chunk_texts(ids), work.store.vectors(work.space_id, ids).unit

    def __call__(self, parts: Iterable[Vectors]) -> Iterator[Decoded]:
        self.sizes.append([])
        for part in parts:
            self.sizes[-1].append(len(part))
            texts = []
            for nearest in (part.unit @ self.stored.T).argmax(axis=1).tolist():
                words = self.texts[nearest].split()
                texts.append(" ".join(words[: max(1, int(self.keep * len(words)) - 1)]))
            yield Decoded(texts, self.space.encode(texts), np.ones(len(part), np.float32))


@pytest.fixture
def work(tmp_path: Path, settings: Settings, database: Store) -> Iterator[Workspace]:
    source = write_unseen(tmp_path / "texts", documents=6, characters=14_000)
    with lvm.open_workspace(settings=settings.model_copy(update={"quiet": True})) as opened:
        lvm.ingest(opened, source)
        yield opened


def test_it_ends_at_a_look_and_full_measures_the_rest(work: Workspace) -> None:
    decode = Parts(work)
    report = validate(work, decode_parts=decode)
    assert decode.sizes == [[PART_CHUNKS] * 2]
    assert (report.figures.measured, report.figures.drawn, report.figures.pool) == (200, 500, 500)
    assert "certain after 200 of 500" in report.verdict.message
    evidence = markdown.gate_evidence(report.figures, report.verdict)
    assert "| chunks measured | 200 of 500;" in evidence and "| why no more | certain after 200 of 500" in evidence
    part = work.passing_gate()
    assert validate(work, decode_parts=decode).reused and len(decode.sizes) == 1

    whole = validate(work, full=True, decode_parts=decode)
    assert not whole.reused and decode.sizes[1:] == [[PART_CHUNKS] * 5]
    assert (whole.figures.measured, whole.figures.stopped) == (500, None)
    assert "all 500 drawn chunks were measured" in whole.verdict.message
    gate = work.passing_gate()
    assert gate.id == whole.gate_id
    count = len(part.evidence["cosines"])
    assert gate.evidence["cosines"][:count] == part.evidence["cosines"]  # the same texts, decoded alike
    assert gate.evidence["ranks"][:count] == part.evidence["ranks"]
    assert validate(work, full=True).reused and validate(work).gate_id == whole.gate_id


def test_a_gate_that_certainly_fails_ends_too(work: Workspace) -> None:
    decode = Parts(work, keep=0.0)
    with pytest.raises(lvm.GateBlocked, match="certain after 200 of 500") as blocked:
        validate(work, decode_parts=decode)
    assert decode.sizes == [[PART_CHUNKS] * 2] and blocked.value.report.figures.measured == 200  # type: ignore[union-attr]
