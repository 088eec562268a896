"""Stage 2: the roundtrip gate. What comes after starts only behind a verdict that the database passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.common import (
    PART,
    STAGE,
    GateBlocked,
    SpaceName,
    Standing,
    fan_out,
    gated,
    opened,
    progress,
    reach_database,
    run_id,
    say,
    standing,
    task_runner,
)
from lvm.evaluation.roundtrip import NothingToMeasure, known_texts, measure
from lvm.gates import judge_roundtrip
from lvm.spaces import Vectors
from lvm.store import GateRecord, GateRow

PART_CHUNKS = 100
"""Chunks decoded in one piece: the same pieces whoever decodes them, so the same texts come out."""


@dataclass(frozen=True)
class GateReport:
    """The gate that stands: its id, and the evidence it was judged by."""

    gate_id: int
    corpus_revision: str
    evidence: dict[str, Any]
    reused: bool


@task(name="decode", **PART)
def decode_part(vectors: Vectors, seed: int, space: str | None) -> list[str]:
    """Texts of some vectors."""
    with opened(space) as work:
        return work.space.decode(vectors, seed=seed).texts


@task(name="validate", **STAGE)
def validate_stage(space: str | None, stands_on: Standing) -> GateReport:
    """Measure what was not measured yet, let the database judge it, and stop here unless it passed."""
    with opened(space) as work:
        settings, store, encoder, space_id = work.settings, work.store, work.space, work.space_id
        if not store.counts(space_id)["chunks"]:
            raise NothingToMeasure(
                f"nothing is stored in space {encoder.name!r}; ingest text first: `lvm ingest SOURCE`"
            )
        with store.lock(f"validate {encoder.name}"):  # of two at once the second is refused, and retried
            revision = store.corpus_revision(space_id)
            row = work.verdict()
            reused = row is not None
            if row is None:
                inverter_id = store.register_inverter(
                    encoder.inverter.sha256, encoder.inverter_encoder, encoder.trained_documents
                )
                drawn = store.gate_sample(space_id, inverter_id)
                ids, texts = [each.chunk_id for each in drawn], [each.text for each in drawn]
                seen = known_texts(encoder, texts)
                with progress("roundtrip gate", len(texts)) as advance:

                    def decode(vectors: Vectors) -> list[str]:
                        parts = [vectors[at : at + PART_CHUNKS] for at in range(0, len(vectors), PART_CHUNKS)]
                        decoded: list[str] = []
                        for part in fan_out(decode_part, ((part, settings.seed, space) for part in parts)):
                            decoded += part
                            advance(len(part))
                        return decoded

                    stored = store.vectors(space_id, ids)
                    measured = measure(encoder, texts, ids, stored=stored, seen=seen, seed=settings.seed, decode=decode)
                row = store.record_gate(
                    GateRecord(
                        "roundtrip",
                        space_id,
                        revision,
                        inverter_id,
                        returned=measured.returned,
                        sampled=ids,
                        seen=[i for i, known in zip(ids, seen, strict=True) if known],
                        evidence=measured.evidence(),
                        flow_run_id=run_id(),
                    )
                )
        found = row.evidence
        verdict = judge_roundtrip(
            row.value, found["identify_r1"], found["n"], found["inverter_encoder"] == encoder.fingerprint
        )
        say(work, "validate", verdict.message, revision)
    evidence = cast(UUID, create_markdown_artifact(gate_table(row, verdict.message), key="roundtrip-gate"))
    if not (row.passed and verdict.passed):
        raise GateBlocked(verdict.message, evidence)
    return GateReport(row.id, revision, row.evidence, reused)


@flow(name="validate", task_runner=task_runner())
@gated
def validate_flow(space: SpaceName = None) -> GateReport:
    """Measure text -> vector -> text -> vector on chunks the inverter has not seen, and judge it.

    A verdict about the same corpus revision, encoder and inverter is not measured again.

    Args:
        space: space to work in; LVM_SPACE unless given.

    Raises:
        GateBlocked: if it did not pass; the message says which criterion and what to do.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work)
    return validate_stage(space, stands_on)


def gate_table(row: GateRow, message: str) -> str:
    """The gate's evidence as Markdown."""
    seen = row.evidence
    low, high = seen["interval"]
    chance = "n/a" if seen["chance"] is None else f"{seen['chance']:.3f}"
    lines = [
        f"**{message}**\n",
        "| measurement | value |",
        "| --- | --- |",
        f"| mean roundtrip cosine (95 %) | {seen['mean']:.3f} ({low:.3f} to {high:.3f}) |",
        f"| p10 / median | {seen['p10']:.3f} / {seen['median']:.3f} |",
        f"| chunks measured | {seen['n']} |",
        f"| chance cosine | {chance} |",
        f"| identification R@1 among {seen['pool']} | {seen['identify_r1']:.3f} |",
        f"| word overlap (F1) | {seen['overlap']:.3f} |\n",
        "| | cosine | text | decoded |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each['kind']} | {each['cosine']:.3f} | {_cell(each['text'])} | {_cell(each['decoded'])} |"
        for each in seen["examples"]
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
