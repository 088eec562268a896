"""Promise: a database of version 0.1.0 opens, its verdicts stand, and work goes on behind them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lvm.gates import PROBE_MIN_COSINE
from lvm.pipeline.ingest import ingest
from lvm.pipeline.predict import open_model
from lvm.pipeline.promote import versions
from lvm.pipeline.workspace import Workspace, open_workspace
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.store import Gate, GateRequired, IngestedDocument, Store, TrainingRun, open_store
from lvm.store.migrate import script
from lvm.training import TrainConfig
from lvm.training.trainer import describe
from tests.compatibility.made import AS_BEFORE, CONTEXT, EXPECTED, documents
from tests.store.toy import document, measured


@pytest.fixture
def store(restored: Settings) -> Iterator[Store]:
    with open_store(restored) as opened:
        yield opened


@pytest.fixture
def work(restored: Settings) -> Iterator[Workspace]:
    with open_workspace(settings=restored) as opened:
        yield opened


def space_of(store: Store) -> int:
    [(name, number)] = store.spaces().items()
    assert name == "toy"
    return number


def standing(store: Store) -> Gate:
    """The verdict that stands for the corpus as it is."""
    space = space_of(store)
    inverter = store.inverter_id(EXPECTED["inverter"])
    assert inverter is not None
    found = store.verdict(space, store.corpus_revision(space), inverter)
    assert found is not None and found.passed
    return found


def runs(store: Store) -> tuple[TrainingRun, TrainingRun]:
    """The interrupted run, and the finished one."""
    interrupted, finished = store.training_runs()
    return interrupted, finished


def test_it_is_brought_to_the_newest_schema(store: Store) -> None:
    with store.engine.connect() as connection:
        found = connection.scalar(text("SELECT version_num FROM lvm.alembic_version"))
    assert found == script().get_current_head()


def test_the_verdict_stands_for_the_corpus(store: Store) -> None:
    space = space_of(store)
    revision = store.corpus_revision(space)
    assert revision == store.recomputed_revision(space) == EXPECTED["corpus_revision"]
    row = standing(store)
    assert (row.gate, row.corpus_revision, row.flow_run_id) == ("roundtrip", revision, "first")
    assert row.value == pytest.approx(EXPECTED["gate"]["value"], abs=1e-9)
    assert row.evidence["n"] == EXPECTED["gate"]["n"] == sum(each["n"] for each in row.evidence["sources"])
    pipeline = store.latest_gate(space, "pipeline")
    assert pipeline is not None and pipeline.passed and pipeline.evidence["model"] == "gru"
    with store.engine.connect() as connection:  # what people see says the same
        assert connection.execute(text("SELECT current FROM gates")).scalars().all() == [True, True]
        assert connection.execute(text("SELECT current FROM training_runs")).scalars().all() == [True, True]


def test_the_same_sample_is_drawn_and_judged_the_same(store: Store) -> None:
    space, row = space_of(store), standing(store)
    record = measured(
        store, space, 0.998, inverter=EXPECTED["inverter"], encoder=EXPECTED["fingerprint"],
        trained=[each.sha256 for each in documents()[:9]],
    )  # fmt: skip
    assert list(record.sampled or ()) == row.evidence["chunk_ids"]
    again = store.record_gate(record)
    assert again.passed and again.value == pytest.approx(row.value, abs=1e-6)


def test_documents_chunks_and_vectors_are_read(store: Store, old_space: Space) -> None:
    space = space_of(store)
    assert store.counts(space) == {
        "documents": EXPECTED["documents"], "chunks": EXPECTED["chunks"], "embeddings": EXPECTED["chunks"],
    }  # fmt: skip
    corpus = {each.external_id: each for each in documents()}
    rows = store.documents(space)
    assert {row.external_id: (row.sha256, row.title, row.metadata) for row in rows} == {
        name: (each.sha256, each.title, each.metadata) for name, each in corpus.items()
    }
    [batch] = store.read_vectors(space)
    assert batch.fingerprint == EXPECTED["fingerprint"] and batch.unit.shape == (EXPECTED["chunks"], 8)
    chunker = old_space.chunker()
    chunks = [chunk.text for row in rows for chunk in chunker.split(corpus[row.external_id].text)[0]]
    assert store.chunk_texts(batch.chunk_ids) == chunks
    encoded = old_space.encode(chunks)
    assert np.einsum("nd,nd->n", encoded.unit, batch.unit).min() >= PROBE_MIN_COSINE
    assert store.search(space, encoded[7:8], k=1)[0].cosine == pytest.approx(1, abs=1e-3)


def test_sequences_and_models_belong_to_it(work: Workspace) -> None:
    assert work.passing_gate().corpus_revision == EXPECTED["corpus_revision"]
    sequences, row = work.sequences(CONTEXT)
    assert row.sha256 == EXPECTED["sequences"]["sha256"] and row.counts == EXPECTED["sequences"]["counts"]
    assert work.differing_vectors(sequences) == 0
    models = work.models(row)
    assert {name: model.sha256 for name, model in models.items()} == {"gru": EXPECTED["model"]["sha256"]}
    for name in ("gru", f"gru@{EXPECTED['model']['sha256'][:6]}"):
        opened = open_model(name, work.space, work.settings, work)
        assert opened.sha256 == opened.digest == EXPECTED["model"]["sha256"], "what its run recorded"
    [version] = versions(work)
    assert version.latest and version.kept and not version.champion and version.text_nll is None


def test_runs_are_found(store: Store) -> None:
    interrupted, finished = runs(store)
    assert (interrupted.status, finished.status) == ("interrupted", "finished")
    found = store.finished_run(EXPECTED["model"]["sha256"])
    assert found is not None and found.id == finished.id and found.metrics is not None
    assert len(found.metrics["history"]) == EXPECTED["model"]["config"]["epochs"]


def test_the_interrupted_run_goes_on_under_its_id_and_a_new_one_starts(work: Workspace) -> None:
    store, gate = work.store, work.passing_gate()
    interrupted, finished = runs(store)
    sequences, row = work.sequences(CONTEXT)
    # what a run is asked to do is written down as it was then; else this would be another run
    asked = describe("gru", sequences, TrainConfig(**EXPECTED["interrupted"]["config"], **AS_BEFORE))
    assert store.start_training_run("gru", row.id, gate, work.inverter_id, asked) == interrupted.id
    store.finish_training_run(interrupted.id, {}, "gru/model.safetensors", "b" * 64)
    assert (
        describe("gru", sequences, TrainConfig(**EXPECTED["model"]["config"], **AS_BEFORE)) == finished.hyperparameters
    )
    new = store.start_training_run("gru", row.id, gate, work.inverter_id, {**asked, "seed": 1})
    assert new not in (interrupted.id, finished.id)
    store.fail_training_run(new)
    assert [run.status for run in store.training_runs(row.id)] == ["finished", "finished", "failed"]


def test_ingesting_again_changes_nothing_and_something_new_needs_a_new_gate(store: Store, old_space: Space) -> None:
    space, gate = space_of(store), standing(store)
    report = ingest(Workspace(Settings(quiet=True), store, old_space, space), documents())
    assert (report.documents, report.unchanged) == (0, EXPECTED["documents"])
    assert store.corpus_revision(space) == EXPECTED["corpus_revision"]
    sequences = store.sequence_set(EXPECTED["sequences"]["sha256"], gate)
    assert sequences is not None
    with store.writer(space) as writer:
        writer.write_documents([IngestedDocument(document("one more"), ["One."], [1], old_space.encode(["One."]))])
    revision = store.corpus_revision(space)
    assert revision == store.recomputed_revision(space) != EXPECTED["corpus_revision"]
    assert store.verdict(space, revision, gate.inverter_id) is None
    with pytest.raises(GateRequired, match="another revision"):
        store.start_training_run("gru", sequences.id, gate, gate.inverter_id, {})
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM document WHERE external_id = 'one more'"))
    assert store.corpus_revision(space) == store.recomputed_revision(space) == EXPECTED["corpus_revision"]
    assert standing(store).id == gate.id


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chunk SET text = 'other'",
        "UPDATE embedding SET norm = 2",
        "UPDATE gate_result SET passed = true",
        "DELETE FROM gate_result",
        "UPDATE space SET fingerprint = 'mine'",
        "UPDATE training_run SET metrics = '{}'",
        "DELETE FROM corpus_change",
    ],
)
def test_what_was_measured_cannot_be_changed_after_it_was_restored(store: Store, statement: str) -> None:
    with (
        pytest.raises(DBAPIError, match=r"never change|only its triggers"),
        store.engine.begin() as connection,
    ):
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # triggers fire all the same
        connection.exec_driver_sql(statement)


def test_readers_may_read_it(store: Store) -> None:
    with store.engine.connect() as connection:
        rights = text("SELECT has_table_privilege('lvm_reader', CAST(:table AS text), CAST(:right AS text))")
        for table, right, may in (
            ("lvm.chunk", "SELECT", True),
            ("lvm.gates", "SELECT", True),
            ("lvm.chunk", "INSERT", False),
        ):
            assert connection.scalar(rights, {"table": table, "right": right}) is may
