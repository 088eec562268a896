"""Promise: a password stays where it was put: it is in no argument, output, log, artifact, nor in Prefect's state."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, make_url

from lvm.settings import Settings
from lvm.store import InvalidDatabaseUrl, open_store, server
from lvm.terminal import without_login
from tests.flows.corpora import write_unseen

MARK = "hunter2-is-the-marker"
RUN = "import sys; from lvm.cli import main; sys.argv = ['lvm', *sys.argv[1:]]; main()"


@dataclass
class Guarded:
    """A database that asks for a password, and the folders of somebody who uses it."""

    url: str  # without the password
    folder: Path
    seen: list[str] = field(default_factory=list)

    def environment(self, url: str) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("LVM_", "PREFECT_"))}
        mine = {"HOME": self.folder / "home", "ARTIFACTS": self.folder / "artifacts", "DATABASE_URL": url}
        return plain | {f"LVM_{name}": str(value) for name, value in mine.items()} | {"LVM_TOKEN": MARK}

    def lvm(self, *arguments: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command; every line of arguments on the machine that holds the marker meanwhile is kept."""
        environment = self.environment(url or self.in_query)
        with watched(self.seen):
            return subprocess.run(
                [sys.executable, "-c", RUN, *arguments], env=environment, capture_output=True, text=True, check=False
            )

    @property
    def in_query(self) -> str:
        return make_url(self.url).update_query_dict({"password": MARK}).render_as_string(hide_password=False)

    @property
    def in_login(self) -> str:
        return make_url(self.url).set(password=MARK).render_as_string(hide_password=False)


@contextmanager
def watched(seen: list[str]) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for process in psutil.process_iter():
                try:
                    line = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if MARK in line:
                    seen.append(line)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with tempfile.TemporaryDirectory(prefix="lvm-secrets-", ignore_cleanup_errors=True) as name:
        home = Settings(home=Path(name) / "server", database_url=None)
        Path(name).chmod(0o755)
        url = make_url(server.start(home)).set(drivername="postgresql+psycopg")
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE ROLE guarded LOGIN PASSWORD '{MARK}'")
            connection.exec_driver_sql("CREATE DATABASE guarded OWNER guarded")
            with create_engine(url.set(database="guarded"), isolation_level="AUTOCOMMIT").connect() as inside:
                inside.exec_driver_sql("CREATE EXTENSION vector")
            hba = server.folder(home) / "pg_hba.conf"
            hba.write_text("local guarded guarded scram-sha-256\n" + hba.read_text())
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        admin.dispose()
        yield Guarded(url.set(username="guarded", database="guarded").render_as_string(), Path(name))
        server.stop(home)


def test_the_password_is_asked_for(guarded: Guarded) -> None:
    done = guarded.lvm("search", "x", url=make_url(guarded.url).set(password="wrong").render_as_string(False))
    assert done.returncode == 1 and "the password is wrong" in done.stderr, done.stderr
    assert "wrong" not in done.stderr.replace("the password is wrong", "")


def test_no_run_leaves_it_anywhere(guarded: Guarded) -> None:
    corpus = write_unseen(guarded.folder / "texts", documents=3, characters=600)
    done = guarded.lvm("run", str(corpus), "--model", "gru", "--epochs", "1")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr  # too few texts for a verdict
    with open_store(Settings(database_url=guarded.in_query)) as store:  # type: ignore[arg-type]
        assert store.contents()["document"] == 3, "it was used"
    assert guarded.seen == []
    assert MARK not in done.stdout + done.stderr
    kept = [path for path in guarded.folder.rglob("*") if path.is_file() and "server" not in path.parts]
    assert any(path.name == "prefect.db" for path in kept)
    for path in kept:
        assert MARK.encode() not in path.read_bytes(), path
    for path in (path for path in kept if path.suffix == ".db"):
        with sqlite3.connect(path) as database:
            assert not [line for line in database.iterdump() if MARK in line], path
    assert MARK not in (guarded.folder / "server" / "postgres" / "log").read_text()


@pytest.mark.parametrize("where", ["in_query", "in_login"])
def test_commands_of_the_database(guarded: Guarded, where: str) -> None:
    url = getattr(guarded, where)
    asked = guarded.lvm("db", "psql", "-Atc", "SELECT pg_sleep(1), 'got ' || current_user", url=url)
    assert asked.returncode == 0 and "got guarded" in asked.stdout, asked.stderr
    told = guarded.lvm("db", "url", url=url)
    assert told.stdout.startswith("postgresql://guarded@")
    looked = guarded.lvm("doctor", "--json", url=url)
    assert "LVM_DATABASE_URL" in looked.stdout
    assert guarded.seen == []
    assert MARK not in asked.stdout + asked.stderr + told.stdout + told.stderr + looked.stdout + looked.stderr


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:more@{MARK}@host/db",
        f"postgresql://me:{MARK}",
        f"mysql://me:{MARK}@host/{MARK}",
        f"postgresql://me@host:{MARK}/db",
        MARK,
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl) as error:
        server.database_url(Settings(database_url=url))  # type: ignore[arg-type]
    whole: BaseException | None = error.value
    while whole is not None:
        assert MARK not in str(whole) and "\n" not in str(whole)
        whole = whole.__cause__


def test_a_url_without_secrets() -> None:
    url = make_url("postgresql://me:a@host:1/db?password=b&sslpassword=c&sslmode=require&host=d")
    assert server.without_secrets(url).render_as_string(False) == "postgresql://me@host:1/db?host=d&sslmode=require"
    assert server.password(url) == "b"
    assert server.password(make_url("postgresql://me:a%40@host/db")) == "a@"
    assert without_login("http://me:secret@host:4200/api") == "http://host:4200/api"


def test_settings_do_not_tell_it() -> None:
    settings = Settings(database_url=f"postgresql://me:{MARK}@host/db", token=MARK)  # type: ignore[arg-type]
    assert MARK not in f"{settings!r} {settings} {settings.model_dump_json()} {settings.model_dump()}"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to look as another user")
def test_home_and_prefects_folder_are_their_owners_only(guarded: Guarded) -> None:
    home = guarded.folder / "home"
    assert (home / "prefect").is_dir()
    assert home.stat().st_mode & 0o007 == 0 and (home / "prefect").stat().st_mode & 0o077 == 0
    look = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", str(home / "prefect")]
    assert subprocess.run(look, capture_output=True, check=False).returncode
