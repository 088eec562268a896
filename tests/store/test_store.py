"""What the database promises: whole documents, vectors back bit for bit, gates nobody walks around."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from lvm import gates
from lvm.settings import Settings
from lvm.spaces.vectors import InvalidVectors, SpaceMismatch, Vectors
from lvm.store import (
    Busy,
    ChunkingDiffers,
    DatabaseUnavailable,
    GateRequired,
    IngestedDocument,
    InvalidDatabaseUrl,
    InvalidText,
    NotConfirmed,
    Store,
    TrainingActive,
    open_store,
)
from lvm.store.migrate import SchemaUnusable
from tests.store.toy import (
    DIM,
    FINGERPRINT,
    Doc,
    at_cosine,
    fill,
    gate,
    ingested,
    measured,
    register,
    sequence_set,
    set_gate_size,
    start,
    unit_rows,
)

_numbers = itertools.count()


@pytest.fixture
def space(database: Store) -> int:
    return register(database)


def test_vectors_come_back_bit_for_bit_and_in_order(database: Store, space: int) -> None:
    documents = [ingested(name, n, seed=n) for name, n in (("b", 4), ("a", 3), ("ä", 2), ("B", 1))]
    with database.writer(space) as writer:
        assert writer.write_documents(documents[:2]) == 7
        assert writer.write_documents(documents[2:]) == 3
    batches = list(database.read_vectors(space))
    ids = np.concatenate([b.chunk_ids for b in batches])
    by_name = sorted(documents, key=lambda d: d.document.external_id.encode())
    assert database.chunk_texts(ids) == [t for d in by_name for t in d.chunk_texts]
    np.testing.assert_array_equal(
        np.concatenate([b.unit for b in batches]), np.concatenate([d.vectors.unit for d in by_name])
    )
    np.testing.assert_array_equal(
        np.concatenate([b.norms for b in batches]), np.concatenate([d.vectors.norms for d in by_name])
    )
    np.testing.assert_array_equal(
        np.concatenate([b.positions for b in batches]), np.concatenate([np.arange(len(d.vectors)) for d in by_name])
    )
    assert {b.space for b in batches} == {"f" * 16}


def test_reading_spans_many_batches(database: Store, space: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, space, documents=7, chunks=5)
    monkeypatch.setattr("lvm.store.store.READ_ROWS", 11)
    batches = list(database.read_vectors(space))
    assert [len(b.unit) for b in batches] == [10, 10, 10, 5]
    wanted = [row.id for row in database.documents(space)][2:4]
    assert set(np.concatenate([b.document_ids for b in database.read_vectors(space, wanted)])) == set(wanted)


postgres_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    texts=st.lists(postgres_text, min_size=1, max_size=5), title=st.text(max_size=10), seed=st.integers(0, 2**32 - 1)
)
def test_any_text_survives(database: Store, space: int, texts: list[str], title: str, seed: int) -> None:
    title = title.encode("utf-8", "ignore").decode().replace("\0", "")
    doc = Doc(f"id {next(_numbers)}", "".join(texts), title=title, metadata={"texts": texts})
    vectors = Vectors("f" * 16, unit_rows(len(texts), seed=seed), np.ones(len(texts), np.float32))
    item = IngestedDocument(doc, texts, [1] * len(texts), vectors)
    with database.writer(space) as writer:
        writer.write_documents([item])
    row = next(r for r in database.documents(space) if r.external_id == doc.external_id)
    batch = next(database.read_vectors(space, [row.id]))
    assert database.chunk_texts(batch.chunk_ids) == texts
    assert (row.title, row.details) == (title, {"texts": texts})


def test_writing_twice_changes_nothing_and_a_changed_document_is_replaced(database: Store, space: int) -> None:
    with database.writer(space) as writer:
        writer.write_documents([ingested("a", 3), ingested("b", 2)])
        before = database.corpus_revision(space)
        assert writer.write_documents([ingested("a", 3), ingested("b", 2)]) == 0
        assert database.corpus_revision(space) == before
        assert writer.write_documents([ingested("a", 4, body="new")]) == 4
    assert database.counts(space) == {"documents": 2, "chunks": 6, "embeddings": 6}
    assert database.corpus_revision(space) != before


def test_the_revision_is_content_not_history(database: Store, space: int) -> None:
    with database.writer(space) as writer:
        writer.write_documents([ingested("a", 3), ingested("b", 2)])
        first = database.corpus_revision(space)
        writer.write_documents([ingested("a", 5, body="other")])
        assert database.corpus_revision(space) != first
        writer.write_documents([ingested("a", 3)])
    assert database.corpus_revision(space) == first


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda d, v: replace(d, chunk_texts=["x\0y", "z"]), InvalidText),
        (lambda d, v: replace(d, chunk_texts=["x\udcff", "z"]), InvalidText),
        (lambda d, v: replace(d, vectors=replace(v, unit=v.unit * np.nan)), InvalidVectors),
        (lambda d, v: replace(d, vectors=replace(v, norms=v.norms * 0)), InvalidVectors),
        (lambda d, v: replace(d, vectors=replace(v, unit=v.unit * 0)), InvalidVectors),
        (lambda d, v: replace(d, vectors=replace(v, unit=v.unit * 3)), InvalidVectors),
        (lambda d, v: replace(d, vectors=replace(v, unit=unit_rows(2, DIM + 1))), InvalidVectors),
        (lambda d, v: replace(d, vectors=v[:1]), InvalidVectors),
        (lambda d, v: replace(d, vectors=replace(v, norms=v.norms[:1])), InvalidVectors),
        (lambda d, v: replace(d, vectors=v.unit), InvalidVectors),
        (lambda d, v: replace(d, vectors=replace(v, fingerprint="e" * 16)), SpaceMismatch),
        (lambda d, v: IngestedDocument(d.document, [], [], v[:0]), InvalidVectors),
    ],
)
def test_bad_documents_are_refused_and_their_neighbours_with_them(
    database: Store, space: int, damage: Any, error: type[Exception]
) -> None:
    with database.writer(space) as writer:
        with pytest.raises(error) as caught:
            bad = ingested("bad", 2)
            writer.write_documents([ingested("good", 2), damage(bad, bad.vectors)])
        assert "\n" not in str(caught.value)
        assert database.counts(space)["documents"] == 0
        assert writer.write_documents([ingested("good", 2)]) == 2  # the writer goes on working


@pytest.mark.parametrize("vector", ["[1,0,0]", str([0] * DIM), str([2] + [0] * (DIM - 1)), f"[NaN{',0' * (DIM - 1)}]"])
def test_sql_cannot_store_a_bad_vector(database: Store, space: int, vector: str) -> None:
    ids = fill(database, space, 1, 2)
    other = database.register_space("other", DIM, "e" * 16, {}, unit_rows(3, seed=5))
    insert = text("INSERT INTO embedding (space_id, chunk_id, norm, vector) VALUES (:s, :c, 1, CAST(:v AS vector))")
    with pytest.raises(DBAPIError), database.engine.begin() as connection:
        connection.execute(insert, {"s": other, "c": ids[0], "v": vector})
    assert database.counts(other)["embeddings"] == 0


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


def test_an_encoder_is_known_by_its_probes(database: Store, space: int) -> None:
    probes = unit_rows(3, seed=99)
    assert database.register_space("toy", DIM, FINGERPRINT, {}, probes + 1e-6) == space
    with pytest.raises(SpaceMismatch, match=r"0000.*'toy' \(ffff.*cosine 1.000"):  # another token limit, say
        database.register_space("toy", DIM, "0" * 16, {}, probes)
    with pytest.raises(SpaceMismatch, match=r"ffff.*'toy' \(ffff"):
        database.register_space("toy", DIM, FINGERPRINT, {}, unit_rows(3, seed=98))
    with pytest.raises(SpaceMismatch):
        database.register_space("toy", DIM + 1, "0" * 16, {}, unit_rows(3, DIM + 1, seed=99))


def test_a_second_space_shares_the_chunks_or_says_why_not(database: Store, space: int) -> None:
    with database.writer(space) as writer:
        writer.write_documents([ingested("a", 3)])
    other = database.register_space("wide", 4, "d" * 16, {}, unit_rows(3, 4))
    with database.writer(other) as writer:
        assert writer.write_documents([ingested("a", 3, dim=4, fingerprint="d" * 16)]) == 3
        fewer = ingested("a", 2, dim=4, fingerprint="d" * 16)
        assert writer.write_documents([fewer]) == 0  # complete already
    third = database.register_space("third", 4, "c" * 16, {}, unit_rows(3, 4, seed=3))
    with database.writer(third) as writer, pytest.raises(ChunkingDiffers):
        writer.write_documents([ingested("a", 2, dim=4, fingerprint="c" * 16)])
    assert database.counts(other) == {"documents": 1, "chunks": 3, "embeddings": 3}


# -- gates ----------------------------------------------------------------------------------------------------


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


# -- runs, locks, clearing ------------------------------------------------------------------------------------


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


def test_two_at_once_are_told_apart(database: Store, settings: Settings) -> None:
    with open_store(settings) as other, database.lock("ingest"):
        with pytest.raises(Busy, match="'ingest'"), other.lock("ingest"):
            pass
        with other.lock("something else"):
            pass
    with open_store(settings) as other, other.lock("ingest"):
        pass


def test_clear_needs_the_name_and_takes_everything(database: Store, space: int) -> None:
    fill(database, space)
    sequence_set(database, gate(database, space))
    for wrong in ("", "yes", database.database_name.upper()):
        with pytest.raises(NotConfirmed, match=database.database_name):
            database.clear(wrong)
    assert database.counts(space)["chunks"] == 30
    gone = database.clear(database.database_name)
    assert (gone["chunk"], gone["gate_result"], gone["sequence_set"]) == (30, 1, 1)
    assert set(database.contents().values()) == {0}
    again = register(database)
    assert len(fill(database, again)) == 30


def test_search_finds_the_nearest(database: Store, space: int) -> None:
    fill(database, space)
    batch = next(database.read_vectors(space))
    hits = database.search(space, Vectors(batch.space, batch.unit[7:8], batch.norms[7:8]), k=3)
    assert hits[0].chunk_id == batch.chunk_ids[7]
    assert hits[0].cosine == pytest.approx(1, abs=1e-6)
    best = np.sort(batch.unit @ batch.unit[7])[::-1][:3]
    np.testing.assert_allclose([h.cosine for h in hits], best, atol=1e-6)


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
    lock = database._locks.pop(run)
    lock.invalidate()  # its process is gone
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
    two = database.register_inverter("2" * 64, FINGERPRINT, [Doc("doc0", "doc0").sha256])
    other = [c.text for c in database.gate_sample(space, two)]
    assert not any(t.startswith("doc0") for t in other)
    assert other != [t for t in first if not t.startswith("doc0")]  # another order
    with database.writer(space) as writer:  # replaced and put back: other ids, same content
        writer.write_documents([ingested("doc1", 2, body="changed")])
        assert first != [c.text for c in database.gate_sample(space, one)]
        writer.write_documents([ingested("doc1", 6, seed=1)])
    assert first == [c.text for c in database.gate_sample(space, one)]


# -- opening --------------------------------------------------------------------------------------------------


def test_urls_that_are_none() -> None:
    for url in ("nonsense", "mysql://root@localhost/x", "postgresql://localhost"):
        with pytest.raises(InvalidDatabaseUrl, match="must look like"):
            open_store(Settings(database_url=url))  # type: ignore[arg-type]


def test_an_unreachable_database_is_one_line_without_the_password() -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:9/lvm"
    with pytest.raises(DatabaseUnavailable) as caught:
        open_store(Settings(database_url=url))  # type: ignore[arg-type]
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_newer_database_is_left_alone(database: Store, settings: Settings) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lvm.alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaUnusable, match=r"9999.*newer"):
        open_store(settings)


def test_pgvector_in_another_schema(database: Store, settings: Settings) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA lvm CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA elsewhere; ALTER EXTENSION vector SET SCHEMA elsewhere")
    with pytest.raises(SchemaUnusable, match="ALTER EXTENSION vector SET SCHEMA public"):
        open_store(settings)


def test_without_the_right_to_create_the_extension(database: Store, postgres: str) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA lvm CASCADE")
        connection.exec_driver_sql("DROP EXTENSION vector")
        connection.exec_driver_sql(f"CREATE ROLE plain_{database.database_name} LOGIN")
        connection.exec_driver_sql(
            f"GRANT CREATE ON DATABASE {database.database_name} TO plain_{database.database_name}"
        )
    url = database.engine.url.set(username=f"plain_{database.database_name}").render_as_string(hide_password=False)
    database.engine.dispose()
    with pytest.raises(SchemaUnusable, match="CREATE EXTENSION vector"):
        open_store(Settings(database_url=url))  # type: ignore[arg-type]
