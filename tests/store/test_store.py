"""What the database promises: whole documents, vectors back bit for bit, and nothing that is no vector."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lvm.encoding.vectors import InvalidVectors, SpaceMismatch, Vectors
from lvm.settings import Settings
from lvm.store import (
    Busy,
    ChunkingDiffers,
    DatabaseUnavailable,
    IngestedDocument,
    InvalidDatabaseUrl,
    InvalidText,
    NotConfirmed,
    SchemaUnusable,
    Store,
    open_store,
)
from tests.store.toy import DIM, FINGERPRINT, document, fill, gate, ingested, register, sequence_set, unit_rows

_numbers = itertools.count()


def test_vectors_come_back_bit_for_bit_and_in_order(database: Store, space: int) -> None:
    documents = [ingested(name, n, seed=n) for name, n in (("b", 4), ("a", 3), ("ä", 2), ("B", 1))]
    with database.writer(space) as writer:
        assert writer.write_documents(documents[:2]) == 7
        assert writer.write_documents(documents[2:]) == 3
    batches = list(database.read_vectors(space))
    ids = np.concatenate([b.chunk_ids for b in batches])
    by_name = sorted(documents, key=lambda d: d.document.external_id.encode())
    assert database.chunk_texts(ids) == [t for d in by_name for t in d.chunk_texts]
    counted = database.token_counts([*ids.tolist(), int(ids.max()) + 1])
    assert [counted[i] for i in ids.tolist()] == [n for d in by_name for n in d.token_counts] and len(counted) == len(
        ids
    )
    np.testing.assert_array_equal(
        np.concatenate([b.unit for b in batches]), np.concatenate([d.vectors.unit for d in by_name])
    )
    np.testing.assert_array_equal(
        np.concatenate([b.norms for b in batches]), np.concatenate([d.vectors.norms for d in by_name])
    )
    np.testing.assert_array_equal(
        np.concatenate([b.positions for b in batches]), np.concatenate([np.arange(len(d.vectors)) for d in by_name])
    )
    assert {b.fingerprint for b in batches} == {"f" * 16}


def test_reading_spans_many_batches(database: Store, space: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, space, documents=7, chunks=5)
    monkeypatch.setattr("lvm.store.reader.READ_ROWS", 11)
    batches = list(database.read_vectors(space))
    assert [len(b.unit) for b in batches] == [10, 10, 10, 5]
    wanted = [row.id for row in database.documents(space)][2:4]
    assert set(np.concatenate([b.document_ids for b in database.read_vectors(space, wanted)])) == set(wanted)


def test_any_number_of_ids_fits_in_a_statement(database: Store, space: int) -> None:
    doc = ingested("a", 3)
    with database.writer(space) as writer:
        writer.write_documents([doc])
    ids = database.chunk_ids(space).tolist()
    many = ids + list(range(max(ids) + 1, max(ids) + 70_000))  # a statement has room for 65,535 parameters
    assert database.token_counts(many) == dict(zip(ids, doc.token_counts, strict=True))
    assert database.chunk_texts(ids * 25_000) == [*doc.chunk_texts] * 25_000
    np.testing.assert_array_equal(database.vectors(space, ids * 25_000).unit[-3:], doc.vectors.unit)
    assert list(database.document_chunks([row.id for row in database.documents(space)] * 70_000)) == [
        row.id for row in database.documents(space)
    ]


postgres_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    texts=st.lists(postgres_text, min_size=1, max_size=5), title=st.text(max_size=10), seed=st.integers(0, 2**32 - 1)
)
def test_any_text_survives(database: Store, space: int, texts: list[str], title: str, seed: int) -> None:
    title = title.encode("utf-8", "ignore").decode().replace("\0", "")
    doc = document(f"id {next(_numbers)}", "".join(texts), title=title, metadata={"texts": texts})
    vectors = Vectors("f" * 16, unit_rows(len(texts), seed=seed), np.ones(len(texts), np.float32))
    item = IngestedDocument(doc, texts, [1] * len(texts), vectors)
    with database.writer(space) as writer:
        writer.write_documents([item])
    row = next(r for r in database.documents(space) if r.external_id == doc.external_id)
    batch = next(database.read_vectors(space, [row.id]))
    assert database.chunk_texts(batch.chunk_ids) == texts
    assert (row.title, row.metadata) == (title, {"texts": texts})


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


# -- locks, clearing, search -----------------------------------------------------------------------------------


def test_two_at_once_are_told_apart(database: Store, settings: Settings) -> None:
    with open_store(settings) as other, database.lock("ingest"):
        with pytest.raises(Busy, match="'ingest'"), other.lock("ingest"):
            pass
        with other.lock("something else"):
            pass
    with open_store(settings) as other, other.lock("ingest"):
        pass


def test_a_lock_can_be_waited_for(database: Store, settings: Settings) -> None:
    told: list[str] = []

    def other() -> None:
        with open_store(settings) as store, store.lock("files", wait=True):
            told.append("second")

    with ThreadPoolExecutor(1) as thread:
        with database.lock("files"):
            waiting = thread.submit(other)
            time.sleep(0.5)
            assert not waiting.done()
            told.append("first")
        waiting.result(timeout=10)
    assert told == ["first", "second"]


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
    hits = database.search(space, Vectors(batch.fingerprint, batch.unit[7:8], batch.norms[7:8]), k=3)
    assert hits[0].chunk_id == batch.chunk_ids[7]
    assert hits[0].cosine == pytest.approx(1, abs=1e-6)
    best = np.sort(batch.unit @ batch.unit[7])[::-1][:3]
    np.testing.assert_allclose([h.cosine for h in hits], best, atol=1e-6)


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
