"""Search with a filter equals brute force, with and without an index; words are found; a build has an end and stops."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from lvm.settings import Settings
from lvm.spaces import Vectors
from lvm.store import (
    IndexNotBuilt,
    IngestedDocument,
    InvalidFilter,
    SchemaUnusable,
    Store,
    open_store,
    postgres,
    search,
    server,
)
from tests.store.toy import DIM, FINGERPRINT, document, register, unit_rows

SOURCES, NAMES, COLOURS = ("north", "south"), ("a", "b", "c", "d"), ("red", "blue")
CHUNKS = 7


def query(seed: int, dim: int = DIM) -> Vectors:
    return Vectors(FINGERPRINT, unit_rows(1, dim, seed), np.ones(1, np.float32))


def store_documents(store: Store, space: int, chunks: int = CHUNKS, dim: int = DIM) -> None:
    """Eight documents: two sources with the same names; colour and size in the metadata."""
    documents = []
    for at, (source, name) in enumerate((source, name) for source in SOURCES for name in NAMES):
        metadata = {"colour": COLOURS[at % 2], "size": {"pages": at}}
        info = document(name, f"{source} {name}", source, metadata=metadata)
        vectors = Vectors(FINGERPRINT, unit_rows(chunks, dim, at), np.ones(chunks, np.float32))
        documents.append(IngestedDocument(info, [f"{source} {name} {i}" for i in range(chunks)], [3] * chunks, vectors))
    with store.writer(space) as writer:
        writer.write_documents(documents)


def brute_force(store: Store, space: int, asked: Vectors, k: int, wanted: dict[str, Any]) -> list[int]:
    """Ids of the nearest chunks, by NumPy over everything that is stored."""

    def listed(key: str) -> list[str] | None:
        value = wanted.get(key)
        return [value] if isinstance(value, str) else value

    kept = set()
    for row in store.documents(space):
        sources, names, metadata = listed("source"), listed("document"), wanted.get("metadata", {})
        if (
            (sources is None or row.source in sources)
            and (names is None or row.external_id in names)
            and all(row.metadata.get(key) == value for key, value in metadata.items())
        ):
            kept.add(row.id)
    found = []
    for batch in store.read_vectors(space):
        cosines = batch.unit @ asked.unit[0]
        found += [
            (-cosine, chunk) for cosine, chunk, row in zip(cosines, batch.chunk_ids, batch.document_ids, strict=True)
            if row in kept
        ]  # fmt: skip
    return [int(chunk) for _, chunk in sorted(found)[:k]]


def scans(store: Store, space: int) -> int:
    """How often the index of a space was read."""
    store.engine.dispose()  # a session reports when it ends
    statement = text("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = :name")
    with store.engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(0.2)"))
        return connection.scalar(statement, {"name": f"embedding_search_{space}"}) or 0


def texts(values: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values) | st.lists(st.sampled_from((*values, "missing")), max_size=3)


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "source": texts(SOURCES),
        "document": texts(NAMES),
        "metadata": st.fixed_dictionaries({}, optional={"colour": st.sampled_from((*COLOURS, "none"))}),
    },
)


def test_any_filter_is_brute_force(database: Store) -> None:
    space = register(database)
    store_documents(database, space)

    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(wanted=FILTERS, k=st.integers(1, 70), seed=st.integers(0, 1000), exact=st.booleans())
    def check(wanted: dict[str, Any], k: int, seed: int, exact: bool) -> None:
        hits = database.search(space, query(seed), k, filter=wanted, exact=exact)
        assert [hit.chunk_id for hit in hits] == brute_force(database, space, query(seed), k, wanted)
        for hit in hits:
            stored = database.vectors(space, [hit.chunk_id]).unit[0]
            assert hit.cosine == pytest.approx(float(stored @ query(seed).unit[0]), abs=1e-5)

    check()


def test_metadata_is_contained_deeply(database: Store) -> None:
    space = register(database)
    store_documents(database, space)
    hits = database.search(space, query(1), 100, filter={"metadata": {"size": {"pages": 2}}})
    assert {hit.text[:7] for hit in hits} == {"north c"} and len(hits) == CHUNKS


@pytest.mark.parametrize("few", [0, 10_000])
def test_an_index_and_a_filter_bring_k_rows(few: int, database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``few`` at 0, every filter goes through the index; what it does not find is searched for exactly."""
    monkeypatch.setattr(search, "INDEX_FROM", 2000)
    dim, space = DIM, register(database, "minilm")
    store_documents(database, space, 300, dim)
    assert database.build_search_index(space)
    with database.engine.begin() as connection:
        source = connection.scalar(text("SELECT pg_get_functiondef('lvm.search'::regproc)"))
        connection.connection.driver_connection.execute(source.replace(":= 10000", f":= {few}"))  # type: ignore[union-attr]
    database.engine.dispose()
    found, before = 0, scans(database, space)
    for seed in range(20):
        for wanted in ({}, {"source": "south"}, {"document": "b"}, {"source": "north", "document": ["a"]}):
            hits = database.search(space, query(seed, dim), 10, filter=wanted)
            assert len(hits) == 10
            exact = brute_force(database, space, query(seed, dim), 10, wanted)
            found += len({hit.chunk_id for hit in hits} & set(exact))
    assert found / 800 >= 0.98
    used = scans(database, space) - before
    assert used == (80 if few == 0 else 0), "a filter that keeps little needs no index"
    database.search(space, query(0, dim), 10)
    assert scans(database, space) - before == used + 1
    assert len(database.search(space, query(0, dim), 400, filter={"source": "south", "document": "a"})) == 300
    assert len(database.search(space, query(0, dim), 5000)) == 2400  # more than SQL takes: exact
    assert database.search(space, query(0, dim), 3, filter={"source": "missing"}) == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"author": "x"}, "the key author; its keys may be source, document and metadata"),
        ({"source": 3}, "source must be a string or an array of strings"),
        ({"document": ["a", 1]}, "document must be a string or an array of strings"),
        ({"source": None}, "source must be a string"),
        ({"metadata": "red"}, "metadata must be an object"),
        (["north"], "no JSON object"),
        ({"source": {"north"}}, "JSON"),
        ({"metadata": {"x": float("nan")}}, "JSON"),
        ({"source": "a\0"}, "unsupported Unicode"),
    ],
)
def test_a_wrong_filter_is_named(wanted: Any, message: str, database: Store) -> None:
    space = register(database)
    with pytest.raises(InvalidFilter, match=message) as error:
        database.search(space, query(0), 3, filter=wanted)
    assert "\n" not in str(error.value)


def test_a_zero_vector_has_no_neighbours(database: Store) -> None:
    register(database, "minilm")
    with database.engine.connect() as connection, pytest.raises(DBAPIError, match="zero vector"):
        connection.execute(text(f"SELECT * FROM search(CAST('{[0] * DIM}' AS vector))"))


# -- the index ------------------------------------------------------------------------------------------------------


@pytest.fixture
def indexable(database: Store, monkeypatch: pytest.MonkeyPatch) -> int:
    """A space of 2,400 vectors, which should have an index."""
    monkeypatch.setattr(search, "INDEX_FROM", 2000)
    monkeypatch.setattr(search, "POLL_SECONDS", 0.01)
    space = register(database, "minilm")
    store_documents(database, space, 300)
    return space


def indexes(store: Store) -> int:
    with store.engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_class WHERE relname LIKE 'embedding_search_%'")) or 0


def test_an_index_of_the_old_form_serves(database: Store, indexable: int) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE INDEX embedding_search_{indexable} ON lvm.embedding USING hnsw "
            f"((vector::vector({DIM})) vector_cosine_ops) WHERE space_id = {indexable}"
        )
    assert database.vectors_to_index(indexable) == 0 and not database.build_search_index(indexable)
    hits = database.search(indexable, query(5), 10)
    assert len({hit.chunk_id for hit in hits} & set(brute_force(database, indexable, query(5), 10, {}))) >= 9
    assert scans(database, indexable) == 1


def test_progress_ends_at_the_number_of_vectors(database: Store, indexable: int) -> None:
    assert database.vectors_to_index(indexable) == 2400
    told: list[int] = []
    assert database.build_search_index(indexable, told.append)
    assert told and 0 < sum(told) <= 2400 and min(told) > 0
    assert database.vectors_to_index(indexable) == 0


def slow_build(store: Store, body: str) -> None:
    """Replace the build by one that does something else."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION lvm.build_search_index(of_space integer, at_least integer, "
            "memory bigint DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} RETURN true; END $$"
        )


def test_ctrl_c_stops_the_build_on_the_server(database: Store, indexable: int) -> None:
    slow_build(database, "PERFORM pg_sleep(600);")
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        database.build_search_index(indexable, lambda count: None)
    with database.engine.connect() as connection:
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT build_search_index%'"
        )
        assert connection.scalar(text(running)) == 0


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("disk_full", "free disk space"), ("out_of_memory", "free memory"), ("53400", "raise that limit")],
)
def test_no_room_is_named(code: str, remedy: str, database: Store, indexable: int) -> None:
    slow_build(database, f"RAISE EXCEPTION 'no room' USING ERRCODE = '{code}';")
    with pytest.raises(IndexNotBuilt, match=rf"no room.*search is exact.*{remedy}.*lvm db index") as error:
        database.build_search_index(indexable)
    assert "\n" not in str(error.value)


def test_a_build_that_is_stopped_leaves_no_index(database: Store, indexable: int, database_url: str) -> None:
    url = make_url(database_url).update_query_dict({"options": "-c statement_timeout=100ms"})
    with open_store(Settings(database_url=url.render_as_string(hide_password=False))) as hurried:
        with pytest.raises(IndexNotBuilt, match="statement_timeout"):
            hurried.build_search_index(indexable)
        assert indexes(database) == 0
        assert len(hurried.search(indexable, query(3), 4)) == 4


def test_without_shared_memory_it_is_built_by_one_process(database: Store, indexable: int) -> None:
    """An event trigger stands in for a full /dev/shm: it refuses a parallel build with the server's own words."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("""
            CREATE FUNCTION no_shared_memory() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF current_setting('max_parallel_maintenance_workers') <> '0' THEN
                    RAISE EXCEPTION 'could not resize shared memory segment "/PostgreSQL.1" to 1 bytes'
                        USING ERRCODE = 'disk_full';
                END IF;
            END $$;
            CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE INDEX')
                EXECUTE FUNCTION no_shared_memory();
        """)
    assert database.build_search_index(indexable) and indexes(database) == 1


def test_memory_is_what_the_index_needs(database: Store, indexable: int) -> None:
    used: list[str] = []
    with database.engine.begin() as connection:
        connection.execute(text("SELECT build_search_index(:space, 1, :memory)"), {"space": indexable, "memory": 2**40})
        used.append(str(connection.scalar(text("SHOW maintenance_work_mem"))))
        workers = int(str(connection.scalar(text("SHOW max_parallel_maintenance_workers"))))
    assert used == [f"{32 * (workers + 1)}MB"], "a small index takes the least that workers need, whatever is allowed"


def test_a_quarter_of_the_machine_is_for_the_embedded_server(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(postgres, "CONTAINER_LIMIT", limit)
    ours = Settings(database_url=None)
    machine = server.index_memory(ours)
    assert machine is not None
    for content, expected in (("max\n", machine), ("4000\n", 1000)):
        limit.write_text(content)
        assert server.index_memory(ours) == expected
    assert server.index_memory(Settings(database_url="postgresql://x/y")) is None  # type: ignore[arg-type]


def test_a_view_on_the_old_search_stops_the_migration_by_name(database: Store, settings: Settings) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("""
            DROP FUNCTION lvm.search(vector, integer, text, jsonb, boolean);
            DROP FUNCTION lvm.filter_texts(jsonb, text);
            DROP FUNCTION lvm.build_search_index(integer, integer, bigint);
            CREATE FUNCTION lvm.build_search_index(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT false';
            CREATE FUNCTION lvm.search(query vector, k integer, space text) RETURNS integer LANGUAGE sql AS 'SELECT 1';
            CREATE VIEW public.mine AS SELECT lvm.search('[1]'::vector, 1, 'x');
            UPDATE lvm.alembic_version SET version_num = '0003';
        """)
    with pytest.raises(SchemaUnusable, match=r"view .*mine depends on function .*search.*lvm db migrate"):
        open_store(settings)


# -- words ----------------------------------------------------------------------------------------------------------

SAID = {
    "north": ["The canal treaty was signed.", "Treaties about the canals of Panama.", "No word of it."],
    "south": ["A treaty with Spain, and a canal.", "Die Verträge über den Kanal.", "Das Haus will es."],
}


@pytest.fixture
def said(database: Store) -> int:
    """Six texts of two sources in one space; another space has the vectors of the second source only."""
    space, other = register(database, "minilm"), register(database, "other", fingerprint="e" * 16)
    for seed, (source, texts) in enumerate(SAID.items()):
        vectors = Vectors(FINGERPRINT, unit_rows(3, DIM, seed), np.ones(3, np.float32))
        item = IngestedDocument(document("d", source, source, metadata={"at": seed}), texts, [3] * 3, vectors)
        with database.writer(space) as writer:
            writer.write_documents([item])
    with database.writer(other) as writer:
        again = Vectors("e" * 16, vectors.unit, vectors.norms)
        writer.write_documents([IngestedDocument(item.document, texts, [3] * 3, again)])
    return space


def found(store: Store, query: str, rest: str = "") -> list[str]:
    with store.engine.connect() as connection:
        statement = text(f"SELECT highlights FROM find(CAST(:query AS text){rest})")
        return [str(each) for each in connection.scalars(statement, {"query": query})]


FOUND = [
    ("canal treaty", "", ["The **canal** **treaty** was signed.", "**Treaties** about the **canals** of Panama.",
                          "A **treaty** with Spain, and a **canal**."]),
    ('"canal treaty"', "", ["The **canal** **treaty** was signed."]),
    ("treaty -Spain -signed", "", ["**Treaties** about the canals of Panama."]),
    ("Panama or Spain", ", 1", ["Treaties about the canals of **Panama**."]),
    ("canal", ", space => 'other'", ["A treaty with Spain, and a **canal**."]),
    ("canal", ", filter => '{\"source\": \"south\"}'", ["A treaty with Spain, and a **canal**."]),
    ("canal", ", filter => '{\"metadata\": {\"at\": 0}, \"document\": [\"d\"]}'",
     ["The **canal** treaty was signed.", "Treaties about the **canals** of Panama."]),
    ("über Kanal", "", ["Die Verträge **über** den **Kanal**."]),
    ("the of", "", []),
    ("", "", []),
    ("unheard", "", []),
]  # fmt: skip


def test_words_are_found_with_the_index_and_without(database: Store, said: int) -> None:
    expected = [each for _, _, each in FOUND]
    assert [found(database, query, rest) for query, rest, _ in FOUND] == expected
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX lvm.chunk_words")
    assert [found(database, query, rest) for query, rest, _ in FOUND] == expected


@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.text("\"-':*&|!()<> a%\\"))
def test_no_query_is_an_error(query: str, database: Store) -> None:
    found(database, query)


def test_a_wrong_search_by_words_is_named(database: Store, said: int) -> None:
    for rest, message in (
        (", 0", "k is 0"),
        (", space => 'nowhere'", "no space is called nowhere; there is minilm, other"),
        (", filter => '[1]'", "no JSON object"),
        (', filter => \'{"author": "x"}\'', "the key author"),
        (", filter => '{\"source\": 3}'", "source must be a string"),
    ):
        with pytest.raises(DBAPIError, match=message):
            found(database, "canal", rest)


def test_another_language_is_one_statement(database: Store, said: int) -> None:
    assert found(database, "Vertrag") == [] and found(database, "will") == []
    page = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
    [statements] = re.findall(r"\n( +ALTER TEXT SEARCH.*?REINDEX[^;]*;)", page, re.DOTALL)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(statements)
    assert found(database, "Vertrag über Kanäle") == ["Die **Verträge** über den **Kanal**."]


def test_the_index_of_words_is_used(database: Store) -> None:
    space = register(database, "minilm")
    store_documents(database, space, 300)
    database.vacuum(2400)
    assert len(found(database, "north c 17")) == 1
    database.engine.dispose()  # a session reports when it ends
    with database.engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(0.2)"))
        used = text("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'chunk_words'")
        assert connection.scalar(used) == 1


@pytest.mark.parametrize("wanted", [None, {"source": "south"}])
def test_hybrid_is_reciprocal_rank_fusion(wanted: dict[str, Any] | None, database: Store, said: int) -> None:
    for seed in range(10):
        near = [hit.chunk_id for hit in database.search(said, query(seed), 100, filter=wanted)]
        with database.engine.connect() as connection:
            rest = "" if wanted is None else ', filter => \'{"source": "south"}\''
            words = [*connection.scalars(text(f"SELECT chunk_id FROM find('canal', space => 'minilm'{rest})"))]
        assert len(words) == (3 if wanted is None else 1)
        scores = {chunk: sum(1 / (61 + each.index(chunk)) for each in (near, words) if chunk in each) for chunk in near}
        hits = database.search(said, query(seed), 4, words="canal", filter=wanted)
        assert [hit.chunk_id for hit in hits] == sorted(near, key=lambda chunk: (-scores[chunk], chunk))[:4]
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.chunk_id]) and hit.highlights is not None
            assert ("**canal" in hit.highlights) == (hit.chunk_id in words)
            assert hit.highlights.replace("**", "") == hit.text
        cosines = {hit.chunk_id: hit.cosine for hit in database.search(said, query(seed), 100)}
        assert all(hit.cosine == pytest.approx(cosines[hit.chunk_id], abs=1e-6) for hit in hits)
        without = database.search(said, query(seed), 4, words="unheard\0", filter=wanted)
        assert [hit.chunk_id for hit in without] == near[:4], "no word is found: the order is that of the vectors"


@pytest.mark.parametrize("words", [None, "north"])
def test_pages_are_one_list(words: str | None, database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    space = register(database, "minilm")
    store_documents(database, space)
    whole = database.search(space, query(3), 56, words=words)
    assert len(whole) == 56
    monkeypatch.setattr(search, "INDEXED_K", 30)  # later pages are exact
    pages = [database.search(space, query(3), 10, words=words, skip=skip) for skip in range(0, 70, 10)]
    assert [len(page) for page in pages] == [10, 10, 10, 10, 10, 6, 0]
    assert [hit.chunk_id for page in pages for hit in page] == [hit.chunk_id for hit in whole]
