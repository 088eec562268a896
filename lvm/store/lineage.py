"""What a model stands on: gates, sequence sets and training runs.

Contract: the database itself computes verdicts, and refuses a sequence set or a training run without a passing gate
of the same space, corpus revision and inverter. A refusal is ``GateRequired``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pgvector import Vector
from psycopg.types.json import Jsonb
from sqlalchemy import Select, func, select, text, update
from sqlalchemy.orm import Session

from lvm.encoding.vectors import SpaceMismatch, Vectors
from lvm.gates import PIPELINE_MIN_COSINE, ROUNDTRIP_MIN_COSINE
from lvm.store.connect import Connections, Lock
from lvm.store.errors import Busy, missing_privilege, no_verdicts, refused_by_gate
from lvm.store.records import Gate, GateMeasurement, RunMetrics, SequenceSetRecord, TrainingRun
from lvm.store.tables import GateRow, SequenceSetRow, SpaceRow, TrainingRunRow, only, to_record

_TRAINING_LOCK = 0x6C766D  # first key of the advisory lock of an active training run; its id is the second


@dataclass
class Lineage(Connections):
    """Records gates, sequence sets and training runs."""

    _run_locks: dict[int, Lock] = field(default_factory=dict, init=False, repr=False)
    """By id of a run that this process trains, its lock."""

    def close(self) -> None:
        """Release the locks of training runs and close all connections."""
        for lock in self._run_locks.values():
            self.release_lock(lock)
        self._run_locks.clear()
        super().close()

    # -- gates ------------------------------------------------------------------------------------------------

    def record_gate(self, record: GateMeasurement) -> Gate:
        """Store a measurement and return the verdict. The database computes all of its figures.

        A retry in the same flow run returns the verdict of the first attempt.

        Raises:
            GateRequired: if it is about another corpus revision or another sample than the database's, or about a part
                of the sample that does not make the verdict certain.
            CorpusIncomplete: if chunks or vectors of a document are missing.
            SpaceMismatch: if the vectors are of another space.
            NoVerdicts: if this user may not write verdicts.
        """
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, record.space_id)
            for vectors in (record.returned, record.asked):
                if vectors is not None and vectors.fingerprint != space.fingerprint:
                    raise SpaceMismatch(
                        f"a gate of space {space.name!r} ({space.fingerprint}) got vectors of space "
                        f"{vectors.fingerprint}, which say nothing about it; measure with the space itself"
                    )
        if record.flow_run_id is not None:
            same = select(GateRow).where(
                GateRow.flow_run_id == record.flow_run_id,
                GateRow.gate == record.gate,
                GateRow.space_id == record.space_id,
                GateRow.corpus_revision == record.corpus_revision,
                GateRow.inverter_id == record.inverter_id,
                GateRow.evidence["model"].astext.is_not_distinct_from(record.evidence.get("model")),
            )
            known = self._gate(same)
            if known is not None:
                return known
        insert = text(
            "INSERT INTO gate_result (gate, space_id, corpus_revision, inverter_id, value, threshold, passed, "
            "sampled, asked, returned, evidence, flow_run_id) "
            "VALUES (:gate, :space, :revision, :inverter, 0, :threshold, false, CAST(:sampled AS bigint[]), "
            "CAST(CAST(:asked AS text[]) AS vector[]), CAST(CAST(:returned AS text[]) AS vector[]), :evidence, :run) "
            "RETURNING id"
        )
        values = {
            "gate": record.gate,
            "space": record.space_id,
            "revision": record.corpus_revision,
            "inverter": record.inverter_id,
            "threshold": ROUNDTRIP_MIN_COSINE if record.gate == "roundtrip" else PIPELINE_MIN_COSINE,
            "sampled": None if record.sampled is None else [int(i) for i in record.sampled],
            "asked": None if record.asked is None else _vector_texts(record.asked),
            "returned": _vector_texts(record.returned),
            "evidence": Jsonb({**record.evidence, "seen": [int(i) for i in record.seen]}),
            "run": record.flow_run_id,
        }
        with refused_by_gate(), missing_privilege(no_verdicts), self.verdict_engine.begin() as connection:
            number = connection.scalar(insert, values)
        with Session(self.engine) as session:
            return to_record(session.get_one(GateRow, number), Gate)

    def latest_gate(self, space_id: int, gate: str = "roundtrip") -> Gate | None:
        """The last verdict about a space, passing or not, whatever its corpus revision and inverter."""
        statement = select(GateRow).where(GateRow.space_id == space_id, GateRow.gate == gate)
        return self._gate(only(statement.order_by(GateRow.id.desc())))

    def verdict(self, space_id: int, corpus_revision: str | None, inverter_id: int | None) -> Gate | None:
        """The last roundtrip verdict about a space, corpus revision and inverter, passing or not.

        Args:
            corpus_revision: None for any revision.
            inverter_id: None for a verdict without an inverter, from before migration 3.
        """
        statement = select(GateRow).where(
            GateRow.space_id == space_id, GateRow.gate == "roundtrip", GateRow.inverter_id == inverter_id
        )
        if corpus_revision is not None:
            statement = statement.where(GateRow.corpus_revision == corpus_revision)
        return self._gate(only(statement.order_by(GateRow.id.desc())))

    def pipeline_verdict(self, roundtrip: Gate, checkpoint: str) -> Gate | None:
        """The last pipeline verdict about a checkpoint, passing or not.

        Args:
            roundtrip: the verdict about the corpus and the inverter that it was measured with.
            checkpoint: digest of the checkpoint.
        """
        statement = select(GateRow).where(
            GateRow.space_id == roundtrip.space_id,
            GateRow.gate == "pipeline",
            GateRow.corpus_revision == roundtrip.corpus_revision,
            GateRow.inverter_id == roundtrip.inverter_id,
            GateRow.evidence["checkpoint"].astext == checkpoint,
        )
        return self._gate(only(statement.order_by(GateRow.id.desc())))

    def _gate(self, statement: Select[GateRow]) -> Gate | None:
        with Session(self.engine) as session:
            row = session.scalar(statement.limit(1))
            return None if row is None else to_record(row, Gate)

    # -- sequence sets ----------------------------------------------------------------------------------------

    def record_sequence_set(
        self,
        gate: Gate,
        inverter_id: int | None,
        context_length: int,
        counts: dict[str, int],
        file: str,
        sha256: str,
    ) -> int:
        """Store a sequence set. The same content behind the same gate is stored once.

        Args:
            gate: the passing gate; the set is of its space and corpus revision.
            inverter_id: the inverter that decodes this space now.
            context_length: vectors in a window before its target.
            counts: figures of the set.
            file: path of the file.
            sha256: digest of the file.

        Returns:
            Id of the sequence set.

        Raises:
            GateRequired: if the gate did not pass, or is about another inverter or corpus revision than the current.
        """
        with refused_by_gate(), Session(self.engine) as session, session.begin():
            known = session.scalar(_same_content(sha256, gate))
            if known is not None:
                return known.id
            row = SequenceSetRow(
                space_id=gate.space_id,
                corpus_revision=gate.corpus_revision,
                gate_result_id=gate.id,
                inverter_id=inverter_id,
                context_length=context_length,
                counts=counts,
                file=file,
                sha256=sha256,
            )
            session.add(row)
            session.flush()
            number = row.id
        return number

    def sequence_set(self, sha256: str, gate: Gate) -> SequenceSetRecord | None:
        """The record of a file with this digest, behind this gate or another of the same corpus and inverter."""
        with Session(self.engine) as session:
            row = session.scalar(_same_content(sha256, gate))
            return None if row is None else to_record(row, SequenceSetRecord)

    # -- training runs ----------------------------------------------------------------------------------------

    def start_training_run(
        self,
        architecture: str,
        sequence_set_id: int,
        gate: Gate,
        inverter_id: int | None,
        hyperparameters: dict[str, Any],
    ) -> int:
        """Start a training run, or resume an unfinished one of the same arguments.

        The run is active while this process lives: a lock marks it, and Postgres releases the lock after a crash.

        Args:
            architecture: name of the model.
            sequence_set_id: what it is trained on.
            gate: the passing gate.
            inverter_id: the inverter that decodes this space now.
            hyperparameters: JSON.

        Returns:
            Id of the run; a resumed run keeps its id.

        Raises:
            GateRequired: if there is no passing gate of the current corpus revision and inverter.
            Busy: if the same run is active in another process.
        """
        self.mark_interrupted()
        same = select(TrainingRunRow).where(
            TrainingRunRow.architecture == architecture,
            TrainingRunRow.sequence_set_id == sequence_set_id,
            TrainingRunRow.gate_result_id == gate.id,
            TrainingRunRow.hyperparameters == hyperparameters,
            TrainingRunRow.status != "finished",
        )
        lock: Lock | None = None
        try:
            with refused_by_gate(), Session(self.engine) as session, session.begin():
                session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('lvm training', 0))"))
                row = session.scalar(same.order_by(TrainingRunRow.id.desc()).limit(1))
                if row is None:
                    row = TrainingRunRow(
                        architecture=architecture,
                        sequence_set_id=sequence_set_id,
                        gate_result_id=gate.id,
                        inverter_id=inverter_id,
                        hyperparameters=hyperparameters,
                    )
                    session.add(row)
                    session.flush()
                number = row.id
                lock = self.take_lock(
                    f"training run {number}",
                    "pg_try_advisory_xact_lock(:a, :b)",
                    {"a": _TRAINING_LOCK, "b": number},
                )
                if lock is None:
                    raise Busy(
                        f"training run {number} ({architecture}) is active in another process, so it was not started "
                        "again; wait for it to end"
                    )
                row.status = "running"
        except BaseException:  # the triggers may refuse at commit, when the lock is held already
            if lock is not None:
                self.release_lock(lock)
            raise
        self._run_locks[number] = lock
        return number

    def finish_training_run(self, run_id: int, metrics: RunMetrics, checkpoint: str, sha256: str) -> None:
        """End a run with its result. Its row never changes again.

        Args:
            metrics: what the run brought.
            checkpoint: path of the model's file.
            sha256: sha256 of that file.
        """
        self._end_run(run_id, status="finished", metrics=metrics, checkpoint=checkpoint, sha256=sha256)

    def fail_training_run(self, run_id: int, interrupted: bool = False) -> None:
        """End a run without a result. ``start_training_run`` resumes it.

        Args:
            interrupted: the run was stopped and did not fail.
        """
        self._end_run(run_id, status="interrupted" if interrupted else "failed")

    def finished_run(self, *sha256: str) -> TrainingRun | None:
        """The last finished run that recorded one of these digests."""
        runs = self._runs(TrainingRunRow.sha256.in_(sha256), TrainingRunRow.status == "finished")
        return runs[-1] if runs else None

    def finished_runs(self, space_id: int, architecture: str | None = None, sha256: str = "") -> list[TrainingRun]:
        """The finished runs of a space, the one that finished first at first.

        Args:
            space_id: id of the space.
            architecture: name of the model; all unless given.
            sha256: beginning of the digest that a run recorded.
        """
        of_space = select(SequenceSetRow.id).where(SequenceSetRow.space_id == space_id)
        conditions = [
            TrainingRunRow.status == "finished",
            TrainingRunRow.sequence_set_id.in_(of_space),
            TrainingRunRow.sha256.startswith(sha256, autoescape=True),
        ]
        if architecture is not None:
            conditions.append(TrainingRunRow.architecture == architecture)
        return sorted(self._runs(*conditions), key=lambda run: (run.finished_at or run.created_at, run.id))

    def training_runs(self, sequence_set_id: int | None = None) -> list[TrainingRun]:
        """All runs, or those on one sequence set, oldest first."""
        if sequence_set_id is None:
            return self._runs()
        return self._runs(TrainingRunRow.sequence_set_id == sequence_set_id)

    def active_training_runs(self) -> list[TrainingRun]:
        """The runs of living processes."""
        self.mark_interrupted()
        return self._runs(TrainingRunRow.status == "running")

    def mark_interrupted(self) -> None:
        """Mark running runs as interrupted if no living process holds their lock."""
        # A lock counts if it is held in this database by a user who may train.
        active = text(
            "SELECT l.objid::bigint FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.locktype = 'advisory' AND l.classid = :key AND l.objsubid = 2 "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND has_any_column_privilege(a.usesysid, 'training_run', 'INSERT')"
        )
        with self.engine.begin() as connection:
            alive = set(connection.scalars(active, {"key": _TRAINING_LOCK}))
            connection.execute(
                update(TrainingRunRow)
                .where(TrainingRunRow.status == "running", TrainingRunRow.id.not_in(alive))
                .values(status="interrupted")
            )

    def _end_run(self, run_id: int, **values: Any) -> None:
        lock = self._run_locks.pop(run_id, None)
        try:
            with self.engine.begin() as connection:
                connection.execute(
                    update(TrainingRunRow).where(TrainingRunRow.id == run_id).values(finished_at=func.now(), **values)
                )
        finally:
            if lock is not None:
                self.release_lock(lock)

    def _runs(self, *conditions: Any) -> list[TrainingRun]:
        statement = select(TrainingRunRow).where(*conditions).order_by(TrainingRunRow.id)
        with Session(self.engine) as session:
            return [to_record(row, TrainingRun) for row in session.scalars(statement)]


def _same_content(sha256: str, gate: Gate) -> Select[SequenceSetRow]:
    """Query of the last sequence set of this digest behind a gate of the same space, corpus and inverter."""
    return (
        select(SequenceSetRow)
        .where(
            SequenceSetRow.sha256 == sha256,
            SequenceSetRow.space_id == gate.space_id,
            SequenceSetRow.corpus_revision == gate.corpus_revision,
            SequenceSetRow.inverter_id == gate.inverter_id,
        )
        .order_by(SequenceSetRow.id.desc())
        .limit(1)
    )


def _vector_texts(vectors: Vectors) -> Sequence[str]:
    """Unit vectors as pgvector writes them, in full precision."""
    return [Vector(row).to_text() for row in vectors.unit]
