"""SQL for people: every query of docs/sql.md runs, search finds what is nearest, and a reader changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from lvm.spaces import Vectors
from lvm.store import Figure, Store, search
from tests.store.toy import DIM, gate, ingested, register, sequence_set, start, unit_rows

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
QUESTIONS = re.findall(r"\n([^\n]+):\n\n```sql", PAGE)


@pytest.fixture
def space_id(database: Store) -> int:
    """Three documents, a verdict, and a training run behind it."""
    number = register(database, "minilm")
    with database.writer(number) as writer:
        writer.write_documents([ingested(name, 12, seed) for seed, name in enumerate("abc")])
    examples = [{"kind": "worst", "text": "a", "decoded": "b", "cosine": 0.1}]
    verdict = gate(database, number, evidence={"examples": examples})
    assert verdict.passed
    run = start(database, sequence_set(database, verdict), verdict, width=8)
    database.finish_training_run(run, {"cosine": 0.5}, "artifacts/gru", "b" * 64)
    assert verdict.inverter_id is not None
    nll = Figure("gru", "model", "text_nll", 4.5, 4.4, 4.6, 9, run)
    database.record_evaluation(number, verdict.inverter_id, verdict.corpus_revision, [nll])
    return number


def test_there_are_twelve(space_id: int) -> None:
    assert len(QUERIES) == len(QUESTIONS) == 12


@pytest.mark.parametrize("query", QUERIES, ids=QUESTIONS)
def test_every_query_of_the_page_runs(query: str, database: Store, space_id: int) -> None:
    with database.engine.connect() as connection:
        rows = connection.execute(text(query.replace(":", r"\:").replace(r"\:\:", "::"))).all()
    if "HAVING count(*) > 1" not in query:
        assert rows


def test_search_is_exact_and_neighbours_leave_the_chunk_out(database: Store, space_id: int) -> None:
    asked = Vectors("f" * 16, unit_rows(1, seed=99), np.ones(1, np.float32))
    query = asked.unit[0]
    with database.engine.connect() as connection:
        found = connection.execute(
            text("SELECT chunk_id, cosine FROM search(CAST(:query AS vector), 7)"), {"query": str(query.tolist())}
        ).all()
        expected = [(hit.chunk_id, hit.cosine) for hit in database.search(space_id, asked, 7)]
        assert [row.chunk_id for row in found] == [chunk for chunk, _ in expected]
        np.testing.assert_allclose([row.cosine for row in found], [cosine for _, cosine in expected], atol=1e-6)
        first = found[0].chunk_id
        near = connection.execute(text("SELECT chunk_id FROM neighbours(:chunk, 5)"), {"chunk": first}).scalars().all()
        assert len(near) == 5 and first not in near
        after = connection.execute(text("SELECT position FROM next(:chunk, 100)"), {"chunk": first}).scalars().all()
        own = connection.scalar(text("SELECT position FROM chunk WHERE id = :chunk"), {"chunk": first})
        assert after == list(range(own + 1, 12))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("search('[1,2,3]', 5)", f"dimension 3, space minilm has {DIM}"),
        (f"search('{[1] * DIM}', 5, 'nospace')", "no space is called nospace; there is minilm"),
        (f"search('{[1] * DIM}', 0)", "between 1 and 1000"),
    ],
)
def test_a_wrong_question_is_named(call: str, message: str, database: Store, space_id: int) -> None:
    with database.engine.connect() as connection, pytest.raises(DBAPIError, match=message):
        connection.execute(text(f"SELECT * FROM {call}"))


def test_a_model_leads_back_to_its_corpus(database: Store, space_id: int) -> None:
    with database.engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM training_runs")).one()
        assert (row.architecture, row.status, row.current, row.space) == ("gru", "finished", True, "minilm")
        assert row.corpus_revision == database.corpus_revision(space_id)
        gate = connection.execute(text("SELECT * FROM gates WHERE gate_id = :id"), {"id": row.gate_id}).one()
        assert gate.passed and gate.current and gate.value == row.gate_value and gate.samples == 36
        assert gate.inverter == row.inverter == "1" * 64
    with database.writer(space_id) as writer:
        writer.write_documents([ingested("d", 3, 7)])
    with database.engine.connect() as connection:
        assert not connection.scalar(text("SELECT current FROM gates"))
        assert not connection.scalar(text("SELECT current FROM training_runs"))


def test_the_index_is_built_once_and_nearly_exact(database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "INDEX_FROM", 2000)
    dim, number = 64, database.register_space("minilm", 64, "f" * 16, {}, unit_rows(3, 64))
    small = database.register_space("small", DIM, "e" * 16, {}, unit_rows(3))
    with database.writer(number) as writer:
        writer.write_documents([ingested(f"{i}", 500, i, dim=dim) for i in range(8)])
    assert database.build_search_index(number) and not database.build_search_index(number)
    assert not database.build_search_index(small)
    queries = unit_rows(50, dim, seed=1234)
    hits = 0
    with database.engine.connect() as connection:
        for query in queries:
            asked = {"query": str(query.tolist())}
            found = connection.execute(text("SELECT chunk_id FROM search(CAST(:query AS vector), 10)"), asked)
            exact = database.search(number, Vectors("f" * 16, query[None], np.ones(1, np.float32)), 10, exact=True)
            hits += len(set(found.scalars()) & {hit.chunk_id for hit in exact})
        plan = "\n".join(
            connection.execute(
                text(
                    f"EXPLAIN SELECT chunk_id FROM embedding WHERE space_id = {number} "
                    f"ORDER BY vector::halfvec({dim}) <=> CAST(:query AS halfvec({dim})) LIMIT 10"
                ),
                asked,
            ).scalars()
        )
    assert f"embedding_search_{number}" in plan
    assert hits / 500 >= 0.99
    with database.writer(number) as writer:  # rows that come later are found, and other spaces are not in the way
        writer.write_documents([ingested("late", 1, 77, dim=dim)])
    with database.writer(small) as writer:
        writer.write_documents([ingested("other", 1, 78, fingerprint="e" * 16)])
    late = unit_rows(1, dim, seed=77)[0]
    with database.engine.connect() as connection:
        found = connection.execute(
            text("SELECT title, cosine FROM search(CAST(:query AS vector), 1)"), {"query": str(late.tolist())}
        ).one()
    assert found.cosine > 0.9999


READ = ["space", "document", "chunk", "embedding", "gate_result", "sequence_set", "training_run"]
READ += ["evaluation", "evaluation_figure", "chunks", "gates", "training_runs", "evaluations"]


def test_a_reader_reads_everything_and_changes_nothing(database: Store, space_id: int, database_url: str) -> None:
    name = f"ana_{make_url(database_url).database}"
    with database.engine.begin() as connection:
        connection.execute(text(f"CREATE USER {name} IN ROLE lvm_reader PASSWORD 'x'"))
    reader = create_engine(make_url(database_url).set(username=name, password="x"))
    try:
        with reader.connect() as connection:
            assert connection.scalar(text("SELECT current_user")) == name
            for table in READ:
                assert connection.scalar(text(f"SELECT count(*) FROM lvm.{table}")) > 0
            near = text("SELECT count(*) FROM lvm.neighbours((SELECT min(id) FROM lvm.chunk), 3)")
            assert connection.scalar(near) == 3
        changes = [f"DELETE FROM lvm.{table}" for table in READ]
        changes += [f"TRUNCATE lvm.{table} CASCADE" for table in READ[:9]]
        changes += ["INSERT INTO lvm.space (name, dim, fingerprint, recipe, probes) VALUES ('x', 1, 'x', '{}', '')"]
        changes += ["UPDATE lvm.training_run SET status = 'failed'", "DROP SCHEMA lvm CASCADE", "CREATE TABLE lvm.x ()"]
        changes += ["ALTER TABLE lvm.gate_result DISABLE TRIGGER ALL", "CREATE OR REPLACE VIEW lvm.gates AS SELECT 1"]
        for change in changes:
            with (
                reader.connect() as connection,
                pytest.raises(DBAPIError, match=r"permission denied|must be owner|cannot delete"),
            ):
                connection.execute(text(change))
    finally:
        reader.dispose()
        with database.engine.begin() as connection:
            connection.execute(text(f"DROP USER {name}"))
