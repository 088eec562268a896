"""Which Postgres: the one of ``LVM_DATABASE_URL``, or an embedded server in ``LVM_HOME``.

Contract: all processes of a user share one embedded server (``lvm.store.postgres``). The first one starts it, the last
one stops it. ``LVM_HOME`` holds

    postgres         its data; as root perhaps a link to a folder that the server's user can reach
    postgres.lock    locked while a process starts or stops the server
    postgres.users   locked (shared) by every process that uses the server; the kernel drops the lock of a killed
                     process. If the file is not empty, the last process leaves the server running (``lvm db start``).
"""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL, make_url

from lvm.errors import first_line
from lvm.settings import Settings, url_readers
from lvm.store import postgres, urls
from lvm.store.errors import InvalidDatabaseUrl, ServerUnavailable

DATABASE = "lvm"

HOME_ENTRIES = {
    "postgres",
    "postgres.new",
    "postgres.lock",
    "postgres.users",
    "prefect",
    "inverters",
    "statistics",
    "hub",
    "ray",
}
"""Everything that the project puts into ``LVM_HOME``."""


# -- URLs -----------------------------------------------------------------------------------------------------------


def database_url(settings: Settings) -> URL:
    """SQLAlchemy URL (psycopg 3) of the database. It starts the embedded server if that is the one.

    Raises:
        InvalidDatabaseUrl: if ``LVM_DATABASE_URL`` is not a Postgres URL.
        ServerUnavailable: if the embedded server cannot be started.
    """
    if settings.database_url is None:
        return make_url(start(settings)).set(drivername="postgresql+psycopg", database=DATABASE)
    return _parse(settings.database_url, "LVM_DATABASE_URL")


def gatekeeper_url(settings: Settings) -> URL | None:
    """SQLAlchemy URL of the user who writes verdicts; None if it is the user of ``database_url``.

    Raises:
        InvalidDatabaseUrl: if ``LVM_GATEKEEPER_URL`` is not a Postgres URL.
    """
    return None if settings.gatekeeper_url is None else _parse(settings.gatekeeper_url, "LVM_GATEKEEPER_URL")


def index_memory(settings: Settings) -> int | None:
    """Bytes that the embedded server may take while it builds an index: a quarter of the machine's memory.

    Returns:
        None if another server is used: its settings decide.
    """
    if settings.database_url is not None:
        return None
    return postgres.machine_memory() // 4


def without_secrets(url: URL) -> URL:
    """The URL without login password and secret parameters, for people, logs and other programs."""
    return URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={name: value for name, value in url.query.items() if name not in urls.SECRETS},
    )


def password(url: URL) -> str | None:
    """The password of a URL, from its login or its parameters."""
    value = url.query.get("password", url.password)
    return value if isinstance(value, str) or value is None else value[-1]


def _parse(secret: SecretStr, variable: str) -> URL:
    value = secret.get_secret_value()
    scheme, _, name = value.partition(":")
    if scheme in url_readers:
        value = url_readers[scheme](name)
    elif scheme == "prefect":
        raise InvalidDatabaseUrl(
            f"{variable} names a block of Prefect, which the command `lvm` and the flows read; give the URL itself here"
        )
    return urls.read(value, variable)


# -- the embedded server --------------------------------------------------------------------------------------------


def folder(settings: Settings) -> Path:
    """Data folder of the embedded server, links resolved."""
    return (settings.home / "postgres").resolve()


def exists(settings: Settings) -> bool:
    """Whether there is a database: ``LVM_DATABASE_URL`` is set, or the embedded server has data."""
    return settings.database_url is not None or folder(settings).is_dir()


def running(settings: Settings) -> bool:
    """Whether the embedded server runs."""
    return postgres.running(folder(settings)) is not None


def psql() -> Path:
    """The psql of the embedded server."""
    return postgres.programs() / "psql"


def start(settings: Settings, keep: bool = False) -> str:
    """Start the embedded server if it is not running, and count this process among its users.

    Args:
        keep: leave it running when its last user ends (``lvm db start``).

    Returns:
        Its URI, as the superuser in database ``postgres``.

    Raises:
        ServerUnavailable: if the folder cannot be used or the server does not start.
    """
    data = folder(settings)
    try:
        postgres.check_name(data)
        home = own_home(settings)
        if os.geteuid() == 0 and _is_ours(home):
            os.chown(home, -1, postgres.account().pw_gid)
            home.chmod(0o710)
        with _server_lock(home):
            if not (data / "PG_VERSION").exists():
                postgres.make(data)
                data = folder(settings)
            postgres.check(data)
            postgres.restrict(data)
            if postgres.running(data) is None:
                postgres.start(data)
            _join(home, data, keep)
            server = postgres.running(data)
        if server is None:
            raise postgres.ServerFailed("it ended right after its start")
    except (OSError, postgres.ServerFailed, subprocess.SubprocessError) as error:
        reason = first_line(error)
        raise ServerUnavailable(
            f"the embedded Postgres cannot run in {data} ({reason}); set LVM_HOME to another folder, of your own, or "
            "LVM_DATABASE_URL to another Postgres"
        ) from error
    # requirepeer: the client refuses a server of any other user that listens on this socket.
    parameters = {
        "host": str(server.socket_folder),
        "port": str(server.port),
        "requirepeer": postgres.account().pw_name,
    }
    uri = URL.create("postgresql", username=postgres.SUPERUSER, database="postgres", query=parameters)
    return uri.render_as_string()


def stop(settings: Settings) -> bool:
    """Stop the embedded server, even if other processes use it.

    Returns:
        Whether it was running.

    Raises:
        ServerUnavailable: if it does not stop.
    """
    data, home = folder(settings), settings.home.resolve()
    if not running(settings):
        return False
    try:
        with _server_lock(home):
            postgres.stop(data)
            with _private_file(home / "postgres.users") as users:
                os.ftruncate(users, 0)
    except (OSError, postgres.ServerFailed) as error:
        raise ServerUnavailable(
            f"the embedded Postgres in {data} does not stop ({first_line(error)}); it may still run: end the "
            f"process that {data / 'postmaster.pid'} names, then run this again"
        ) from error
    return True


def own_home(settings: Settings) -> Path:
    """``LVM_HOME``, created for its owner only. A folder that holds only this project's files is closed to others.

    Raises:
        OSError: if it cannot be created.
    """
    home = settings.home.resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_ours(home):
        # As root the group of the folder is the group of the server's user.
        home.chmod(home.stat().st_mode & (0o700 if os.geteuid() else 0o710))
    return home


def _is_ours(home: Path) -> bool:
    """Whether this user owns the folder and it holds only this project's files."""
    return home.stat().st_uid == os.geteuid() and {path.name for path in home.iterdir()} <= HOME_ENTRIES


# -- users of the server --------------------------------------------------------------------------------------------

_users: dict[Path, int] = {}  # by LVM_HOME, the descriptor that holds this process's lock on postgres.users


def _join(home: Path, data: Path, keep: bool) -> None:
    """Count this process among the users until it ends."""
    if home not in _users:
        users = _open_private(home / "postgres.users")
        fcntl.flock(users, fcntl.LOCK_SH)
        _users[home] = users
        atexit.register(_leave, home, data, os.getpid())
    if keep:
        os.pwrite(_users[home], b"kept", 0)


def _leave(home: Path, data: Path, pid: int) -> None:
    """Stop the server if this process is its last user."""
    if os.getpid() != pid:  # this is a fork of the user
        return
    with suppress(OSError, postgres.ServerFailed), _server_lock(home):
        users = _users.pop(home)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(users).st_size == 0 and postgres.running(data):
                postgres.stop(data)
        finally:
            os.close(users)


@contextmanager
def _server_lock(home: Path) -> Iterator[None]:
    """Let one process or thread at a time start or stop the server."""
    with _private_file(home / "postgres.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _private_file(path: Path) -> Iterator[int]:
    descriptor = _open_private(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_private(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
