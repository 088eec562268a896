"""Which Postgres: the one ``LVM_DATABASE_URL`` names, or an embedded one in ``LVM_HOME``.

The embedded server (``lvm.store.postgres``) is started by whoever needs it, shared by all processes of its user, and
stopped when the last of them ends. In ``LVM_HOME`` there are

    postgres         its data, or as root a link to where the server's user can reach them
    postgres.lock    locked while the server is started or stopped
    postgres.users   locked (shared) by each process that uses the server: the kernel forgets those that are killed.
                     Not empty: the server is kept when the last one ends (``lvm db start``).
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
from sqlalchemy.exc import ArgumentError

from lvm.errors import LvmError, UsageError, first_line
from lvm.settings import Settings
from lvm.store import postgres

DATABASE = "lvm"

SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Parameters of a Postgres URL that are nobody else's business."""


class ServerUnavailable(LvmError):
    """No Postgres could be started or reached."""


class InvalidDatabaseUrl(UsageError):
    """``LVM_DATABASE_URL`` is not a Postgres URL."""


def folder(settings: Settings) -> Path:
    """Data folder of the embedded server, where it really is."""
    return (settings.home / "postgres").expanduser().resolve()


def database_url(settings: Settings) -> URL:
    """SQLAlchemy URL (psycopg 3) of the database, its server started if it is the embedded one.

    Raises:
        InvalidDatabaseUrl, ServerUnavailable
    """
    if settings.database_url is None:
        return make_url(start(settings)).set(drivername="postgresql+psycopg", database=DATABASE)
    return _parsed(settings.database_url, "LVM_DATABASE_URL")


def exists(settings: Settings) -> bool:
    """Whether there is a database: one that the settings name, or an embedded one that was made."""
    return settings.database_url is not None or folder(settings).is_dir()


def without_secrets(url: URL) -> URL:
    """The same URL for people, logs and other programs: without a password, wherever it stood."""
    return URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={name: value for name, value in url.query.items() if name not in SECRETS},
    )


def password(url: URL) -> str | None:
    """The password of a URL, wherever it stands."""
    found = url.query.get("password", url.password)
    return found if isinstance(found, str) or found is None else found[-1]


def gatekeeper_url(settings: Settings) -> URL | None:
    """URL of the user who writes verdicts, where it is another than the one of ``database_url``.

    Raises:
        InvalidDatabaseUrl: if it cannot be read.
    """
    return None if settings.gatekeeper_url is None else _parsed(settings.gatekeeper_url, "LVM_GATEKEEPER_URL")


def _parsed(secret: SecretStr, variable: str) -> URL:
    shape = "it must look like postgresql://user:password@host:5432/database, in the password %40 for @, %2F for /"
    try:
        url = make_url(secret.get_secret_value())
    except (ArgumentError, ValueError):  # whose message may hold a part of a password
        raise InvalidDatabaseUrl(f"{variable} cannot be read; {shape}") from None
    if url.get_backend_name() not in ("postgresql", "postgres") or not url.database or "@" in (url.host or ""):
        raise InvalidDatabaseUrl(f"{variable} is no URL of a Postgres database; {shape}")
    return url.set(drivername="postgresql+psycopg")


def start(settings: Settings, keep: bool = False) -> str:
    """Start the embedded server if it is not running; its URI.

    Args:
        keep: leave it running when this process ends (``lvm db start``).

    Raises:
        ServerUnavailable: if the folder cannot be used or the server does not come up.
    """
    data = folder(settings)
    try:
        home = own_home(settings)
        if os.geteuid() == 0 and _is_ours(home):
            os.chown(home, -1, postgres.account().pw_gid)
            home.chmod(0o710)
        with _alone(home):
            if not (data / "PG_VERSION").exists():
                postgres.make(data)
                data = folder(settings)
            postgres.check(data)
            postgres.tighten(data)
            if postgres.running(data) is None:
                postgres.start(data)
            _use(home, data, keep)
            found = postgres.running(data)
        if found is None:
            raise postgres.ServerFailed("it ended as soon as it was started")
    except (OSError, postgres.ServerFailed, subprocess.SubprocessError) as error:
        reason = first_line(error)
        raise ServerUnavailable(
            f"the embedded Postgres cannot run in {data} ({reason}); set LVM_HOME to a folder that can be written to, "
            "or LVM_DATABASE_URL to another Postgres"
        ) from error
    # requirepeer: were something else to listen there, the client would not talk to it
    where = {
        "host": str(found.socket_folder),
        "port": str(found.port),
        "requirepeer": postgres.account().pw_name,
    }
    uri = URL.create("postgresql", username=postgres.SUPERUSER, database="postgres", query=where)
    return uri.render_as_string()


def stop(settings: Settings) -> bool:
    """Stop the embedded server now, whoever uses it; False if it was not running.

    Raises:
        ServerUnavailable: if it does not stop.
    """
    data, home = folder(settings), settings.home.expanduser().resolve()
    if not running(settings):
        return False
    try:
        with _alone(home):
            postgres.stop(data)
            with _private_file(home / "postgres.users") as users:
                os.ftruncate(users, 0)
    except (OSError, postgres.ServerFailed) as error:
        raise ServerUnavailable(f"the embedded Postgres in {data} does not stop: {first_line(error)}") from error
    return True


def running(settings: Settings) -> bool:
    """Whether the embedded server runs."""
    return postgres.running(folder(settings)) is not None


def psql() -> Path:
    """The psql that comes with the embedded server."""
    return postgres.programs() / "psql"


OURS = {"postgres", "postgres.new", "postgres.lock", "postgres.users", "prefect", "inverters", "hub", "ray"}
"""All that the project puts into ``LVM_HOME``."""


def own_home(settings: Settings) -> Path:
    """``LVM_HOME``, made for its owner only; one with nothing else in it than ours is closed to others.

    Raises:
        OSError
    """
    home = settings.home.expanduser().resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_ours(home):
        home.chmod(home.stat().st_mode & (0o700 if os.geteuid() else 0o710))  # as root its group is the server's user
    return home


def _is_ours(home: Path) -> bool:
    return home.stat().st_uid == os.geteuid() and {each.name for each in home.iterdir()} <= OURS


# -- who uses the server --------------------------------------------------------------------------------------------

_used: dict[Path, int] = {}  # by LVM_HOME, the descriptor that holds this process's lock on postgres.users


def _use(home: Path, data: Path, keep: bool) -> None:
    """Count this process among the users until it ends."""
    if home not in _used:
        users = _open_private(home / "postgres.users")
        fcntl.flock(users, fcntl.LOCK_SH)
        _used[home] = users
        atexit.register(_leave, home, data, os.getpid())
    if keep:
        os.pwrite(_used[home], b"kept", 0)


def _leave(home: Path, data: Path, pid: int) -> None:
    """The last user stops the server."""
    if os.getpid() != pid:  # a fork of the user
        return
    with suppress(OSError, postgres.ServerFailed), _alone(home):
        users = _used.pop(home)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(users).st_size == 0 and postgres.running(data):
                postgres.stop(data)
        finally:
            os.close(users)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """No other process or thread starts or stops this server meanwhile."""
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
