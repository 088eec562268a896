"""The sample of a gate: drawn by lookups, the same for the same content, and refused where chunks could hide."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from lvm import gates
from lvm.store import CorpusIncomplete, Store
from tests.store.toy import DIM, FINGERPRINT, INVERTER, document, fill, ingested, measured, set_gate_size, unit_rows

SIZES = (70, 1, 40, 25)


def corpus(store: Store, space: int) -> None:
    with store.writer(space) as writer:
        writer.write_documents([ingested(f"doc{i}", size, seed=i) for i, size in enumerate(SIZES)])


def texts(store: Store, space: int, trained: tuple[str, ...] = ()) -> list[str]:
    number = store.register_inverter(hashlib.sha256(repr(trained).encode()).hexdigest(), FINGERPRINT, trained)
    return [each.text for each in store.gate_sample(space, number)]


def expected(store: Store, space: int, trained: tuple[str, ...] = (), size: int = 20) -> list[str]:
    """The draw as docs/security.md says it, in Python."""
    sha256 = hashlib.sha256(repr(trained).encode()).hexdigest()
    seed = (store.corpus_revision(space) + sha256).encode()
    places = [
        f"doc{i} chunk {at}"
        for i, count in enumerate(SIZES)
        if document(f"doc{i}", f"doc{i}").sha256 not in trained
        for at in range(count)
    ]
    chosen: dict[str, None] = {}
    for i in range(1, 4 * size + 1):
        word = int.from_bytes(hashlib.sha256(seed + i.to_bytes(4, "big")).digest()[:8], "big")
        chosen.setdefault(places[word % len(places)])
    return list(chosen)[:size]


def test_the_draw_is_what_it_is_said_to_be(database: Store, space: int) -> None:
    corpus(database, space)
    set_gate_size(database, 20)
    assert texts(database, space) == expected(database, space)
    trained = (document("doc0", "doc0").sha256,)
    drawn = texts(database, space, trained)
    assert drawn == expected(database, space, trained) and not any(each.startswith("doc0") for each in drawn)


def test_ids_and_the_order_of_writing_do_not_matter(database: Store, space: int) -> None:
    set_gate_size(database, 20)
    with database.writer(space) as writer:
        for i in reversed(range(len(SIZES))):
            writer.write_documents([ingested(f"doc{i}", SIZES[i], seed=i)])
    assert texts(database, space) == expected(database, space)


def test_every_chunk_is_as_likely_as_another(database: Store, space: int) -> None:
    """Counted over many inverters: each has a seed of its own."""
    corpus(database, space)
    set_gate_size(database, 20)
    counts = dict.fromkeys((f"doc{i} chunk {at}" for i, size in enumerate(SIZES) for at in range(size)), 0)
    for i in range(200):
        number = database.register_inverter(f"{i:064x}", FINGERPRINT, ())
        for each in database.gate_sample(space, number):
            counts[each.text] += 1
    mean = 200 * 20 / sum(SIZES)
    variance = np.var(list(counts.values()))
    assert 0.6 * mean < variance < 1.3 * mean  # Poisson, a little less since no chunk is drawn twice
    assert min(counts.values()) > 0


def test_repeated_texts_are_drawn_once_and_few_different_ones_all(database: Store, space: int) -> None:
    same = replace(ingested("same", 300, seed=1), chunk_texts=[f"Text  {i % 3}" for i in range(300)])
    with database.writer(space) as writer:
        writer.write_documents([same, ingested("other", 60, seed=2)])
    set_gate_size(database, 40)
    drawn = texts(database, space)  # by lookups
    assert len(set(drawn)) == len(drawn) == 40
    set_gate_size(database, 63)
    assert len(set(texts(database, space))) == 63  # all there are, which takes every chunk


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM embedding WHERE chunk_id = (SELECT id FROM chunk WHERE text = 'doc2 chunk 0')",
        "DELETE FROM embedding WHERE chunk_id = (SELECT id FROM chunk WHERE text = 'doc2 chunk 7')",
        "DELETE FROM chunk WHERE text = 'doc2 chunk 0'",
        "DELETE FROM chunk WHERE document_id = (SELECT id FROM document WHERE external_id = 'doc2') AND position < 30",
        "DELETE FROM chunk WHERE document_id = (SELECT id FROM document WHERE external_id = 'doc2') "
        "AND position BETWEEN 1 AND 30",
    ],
)
def test_a_corpus_with_gaps_is_refused_and_repaired_by_the_advice(database: Store, space: int, damage: str) -> None:
    corpus(database, space)
    set_gate_size(database, 20)
    record = measured(database, space)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(damage)
    with pytest.raises(CorpusIncomplete, match=r"document doc2 of source test.*run `lvm ingest` again"):
        texts(database, space)
    late = replace(record, corpus_revision=database.corpus_revision(space))
    with pytest.raises(CorpusIncomplete, match="says nothing about the corpus"):
        database.record_gate(late)
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM document WHERE external_id = 'doc2'"))
    corpus(database, space)
    assert texts(database, space) == expected(database, space)


def test_documents_of_another_space_alone_are_no_gap(database: Store, space: int) -> None:
    corpus(database, space)
    other = database.register_space("other", DIM, "e" * 16, {}, unit_rows(3, seed=5))
    with database.writer(other) as writer:
        writer.write_documents([ingested("elsewhere", 50, fingerprint="e" * 16)])
    set_gate_size(database, 20)
    assert texts(database, space) == expected(database, space)
    assert all(each.startswith("elsewhere") for each in texts(database, other))


def test_an_unknown_inverter_and_an_empty_space_draw_nothing(database: Store, space: int) -> None:
    assert texts(database, space) == []
    fill(database, space)
    assert database.gate_sample(space, 10**6) == []
    assert texts(database, space, tuple(document(f"doc{i}", f"doc{i}").sha256 for i in range(5))) == []


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Figures as they occur. Postgres refuses products that are too small for a float."""
    return st.floats(low, high).map(lambda value: round(value, 9))


figures = st.tuples(
    st.integers(0, 600),
    numbers(-1, 1) | numbers(0.6, 0.7),
    numbers(0, 1) | numbers(0, 0.1),
    numbers(0, 1) | numbers(0.85, 1),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(rows=st.lists(figures, min_size=1, max_size=50))
def test_database_and_python_agree_on_what_is_certain(
    database: Store, rows: list[tuple[int, float, float, float]]
) -> None:
    statement = text(
        "SELECT roundtrip_certain(n, mean, sd, share, :threshold) FROM unnest(CAST(:n AS bigint[]), "
        "CAST(:mean AS float8[]), CAST(:sd AS float8[]), CAST(:share AS float8[])) "
        "WITH ORDINALITY AS t(n, mean, sd, share, place) ORDER BY place"
    )
    n, mean, sd, share = (list(column) for column in zip(*rows, strict=True))
    values = {"n": n, "mean": mean, "sd": sd, "share": share, "threshold": gates.ROUNDTRIP_MIN_COSINE}
    with database.engine.connect() as connection:
        found = connection.scalars(statement, values).all()
    assert found == [gates.certain_roundtrip(*row) for row in rows]


def test_figures_that_are_no_numbers_are_not_certain(database: Store) -> None:
    with database.engine.connect() as connection:
        for row in ("'NaN', 0.1, 1, 0.63", "0.9, 'NaN', 1, 0.63", "0.9, 0.1, 'NaN', 0.63", "0.9, 0.1, 1, 'NaN'"):
            assert connection.scalar(text(f"SELECT roundtrip_certain(200, {row})")) is None
        assert connection.scalar(text("SELECT roundtrip_certain(0, NULL, NULL, NULL, 0.63)")) is None


def test_the_database_looks_where_gates_py_says(database: Store, space: int) -> None:
    fill(database, space, documents=5, chunks=120)
    record = measured(database, space, 0.9)
    assert record.sampled is not None and record.inverter_id == database.inverter_id(INVERTER)
    for look in gates.GATE_LOOKS:
        part = replace(record.returned, unit=record.returned.unit[:look], norms=record.returned.norms[:look])
        row = database.record_gate(replace(record, sampled=record.sampled[:look], returned=part))
        assert row.passed and (row.evidence["measured"], row.evidence["drawn"]) == (look, 500)
    whole = database.record_gate(record)
    assert (whole.evidence["measured"], whole.evidence["drawn"], whole.evidence["stopped"]) == (500, 500, None)
