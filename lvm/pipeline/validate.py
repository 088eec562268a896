"""Stage 2, validate: the roundtrip gate. Later stages start only behind a verdict that passed.

Contract: the database draws the sample, computes the figures from the re-encoded vectors, and stores the verdict. A
verdict about the same corpus revision, encoder and inverter is not measured again. Decoding ends when the verdict is
certain (``lvm.gates.GATE_LOOKS``), unless the whole sample is wanted.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from lvm.devices import give_back_memory
from lvm.evaluation.choosing import NothingToMeasure, known_texts
from lvm.evaluation.roundtrip import RoundtripFigures, measure
from lvm.gates import GATE_LOOKS, judge_roundtrip
from lvm.pipeline.errors import GateBlocked
from lvm.pipeline.workspace import Workspace, named_stage, reads_corpus
from lvm.progress import Bars
from lvm.report.gate import GateReport
from lvm.spaces import Decoded, Vectors
from lvm.store import Gate, GateMeasurement

PART_CHUNKS = 100
"""Chunks decoded in one piece. The pieces do not depend on who decodes them, so the texts do not either."""

NAMED_SOURCES = 3
"""Failing sources that a message names."""

DecodeParts = Callable[[Iterable[Vectors]], Iterator[Decoded]]
"""Decodes pieces of the sample by the workspace's space, and gives the results in order. It is called for the pieces up
to each look, so no piece is decoded that is not needed."""


@named_stage
@reads_corpus
def validate(
    work: Workspace,
    *,
    full: bool = False,
    decode_parts: DecodeParts | None = None,
    bars: Bars | None = None,
    flow_run_id: str | None = None,
) -> GateReport:
    """Measure text -> vector -> text -> vector on stored chunks, and let the database judge it.

    Args:
        work: its corpus and space are measured.
        full: measure the whole sample, also where a part of it makes the verdict certain. A verdict that stands on a
            part is then measured again.
        decode_parts: decodes pieces of the sample, in this process or others; here unless given.
        bars: opens progress bars; in the terminal unless given.
        flow_run_id: id of the Prefect run, for the record.

    Raises:
        NothingToMeasure: if nothing is stored, or the inverter was trained on every stored chunk.
        CorpusIncomplete: if chunks or vectors of a document are missing.
        GateBlocked: if the gate does not pass; ``report`` has the figures.
        Busy: if another process validates this space.
    """
    store, space = work.store, work.space
    if not work.counts()["chunks"]:
        raise NothingToMeasure(f"nothing is stored in space {space.name!r}; ingest text first: `lvm ingest SOURCE`")
    with store.lock(f"validate {space.name}"):
        gate = work.verdict()
        reused = gate is not None and not (full and RoundtripFigures.from_evidence(gate.evidence).stopped)
        if gate is None or not reused:
            gate = _measured(work, full, decode_parts or _decode_here(work), bars or work.bars, flow_run_id)
            give_back_memory()
    figures = RoundtripFigures.from_evidence(gate.evidence)
    same_encoder = figures.inverter_encoder == space.fingerprint
    verdict = judge_roundtrip(gate.value, figures.identify_r1, figures.n, same_encoder, figures.extent)
    if not verdict.passed and figures.failing:
        verdict = replace(verdict, extent=f"{verdict.extent}; {_blame(figures)}")
    report = GateReport(gate.id, gate.corpus_revision, figures, verdict, reused)
    if not (gate.passed and verdict.passed):
        raise GateBlocked(verdict.message, (verdict,), report)
    return report


def _blame(figures: RoundtripFigures) -> str:
    """Which sources fail, and what can be done about the worst of several."""
    failing = figures.failing
    named = ", ".join(str(each) for each in failing[:NAMED_SOURCES])
    more = f" and {len(failing) - NAMED_SOURCES} more" if len(failing) > NAMED_SOURCES else ""
    if len(figures.sources) == 1:
        return f"all is of source {named}"
    name = shlex.quote(failing[0].source)
    return (
        f"of {len(figures.sources)} sources {len(failing)} fail: {named}{more}; `lvm remove {name}` takes one out, "
        f"`lvm run {name} --source-only` works on one alone"
    )


def _measured(work: Workspace, full: bool, decode_parts: DecodeParts, bars: Bars, flow_run_id: str | None) -> Gate:
    """Measure the sample that the database draws, all or until the verdict is certain, and store what was measured."""
    store, space, space_id = work.store, work.space, work.space_id
    revision = store.corpus_revision(space_id)
    inverter_id = store.register_inverter(space.inverter.sha256, space.inverter_encoder, space.trained_documents)
    sample = store.gate_sample(space_id, inverter_id)
    ids, texts = [each.chunk_id for each in sample], [each.text for each in sample]
    known = known_texts(space, texts)
    with bars("roundtrip gate", len(texts)) as advance:

        def decode(vectors: Vectors) -> Decoded:
            parts = [vectors[at : at + PART_CHUNKS] for at in range(0, len(vectors), PART_CHUNKS)]
            done = []
            for part in decode_parts(parts):
                done.append(part)
                advance(len(part.texts))
            return Decoded(
                [text for part in done for text in part.texts],
                Vectors.joined([part.vectors for part in done]),
                np.concatenate([part.cosine for part in done]),
            )

        stored = store.vectors(space_id, ids)
        measured = measure(
            space,
            texts,
            ids,
            documents=[each.document_id for each in sample],
            stored=stored,
            was_trained_on=known,
            seed=work.settings.seed,
            decode=decode,
            looks=() if full else GATE_LOOKS,
        )
        count = len(measured.returned)
        advance(len(texts) - count)  # the bar ends where the measurement does
    return store.record_gate(
        GateMeasurement(
            "roundtrip",
            space_id,
            revision,
            inverter_id,
            returned=measured.returned,
            sampled=ids[:count],
            seen=[i for i, was_known in zip(ids[:count], known[:count], strict=True) if was_known],
            evidence=measured.evidence(),
            flow_run_id=flow_run_id,
        )
    )


def _decode_here(work: Workspace) -> DecodeParts:
    """Decode pieces one after the other in this process."""
    return lambda parts: (work.space.decode(part, seed=work.settings.seed) for part in parts)
