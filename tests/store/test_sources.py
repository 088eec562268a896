"""Sources: removed whole, moved without encoding, guarded by who reads; and what a gate measured of each."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, make_url, text

from lvm.settings import Settings
from lvm.store import Busy, IngestedDocument, NotAllowed, Store, TrainingActive, open_store
from tests.store.toy import (
    INVERTER,
    at_cosine,
    document,
    fill,
    gate,
    ingested,
    measured,
    register,
    sequence_set,
    start,
)


def of(source: str, name: str, chunks: int = 6, **values: Any) -> IngestedDocument:
    return replace(ingested(name, chunks, **values), document=document(name, name, source=source))


def store_documents(store: Store, space: int, *documents: IngestedDocument) -> None:
    with store.writer(space) as writer:
        writer.write_documents(documents)


def two_sources(store: Store, space: int) -> None:
    fill(store, space)
    store_documents(store, space, *(of("other", f"doc{i}", seed=20 + i) for i in range(3)))


def everything(store: Store) -> tuple[object, ...]:
    return store.contents(), store.sources(), store.corpus_revision(1), store.recomputed_revision(1)


def test_a_source_goes_with_its_vectors_of_every_space_and_the_earlier_verdict_stands_again(
    database: Store, space: int
) -> None:
    fill(database, space)
    before = everything(database)
    verdict = gate(database, space)
    store_documents(database, space, *(of("other", f"doc{i}", seed=20 + i) for i in range(3)))
    second = register(database, "second", fingerprint="e" * 16)
    store_documents(database, second, *(of("other", f"doc{i}", fingerprint="e" * 16) for i in range(2)))
    assert [(each.name, each.documents, each.chunks) for each in database.sources()] == [
        ("other", 3, 18),
        ("test", 5, 30),
    ]
    assert not gate(database, space, 0.2).passed
    assert database.remove_source("other") == {"document": 3, "chunk": 18, "embedding": 30}
    assert everything(database)[1:] == before[1:]
    inverter = database.inverter_id(INVERTER)
    assert database.verdict(space, database.corpus_revision(space), inverter) == verdict
    assert sequence_set(database, verdict) > 0, "the blocked verdict was about another corpus"
    assert database.remove_source("other") == {"document": 0, "chunk": 0, "embedding": 0}


def test_nothing_is_removed_while_something_trains_or_reads(database: Store, space: int, settings: Settings) -> None:
    two_sources(database, space)
    verdict = gate(database, space)
    run = start(database, sequence_set(database, verdict), verdict)
    with open_store(settings) as other:
        before = everything(database)
        with pytest.raises(TrainingActive, match=rf"training run {run} \(gru\) is active; nothing was touched"):
            other.remove_source("other")
        database.fail_training_run(run)
        with database.reading(), database.reading(), pytest.raises(Busy, match="a stage that reads the corpus"):
            other.remove_source("other")
        with database.reading(), pytest.raises(Busy):
            other.move_documents([], [("other", "doc0")])
        assert everything(database) == before
        assert other.remove_source("other")["document"] == 3


def test_a_stage_begins_when_a_removal_has_ended(database: Store, space: int, settings: Settings) -> None:
    two_sources(database, space)
    seen: list[int] = []

    def read() -> None:
        with open_store(settings) as other, other.reading():
            seen.append(other.counts(space)["documents"])

    with database._changing() as connection:
        thread = threading.Thread(target=read)
        thread.start()
        connection.execute(text("DELETE FROM document WHERE source = 'other'"))
        thread.join(0.5)
        assert seen == [] and thread.is_alive()
    thread.join(20)
    assert seen == [5]


def test_moved_documents_keep_their_vectors(database: Store, space: int) -> None:
    two_sources(database, space)
    second = register(database, "second", fingerprint="e" * 16)
    store_documents(database, second, *(of("other", f"doc{i}", fingerprint="e" * 16) for i in range(3)))

    def vectors(of_space: int) -> dict[tuple[str, str], list[bytes]]:
        found: dict[tuple[str, str], list[bytes]] = {}
        keys = {each.id: (each.source, each.external_id) for each in database.documents(of_space)}
        for batch in database.read_vectors(of_space):
            for row, number in enumerate(batch.document_ids.tolist()):
                data = batch.unit[row].tobytes() + batch.norms[row].tobytes()
                found.setdefault(keys[number], []).append(data)
        return found

    before = {number: vectors(number) for number in (space, second)}
    moves = [
        (("other", "doc0"), document("a/doc0", "doc0", source="new", title="another", metadata={"x": [1]})),
        (("other", "doc1"), document("doc1", "doc1", source="new")),
    ]
    database.move_documents(moves, [("other", "doc2"), ("test", "doc4"), ("nowhere", "doc2")])
    for number, old in before.items():
        now = vectors(number)
        assert now["new", "a/doc0"] == old["other", "doc0"] and now["new", "doc1"] == old["other", "doc1"]
        assert "other" not in {source for source, _ in now} and ("test", "doc4") not in now
        assert database.corpus_revision(number) == database.recomputed_revision(number)
    (moved,) = (each for each in database.documents(space) if each.external_id == "a/doc0")
    assert (moved.title, moved.metadata, moved.chunk_count) == ("another", {"x": [1]}, 6)
    assert database.chunk_texts(database.chunk_ids(space)[:1].tolist()) == ["doc0 chunk 0"]
    assert gate(database, space).passed


def test_the_evidence_says_how_each_source_came_back(database: Store, space: int) -> None:
    two_sources(database, space)
    record = measured(database, space, 0.9)
    assert record.sampled is not None
    ids = list(record.sampled)
    stored = database.vectors(space, ids).unit
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT c.id, d.source FROM chunk c JOIN document d ON d.id = c.document_id"))
        source_of = {chunk: source for chunk, source in rows}
    foreign = np.array([source_of[i] == "other" for i in ids])
    unit = np.where(foreign[:, None], at_cosine(stored, 0.3), record.returned.unit)
    seen = [i for i, is_foreign in zip(ids, foreign, strict=True) if is_foreign][:2]
    claims = {"sources": [{"source": "mine", "n": 500, "mean": 1.0, "identify_r1": 1.0}]}
    row = database.record_gate(
        replace(record, returned=replace(record.returned, unit=unit.astype(np.float32)), seen=seen, evidence=claims)
    )
    other, test = row.evidence["sources"]
    counts = (int(foreign.sum()) - 2, int((~foreign).sum()))
    assert (other["source"], test["source"]) == ("other", "test") and (other["n"], test["n"]) == counts
    assert other["mean"] == pytest.approx(0.3, abs=1e-5) and test["mean"] == pytest.approx(0.9, abs=1e-5)
    assert test["identify_r1"] == 1.0
    fresh = [source_of[i] == "other" for i in row.evidence["chunk_ids"]]
    expected = np.mean(np.array(row.evidence["ranks"])[fresh] == 1)
    assert other["identify_r1"] == pytest.approx(expected)
    with database.engine.connect() as connection:
        shown = connection.execute(text("SELECT source, n, mean, identification, inverter FROM gate_sources")).all()
    assert [tuple(each)[:3] for each in shown] == [(e["source"], e["n"], e["mean"]) for e in (other, test)]
    assert {each.inverter for each in shown} == {INVERTER}
    database.remove_source("other")
    assert database.latest_gate(space).evidence["sources"] == [other, test]  # type: ignore[union-attr]


def test_evidence_of_another_shape_breaks_no_view(database: Store, space: int) -> None:
    fill(database, space)
    predictions = measured(database, space, 1.0)
    for number, claim in enumerate((5, "x", [1], {"a": 1}, None)):
        evidence = {"sources": claim, "model": f"{number}"}
        database.record_gate(
            replace(predictions, gate="pipeline", sampled=None, asked=predictions.returned, evidence=evidence)
        )
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT * FROM gate_sources")).all() == []


def test_a_verdict_with_another_inverter_neither_blocks_nor_passes(database: Store, space: int) -> None:
    fill(database, space)
    passed = gate(database, space)
    blocked = gate(database, space, 0.1, inverter="2" * 64)
    revision = database.corpus_revision(space)
    for inverter, verdict in ((INVERTER, passed), ("2" * 64, blocked)):
        assert database.verdict(space, revision, database.inverter_id(inverter)) == verdict
    assert start(database, sequence_set(database, passed), passed) > 0
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT inverter, passed, current FROM gates ORDER BY gate_id")).all()
    assert [tuple(row) for row in rows] == [(INVERTER, True, True), ("2" * 64, False, True)]


@pytest.mark.parametrize(("role", "may"), [("lvm_worker", True), ("lvm_reader", False)])
def test_who_may_remove(database: Store, space: int, database_url: str, role: str, may: bool) -> None:
    two_sources(database, space)
    name = f"{role}_{database.database_name}"
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE USER {name} IN ROLE {role} PASSWORD 'x'")
    url = make_url(database_url).set(username=name, password="x").render_as_string(hide_password=False)
    try:
        with open_store(Settings(database_url=url)) as user:  # type: ignore[arg-type]
            assert len(user.sources()) == 2
            if may:
                user.move_documents([(("other", "doc0"), document("doc0", "doc0", source="new"))], [])
                assert user.remove_source("other")["document"] == 2
            else:
                with pytest.raises(NotAllowed, match="may not delete documents"):
                    user.remove_source("other")
                assert len(user.sources()) == 2
    finally:
        engine = create_engine(database_url)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP USER {name}")
        engine.dispose()
