"""What Prefect and HTTP clients read from their surroundings, made ready before they are imported.

Contract: the command line and Prefect see the same settings, wherever they stand: the environment, ``.env``, Prefect's
own files. An empty variable counts as unset. No proxy is asked for this machine itself.
"""

from __future__ import annotations

import fcntl
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from lvm.errors import UsageError
from lvm.settings import Settings, dotenv
from lvm.terminal import without_login

UI_LOCK = "lvm-ui.lock"
"""File in ``PREFECT_HOME`` that a running ``lvm ui`` locks. It has the addresses of the Prefect API and the reports."""

TASKS_WRITTEN_EVERY = 1.0
"""Seconds between two writes of task states by a Prefect server of ours.

By default Prefect writes each state at once. Then a task that begins while the end of another one is written finds the
SQLite database locked, and Prefect's client waits two seconds before it asks again.
"""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def surroundings() -> dict[str, str]:
    """The environment, and the variables that ``.env`` adds, without empty ones.

    Raises:
        InvalidSetting: if ``.env`` cannot be read.
    """
    return {**dotenv(), **{name: value for name, value in os.environ.items() if value}}


# -- Prefect ----------------------------------------------------------------------------------------------------------


def prefect_home(settings: Settings, environment: Mapping[str, str]) -> Path:
    """Folder of Prefect's state."""
    return Path(environment.get("PREFECT_HOME") or settings.home / "prefect").expanduser()


def prefect_api(settings: Settings, environment: Mapping[str, str] | None = None) -> str | None:
    """Address of the Prefect API, if a server is there; see ``prefect_server``."""
    return next(prefect_server(settings, environment), (None, ""))[0]


def prefect_server(settings: Settings, environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Addresses of a Prefect API and what names them. Prefect uses the first one.

    They are those of ``PREFECT_API_URL``, of Prefect's own files, and of an ``lvm ui`` with the same home.

    Args:
        settings: name the home.
        environment: variables; those of the environment and of ``.env`` unless given.
    """
    environment = surroundings() if environment is None else environment
    if address := environment.get("PREFECT_API_URL"):
        in_file = without_login(dotenv().get("PREFECT_API_URL", "")) == without_login(address)
        yield address, f"PREFECT_API_URL{' in .env' if in_file else ''}"
    profiles = Path(environment.get("PREFECT_PROFILES_PATH") or prefect_home(settings, environment) / "profiles.toml")
    profile = environment.get("PREFECT_PROFILE") or _value(profiles, "active")
    for file, *keys in (
        (Path("prefect.toml"), "api", "url"),
        (Path("pyproject.toml"), "tool", "prefect", "api", "url"),
        (profiles, "profiles", profile, "PREFECT_API_URL"),
    ):
        if isinstance(address := _value(file, *keys), str) and address:
            yield address, f"{keys[-1]} in {file}"
    for address in _announced(settings, environment)[:1]:
        yield address, "a running `lvm ui`"


def _value(file: Path, *keys: Any) -> Any:
    """A value of a TOML file, as Prefect reads it; None if there is none."""
    try:
        return reduce(lambda table, key: table[key], keys, tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _announced(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """What a running ``lvm ui`` with the same home wrote into its lock; empty if there is none."""
    try:
        with (prefect_home(settings, environment) / UI_LOCK).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # a running `lvm ui` holds the lock
                return lock.read().split()
    except OSError:
        pass
    return []


def prepare_prefect(settings: Settings) -> None:
    """Set what Prefect reads when it is imported: state below ``LVM_HOME``, a quiet log, no telemetry.

    Raises:
        UsageError: if the home folder cannot be made.
    """
    from lvm.store.server import own_home

    folder = (settings.home / "prefect").resolve()
    try:
        home = own_home(settings)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.parent == home:  # no link to somewhere else
            folder.chmod(0o700)  # it holds parameters, results and logs of runs
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({error.strerror}); set LVM_HOME to a folder you own") from error
    for name in [name for name, value in os.environ.items() if name.startswith("PREFECT_") and not value]:
        del os.environ[name]
    server = next(prefect_server(settings), None)
    announced = _announced(settings, surroundings())
    defaults = {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": str(TASKS_WRITTEN_EVERY),
    }
    if server and server[0] in announced:
        defaults |= dict(zip(("PREFECT_API_URL", "LVM_ARTIFACTS_URL"), announced, strict=False))
    if "PREFECT_LOGGING_LEVEL" not in surroundings():  # the log is for the UI, not for the terminal
        defaults["PREFECT_LOGGING_LEVEL"] = "INFO" if server else "CRITICAL"
        defaults["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    in_file = dotenv()  # it wins over defaults
    for name, value in {"PREFECT_API_URL": "", **defaults}.items():
        if value := in_file.get(name, value):
            os.environ.setdefault(name, value)
    if server:
        take_login(server[0])
    _name_database(os.environ["PREFECT_HOME"])
    exempt()


def login_of(address: str) -> str | None:
    """The login in an address, as name and password with a colon between; None if it has none."""
    parts = urlsplit(address)
    return None if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def take_login(address: str) -> None:
    """Move the login out of the address of the Prefect API, where Prefect logs it and sends no events with it."""
    if login := login_of(address):
        os.environ |= {"PREFECT_API_URL": without_login(address), "PREFECT_API_AUTH_STRING": login}


def _own_database() -> bool:
    """Whether people name a database of Prefect's server themselves."""
    named = r"PREFECT_(API|SERVER)_DATABASE_(CONNECTION_URL|DRIVER|HOST|NAME)"
    return any(re.fullmatch(named, name) for name in surroundings())


def _name_database(home: str) -> None:
    """Write the URL of Prefect's own database where its home is no plain path: Prefect takes ``%`` for an escape."""
    if any(each in home for each in "%?") and not _own_database():
        path = quote(str(Path(home).expanduser().absolute() / "prefect.db"))
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{path}"


# -- proxies ----------------------------------------------------------------------------------------------------------


def exempt(*hosts: str) -> None:
    """Let this process and its children reach this machine without a proxy; others are asked for through it, as before.

    Args:
        hosts: more names of this machine.
    """
    if not any(name.lower().endswith("_proxy") and value for name, value in os.environ.items()):
        return
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    names = [each.strip() for each in given.split(",") if each.strip()]
    if "*" not in names:  # it stands for all, alone only
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*names, *LOOPBACK, *hosts]))


def what_to_do(address: str | None, settings: Settings, status: int | None = None) -> str:
    """What to do about a Prefect server that cannot be used.

    Args:
        address: of its API; None for the one that a command starts.
        settings: name the home.
        status: of its HTTP answer, if there was one.
    """
    from urllib.request import getproxies, proxy_bypass

    if status in (401, 403):
        return "it asks for another login; set PREFECT_API_AUTH_STRING to name:password, or PREFECT_API_KEY"
    if not address:
        home = prefect_home(settings, surroundings()).absolute()
        return f"the command starts it, with its data in {home}: see that you can write there and the disk has room"
    named = {without_login(each): where for each, where in prefect_server(settings)}
    where = named.get(without_login(address), "PREFECT_API_URL")
    advice = f"start it (lvm ui, or prefect server start), or correct or remove {where}"
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and parts.hostname and not proxy_bypass(parts.hostname):
        advice += f"; it is asked for through the proxy {without_login(proxy)}: if it needs none, add it to NO_PROXY"
    return advice
