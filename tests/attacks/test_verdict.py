"""Promise: a verdict is the database's own. No number that a client sends makes a gate pass."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lvm.encoding.vectors import SpaceMismatch, Vectors
from lvm.gates import GATE_LOOKS
from lvm.store import GateMeasurement, GateRequired, Store
from tests.store.toy import (
    DIM,
    FINGERPRINT,
    INVERTER,
    at_cosine,
    fill,
    gate,
    measured,
    register,
    sequence_set,
    start,
    unit_rows,
)

COLUMNS = "gate, space_id, corpus_revision, inverter_id, value, threshold, passed, evidence"


@pytest.fixture
def space(database: Store) -> int:
    number = register(database)
    fill(database, number)
    return number


def test_cosines_of_the_client_are_no_evidence(database: Store, space: int) -> None:
    """What a forger would insert, as the owner of the tables."""
    inverter = database.register_inverter(INVERTER, FINGERPRINT, ())
    ids = [each.chunk_id for each in database.gate_sample(space, inverter)]
    claims = {"chunk_ids": ids, "cosines": [0.99] * 30, "ranks": [1] * 30, "inverter_encoder": FINGERPRINT}
    statement = text(
        f"INSERT INTO gate_result ({COLUMNS}) VALUES ('roundtrip', :space, corpus_revision(:space), :inverter, 0.99, "
        "0.63, true, CAST(:evidence AS jsonb))"
    )
    values = {"space": space, "inverter": inverter, "evidence": json.dumps(claims)}
    with pytest.raises(DBAPIError, match="re-encoded unit vectors"), database.engine.begin() as connection:
        connection.execute(statement, values)
    assert database.latest_gate(space) is None


def test_figures_beside_real_vectors_are_overwritten(database: Store, space: int) -> None:
    record = measured(database, space, 0.2)
    claims = {"mean": 0.99, "identify_r1": 1.0, "n": 500, "chance": 0.0, "cosines": [0.99], "inverter": "x"}
    row = database.record_gate(replace(record, evidence=claims))
    assert not row.passed and row.value == pytest.approx(0.2, abs=1e-6)
    assert row.evidence["mean"] == row.value and row.evidence["n"] == 30 and len(row.evidence["cosines"]) == 30
    assert row.evidence["inverter"] == INVERTER and row.evidence["inverter_encoder"] == FINGERPRINT


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: {"sampled": list(r.sampled)[::-1]}, "not the one that the database draws"),
        (lambda r: {"sampled": [r.sampled[0]] * 30}, "not the one that the database draws"),
        (lambda r: {"sampled": list(r.sampled)[:-1]}, "not the one that the database draws"),
        (lambda r: {"sampled": None}, "not the one that the database draws"),
        (lambda r: {"sampled": [10**9 + i for i in range(30)]}, "not the one that the database draws"),
        (lambda r: {"returned": part(r.returned, slice(1, None))}, "not the one that the database draws"),
        (lambda r: {"returned": part(r.returned, slice(0, 0))}, "re-encoded unit vectors"),
        (lambda r: {"returned": replace(r.returned, unit=r.returned.unit * 2)}, "re-encoded unit vectors"),
        (lambda r: {"returned": replace(r.returned, unit=r.returned.unit[:, 1:])}, "re-encoded unit vectors"),
        (lambda r: {"corpus_revision": "0" * 64}, "another revision"),
        (lambda r: {"inverter_id": 10**6}, "no space and inverter"),
    ],
)
def test_another_sample_is_refused(database: Store, space: int, damage: Any, message: str) -> None:
    record = measured(database, space, 0.9)
    with pytest.raises(GateRequired, match=message):
        database.record_gate(replace(record, **damage(record)))
    assert database.latest_gate(space) is None


def part(vectors: Vectors, rows: slice) -> Vectors:
    return replace(vectors, unit=vectors.unit[rows], norms=vectors.norms[rows])


def test_the_best_chunks_cannot_be_picked(database: Store, space: int) -> None:
    """Twenty that come back well, of thirty: only a prefix of the draw is taken."""
    record = measured(database, space, 0.9)
    assert record.sampled is not None
    best = sorted(range(30), key=lambda i: -i)[:20]
    picked = {
        "sampled": [record.sampled[i] for i in best],
        "returned": part(record.returned, np.array(best)),  # type: ignore[arg-type]
    }
    with pytest.raises(GateRequired, match="not the one that the database draws"):
        database.record_gate(replace(record, **picked))


def test_fewer_chunks_cannot_be_measured(database: Store, space: int) -> None:
    """Who may stop where the running mean is high passes with an inverter that does not."""
    record = measured(database, space, 0.9)
    assert record.sampled is not None
    fewer = {"sampled": record.sampled[:25], "returned": part(record.returned, slice(0, 25))}
    with pytest.raises(GateRequired, match="not the one that the database draws"):
        database.record_gate(replace(record, **fewer))


def test_the_stored_vectors_are_no_roundtrip(database: Store, space: int) -> None:
    """A script that forgot to decode."""
    record = measured(database, space)
    assert record.sampled is not None
    with pytest.raises(GateRequired, match="nothing was decoded"):
        database.record_gate(replace(record, returned=database.vectors(space, record.sampled)))


@pytest.mark.parametrize("evidence", ["[]", "5", "null", '"x"'])
def test_evidence_is_an_object(database: Store, space: int, evidence: str) -> None:
    gate(database, space)
    copied = "gate, space_id, corpus_revision, inverter_id, value, threshold, passed, sampled, returned"
    insert = text(
        f"INSERT INTO gate_result ({copied}, evidence) SELECT {copied}, CAST(:evidence AS jsonb) FROM gate_result"
    )
    with pytest.raises(DBAPIError, match="no JSON object"), database.engine.begin() as connection:
        connection.execute(insert, {"evidence": evidence})


def test_an_inverter_registered_with_other_facts_is_refused(database: Store, space: int) -> None:
    database.register_inverter(INVERTER, "e" * 16, ())
    with pytest.raises(SpaceMismatch, match="another encoder or other training documents"):
        measured(database, space)


def test_a_run_that_goes_on_needs_what_a_new_one_needs(database: Store, space: int) -> None:
    verdict = gate(database, space)
    sequences = sequence_set(database, verdict)
    run = start(database, sequences, verdict)
    database.fail_training_run(run, interrupted=True)
    gate(database, space, 0.2)
    with pytest.raises(GateRequired, match="later roundtrip gate did not pass"):
        start(database, sequences, verdict)
    gate(database, space)
    assert start(database, sequences, verdict) == run
    database.fail_training_run(run, interrupted=True)
    fill(database, space, documents=7)
    with pytest.raises(GateRequired, match="another revision"):
        start(database, sequences, verdict)


def test_vectors_of_another_space_are_no_evidence(database: Store, space: int) -> None:
    record = measured(database, space)
    with pytest.raises(SpaceMismatch, match="eeee"):
        database.record_gate(replace(record, returned=Vectors("e" * 16, record.returned.unit, record.returned.norms)))


def test_a_threshold_cannot_be_lowered(database: Store, space: int) -> None:
    for threshold in ("0.62", "'NaN'", "NULL", "-1"):
        statement = (
            f"INSERT INTO gate_result (gate, space_id, corpus_revision, value, threshold, passed, evidence) "
            f"VALUES ('roundtrip', {space}, corpus_revision({space}), 1, {threshold}, true, '{{}}')"
        )
        with pytest.raises(DBAPIError, match=r"is below|not-null"), database.engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_operators_and_functions_in_public_are_not_called(database: Store, space: int) -> None:
    """They match more closely than those of Postgres and pgvector, and say yes to everything."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("""
            CREATE FUNCTION public.yes(double precision, double precision) RETURNS boolean LANGUAGE sql
                AS 'SELECT true';
            CREATE OPERATOR public.>= (LEFTARG = double precision, RIGHTARG = double precision, FUNCTION = public.yes);
            CREATE FUNCTION public.numeric_yes(double precision, numeric) RETURNS boolean LANGUAGE sql
                AS 'SELECT true';
            CREATE OPERATOR public.>= (LEFTARG = double precision, RIGHTARG = numeric, FUNCTION = public.numeric_yes);
            CREATE FUNCTION public.corpus_revision(integer) RETURNS text LANGUAGE sql AS $$SELECT 'any'$$;
            CREATE FUNCTION public.avg_yes(state double precision, double precision) RETURNS double precision
                LANGUAGE sql AS 'SELECT 1.0::double precision';
            CREATE AGGREGATE public.avg(double precision)
                (SFUNC = public.avg_yes, STYPE = double precision, INITCOND = '1');
            CREATE FUNCTION public.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT ''::bytea$$;
        """)
        connection.exec_driver_sql("SET LOCAL search_path = public, lvm, pg_catalog")
        before = connection.scalar(text("SELECT lvm.corpus_revision(:space)"), {"space": space})
    assert before == database.corpus_revision(space) == database.recomputed_revision(space)
    assert not gate(database, space, 0.3).passed
    assert gate(database, space, 0.3).value == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_rules_hold_under_every_replication_role(database: Store, space: int, role: str) -> None:
    failed = gate(database, space, 0.3)
    forged = [
        "INSERT INTO sequence_set (space_id, corpus_revision, gate_result_id, inverter_id, context_length, counts, "
        f"file, sha256) SELECT space_id, corpus_revision, {failed.id}, inverter_id, 5, '{{}}', 'x', repeat('a', 64) "
        "FROM gate_result",
        "UPDATE gate_result SET passed = true",
        "DELETE FROM gate_result",
        f"INSERT INTO gate_result ({COLUMNS}) SELECT gate, space_id, corpus_revision, inverter_id, 1, 0.63, true, "
        "evidence FROM gate_result",
        "UPDATE embedding SET norm = 3",
        "UPDATE chunk SET text = 'x'",
        "INSERT INTO embedding SELECT space_id, chunk_id + 10000, norm, vector FROM embedding",
        "INSERT INTO chunk (document_id, position, token_count, text) VALUES (99999, 0, 1, 'x')",
    ]
    for statement in forged:
        with pytest.raises(DBAPIError, match=r"refused"), database.engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL session_replication_role = {role}")
            connection.exec_driver_sql(statement)
    assert not database.latest_gate(space).passed  # type: ignore[union-attr]


def test_crowded_vectors_do_not_pass_by_their_cosine(database: Store) -> None:
    """All chunks lie at 0.9 to each other: a roundtrip of 0.9 says nothing."""
    number = register(database, "crowded")
    fill(database, number)
    with database.engine.begin() as connection:
        common, own = unit_rows(1, seed=1)[0], unit_rows(30, seed=2)
        crowd = 0.95 * common + 0.31 * own
        crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
        ids = [int(i) for i in connection.scalars(text("SELECT chunk_id FROM embedding ORDER BY 1"))]
        connection.exec_driver_sql("DELETE FROM embedding")
        for chunk, vector in zip(ids, crowd, strict=True):
            connection.execute(
                text("INSERT INTO embedding VALUES (:space, :chunk, 1, CAST(:vector AS vector))"),
                {"space": number, "chunk": chunk, "vector": str(vector.tolist())},
            )
    record = measured(database, number, 0.9)
    assert record.sampled is not None
    stored = database.vectors(number, record.sampled).unit
    returned = at_cosine(np.roll(stored, 1, axis=0), 0.999)
    row = database.record_gate(replace(record, returned=replace(record.returned, unit=returned)))
    assert row.value > 0.8 and not row.passed
    assert row.evidence["identify_r1"] < 0.1 and row.evidence["chance"] > 0.8
    assert stored.shape == (30, DIM)


@pytest.fixture
def large(database: Store) -> int:
    """A space of 600 chunks, of which the database draws 500."""
    number = register(database)
    fill(database, number, documents=5, chunks=120)
    return number


def first(record: GateMeasurement, count: int, **changes: Any) -> GateMeasurement:
    """The measurement of the first chunks of the sample."""
    assert record.sampled is not None
    values = {"sampled": record.sampled[:count], "returned": part(record.returned, slice(0, count)), **changes}
    return replace(record, **values)


def near(record: GateMeasurement, unit: np.ndarray) -> GateMeasurement:
    return replace(record, returned=replace(record.returned, unit=unit.astype(np.float32)))


def test_a_part_of_the_sample_is_taken_if_its_verdict_is_certain(database: Store, large: int) -> None:
    for cosine, passed, words in ((0.9, True, "above what they must reach"), (0.3, False, "below what it must reach")):
        row = database.record_gate(first(measured(database, large, cosine), 200))
        assert row.passed is passed and row.value == pytest.approx(cosine, abs=1e-5)
        assert (row.evidence["n"], row.evidence["measured"], row.evidence["drawn"]) == (200, 200, 500)
        assert row.evidence["stopped"].startswith("certain after 200 of 500") and words in row.evidence["stopped"]


def test_a_part_of_the_sample_is_refused_while_its_verdict_is_open(database: Store, large: int) -> None:
    """Who may stop where the running mean is high passes with an inverter that does not."""
    record = measured(database, large, 0.6345)
    for look in GATE_LOOKS:
        with pytest.raises(GateRequired, match=rf"after {look} of 500 chunks its verdict is not certain.*--full"):
            database.record_gate(first(record, look))
    missed = measured(database, large, 0.9, missed=10)  # 190 of 200: a little below 0.90 would do the same
    with pytest.raises(GateRequired, match="not certain"):
        database.record_gate(first(missed, 200))
    assert database.latest_gate(large) is None
    assert database.record_gate(record).passed


@pytest.mark.parametrize("count", [1, 100, 199, 201, 250, 499])
def test_a_part_of_another_size_is_refused(database: Store, large: int, count: int) -> None:
    with pytest.raises(GateRequired, match="not the one that the database draws"):
        database.record_gate(first(measured(database, large, 0.9), count))


def test_a_part_is_the_beginning_in_the_order_of_the_draw(database: Store, large: int) -> None:
    record = measured(database, large, 0.9)
    ids = list(record.sampled or ())
    for wrong in (ids[200:400], ids[:200][::-1], [*ids[:198], ids[199], ids[198]], [*ids[:199], ids[200]]):
        with pytest.raises(GateRequired, match="not the one that the database draws"):
            database.record_gate(first(record, 200, sampled=wrong))
    with pytest.raises(GateRequired, match="nothing was decoded"):
        database.record_gate(first(record, 200, returned=database.vectors(large, ids[:200])))


def test_a_part_is_identified_among_the_whole_sample(database: Store, large: int) -> None:
    """Among fewer it is easier: the vector nearest to each text is of a chunk that the part leaves out."""
    record = measured(database, large, 0.9)
    stored = database.vectors(large, record.sampled or ()).unit
    other = np.roll(stored, -250, axis=0)
    returned = 0.75 * stored + 0.8 * other
    returned /= np.linalg.norm(returned, axis=1, keepdims=True)
    row = database.record_gate(first(near(record, returned), 200))
    assert row.value > 0.65 and not row.passed
    assert row.evidence["identify_r1"] < 0.1 and 2 in row.evidence["ranks"]


def test_what_came_back_badly_cannot_be_called_known_to_stop_early(database: Store, large: int) -> None:
    record = measured(database, large, 0.9)
    stored = database.vectors(large, record.sampled or ()).unit
    returned = record.returned.unit.copy()
    returned[:80] = at_cosine(stored[:80], 0.2)
    ids = list(record.sampled or ())
    with pytest.raises(GateRequired, match="not certain"):
        database.record_gate(first(near(record, returned), 200, seen=ids[:80]))
    with pytest.raises(GateRequired, match="not certain"):  # the same as all but a few being known
        database.record_gate(first(record, 200, seen=ids[19:200]))


def test_what_the_client_says_about_its_part_is_overwritten(database: Store, large: int) -> None:
    claims = {"measured": 500, "drawn": 200, "stopped": None}
    row = database.record_gate(replace(first(measured(database, large, 0.9), 300), evidence=claims))
    assert (row.evidence["measured"], row.evidence["drawn"]) == (300, 500)
    assert row.evidence["stopped"].startswith("certain after 300 of 500")
