"""What the database promises of gates: it computes them itself, what they stand for never changes, no way around."""

from __future__ import annotations

import pickle
import time
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from lvm import gates
from lvm.settings import Settings
from lvm.store import (
    Busy,
    Gate,
    GateRequired,
    SequenceSetRecord,
    Store,
    StoredDocument,
    TrainingActive,
    TrainingRun,
    open_store,
)
from tests.store.toy import (
    DIM,
    FINGERPRINT,
    at_cosine,
    document,
    fill,
    gate,
    ingested,
    measured,
    sequence_set,
    set_gate_size,
    start,
    unit_rows,
)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chunk SET text = 'other'",
        "UPDATE embedding SET norm = 2",
        "UPDATE gate_result SET passed = true",
        "DELETE FROM gate_result",
        "TRUNCATE gate_result CASCADE",
        "TRUNCATE chunk CASCADE",
        "TRUNCATE embedding",
        "UPDATE space SET fingerprint = 'mine'",
        "UPDATE sequence_set SET gate_result_id = 1",
        "UPDATE inverter SET trained_documents = '{}'",
        "UPDATE training_run SET metrics = '{}'",
        "UPDATE document SET sha256 = repeat('0', 64)",
        "DELETE FROM training_run",
        "DELETE FROM sequence_set",
        "DELETE FROM space",
        "TRUNCATE document CASCADE",
        "TRUNCATE training_run",
        "TRUNCATE corpus_change",
        "DELETE FROM corpus_change",
        "INSERT INTO corpus_change (part, items, a, b, c, d) VALUES (0, 1, 1, 1, 1, 1)",
    ],
)
def test_what_was_measured_cannot_be_changed_in_sql(database: Store, space: int, statement: str) -> None:
    fill(database, space)
    row = gate(database, space)
    run = start(database, sequence_set(database, row), row)
    database.finish_training_run(run, {}, "model.safetensors", "b" * 64)
    with (
        pytest.raises(DBAPIError, match=r"never change|cannot truncate|only its triggers"),
        database.engine.begin() as connection,
    ):
        connection.exec_driver_sql(statement)


def test_the_database_holds_the_thresholds_of_gates_py(database: Store, space: int) -> None:
    fill(database, space, documents=5, chunks=40)

    def passes(cosine: float, **asked: Any) -> bool:
        return bool(gate(database, space, cosine, **asked).passed)

    assert passes(gates.ROUNDTRIP_MIN_COSINE + 1e-5)
    assert not passes(gates.ROUNDTRIP_MIN_COSINE - 1e-5)
    allowed = round(200 * (1 - gates.IDENTIFICATION_MIN_R1))
    assert passes(0.9, missed=allowed)
    assert not passes(0.9, missed=allowed + 1)
    for size in (gates.GATE_MIN_SAMPLES, gates.GATE_MIN_SAMPLES - 1):
        set_gate_size(database, size)
        assert passes(0.9) is (size == gates.GATE_MIN_SAMPLES)
    set_gate_size(database, 500)
    assert not passes(0.9, inverter="2" * 64, encoder="e" * 16)  # an inverter of another encoder
    predictions = replace(measured(database, space, 1.0), gate="pipeline", sampled=None)
    for cosine, passed in ((gates.PIPELINE_MIN_COSINE + 1e-5, True), (gates.PIPELINE_MIN_COSINE - 1e-5, False)):
        returned = replace(predictions.returned, unit=at_cosine(predictions.returned.unit, cosine))
        record = replace(predictions, asked=predictions.returned, returned=returned, evidence={"model": f"{cosine}"})
        row = database.record_gate(record)
        assert (row.passed, row.value) == (passed, pytest.approx(cosine, abs=1e-6))
    for factor, passed in ((1 + 0.9 * gates.MAX_NORM_ERROR, True), (1 + 3 * gates.MAX_NORM_ERROR, False)):
        asked = replace(predictions.returned, unit=(predictions.returned.unit * factor).astype(np.float32))
        row = database.record_gate(replace(predictions, asked=asked, evidence={"model": f"{factor}"}))
        assert (row.passed, row.value) == (passed, pytest.approx(1, abs=1e-6))


def test_what_the_database_computes_is_what_python_computes(database: Store, space: int) -> None:
    fill(database, space, documents=3, chunks=20)
    set_gate_size(database, 40)
    record = measured(database, space, 0.4)  # low enough for some to be nearest to another
    row = database.record_gate(record)
    assert record.sampled is not None
    stored = database.vectors(space, record.sampled).unit.astype(np.float64)
    returned = record.returned.unit / np.linalg.norm(record.returned.unit, axis=1, keepdims=True)
    cosines = np.einsum("nd,nd->n", stored, returned)
    table = returned @ stored.T
    ranks = 1 + (table > np.diag(table)[:, None]).sum(axis=1)
    n = len(stored)
    chance = ((stored @ stored.T).sum() - n) / (n * (n - 1))
    assert row.value == pytest.approx(cosines.mean(), abs=1e-6)
    np.testing.assert_allclose(row.evidence["cosines"], cosines, atol=2e-6)
    assert row.evidence["ranks"] == ranks.tolist()
    assert row.evidence["identify_r1"] == pytest.approx((ranks == 1).mean())
    assert row.evidence["chance"] == pytest.approx(chance, abs=1e-5)
    assert (row.evidence["n"], row.evidence["chunk_ids"]) == (n, list(record.sampled))
    assert row.evidence["median"] == pytest.approx(np.median(cosines), abs=1e-6)


def test_texts_the_inverter_knows_are_left_out_and_must_pass_all_the_same(database: Store, space: int) -> None:
    fill(database, space, documents=3, chunks=20)
    record = measured(database, space, 0.9)
    assert record.sampled is not None
    returned = record.returned.unit.copy()
    stored = database.vectors(space, record.sampled).unit
    returned[:30] = at_cosine(stored[:30], 0.2)
    low = replace(record, returned=replace(record.returned, unit=returned), seen=record.sampled[:30])
    row = database.record_gate(low)  # to call what came back badly "seen" does not help
    assert not row.passed and row.evidence["n"] == 30
    assert row.value == pytest.approx((0.2 + 0.9) / 2, abs=1e-5)
    row = database.record_gate(replace(record, seen=record.sampled[:20]))
    assert row.passed and row.evidence["chunk_ids"] == list(record.sampled[20:])
    assert not database.record_gate(replace(record, seen=record.sampled[:-19])).passed  # 19 are too few


def test_no_training_without_a_passing_gate_whoever_asks(database: Store, space: int) -> None:
    fill(database, space)
    failed, passed = gate(database, space, 0.3), gate(database, space)
    with pytest.raises(GateRequired, match="no passing roundtrip gate"):
        sequence_set(database, failed)
    sequences = sequence_set(database, passed)
    insert = "INSERT INTO training_run (architecture, sequence_set_id, gate_result_id, inverter_id, hyperparameters) "
    for gate_id in (failed.id, 10**6, "NULL"):
        with pytest.raises(DBAPIError), database.engine.begin() as connection:
            connection.exec_driver_sql(f"{insert} VALUES ('gru', {sequences}, {gate_id}, {passed.inverter_id}, '{{}}')")
    run = start(database, sequences, passed, width=4)
    with pytest.raises(DBAPIError, match="never changes"), database.engine.begin() as connection:
        connection.execute(text("UPDATE training_run SET gate_result_id = :id"), {"id": failed.id})
    database.finish_training_run(run, {"cosine": 0.5}, "model.safetensors", "b" * 64)
    assert [r.status for r in database.training_runs()] == ["finished"]
    assert database.finished_run("b" * 64).id == run  # type: ignore[union-attr]
    assert database.finished_run("c" * 64) is None


def test_a_gate_of_another_space_is_no_gate(database: Store, space: int) -> None:
    fill(database, space)
    passed = gate(database, space)
    other = database.register_space("other", DIM, "e" * 16, {}, unit_rows(3, seed=5))
    with database.writer(other) as writer:
        writer.write_documents([ingested(f"doc{i}", 6, seed=i, fingerprint="e" * 16) for i in range(5)])
    insert = text(
        "INSERT INTO sequence_set (space_id, corpus_revision, gate_result_id, inverter_id, context_length, counts, "
        "file, sha256) "
        "SELECT :space, corpus_revision(:space), id, inverter_id, 5, '{}', 'x', repeat('a', 64) FROM gate_result"
    )
    with pytest.raises(DBAPIError, match="another space"), database.engine.begin() as connection:
        connection.execute(insert, {"space": other})
    assert passed.passed and database.verdict(other, None, passed.inverter_id) is None


def test_new_chunks_make_a_verdict_stale(database: Store, space: int) -> None:
    fill(database, space)
    passed, late = gate(database, space), measured(database, space)
    revision = database.corpus_revision(space)
    sequences = sequence_set(database, passed)
    assert database.verdict(space, revision, passed.inverter_id).passed  # type: ignore[union-attr]
    with database.writer(space) as writer:
        writer.write_documents([ingested("one more", 1)])
    assert database.verdict(space, database.corpus_revision(space), passed.inverter_id) is None
    with pytest.raises(GateRequired, match="another revision"):
        start(database, sequences, passed)
    with pytest.raises(GateRequired, match="another revision"):
        database.record_gate(late)


def test_the_last_verdict_counts(database: Store, space: int) -> None:
    fill(database, space)
    passed = gate(database, space)
    sequences = sequence_set(database, passed)
    failed = gate(database, space, 0.1)
    last = database.verdict(space, database.corpus_revision(space), passed.inverter_id)
    assert last is not None and (last.id, last.passed) == (failed.id, False)
    assert database.latest_gate(space).value == pytest.approx(0.1, abs=1e-6)  # type: ignore[union-attr]
    with pytest.raises(GateRequired, match="later roundtrip gate did not pass"):
        start(database, sequences, passed)


def test_an_interrupted_run_goes_on_under_its_id(database: Store, settings: Settings, space: int) -> None:
    fill(database, space)
    passed = gate(database, space)
    sequences = sequence_set(database, passed)
    assert sequence_set(database, passed) == sequences
    with open_store(settings) as crashing:
        run = start(crashing, sequences, passed, width=4)
        assert [r.id for r in database.active_training_runs()] == [run]
        with pytest.raises(Busy, match="active in another process"):
            start(database, sequences, passed, width=4)
        with pytest.raises(TrainingActive, match="nothing was touched"):
            database.clear(database.database_name)
    # Its connection is gone, as after a kill; the server lets go of the lock when it has noticed.
    deadline = time.monotonic() + 30
    while database.active_training_runs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert database.active_training_runs() == []
    assert [r.status for r in database.training_runs(sequences)] == ["interrupted"]
    assert start(database, sequences, passed, width=4) == run
    database.fail_training_run(run)
    assert start(database, sequences, passed, width=8) != run


def test_a_sample_is_found_among_many_equal_texts(database: Store, space: int) -> None:
    same = replace(ingested("same", 400, seed=1), chunk_texts=["Thank you for calling."] * 400)
    with database.writer(space) as writer:
        writer.write_documents([same, ingested("other", 30, seed=2)])
    set_gate_size(database, 31)
    drawn = database.gate_sample(space, database.register_inverter("1" * 64, FINGERPRINT, []))
    assert len({each.text for each in drawn}) == len(drawn) == 31


def test_a_run_of_the_same_number_in_another_database_keeps_nothing_alive(
    database: Store, space: int, postgres: str
) -> None:
    fill(database, space)
    passed = gate(database, space)
    run = start(database, sequence_set(database, passed), passed)
    database.release_lock(database._run_locks.pop(run))  # as if its process were gone
    other = create_engine(postgres)
    with other.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key, :run)"), {"key": 0x6C766D, "run": run})
        deadline = time.monotonic() + 30
        while database.active_training_runs() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert database.active_training_runs() == []
    other.dispose()


def test_the_sample_depends_on_corpus_and_inverter_only(database: Store, space: int) -> None:
    fill(database, space)
    with database.writer(space) as writer:  # texts that differ in case and spacing only are drawn once
        twice = ingested("twice", 2, seed=50)
        writer.write_documents([replace(twice, chunk_texts=["The  same text", " the same TEXT"])])
    one = database.register_inverter("1" * 64, FINGERPRINT, [])
    first = [c.text for c in database.gate_sample(space, one)]
    assert len(first) == 31 and len({" ".join(t.lower().split()) for t in first}) == 31
    two = database.register_inverter("2" * 64, FINGERPRINT, [document("doc0", "doc0").sha256])
    other = [c.text for c in database.gate_sample(space, two)]
    assert not any(t.startswith("doc0") for t in other)
    assert other != [t for t in first if not t.startswith("doc0")]  # another order
    with database.writer(space) as writer:  # replaced and put back: other ids, same content
        writer.write_documents([ingested("doc1", 2, body="changed")])
        assert first != [c.text for c in database.gate_sample(space, one)]
        writer.write_documents([ingested("doc1", 6, seed=1)])
    assert first == [c.text for c in database.gate_sample(space, one)]


def test_records_are_plain_values(database: Store, space: int) -> None:
    fill(database, space)
    verdict = gate(database, space)
    sequences = sequence_set(database, verdict)
    run = start(database, sequences, verdict, width=4)
    stored = database.sequence_set("a" * 64, verdict)
    assert stored is not None and (stored.id, stored.gate_result_id) == (sequences, verdict.id)
    records = [verdict, stored, *database.training_runs(), *database.documents(space)]
    assert [type(record) for record in records[:4]] == [Gate, SequenceSetRecord, TrainingRun, StoredDocument]
    assert records[2] == database.active_training_runs()[0] and database.latest_gate(space) == verdict
    for record in records:
        assert pickle.loads(pickle.dumps(record)) == record
        with pytest.raises(FrozenInstanceError):
            record.id = run  # type: ignore[misc]
