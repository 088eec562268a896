"""What the database promises: whole documents, vectors back bit for bit, gates nobody walks around."""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lvm import gates
from lvm.settings import Settings
from lvm.spaces.vectors import InvalidVectors, SpaceMismatch, Vectors
from lvm.store import (
    Busy,
    ChunkingDiffers,
    DatabaseUnavailable,
    GateRecord,
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

DIM = 8
_numbers = itertools.count()


@dataclass(frozen=True)
class Doc:
    external_id: str
    body: str = "text"
    source: str = "test"
    title: str = "A title"
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body.encode("utf-8", "surrogatepass")).hexdigest()


def unit_rows(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ingested(
    name: str, chunks: int, seed: int = 0, body: str | None = None, dim: int = DIM, fingerprint: str = "f" * 16
) -> IngestedDocument:
    texts = [f"{name} chunk {i}" for i in range(chunks)]
    norms = np.linspace(1, 2, chunks).astype(np.float32)
    vectors = Vectors(fingerprint, unit_rows(chunks, dim, seed), norms)
    return IngestedDocument(Doc(name, body or name), texts, [3] * chunks, vectors)


@pytest.fixture
def space(database: Store) -> int:
    return database.register_space("toy", DIM, "f" * 16, {"weights": "none"}, unit_rows(3, seed=99))


def fill(store: Store, space: int, documents: int = 5, chunks: int = 6) -> list[int]:
    with store.writer(space) as writer:
        writer.write_documents([ingested(f"doc{i}", chunks, seed=i) for i in range(documents)])
    return [int(i) for batch in store.read_vectors(space) for i in batch.chunk_ids]


def evidence(chunk_ids: list[int], cosine: float = 0.8, missed: int = 0) -> dict[str, Any]:
    ranks = [2] * missed + [1] * (len(chunk_ids) - missed)
    cosines = [cosine] * len(chunk_ids)
    return {"chunk_ids": chunk_ids, "cosines": cosines, "ranks": ranks, "inverter_encoder": "f" * 16}


def gate(store: Store, space: int, ids: list[int], cosine: float = 0.8, missed: int = 0) -> Any:
    record = GateRecord(
        "roundtrip",
        space,
        store.corpus_revision(space),
        cosine,
        gates.ROUNDTRIP_MIN_COSINE,
        evidence(ids, cosine, missed),
    )
    return store.record_gate(record)


def sequence_set(store: Store, space: int, gate_id: int, sha: str = "a" * 64) -> int:
    return store.record_sequence_set(space, store.corpus_revision(space), gate_id, 5, {"train": 3}, "x", sha)


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


@pytest.mark.parametrize("vector", ["[1,0,0]", "[0,0,0,0,0,0,0,0]", "[2,0,0,0,0,0,0,0]", "[NaN,0,0,0,0,0,0,0]"])
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
    ],
)
def test_what_was_measured_cannot_be_changed_in_sql(database: Store, space: int, statement: str) -> None:
    ids = fill(database, space)
    row = gate(database, space, ids)
    sequence_set(database, space, row.id)
    with pytest.raises(DBAPIError, match="never change"), database.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_an_encoder_is_known_by_its_probes(database: Store, space: int) -> None:
    probes = unit_rows(3, seed=99)
    assert database.register_space("toy", DIM, "0" * 16, {}, probes + 1e-5) == space
    with pytest.raises(SpaceMismatch, match=r"0000.*'toy' \(ffff"):
        database.register_space("toy", DIM, "0" * 16, {}, unit_rows(3, seed=98))
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
    ids = fill(database, space, documents=5, chunks=40)
    revision = database.corpus_revision(space)

    def passes(cosine: float, missed: int = 0, samples: int = 200) -> bool:
        return bool(gate(database, space, ids[:samples], cosine, missed).passed)

    assert passes(gates.ROUNDTRIP_MIN_COSINE + 1e-9)
    assert not passes(gates.ROUNDTRIP_MIN_COSINE - 1e-6)
    allowed = round(200 * (1 - gates.IDENTIFICATION_MIN_R1))
    assert passes(0.9, missed=allowed)
    assert not passes(0.9, missed=allowed + 1)
    assert passes(0.9, samples=gates.GATE_MIN_SAMPLES)
    assert not passes(0.9, samples=gates.GATE_MIN_SAMPLES - 1)
    for maker in ("e" * 16, None):  # an inverter of another encoder, or of nobody knows which
        claim = evidence(ids) | {"inverter_encoder": maker}
        row = database.record_gate(GateRecord("roundtrip", space, revision, 0.9, gates.ROUNDTRIP_MIN_COSINE, claim))
        assert not row.passed
    for floor, name in ((gates.ROUNDTRIP_MIN_COSINE, "roundtrip"), (gates.PIPELINE_MIN_COSINE, "pipeline")):
        with pytest.raises(DBAPIError, match="is below"):
            database.record_gate(GateRecord(name, space, revision, 0.9, floor - 1e-6, evidence(ids)))


@pytest.mark.parametrize(
    "forged",
    [
        {"cosines": [0.9] * 29},
        {"cosines": [7.0] * 30},
        {"cosines": ["NaN"] * 30},
        {"ranks": [0] * 30},
        {"chunk_ids": [10**9 + i for i in range(30)]},
        {"chunk_ids": "same"},
        {"chunk_ids": None},
    ],
)
def test_forged_evidence_is_refused(database: Store, space: int, forged: dict[str, Any]) -> None:
    ids = fill(database, space)
    claim = evidence(ids) | ({"chunk_ids": [ids[0]] * 30} if forged == {"chunk_ids": "same"} else forged)
    record = GateRecord("roundtrip", space, database.corpus_revision(space), 0.99, 0.63, claim)
    with pytest.raises(DBAPIError):
        database.record_gate(record)
    assert database.latest_gate(space) is None


def test_a_claim_of_passing_is_not_read(database: Store, space: int) -> None:
    ids = fill(database, space)
    insert = text(
        "INSERT INTO gate_result (gate, space_id, corpus_revision, value, threshold, passed, evidence) VALUES "
        "('roundtrip', :s, :r, 0.99, 0.63, true, jsonb_build_object('chunk_ids', CAST(:ids AS bigint[]), 'cosines', "
        "array_fill(0.2, ARRAY[30]), 'ranks', array_fill(1, ARRAY[30]))) RETURNING value, passed"
    )
    with database.engine.begin() as connection:
        row = connection.execute(insert, {"s": space, "r": database.corpus_revision(space), "ids": ids}).one()
    assert (round(row.value, 6), row.passed) == (0.2, False)


def test_no_training_without_a_passing_gate_whoever_asks(database: Store, space: int) -> None:
    ids = fill(database, space)
    failed, passed = gate(database, space, ids, 0.3), gate(database, space, ids)
    with pytest.raises(GateRequired, match="no passing roundtrip gate"):
        sequence_set(database, space, failed.id)
    sequences = sequence_set(database, space, passed.id)
    insert = "INSERT INTO training_run (architecture, sequence_set_id, gate_result_id, hyperparameters) VALUES "
    for gate_id in (failed.id, 10**6, "NULL"):
        with pytest.raises(DBAPIError), database.engine.begin() as connection:
            connection.exec_driver_sql(f"{insert} ('gru', {sequences}, {gate_id}, '{{}}')")
    run = database.start_training_run("gru", sequences, passed.id, {"width": 4})
    with pytest.raises(DBAPIError, match="no passing"), database.engine.begin() as connection:
        connection.execute(text("UPDATE training_run SET gate_result_id = :id"), {"id": failed.id})
    database.finish_training_run(run, {"cosine": 0.5}, "model.safetensors", "b" * 64)
    assert [r.status for r in database.training_runs()] == ["finished"]


def test_a_gate_of_another_space_is_no_gate(database: Store, space: int) -> None:
    passed = gate(database, space, fill(database, space))
    other = database.register_space("other", DIM, "e" * 16, {}, unit_rows(3, seed=5))
    with database.writer(other) as writer:
        writer.write_documents([ingested(f"doc{i}", 6, seed=i, fingerprint="e" * 16) for i in range(5)])
    with pytest.raises(GateRequired, match="another space"):
        sequence_set(database, other, passed.id)


def test_new_chunks_make_a_verdict_stale(database: Store, space: int) -> None:
    passed = gate(database, space, fill(database, space))
    revision = database.corpus_revision(space)
    sequences = sequence_set(database, space, passed.id)
    assert database.passing_gate(space, revision) is not None
    with database.writer(space) as writer:
        writer.write_documents([ingested("one more", 1)])
    assert database.passing_gate(space, database.corpus_revision(space)) is None
    with pytest.raises(GateRequired, match="another revision"):
        database.start_training_run("gru", sequences, passed.id, {})
    with pytest.raises(DBAPIError, match="another revision"):
        database.record_gate(GateRecord("roundtrip", space, revision, 0.9, 0.63, evidence([1])))


def test_a_chunk_slipped_in_by_sql_changes_the_revision(database: Store, space: int) -> None:
    fill(database, space)
    before = database.corpus_revision(space)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO chunk (document_id, position, token_count, text) SELECT min(id), 99, 1, 'x' FROM document"
        )
    assert database.corpus_revision(space) != before


def test_the_last_verdict_counts(database: Store, space: int) -> None:
    ids = fill(database, space)
    gate(database, space, ids)
    gate(database, space, ids, 0.1)
    assert database.passing_gate(space, database.corpus_revision(space)) is None
    assert database.latest_gate(space).value == pytest.approx(0.1)  # type: ignore[union-attr]


# -- runs, locks, clearing ------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_under_its_id(database: Store, settings: Settings, space: int) -> None:
    passed = gate(database, space, fill(database, space))
    sequences = sequence_set(database, space, passed.id)
    assert sequence_set(database, space, passed.id) == sequences
    with open_store(settings) as crashing:
        run = crashing.start_training_run("gru", sequences, passed.id, {"width": 4})
        assert [r.id for r in database.active_training_runs()] == [run]
        with pytest.raises(Busy, match="active in another process"):
            database.start_training_run("gru", sequences, passed.id, {"width": 4})
        with pytest.raises(TrainingActive, match="nothing was touched"):
            database.clear(database.database_name)
    # Its connection is gone, as after a kill; the server lets go of the lock when it has noticed.
    deadline = time.monotonic() + 30
    while database.active_training_runs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert database.active_training_runs() == []
    assert [r.status for r in database.training_runs(sequences)] == ["interrupted"]
    assert database.start_training_run("gru", sequences, passed.id, {"width": 4}) == run
    database.fail_training_run(run)
    assert database.start_training_run("gru", sequences, passed.id, {"width": 8}) != run


def test_two_at_once_are_told_apart(database: Store, settings: Settings) -> None:
    with open_store(settings) as other, database.lock("ingest"):
        with pytest.raises(Busy, match="'ingest'"), other.lock("ingest"):
            pass
        with other.lock("something else"):
            pass
    with open_store(settings) as other, other.lock("ingest"):
        pass


def test_clear_needs_the_name_and_takes_everything(database: Store, space: int) -> None:
    passed = gate(database, space, fill(database, space))
    sequence_set(database, space, passed.id)
    for wrong in ("", "yes", database.database_name.upper()):
        with pytest.raises(NotConfirmed, match=database.database_name):
            database.clear(wrong)
    assert database.counts(space)["chunks"] == 30
    gone = database.clear(database.database_name)
    assert (gone["chunk"], gone["gate_result"], gone["sequence_set"]) == (30, 1, 1)
    assert set(database.contents().values()) == {0}
    again = database.register_space("toy", DIM, "f" * 16, {}, unit_rows(3))
    assert len(fill(database, again)) == 30


def test_search_finds_the_nearest(database: Store, space: int) -> None:
    fill(database, space)
    batch = next(database.read_vectors(space))
    hits = database.search(space, Vectors(batch.space, batch.unit[7:8], batch.norms[7:8]), k=3)
    assert hits[0].chunk_id == batch.chunk_ids[7]
    assert hits[0].cosine == pytest.approx(1, abs=1e-6)
    best = np.sort(batch.unit @ batch.unit[7])[::-1][:3]
    np.testing.assert_allclose([h.cosine for h in hits], best, atol=1e-6)


def test_samples_depend_on_content_and_seed_only(database: Store, space: int) -> None:
    fill(database, space)
    first = [c.text for c in database.sample_chunks(space, 10, seed=1)]
    assert len(set(first)) == 10
    assert first != [c.text for c in database.sample_chunks(space, 10, seed=2)]
    without = [Doc("doc0", "doc0").sha256]
    assert not any(c.text.startswith("doc0") for c in database.sample_chunks(space, 99, 1, without))
    with database.writer(space) as writer:  # replaced and put back: other ids, same content
        writer.write_documents([ingested("doc1", 2, body="changed")])
        writer.write_documents([ingested("doc1", 6, seed=1)])
    assert first == [c.text for c in database.sample_chunks(space, 10, seed=1)]


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
