"""Databases that are not ours: managed ones, poolers, foreign encodings, settings and limits, and URLs of all kinds."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url, text

from lvm import cli
from lvm.cli.doctor import Finding, _database
from lvm.settings import Settings
from lvm.store import (
    Busy,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
    LockLost,
    NotAllowed,
    SchemaUnusable,
    StatementTimeout,
    Store,
    named_errors,
    open_store,
)
from lvm.store.server import without_secrets
from lvm.store.urls import for_libpq, read
from tests.field.pooler import pgbouncer, pooler
from tests.store.toy import fill, gate, ingested, register, sequence_set, set_gate_size, start

OWNER = "field_owner"


@pytest.fixture
def admin(postgres: str) -> Iterator[Callable[..., None]]:
    """Runs statements of the superuser. Databases and roles named ``field_...`` are gone afterwards."""

    def run(*statements: str, database: str = "postgres") -> None:
        engine = create_engine(make_url(postgres).set(database=database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    run(f"CREATE ROLE {OWNER} LOGIN")
    yield run
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for (name,) in connection.execute(text("SELECT datname FROM pg_database WHERE datname ~ '^field_'")).all():
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        for (name,) in connection.execute(text("SELECT rolname FROM pg_roles WHERE rolname ~ '^field_'")).all():
            connection.exec_driver_sql(f"DROP ROLE {name}")
    engine.dispose()


@pytest.fixture
def worker(database: Store, admin: Callable[..., None]) -> Callable[[str], Store]:
    """Opens the database as a user with settings of its own, who may do everything."""
    admin(f"ALTER ROLE {OWNER} SUPERUSER")

    def opened(*options: str) -> Store:
        admin(*(f"ALTER ROLE {OWNER} SET {option}" for option in options))
        return open_store(as_user(database, OWNER))

    return opened


def as_user(store: Store, user: str, **query: str) -> Settings:
    url = store.engine.url.set(username=user).update_query_dict(query)
    return Settings(database_url=url.render_as_string(hide_password=False))  # type: ignore[arg-type]


def settings_of(postgres: str, database: str, user: str = OWNER) -> Settings:
    url = make_url(postgres).set(database=database, username=user)
    return Settings(database_url=url.render_as_string(hide_password=False))  # type: ignore[arg-type]


def findings(settings: Settings) -> dict[str, Finding]:
    return {found.name: found for found in _database(settings)}


def is_one_line(error: pytest.ExceptionInfo[BaseException], *said: str) -> None:
    message = str(error.value)
    assert "\n" not in message and all(part in message for part in said), message


# -- managed Postgres -------------------------------------------------------------------------------------------------


def test_an_owner_without_further_rights_and_pgvector_in_a_schema_of_its_own(
    postgres: str, admin: Callable[..., None]
) -> None:
    admin(f"CREATE DATABASE field_managed OWNER {OWNER}")
    admin(
        'CREATE SCHEMA "My Extensions"',
        f'GRANT USAGE ON SCHEMA "My Extensions" TO {OWNER}',
        'CREATE EXTENSION vector SCHEMA "My Extensions"',
        database="field_managed",
    )
    with open_store(settings_of(postgres, "field_managed")) as store:
        space = register(store)
        set_gate_size(store, 31)
        ids = fill(store, space, documents=6)
        [hit] = store.search(space, store.vectors(space, ids[:1]), 1)
        assert hit.chunk_id == ids[0] and hit.cosine == pytest.approx(1)
        assert gate(store, space).passed
        admin(f'REVOKE USAGE ON SCHEMA "My Extensions" FROM {OWNER}', database="field_managed")
        closed = findings(settings_of(postgres, "field_managed"))["rights"]
        assert closed.advice == f'GRANT USAGE ON SCHEMA "My Extensions" TO {OWNER}'
        with pytest.raises(SchemaUnusable, match="see `lvm doctor`"), named_errors(store.engine):
            store.search(space, store.vectors(space, ids[:1]), 1)
        admin(closed.advice, database="field_managed")
        assert store.clear("field_managed")["chunk"] == len(ids)  # drops the schema, and migrates again
        assert store.contents()["chunk"] == 0
    admin('ALTER EXTENSION vector SET SCHEMA "public"', database="field_managed")
    moved = findings(settings_of(postgres, "field_managed"))["pgvector"]
    assert moved.verdict == "problem" and moved.advice == 'ALTER EXTENSION vector SET SCHEMA "My Extensions"'
    with open_store(settings_of(postgres, "field_managed")) as store:
        register(store)
        with pytest.raises(SchemaUnusable, match="lvm doctor"), named_errors(store.engine):
            fill(store, 1)


def test_whatever_a_migration_raises_is_named_and_undone(postgres: str, admin: Callable[..., None]) -> None:
    admin(f"CREATE DATABASE field_odd OWNER {OWNER}")
    admin(
        "CREATE EXTENSION vector",
        f"CREATE SCHEMA lvm AUTHORIZATION {OWNER}",
        f"SET ROLE {OWNER}; CREATE TABLE lvm.chunk ()",
        database="field_odd",
    )
    with pytest.raises(SchemaUnusable) as error:
        open_store(settings_of(postgres, "field_odd"))
    is_one_line(error, "'field_odd' was not migrated", "already exists", "lvm doctor")


def test_doctor_predicts_what_a_migration_lacks(postgres: str, admin: Callable[..., None]) -> None:
    admin("CREATE DATABASE field_bare")
    bare = findings(settings_of(postgres, "field_bare"))
    assert bare["pgvector"].verdict == "warning" and bare["rights"].verdict == "problem"
    rights = [found for found in _database(settings_of(postgres, "field_bare")) if found.name == "rights"]
    assert "CREATE EXTENSION vector" in rights[0].advice and "GRANT CREATE ON DATABASE" in rights[1].advice
    admin("CREATE SCHEMA closed; CREATE EXTENSION vector SCHEMA closed", database="field_bare")
    admin(f"GRANT CREATE ON DATABASE field_bare TO {OWNER}")
    closed = findings(settings_of(postgres, "field_bare"))["rights"]
    assert closed.advice == f"GRANT USAGE ON SCHEMA closed TO {OWNER}"
    with pytest.raises(SchemaUnusable, match="permission denied for schema closed"):
        open_store(settings_of(postgres, "field_bare"))
    assert findings(settings_of(postgres, "field_bare"))["schema"].found.startswith("none"), "nothing was made"


# -- encodings and settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(
    postgres: str, admin: Callable[..., None], encoding: str
) -> None:
    name = f"field_{encoding.lower()}"
    admin(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C'")
    settings = settings_of(postgres, name, "postgres")
    with pytest.raises(SchemaUnusable) as error:
        open_store(settings)
    is_one_line(error, encoding, "TEMPLATE template0")
    assert findings(settings)["encoding"].verdict == "problem"


def test_no_setting_of_a_user_or_of_the_environment_changes_what_is_stored(
    database: Store, worker: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = register(database)
    set_gate_size(database, 31)
    fill(database, space, documents=6)
    there = gate(database, space)
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGTZ", "<+05:30>-05:30")
    odd = worker(
        "client_encoding = 'LATIN1'",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'Asia/Kathmandu'",
        "extra_float_digits = -15",
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "search_path = 'pg_catalog'",
        "default_transaction_isolation = 'serializable'",
        "array_nulls = off",
    )
    with odd:
        with odd.writer(space) as writer:
            writer.write_documents([ingested("Café \\ ' 😀", 3, body="Café")])
        encoded = odd.engine.url.update_query_dict({"client_encoding": "LATIN1", "options": "-cclient_encoding=LATIN1"})
        other = Settings(database_url=encoded.render_as_string(hide_password=False))  # type: ignore[arg-type]
        with open_store(other) as store, store.writer(space) as writer:
            writer.write_documents([ingested("Noël\\n", 3, body="Noël")])
        ids = database.chunk_ids(space)
        texts = database.chunk_texts(ids)
        assert [each for each in texts if each.startswith(("Café", "Noël"))] == [
            *(f"Café \\ ' 😀 chunk {i}" for i in range(3)),
            *(f"Noël\\n chunk {i}" for i in range(3)),
        ]
        assert odd.chunk_texts(ids) == texts
        mine, theirs = database.vectors(space, ids), odd.vectors(space, ids)
        np.testing.assert_array_equal(mine.norms, theirs.norms)
        np.testing.assert_array_equal(mine.unit, theirs.unit)
        read_back = np.concatenate([batch.norms for batch in odd.read_vectors(space)])
        np.testing.assert_array_equal(mine.norms, read_back)
        assert odd.corpus_revision(space) == database.recomputed_revision(space) == odd.recomputed_revision(space)
        assert odd.latest_gate(space) == there, "its date too"
        measured = gate(odd, space, inverter="2" * 64)
        assert measured.value == pytest.approx(there.value, abs=1e-6)
        assert [each.last_stored for each in odd.sources()] == [each.last_stored for each in database.sources()]


# -- poolers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["small", "pgbouncer"])
def pooled(request: pytest.FixtureRequest, database_url: str) -> Iterator[Settings]:
    """Settings of a database behind a pooler that hands out a server connection for each transaction."""
    url = make_url(database_url)
    server = Path(str(url.query["host"]))
    if request.param == "small":
        with tempfile.TemporaryDirectory() as folder, pooler(server, Path(folder)):
            yield Settings(database_url=url.set(query={"host": folder}).render_as_string())  # type: ignore[arg-type]
        return
    if shutil.which("pgbouncer") is None:
        pytest.skip("PgBouncer is not installed")
    with pgbouncer(server, [OWNER, "postgres"]) as port:
        address = url.set(query={"host": "127.0.0.1", "port": port})
        yield Settings(database_url=address.render_as_string())  # type: ignore[arg-type]


def test_a_pooler_serves_as_the_server_itself(pooled: Settings, database: Store) -> None:
    with open_store(pooled) as store, open_store(pooled) as other:
        space = register(store)
        set_gate_size(database, 31)
        for number in range(8):  # a prepared statement would be on another server connection
            with store.lock("ingest"), store.writer(space) as writer:
                writer.write_documents([ingested(f"doc{number}", 6, seed=number)])
                with pytest.raises(Busy), other.lock("ingest"):
                    pass
        ids = [int(i) for batch in store.read_vectors(space) for i in batch.chunk_ids]
        assert store.chunk_ids(space).tolist() == ids and len(ids) == 48
        passed = gate(store, space)
        sequences = sequence_set(store, passed)
        run = start(store, sequences, passed)
        assert [each.id for each in other.active_training_runs()] == [run]
        with pytest.raises(Busy):
            start(other, sequences, passed)
        store.fail_training_run(run)
        store.vacuum(10_000)
        assert other.active_training_runs() == []
        store.clear(store.database_name)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0


# -- locks ------------------------------------------------------------------------------------------------------------


def test_a_lock_outlives_every_timeout_and_keeps_no_vacuum_from_its_work(
    database: Store, worker: Callable[..., Store]
) -> None:
    space = register(database)
    limits = ("idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
    with worker(*(f"{name} = '300ms'" for name in limits)) as store:
        with store.lock("ingest"), store.writer(space) as writer:
            time.sleep(0.7)
            writer.write_documents([ingested("doc", 3)])
            with database.engine.connect() as connection:
                held = connection.execute(
                    text(
                        "SELECT a.backend_xmin, a.backend_xid FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                        "WHERE l.locktype = 'advisory'"
                    )
                ).all()
            assert [tuple(row) for row in held] == [(None, None)]
        assert store.contents()["document"] == 1


def test_nothing_is_written_once_a_lock_is_lost(database: Store, settings: Settings) -> None:
    space = register(database)
    with pytest.raises(LockLost) as error, database.lock("ingest"), database.writer(space) as writer:
        writer.write_documents([ingested("before", 3)])
        with open_store(settings) as other:
            with other.engine.connect() as connection:
                end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
                connection.execute(text(end))
            with other.lock("ingest"):  # another process does the same work now
                writer.write_documents([ingested("after", 3)])
    is_one_line(error, "'ingest'", "another process", "nothing was written since")
    assert [document.external_id for document in database.documents(space)] == ["before"]
    with database.lock("ingest"), database.writer(space) as writer:
        writer.write_documents([ingested("after", 3)])


def test_a_training_run_whose_lock_is_lost_records_nothing(database: Store, settings: Settings) -> None:
    space = register(database)
    set_gate_size(database, 31)
    fill(database, space, documents=6)
    passed = gate(database, space)
    sequences = sequence_set(database, passed)
    run = start(database, sequences, passed)
    with open_store(settings) as other:
        with other.engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"))
        assert start(other, sequences, passed) == run  # goes on there
        with pytest.raises(LockLost, match=f"training run {run}"):
            database.fail_training_run(run)
        assert [each.status for each in other.training_runs()] == ["running"]


# -- limits of a server -----------------------------------------------------------------------------------------------


def ended(store: Store, *statements: str | None) -> Exception:
    """The error of the last statement. Between two there are 400 milliseconds."""
    with pytest.raises(Exception) as error, named_errors(store.engine), store.engine.connect() as connection:
        for number, statement in enumerate(statements):
            time.sleep(0.4 if number else 0)
            if statement is not None:
                connection.execute(text(statement))
    is_one_line(error, "nothing that was stored is lost")
    return error.value


def test_a_statement_that_took_too_long_is_no_database_that_went_away(worker: Callable[..., Store]) -> None:
    with worker("statement_timeout = '400ms'") as store:
        error = ended(store, "SELECT pg_sleep(9)")
    assert type(error) is StatementTimeout
    assert "statement_timeout" in str(error) and OWNER in str(error) and "server is up" not in str(error)


def test_limits_of_a_session_have_their_own_advice(worker: Callable[..., Store], database: Store) -> None:
    names = ("idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")
    with worker("idle_in_transaction_session_timeout = '200ms'", "transaction_timeout = '600ms'") as store:
        assert names[0] in str(ended(store, "SELECT 1", "SELECT 1"))
        assert names[2] in str(ended(store, "SELECT pg_sleep(9)"))
    with worker("idle_session_timeout = '200ms'") as store:
        assert names[1] in str(ended(store, None, "SELECT 1"))
        assert store.contents()["document"] == 0, "the pool makes a new connection"


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        ("53100", DatabaseUnavailable, "free some space"),
        ("53200", DatabaseUnavailable, "work_mem"),
        ("53300", DatabaseUnavailable, "max_connections"),
        ("57P01", DatabaseUnavailable, "administrator"),
        ("57P03", DatabaseUnavailable, "in a moment"),
        ("40P01", DatabaseUnavailable, "another session"),
        ("58030", DatabaseUnavailable, "its log"),
        ("42501", NotAllowed, "let the owner grant it"),
        ("42883", SchemaUnusable, "lvm doctor"),
    ],
)
def test_errors_of_a_server_have_their_own_advice(database: Store, code: str, kind: type, advice: str) -> None:
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'the reason' USING ERRCODE = '{code}'; END $$"
    error = ended(database, raised)
    assert type(error) is kind and advice in str(error) and "the reason" in str(error)
    assert "server is up" not in str(error)


# -- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u@localhost:abc/db", "%40 for @"),
        ("postgresql://u@localhost:99999/db", "a host or a port"),
        ("postgresql://u:secretA@secretB@host/db", "%40 for @"),
        ("postgresql://u:secretA/secretB@host/db", "%2F for /"),
        ("postgresql://u:12/secretB@host/db", "%2F for /"),
        ("postgresql://u:12/secretB?secretC=1@host/db", "%3F for ?"),
        ("postgresql://u:secretA%zz@host/db", "%25 for %"),
        ("postgresql://u:secretA%ff@host/db", "%25 for %"),
        ("postgresql://host/db?password=secretA&secretB=1", "%40 for @"),
        ("postgresql://u@localhost/db?sslmod=require", "'sslmod', which libpq does not know"),
        ("postgresql://u@localhost/db?connect_timeout=soon", "connect_timeout"),
        ("postgresql://a,b,c/db?port=1,2", "3 hosts and 2 ports"),
        ("postgresql://localhost", "names no database"),
        ("host=localhost dbname=db password=secretA", "must look like"),
        ("mysql://u:secretA@host/db", "must look like"),
        ("postgresql://u:secretA\x00b@host/db", "must look like"),
        ("postgresql://u:secretA\udc80b@host/db", "must look like"),
    ],
)
def test_a_malformed_url_is_one_line_without_its_login(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidDatabaseUrl) as error:
        read(url, "LVM_DATABASE_URL")
    is_one_line(error, "LVM_DATABASE_URL", said)
    assert "secret" not in str(error.value) and error.value.__cause__ is None
    if "\x00" in url:
        return
    monkeypatch.setenv("LVM_DATABASE_URL", url)
    for arguments in (["url"], ["url", "--with-password"], ["migrate"]):
        monkeypatch.setattr(sys, "argv", ["lvm", "db", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = "".join(capsys.readouterr())
        assert stop.value.code == 2 and "InvalidDatabaseUrl" in shown and "secret" not in shown


PASSWORDS = st.text("Ωψжあ@:/?#%&=[], .+'\\\"", min_size=1, max_size=12)


@hypothesis_settings(max_examples=200, deadline=None)
@given(PASSWORDS, st.booleans())
def test_no_message_shows_a_part_of_a_password(password: str, parameter: bool) -> None:
    url = f"postgresql://u@h/db?password={password}" if parameter else f"postgresql://u:{password}@h:1/db"
    try:
        taken = read(url, "LVM_DATABASE_URL")
    except InvalidDatabaseUrl as error:
        assert not set("Ωψжあ") & set(str(error))
    else:
        assert not set("Ωψжあ") & set(for_libpq(without_secrets(taken)))


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["C"]), min_size=1, max_size=12),
    st.sampled_from(["localhost", "[::1]", "%2Ftmp%2Fa%20b", "a,b", ""]),
)
def test_an_encoded_url_is_read_and_written_as_libpq_does(word: str, host: str) -> None:
    encoded = quote(word, safe="")
    url = f"postgresql://{encoded}:{encoded}@{host}/{encoded}?application_name={encoded}"
    taken = read(url, "LVM_DATABASE_URL")
    assert (taken.username, taken.database) == (word, word)
    known = psycopg.conninfo.conninfo_to_dict(for_libpq(taken))
    expected = psycopg.conninfo.conninfo_to_dict(url)
    assert {**known, "port": ""} == {**expected, "port": ""}


def test_several_hosts_work_as_with_libpq(database_url: str, tmp_path: Path) -> None:
    socket_folder = make_url(database_url).query["host"]
    name = make_url(database_url).database
    url = f"postgresql://postgres@/{name}?host={tmp_path},{socket_folder}&target_session_attrs=read-write"
    with open_store(Settings(database_url=url)) as store:  # type: ignore[arg-type]
        assert store.contents()["document"] == 0
    both = f"postgresql://postgres@a:1,b:2/{name}?target_session_attrs=read-write"
    assert dict(read(both, "").query) == {"host": "a,b", "port": "1,2", "target_session_attrs": "read-write"}
    spaces = read("postgresql://u@h/db?options=-c+a%3D1+-c+b%3D2&application_name=a+b", "")  # as SQLAlchemy writes them
    assert dict(spaces.query) == {"options": "-c a=1 -c b=2", "application_name": "a+b"}
    with pytest.raises(DatabaseUnavailable) as error:
        open_store(Settings(database_url=f"postgresql://u:pw@127.0.0.1:9,127.0.0.1:10/{name}"))  # type: ignore[arg-type]
    is_one_line(error, "127.0.0.1,127.0.0.1")
