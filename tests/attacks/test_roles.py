"""Promise: a worker ingests and trains and writes no verdicts; a gatekeeper writes verdicts; a reader reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from flows.extract import extract_flow
from flows.ingest import ingest_flow
from flows.train import train_flow
from flows.validate import validate_flow
from lvm.settings import Settings
from lvm.store import NotAllowed, NoVerdicts, SchemaUnusable, Store, open_store
from tests.flows.conftest import prefect_server, small  # noqa: F401  fixtures
from tests.flows.corpora import write_unseen
from tests.store.toy import fill, gate, ingested, measured, register, sequence_set, start

UrlOf = Callable[[str], str]


@pytest.fixture
def url_of(database: Store, database_url: str) -> Iterator[UrlOf]:
    """URL of a fresh user in a role."""
    made = []

    def url(role: str) -> str:
        name = f"{role}_of_{database.database_name}"
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE USER {name} IN ROLE {role} PASSWORD 'secret'")
        made.append(name)
        return make_url(database_url).set(username=name, password="secret").render_as_string(hide_password=False)

    yield url
    database.engine.dispose()
    with database.engine.begin() as connection:
        for name in made:
            connection.exec_driver_sql(f"DROP OWNED BY {name}; DROP USER {name}")


def as_user(url: str, gatekeeper: str | None = None) -> Store:
    return open_store(Settings(database_url=url, gatekeeper_url=gatekeeper))  # type: ignore[arg-type]


def test_a_worker_ingests_and_trains_and_writes_no_verdict(database: Store, url_of: UrlOf) -> None:
    with as_user(url_of("lvm_worker")) as worker:
        space = register(worker)
        fill(worker, space)
        assert worker.corpus_revision(space) == worker.recomputed_revision(space)
        with pytest.raises(NoVerdicts, match="LVM_GATEKEEPER_URL"):
            gate(worker, space)
        verdict = gate(database, space)  # as the owner
        with pytest.raises(NoVerdicts, match="permission denied"):
            worker.record_gate(measured(worker, space))
        run = start(worker, sequence_set(worker, verdict), verdict)
        worker.finish_training_run(run, {}, "x", "b" * 64)
        assert not worker.build_search_index(space)  # too small, and may ask
        fill(worker, space, documents=6)
        with worker.writer(space) as writer:
            assert writer.write_documents([ingested("doc0", 3, body="another")]) == 3
        with pytest.raises(NotAllowed, match="own the tables"):
            worker.clear(worker.database_name)
        refused = [
            "INSERT INTO corpus_change (part, items, a, b, c, d) VALUES (0, 1, 1, 1, 1, 1)",
            "DELETE FROM corpus_change",
            "UPDATE document SET chunk_count = 4",
            "UPDATE document SET sha256 = repeat('0', 64)",
            "ALTER TABLE gate_result DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
            "CREATE TABLE lvm.mine ()",
            "CREATE FUNCTION lvm.corpus_revision(bigint) RETURNS text LANGUAGE sql AS $$SELECT ''$$",
            "DROP SCHEMA lvm CASCADE",
            "TRUNCATE embedding",
            "UPDATE training_run SET gate_result_id = 1",
            "SELECT grant_roles()",
            "SELECT add_change(0)",
        ]
        for statement in refused:
            with pytest.raises(DBAPIError), worker.engine.begin() as connection:
                connection.exec_driver_sql(statement)


def test_a_gatekeeper_writes_verdicts_and_nothing_else(database: Store, url_of: UrlOf) -> None:
    space = register(database)
    fill(database, space)
    with as_user(url_of("lvm_gatekeeper")) as gatekeeper:
        assert gate(gatekeeper, space).passed
        assert not gate(gatekeeper, space, 0.1).passed
        for statement in (
            "DELETE FROM embedding",
            "DELETE FROM document",
            "INSERT INTO document (source, external_id, title, sha256) VALUES ('', 'x', '', repeat('0', 64))",
            "UPDATE gate_result SET passed = true",
            "INSERT INTO training_run (architecture, sequence_set_id, gate_result_id, hyperparameters) "
            "VALUES ('gru', 1, 1, '{}')",
        ):
            with pytest.raises(DBAPIError, match="permission denied"), gatekeeper.engine.begin() as connection:
                connection.exec_driver_sql(statement)


def test_a_reader_reads(database: Store, url_of: UrlOf) -> None:
    space = register(database)
    fill(database, space)
    gate(database, space)
    with as_user(url_of("lvm_reader")) as reader:
        assert reader.corpus_revision(space) == reader.recomputed_revision(space)
        assert reader.latest_gate(space).passed  # type: ignore[union-attr]
        assert len(reader.gate_sample(space, 1)) == 30
        with pytest.raises(NoVerdicts):
            reader.record_gate(measured(database, space))
        with pytest.raises(DBAPIError, match="permission denied"), reader.engine.begin() as connection:
            connection.execute(text("DELETE FROM document"))
        with pytest.raises(DBAPIError, match="permission denied"), reader.engine.begin() as connection:
            connection.execute(text("SELECT build_search_index(1, 0)"))


TEMPORARY = """
    CREATE TEMP TABLE mine (id bigint, source text, external_id text, sha256 text);
    CREATE TRIGGER mine AFTER {} ON mine REFERENCING {} TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION lvm.{}();
"""


@pytest.mark.parametrize("role", ["lvm_reader", "lvm_worker", "lvm_gatekeeper"])
@pytest.mark.parametrize(
    ("event", "table", "function"), [("INSERT", "NEW", "document_in"), ("DELETE", "OLD", "document_out")]
)
def test_nobody_attaches_our_trigger_functions(
    database: Store, url_of: UrlOf, role: str, event: str, table: str, function: str
) -> None:
    """They run with the owner's rights: on a table of one's own they would write what is not true."""
    fill(database, register(database))
    refused = pytest.raises(DBAPIError, match="permission denied for function")
    with as_user(url_of(role)) as user, refused, user.engine.begin() as connection:
        connection.exec_driver_sql(TEMPORARY.format(event, table, function))


def test_a_gatekeeper_does_not_choose_the_number_of_a_verdict(database: Store, url_of: UrlOf) -> None:
    """The last verdict is the one that counts."""
    space = register(database)
    fill(database, space)
    gate(database, space)
    with as_user(url_of("lvm_gatekeeper")) as user:
        copied = "gate, space_id, corpus_revision, inverter_id, value, threshold, passed, sampled, returned, evidence"
        statement = (
            f"INSERT INTO gate_result (id, {copied}) OVERRIDING SYSTEM VALUE "
            f"SELECT 9000000000000000000, {copied} FROM gate_result"
        )
        with pytest.raises(DBAPIError, match="permission denied"), user.engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_no_other_role_migrates(database: Store, url_of: UrlOf) -> None:
    url = url_of("lvm_worker")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lvm.alembic_version SET version_num = '0002'")
    with pytest.raises(SchemaUnusable, match="lvm db migrate"):
        as_user(url)


@pytest.mark.usefixtures("small")
def test_the_flows_run_as_worker_and_gatekeeper(
    settings: Settings, database: Store, url_of: UrlOf, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LVM_DATABASE_URL", url_of("lvm_worker"))
    source = str(write_unseen(tmp_path / "texts", documents=5, characters=900))
    assert ingest_flow(source=source).documents == 5
    with pytest.raises(NoVerdicts, match="LVM_GATEKEEPER_URL"):
        validate_flow()
    monkeypatch.setenv("LVM_GATEKEEPER_URL", url_of("lvm_gatekeeper"))
    assert not validate_flow().reused
    assert extract_flow(context=5).counts["documents"] == 5
    assert train_flow(model="gru", context=5, epochs=1)["gru"].history
    with database.engine.connect() as connection:
        owners = connection.execute(text("SELECT status, current FROM training_runs")).all()
    assert owners == [("finished", True)]
