"""SQL for people: the queries of docs/sql.md answer right, search finds what is nearest, a reader changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from lvm.spaces import Vectors
from lvm.store import Figure, GateMeasurement, IngestedDocument, Store, search
from tests.store.toy import FINGERPRINT, at_cosine, document, gate, ingested, register, sequence_set, start, unit_rows

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
QUERIES = dict(re.findall(r"\n([^\n]+):\n\n```sql\n(.*?)```", PAGE, re.DOTALL))
DIM = 384  # that of the page's queries

SOURCES = {"a": "sotu", "b": "sotu", "c": "web"}
TEXTS = {
    "a": ["We signed a treaty with Spain.", "The treaties were ratified.", "War was declared.", "Thank you."],
    "b": ["A treaty of peace with Mexico ends the war.", "Thank you.", "God bless you."],
    "c": ["Thank you.", "God bless you.", "No treaty."],
}
CHUNKS = 12
HISTORY = [
    {"epoch": 1, "cosine": 0.3, "r10": 0.1, "best": True},
    {"epoch": 2, "cosine": 0.4, "r10": 0.2, "best": True},
    {"epoch": 3, "cosine": 0.5, "r10": 0.15, "best": False},
]


@dataclass
class World:
    """What is stored, read without the functions that are tested. Row i of ``units`` is of chunk ``ids[i]``."""

    store: Store
    space: int
    ids: list[int]
    texts: list[str]
    documents: list[str]
    positions: list[int]
    units: np.ndarray
    gates: list[int]
    revision: str

    def near(self, to: np.ndarray, rows: list[int] | None = None) -> list[int]:
        """Rows by their cosine to a vector, the nearest first."""
        cosines = self.units @ to
        return sorted(range(len(self.ids)) if rows is None else rows, key=lambda row: -cosines[row])

    def of(self, name: str) -> list[int]:
        return [row for row, each in enumerate(self.documents) if each == name]


@pytest.fixture
def world(database: Store) -> World:
    """Three documents of two sources, a roundtrip gate, a model behind it, and the pipeline gate of that model."""
    space = register(database, "minilm", DIM)
    documents = []
    for seed, name in enumerate(TEXTS):
        texts = [*TEXTS[name], *(f"{name} says {i}" for i in range(CHUNKS))][:CHUNKS]
        vectors = Vectors(FINGERPRINT, unit_rows(CHUNKS, DIM, seed), np.ones(CHUNKS, np.float32))
        info = document(name, name, SOURCES[name], title=f"Title {name}")
        documents.append(IngestedDocument(info, texts, [3 + seed] * CHUNKS, vectors))
    with database.writer(space) as writer:
        writer.write_documents(documents)
    examples = [
        {"kind": "best", "text": "good", "decoded": "good", "cosine": 0.9},
        {"kind": "worst", "text": "bad", "decoded": "odd", "cosine": 0.31},
        {"kind": "worst", "text": "worse", "decoded": "odder", "cosine": 0.1},
    ]
    verdict = gate(database, space, evidence={"examples": examples})
    run = start(database, sequence_set(database, verdict), verdict, width=8)
    metrics = {"history": HISTORY, "seconds": 1.0, "parameters": 9}
    database.finish_training_run(run, metrics, "artifacts/gru", "b" * 64)  # type: ignore[arg-type]
    asked = unit_rows(30, DIM, 5)
    rows = [Vectors(FINGERPRINT, each, np.ones(30, np.float32)) for each in (at_cosine(asked, 0.7), asked)]
    assert verdict.inverter_id is not None
    pipeline = database.record_gate(
        GateMeasurement(
            "pipeline", space, verdict.corpus_revision, verdict.inverter_id, rows[0], asked=rows[1],
            evidence={"model": "gru"},
        )
    )  # fmt: skip
    nll = Figure("gru", "model", "text_nll", 4.5, 4.4, 4.6, 9, run)
    database.record_evaluation(space, verdict.inverter_id, verdict.corpus_revision, [nll])
    [batch] = database.read_vectors(space)
    names = {row.id: row.external_id for row in database.documents(space)}
    return World(
        database,
        space,
        [int(i) for i in batch.chunk_ids],
        database.chunk_texts(batch.chunk_ids),
        [names[int(i)] for i in batch.document_ids],
        [int(i) for i in batch.positions],
        batch.unit,
        [verdict.id, pipeline.id],
        verdict.corpus_revision,
    )


def close(found: Any, expected: Any) -> bool:
    """Whether two rows are equal, numbers up to the third decimal."""
    pairs = zip(found, expected, strict=True)
    return all(
        abs(float(x) - float(y)) < 0.00051 if isinstance(y, float | np.floating) else x == y for x, y in pairs
    )  # fmt: skip


def stored(world: World) -> list[tuple[Any, ...]]:
    return [("minilm", 3, 36, 4.0)]


def read_in_order(world: World) -> list[tuple[Any, ...]]:
    return [(i, world.texts[row]) for i, row in enumerate(world.of("a"))]


def neighbours(world: World) -> list[tuple[Any, ...]]:
    rows = [row for row in world.near(world.units[0]) if row != 0][:5]
    return [(world.units[row] @ world.units[0], f"Title {world.documents[row]}", world.texts[row]) for row in rows]


def to_a_mean(world: World) -> list[tuple[Any, ...]]:
    mean = world.units[world.of("a")].mean(axis=0)
    mean /= np.linalg.norm(mean)
    rows = world.near(mean)[:5]
    return [(world.units[row] @ mean, f"Title {world.documents[row]}", world.texts[row]) for row in rows]


def in_one_document(world: World) -> list[tuple[Any, ...]]:
    rows = world.near(world.units[0], world.of("a"))[:5]
    return [(world.units[row] @ world.units[0], "Title a", world.texts[row]) for row in rows]


def and_what_follows(world: World) -> list[tuple[Any, ...]]:
    rows = [row for row in world.near(world.units[0]) if row != 0][:5]
    return [
        (world.units[row] @ world.units[0], world.texts[row], world.texts[row + 1])
        for row in rows
        if world.positions[row] < CHUNKS - 1
    ]


def copy_last(world: World) -> list[tuple[Any, ...]]:
    means = []
    for name in TEXTS:
        own = world.units[world.of(name)]
        means.append((f"Title {name}", float((own[1:] * own[:-1]).sum(axis=1).mean()), CHUNKS - 1))
    return sorted(means, key=lambda each: -each[1])


def by_words_and_vector(world: World) -> list[tuple[Any, ...]]:
    """Reciprocal rank fusion, computed here."""
    with world.store.engine.connect() as connection:
        found = connection.execute(text("SELECT chunk_id FROM find('treaty or war')")).scalars().all()
    assert len(found) == 5
    places: list[list[int]] = [world.near(world.units[0]), [world.ids.index(chunk) for chunk in found]]
    scores = {row: sum(1 / (61 + place.index(row)) for place in places if row in place) for row in range(36)}
    rows = sorted(scores, key=lambda row: (-scores[row], row))[:5]
    marked = {row: re.sub(r"(?i)\b(treat\w+|war)\b", r"**\1**", world.texts[row]) for row in rows}
    return [
        (scores[row], world.units[row] @ world.units[0], f"Title {world.documents[row]}", marked[row]) for row in rows
    ]


ANSWERS: dict[str, Callable[[World], list[tuple[Any, ...]]]] = {
    "The id and the dimension of a space": lambda world: [(world.space, "minilm", DIM)],
    "The chunks nearest to a chunk, by hand": lambda world: [
        (f"Title {world.documents[row]}", world.texts[row]) for row in world.near(world.units[0])[:10]
    ],
    "How much is stored, by space": stored,
    "A document, read in order": read_in_order,
    "The chunks nearest to a chunk": neighbours,
    "The same by hand, with a vector (here the mean of a document's chunks)": to_a_mean,
    "The chunks that say something about a treaty and not about Spain, of one source": lambda world: [
        (0.091, "Title a", "The **treaties** were ratified."),
        (0.056, "Title b", "A **treaty** of peace with Mexico ends the war."),
    ],
    "The chunks nearest to a chunk, those that also have two words first": by_words_and_vector,
    "The chunks nearest to a chunk, in one source and one document": in_one_document,
    "The chunks nearest to a chunk, and the chunk that follows each": and_what_follows,
    "Mean cosine of a chunk to the one before it, by document (where it is high, copying predicts well)": (copy_last),
    "Texts that occur several times. They can leak from training into test": lambda world: [
        ("Thank you.", 3),
        ("God bless you.", 2),
    ],
    "The verdicts, newest first (a pipeline gate is about a model, a roundtrip gate about space and inverter)": (
        lambda world: [
            (world.gates[1], "pipeline", "gru", "minilm", "1" * 12, 0.7, None, None, 30, True, True),
            (world.gates[0], "roundtrip", None, "minilm", "1" * 12, 0.8, 1.0, 0.0, 33, True, True),
        ]
    ),
    "The worst texts of the last roundtrip gate": lambda world: [("worse", "odder", 0.1), ("bad", "odd", 0.31)],
    "Every model, with figures of the epoch that was kept on validation documents, its gate, and its corpus": (
        lambda world: [
            ("gru", "finished", 0.4, 0.2, world.gates[0], 0.8, 5, {"train": 3}, world.revision[:12], True, timedelta(0))
        ]
    ),
    "Quality over time, a row for each evaluation of a model on held-out documents. Figures are comparable while the "
    "corpus is the same": lambda world: [(world.revision[:12], "gru", "b" * 12, 4.5, 4.4, 4.6)],
}


def test_every_query_of_the_page_has_an_answer_here() -> None:
    assert QUERIES.keys() == ANSWERS.keys() and len(QUERIES) == PAGE.count("```sql")


@pytest.mark.parametrize("question", ANSWERS)
def test_every_query_of_the_page_answers_right(question: str, world: World) -> None:
    query = QUERIES[question].removeprefix("EXPLAIN (COSTS off)\n")
    with world.store.engine.connect() as connection:
        rows = [tuple(row) for row in connection.exec_driver_sql(query.replace("%", "%%"))]
    expected = ANSWERS[question](world)
    if question.startswith("Every model"):
        assert all(timedelta(0) < row[-1] < timedelta(minutes=5) for row in rows)
        rows = [(*row[:-1], timedelta(0)) for row in rows]
    if question.startswith("The verdicts"):
        rows = [(*row[:7], None if row[7] is None else round(row[7], 1), *row[8:]) for row in rows]
    if question.startswith("Quality"):
        rows = [row[1:] for row in rows]  # without its time
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert close(row, wanted), (row, wanted)


def test_the_query_by_hand_goes_through_the_index(database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "INDEX_FROM", 2000)
    space = register(database, "minilm", DIM)
    with database.writer(space) as writer:
        writer.write_documents([ingested(f"{i}", 500, i, dim=DIM) for i in range(4)])
    assert database.build_search_index(space)
    database.vacuum(2000)
    query = QUERIES["The chunks nearest to a chunk, by hand"]
    assert re.findall(r"space_id = (\d+)", query) == [str(space)] * 2 and f"halfvec({DIM})" in query
    [written] = re.findall(r"```text\n(Limit.*?)```", PAGE, re.DOTALL)
    with database.engine.connect() as connection:
        plan = "\n".join(connection.exec_driver_sql(query).scalars())
        assert "Sort" not in plan and f"Index Scan using embedding_search_{space} on embedding e" in plan
        scans = [
            [line.strip() for line in each.splitlines() if "embedding" in line or "<=>" in line]
            for each in (plan, written)
        ]
        assert scans[0] == scans[1], "the page shows this plan"
        naive = query.replace("vector::halfvec(384)", "vector")
        assert "embedding_search" not in "\n".join(connection.exec_driver_sql(naive).scalars())


UNCOMMENTED = """
    SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'lvm'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
        AND obj_description(c.oid, 'pg_class') IS NULL
    UNION ALL SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'lvm'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p') AND a.attnum > 0
        AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL
    UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'lvm'::regnamespace
        AND obj_description(p.oid, 'pg_proc') IS NULL
"""


def test_everything_has_a_comment(database: Store) -> None:
    with database.engine.connect() as connection:
        assert connection.execute(text(UNCOMMENTED)).scalars().all() == []
        connection.exec_driver_sql("CREATE TABLE lvm.silent (nothing integer)")
        assert connection.execute(text(UNCOMMENTED)).scalars().all() == ["silent", "silent.nothing"]


def test_search_is_exact_and_neighbours_leave_the_chunk_out(database: Store, world: World) -> None:
    asked = Vectors("f" * 16, unit_rows(1, DIM, 99), np.ones(1, np.float32))
    query = asked.unit[0]
    with database.engine.connect() as connection:
        found = connection.execute(
            text("SELECT chunk_id, cosine FROM search(CAST(:query AS vector), 7)"), {"query": str(query.tolist())}
        ).all()
        expected = [(hit.chunk_id, hit.cosine) for hit in database.search(world.space, asked, 7)]
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
def test_a_wrong_question_is_named(call: str, message: str, database: Store, world: World) -> None:
    with database.engine.connect() as connection, pytest.raises(DBAPIError, match=message):
        connection.execute(text(f"SELECT * FROM {call}"))


def test_a_model_leads_back_to_its_corpus(database: Store, world: World) -> None:
    with database.engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM training_runs")).one()
        assert (row.architecture, row.status, row.current, row.space) == ("gru", "finished", True, "minilm")
        assert row.corpus_revision == database.corpus_revision(world.space)
        gate = connection.execute(text("SELECT * FROM gates WHERE gate_id = :id"), {"id": row.gate_id}).one()
        assert gate.passed and gate.current and gate.value == row.gate_value and gate.samples == 33
        assert gate.inverter == row.inverter == "1" * 64
    with database.writer(world.space) as writer:
        writer.write_documents([ingested("d", 3, 7, dim=DIM)])
    with database.engine.connect() as connection:
        assert connection.scalars(text("SELECT current FROM gates")).all() == [False, False]
        assert not connection.scalar(text("SELECT current FROM training_runs"))


def test_the_index_is_built_once_and_nearly_exact(database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "INDEX_FROM", 2000)
    dim, number = 64, database.register_space("minilm", 64, "f" * 16, {}, unit_rows(3, 64))
    small = database.register_space("small", DIM, "e" * 16, {}, unit_rows(3, DIM))
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
        writer.write_documents([ingested("other", 1, 78, dim=DIM, fingerprint="e" * 16)])
    late = unit_rows(1, dim, seed=77)[0]
    with database.engine.connect() as connection:
        found = connection.execute(
            text("SELECT title, cosine FROM search(CAST(:query AS vector), 1)"), {"query": str(late.tolist())}
        ).one()
    assert found.cosine > 0.9999


READ = ["space", "document", "chunk", "embedding", "gate_result", "sequence_set", "training_run"]
READ += ["evaluation", "evaluation_figure", "chunks", "gates", "training_runs", "evaluations"]


def test_a_reader_reads_everything_and_changes_nothing(database: Store, world: World, database_url: str) -> None:
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
            assert connection.scalar(text("SELECT count(*) FROM lvm.find('treaty')")) == 4
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
