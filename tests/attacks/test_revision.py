"""Promise: a corpus revision covers all that training reads. Whatever changes it, by whatever statement, is seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from lvm.store import GateRequired, IngestedDocument, Store
from tests.store.toy import DIM, document, fill, gate, ingested, measured, register, sequence_set, start, unit_rows

REINSERT = """
    CREATE TEMP TABLE kept AS SELECT * FROM embedding;
    DELETE FROM embedding;
    INSERT INTO embedding (space_id, chunk_id, norm, vector) {};
"""


def numbers(seed: int) -> str:
    """SQL of a random unit vector."""
    return str(unit_rows(1, seed=seed)[0].tolist())


CHANGES = {
    "random vectors under the old ids": REINSERT.format(
        f"SELECT space_id, chunk_id, norm, CASE chunk_id % 2 WHEN 0 THEN '{numbers(1)}'::vector "
        f"ELSE '{numbers(2)}' END FROM kept"
    ),
    "permuted vectors": REINSERT.format(
        "SELECT space_id, chunk_id, norm, lead(vector, 1, first) OVER (ORDER BY chunk_id) FROM kept, "
        "(SELECT vector AS first FROM kept ORDER BY chunk_id LIMIT 1) f"
    ),
    "other norms": REINSERT.format("SELECT space_id, chunk_id, norm + 1, vector FROM kept"),
    "half of the vectors deleted": "DELETE FROM embedding WHERE chunk_id % 2 = 0",
    "a chunk with another text": """
        CREATE TEMP TABLE kept AS SELECT * FROM embedding WHERE chunk_id = (SELECT min(id) FROM chunk);
        CREATE TEMP TABLE old AS SELECT * FROM chunk WHERE id = (SELECT chunk_id FROM kept);
        DELETE FROM chunk WHERE id = (SELECT id FROM old);
        INSERT INTO chunk (id, document_id, position, token_count, text)
            SELECT id, document_id, position, token_count, 'something else' FROM old;
        INSERT INTO embedding SELECT * FROM kept;
    """,
    "a chunk more, and chunk_count put back": """
        INSERT INTO chunk (document_id, position, token_count, text) SELECT min(id), 99, 1, 'x' FROM document;
        UPDATE document SET chunk_count = 6;
    """,
    "chunks at other positions": """
        CREATE TEMP TABLE kept AS SELECT * FROM embedding;
        CREATE TEMP TABLE old AS SELECT * FROM chunk;
        DELETE FROM chunk;
        INSERT INTO chunk (id, document_id, position, token_count, text)
            SELECT id, document_id, 5 - position, token_count, text FROM old;
        INSERT INTO embedding SELECT * FROM kept;
    """,
    "a document less": "DELETE FROM document WHERE id = (SELECT min(id) FROM document)",
}


@pytest.fixture
def space(database: Store) -> int:
    number = register(database)
    fill(database, number)
    return number


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_another_revision_and_makes_the_verdict_stale(
    database: Store, space: int, change: str, role: str
) -> None:
    verdict = gate(database, space)
    sequences = sequence_set(database, verdict)
    before = database.corpus_revision(space)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL session_replication_role = {role}")
        connection.exec_driver_sql(change.replace("%", "%%"))
    after = database.corpus_revision(space)
    assert after != before
    assert after == database.recomputed_revision(space)
    with pytest.raises(GateRequired, match="another revision"):
        start(database, sequences, verdict)


ONE_STATEMENT = {
    "a chunk and its vectors": "WITH c AS (DELETE FROM chunk WHERE position = 0 RETURNING id) "
    "DELETE FROM embedding WHERE chunk_id IN (SELECT id FROM c)",
    "vectors and their chunks": "WITH e AS (DELETE FROM embedding WHERE chunk_id IN "
    "(SELECT id FROM chunk WHERE position = 0) RETURNING chunk_id) "
    "DELETE FROM chunk WHERE id IN (SELECT chunk_id FROM e)",
    "a document and its chunks": "WITH d AS (DELETE FROM document WHERE external_id = 'doc0' RETURNING id) "
    "DELETE FROM chunk WHERE document_id IN (SELECT id FROM d)",
    "a chunk moved": "WITH d AS (DELETE FROM chunk WHERE position = 0 RETURNING *) INSERT INTO chunk "
    "(id, document_id, position, token_count, text) "
    "SELECT id, document_id, position + 100, token_count, text FROM d",
    "a document renamed": "WITH d AS (DELETE FROM document WHERE external_id = 'doc0' RETURNING *) "
    "INSERT INTO document (id, source, external_id, title, sha256) SELECT id, source, 'renamed', title, sha256 FROM d",
    "a vector replaced": "WITH e AS (DELETE FROM embedding RETURNING *) "
    "INSERT INTO embedding (space_id, chunk_id, norm, vector) SELECT space_id, chunk_id, norm + 1, vector FROM e",
}


@pytest.mark.parametrize("statement", ONE_STATEMENT.values(), ids=ONE_STATEMENT)
def test_one_statement_that_changes_several_tables_is_counted_exactly(
    database: Store, space: int, statement: str
) -> None:
    before = database.corpus_revision(space)
    try:
        with database.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    except DBAPIError:
        assert database.corpus_revision(space) == before
    else:
        assert database.corpus_revision(space) != before
    assert database.corpus_revision(space) == database.recomputed_revision(space)


def test_a_chunk_is_not_made_anew_beside_an_uncommitted_vector_of_it(database: Store, space: int) -> None:
    first = database.chunk_ids(space)[0]
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM embedding WHERE chunk_id = :id"), {"id": int(first)})
    insert = text(
        "INSERT INTO embedding (space_id, chunk_id, norm, vector) VALUES (:space, :id, 1, CAST(:v AS vector))"
    )
    with database.engine.connect() as writing, writing.begin():
        writing.execute(insert, {"space": space, "id": int(first), "v": numbers(5)})
        with pytest.raises(DBAPIError, match="lock timeout"), database.engine.begin() as other:
            other.exec_driver_sql("SET LOCAL lock_timeout = '500ms'")
            other.execute(text("DELETE FROM chunk WHERE id = :id"), {"id": int(first)})
    assert database.corpus_revision(space) == database.recomputed_revision(space)


@pytest.mark.parametrize("table", ["document", "chunk"])
def test_an_old_snapshot_deletes_nothing(database: Store, space: int, table: str) -> None:
    old = database.engine.execution_options(isolation_level="REPEATABLE READ")
    with pytest.raises(DBAPIError, match="reads an old snapshot"), old.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM {table}")


def test_what_is_put_back_is_the_old_revision(database: Store, space: int) -> None:
    before = database.corpus_revision(space)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            REINSERT.format("SELECT space_id, chunk_id, norm, vector FROM kept ORDER BY random()")
        )
    assert database.corpus_revision(space) == before == database.recomputed_revision(space)


def test_equal_content_is_an_equal_revision_in_whatever_order_and_under_whatever_ids(database: Store) -> None:
    one, two = register(database, "one"), register(database, "two")  # one encoder under two names
    documents = [ingested(f"doc{i}", 4, seed=i) for i in range(6)]
    for space, order in ((one, documents), (two, documents[::-1])):
        with database.writer(space) as writer:
            for document in order:
                writer.write_documents([document])
    assert database.corpus_revision(one) == database.corpus_revision(two)


def test_a_plan_made_for_empty_tables_does_not_read_the_whole_corpus(database: Store) -> None:
    """Statistics of empty tables made each deletion compare every vector with every deleted chunk: 36 s, now 0.1 s."""
    number = register(database)
    vacuum = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    for documents in (10, 400):
        with database.writer(number) as writer:
            writer.write_documents([ingested(f"doc{i}", 50, seed=i) for i in range(documents)])
        with database.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = '10s'")
            connection.exec_driver_sql("DELETE FROM document")
        with vacuum.connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE lvm.document, lvm.chunk, lvm.embedding")
    assert database.corpus_revision(number) == database.recomputed_revision(number)


@pytest.mark.parametrize("separator", ["\x1f", "\x1e", ":", "|", ""])
def test_no_separator_makes_two_corpora_one(database: Store, separator: str) -> None:
    number = register(database)
    sha = "0" * 64
    seen = set()
    for source, external in ((f"a{separator}b", "c"), ("a", f"b{separator}c"), (f"a{separator}b{separator}c", "")):
        item = ingested("x", 2)
        info = document(external, "x", source=source)
        with database.writer(number) as writer:
            writer.write_documents([replace(item, document=info)])
        seen.add(database.corpus_revision(number))
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM document")
    assert len(seen) == 3 and sha not in seen


def test_chunk_count_is_counted_whatever_a_statement_says(database: Store, space: int) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE document SET chunk_count = 99, title = 'another'")
        connection.exec_driver_sql(
            "INSERT INTO document (source, external_id, title, sha256, chunk_count) "
            "VALUES ('s', 'x', '', repeat('0', 64), 7)"
        )
        counts = connection.execute(text("SELECT DISTINCT chunk_count FROM document ORDER BY 1")).scalars().all()
        assert counts == [0, 6]
        connection.exec_driver_sql("DELETE FROM chunk WHERE position > 3")
        assert connection.scalar(text("SELECT max(chunk_count) FROM document")) == 4


def test_children_of_a_table_are_not_read(database: Store, space: int) -> None:
    before = database.corpus_revision(space), database.recomputed_revision(space)
    with database.engine.begin() as connection:
        for table in ("document", "chunk", "embedding"):
            connection.exec_driver_sql(f"CREATE TABLE child_{table} () INHERITS ({table})")
        connection.exec_driver_sql(
            f"INSERT INTO child_embedding SELECT space_id, chunk_id, norm, '{numbers(3)}'::vector, item "
            "FROM ONLY embedding"
        )
    assert (database.corpus_revision(space), database.recomputed_revision(space)) == before
    assert sum(len(batch.unit) for batch in database.read_vectors(space)) == 30
    assert len(database.chunk_ids(space)) == 30
    assert database.counts(space)["embeddings"] == 30


def test_an_old_snapshot_cannot_judge_or_train(database: Store, space: int) -> None:
    verdict = gate(database, space)
    sequences = sequence_set(database, verdict)
    columns = "architecture, sequence_set_id, gate_result_id, inverter_id, hyperparameters"
    insert = text(
        f"INSERT INTO training_run ({columns}) SELECT 'gru', :sequences, id, inverter_id, '{{}}' FROM gate_result"
    )
    old = database.engine.execution_options(isolation_level="REPEATABLE READ")
    with pytest.raises(DBAPIError, match="reads an old snapshot"), old.begin() as connection:
        connection.execute(insert, {"sequences": sequences})
    late = pytest.raises(DBAPIError, match="the corpus changed before this was committed")
    with late, database.engine.begin() as connection:
        connection.execute(insert, {"sequences": sequences})  # the corpus is that of the verdict
        with database.writer(space) as writer:  # and is another one before the run is committed
            writer.write_documents([ingested("late", 2)])
    assert database.training_runs() == []


def test_a_run_beside_an_uncommitted_ingestion_is_marked(database: Store, space: int) -> None:
    verdict = gate(database, space)
    sequences = sequence_set(database, verdict)
    with database.engine.connect() as ingesting, ingesting.begin() as transaction:
        ingesting.exec_driver_sql("DELETE FROM document WHERE id = (SELECT max(id) FROM document)")
        run = start(database, sequences, verdict)  # nothing waits for the other transaction
        transaction.commit()
    database.finish_training_run(run, {}, "x", "c" * 64)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT current FROM training_runs")) is False
        assert connection.scalar(text("SELECT current FROM gates")) is False


def test_no_writer_waits_for_another(database: Store, space: int) -> None:
    with database.engine.connect() as open_one, open_one.begin():
        open_one.exec_driver_sql("DELETE FROM document WHERE id = (SELECT max(id) FROM document)")
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SET statement_timeout = '5s'")
            connection.exec_driver_sql("DELETE FROM document WHERE id = (SELECT min(id) FROM document)")
            for number in range(2000):  # merging what was appended waits for nobody either
                connection.exec_driver_sql(
                    "INSERT INTO document (source, external_id, title, sha256) "
                    f"VALUES ('s', '{number}', '', repeat('0', 64))"
                )
            connection.commit()
    assert database.corpus_revision(space) == database.recomputed_revision(space)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM corpus_change")) < 2000


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "replace", "delete document", "delete chunk", "delete vectors", "crash", "rollback"]),
        st.integers(0, 5),
        st.integers(1, 6),
    ),
    min_size=1,
    max_size=8,
)


def carry_out(database: Store, space: int, steps: list[Step]) -> None:
    """Each step a transaction of its own; a crash kills the server's process in the middle of one."""
    for kind, which, size in steps:
        name = f"doc{which}"
        body = f"{name} {size}" if kind == "replace" else name
        document: IngestedDocument = ingested(name, size, seed=which, body=body)
        if kind in ("write", "replace"):
            with database.writer(space) as writer:
                writer.write_documents([document])
            continue
        statements = {
            "delete document": f"DELETE FROM document WHERE external_id = '{name}'",
            "delete chunk": f"DELETE FROM chunk WHERE position >= {size} AND document_id IN "
            f"(SELECT id FROM document WHERE external_id = '{name}')",
        }
        vectors = f"DELETE FROM embedding WHERE space_id = {space} AND chunk_id % 7 = {which}"
        url = make_url(str(database.engine.url)).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            connection.execute("SET search_path TO lvm, public")
            connection.execute(statements.get(kind, vectors))
            if kind == "crash":
                killer = database.engine.connect()
                killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": connection.info.backend_pid})
                killer.close()
                connection.close()
            elif kind == "rollback":
                connection.rollback()


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=15
)
@given(first=STEPS, second=STEPS)
def test_what_triggers_keep_is_what_the_rows_say(database: Store, first: list[Step], second: list[Step]) -> None:
    one, two = register(database, "one"), register(database, "two")  # one encoder under two names
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        return run

    writers = [
        threading.Thread(target=guarded(lambda: carry_out(database, one, first))),
        threading.Thread(target=guarded(lambda: carry_out(database, two, second))),
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for space in (one, two):
        assert database.corpus_revision(space) == database.recomputed_revision(space)
    with database.engine.connect() as connection:
        wrong = connection.scalar(
            text(
                "SELECT count(*) FROM document d WHERE chunk_count <> "
                "(SELECT count(*) FROM chunk c WHERE c.document_id = d.id)"
            )
        )
    assert wrong == 0
    allowed = ("deadlock", "duplicate key", "foreign key", "stored with other chunks", "concurrent")
    assert all(any(word in str(error) for word in allowed) for error in failures), failures


def test_an_old_database_migrates_with_its_data(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database at migration 2 with documents, a verdict, a sequence set and a finished run."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    from lvm.settings import Settings
    from lvm.store import open_store
    from lvm.store.migrate import folder

    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE migrating")
    url = make_url(postgres).set(database="migrating")
    try:
        old = create_engine(url)
        with old.begin() as connection:
            connection.exec_driver_sql("CREATE EXTENSION vector; CREATE SCHEMA lvm")
            config = Config()
            config.set_main_option("script_location", str(folder()))
            config.attributes["connection"] = connection
            command.upgrade(config, "0002")
        unit = str(unit_rows(1)[0].tolist())
        with old.begin() as connection:
            connection.exec_driver_sql(f"""
                SET LOCAL search_path = lvm, public;
                INSERT INTO space (name, dim, fingerprint, recipe, probes)
                    VALUES ('toy', {DIM}, '{"f" * 16}', '{{}}', '');
                INSERT INTO document (source, external_id, title, sha256)
                    SELECT 's', 'd' || i, '', repeat('0', 64) FROM generate_series(1, 5) i;
                INSERT INTO chunk (document_id, position, token_count, text)
                    SELECT d.id, p, 3, 'text ' || p FROM document d, generate_series(0, 9) p;
                INSERT INTO embedding SELECT 1, id, 1, '{unit}' FROM chunk;
                INSERT INTO gate_result (gate, space_id, corpus_revision, value, threshold, passed, evidence)
                    SELECT 'roundtrip', 1, corpus_revision(1), 0, 0.63, true, jsonb_build_object(
                        'inverter_encoder', '{"f" * 16}', 'chunk_ids', jsonb_agg(id), 'cosines', jsonb_agg(0.9),
                        'ranks', jsonb_agg(1)) FROM chunk;
                INSERT INTO sequence_set
                    (space_id, corpus_revision, gate_result_id, context_length, counts, file, sha256)
                    SELECT 1, corpus_revision, id, 5, '{{}}', 'x', repeat('a', 64) FROM gate_result WHERE passed;
                INSERT INTO training_run (architecture, sequence_set_id, gate_result_id, hyperparameters, status)
                    SELECT 'gru', s.id, g.id, '{{}}', 'running' FROM sequence_set s, gate_result g;
            """)
        old.dispose()
        with open_store(Settings(database_url=url.render_as_string(hide_password=False))) as store:
            assert store.counts(1) == {"documents": 5, "chunks": 50, "embeddings": 50}
            assert store.corpus_revision(1) == store.recomputed_revision(1)
            assert [run.architecture for run in store.training_runs()] == ["gru"]
            with store.engine.connect() as connection:
                assert connection.execute(text("SELECT passed, current FROM gates")).one() == (True, False)
                assert connection.scalar(text("SELECT current FROM training_runs")) is False
            with pytest.raises(DBAPIError, match="another"), store.engine.begin() as connection:
                connection.exec_driver_sql(
                    "INSERT INTO training_run (architecture, sequence_set_id, gate_result_id, hyperparameters) "
                    "SELECT 'lstm', s.id, g.id, '{}' FROM sequence_set s, gate_result g"
                )
            assert not gate(store, 1, 0.9).passed  # all vectors are one: nothing can be told apart
            assert np.isclose(measured(store, 1).returned.norms, 1).all()
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP DATABASE migrating WITH (FORCE)")
        admin.dispose()
