"""Two transaction poolers, which hand out a server connection for each transaction: a small one, and PgBouncer.

The small one is there where PgBouncer is not installed. It hands out server connections in turn, the one that rested
longest first, so nothing that a session keeps is there in the next transaction.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pooler:
    """Clients connect to a socket in one folder; the server's socket is in another one."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._idle: dict[bytes, deque[Stream]] = {}  # by startup message: user, database, settings

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client until it leaves."""
        length = await reader.readexactly(4)
        startup = length + await reader.readexactly(int.from_bytes(length) - 4)
        idle = self._idle.setdefault(startup, deque())
        first = await self._open(startup, writer)
        if first is None:
            return
        idle.append(first)
        held: Stream | None = None
        back: asyncio.Task[bool] | None = None
        try:
            while message := await _message(reader):
                if message[:1] == b"X":
                    break
                if back is not None and back.done():  # the transaction ended
                    if held is not None and back.result():
                        idle.append(held)
                    held = back = None
                if held is None or back is None:
                    held = idle.popleft() if idle else await self._open(startup, None)
                    assert held is not None
                    back = asyncio.create_task(_until_idle(held[0], writer))
                held[1].write(message)
                await held[1].drain()
        except (OSError, EOFError):
            pass
        if held is not None and back is not None:
            if back.done() and back.result():
                idle.append(held)
            else:  # the client left in the midst of a transaction
                back.cancel()
                held[1].close()
        writer.close()

    async def _open(self, startup: bytes, client: asyncio.StreamWriter | None) -> Stream | None:
        """A new server connection; the client sees its greeting."""
        server = await asyncio.open_unix_connection(self._server / ".s.PGSQL.5432")
        server[1].write(startup)
        return server if await _until_idle(server[0], client) else None


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def _until_idle(server: asyncio.StreamReader, client: asyncio.StreamWriter | None) -> bool:
    """Pass messages on until the server is ready outside of a transaction. Returns whether it is still there."""
    with suppress(OSError, EOFError):
        while True:
            message = await _message(server)
            if client is not None:
                client.write(message)
            if message[:1] == b"Z" and message[5:] == b"I":
                return True  # before the client can answer
            if client is not None:
                await client.drain()
    if client is not None:
        client.close()
    return False


@contextmanager
def pooler(server: Path, folder: Path) -> Iterator[None]:
    """Run a pooler whose socket is in ``folder``."""
    loop = asyncio.new_event_loop()
    listening = asyncio.start_unix_server(Pooler(server).serve, folder / ".s.PGSQL.5432")
    loop.run_until_complete(listening)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@contextmanager
def pgbouncer(server: Path, users: Sequence[str]) -> Iterator[str]:
    """Run PgBouncer before a server's socket; gives its port. It does not run as root, and the server knows its clients
    by their user id, so this process passes its connections on."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(str(server / ".s.PGSQL.5432"))
                for pair in ((client, upstream), (upstream, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users").write_text("".join(f'"{user}" ""\n' for user in users))
        (folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={listener.getsockname()[1]}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {folder}/users\npool_mode = transaction\nserver_round_robin = 1\n"
        )
        account = ["-u", "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen(["pgbouncer", "-q", *account, str(folder / "ini")], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                time.sleep(0.05)
            yield str(port)
        finally:
            process.kill()
            process.wait()
            listener.close()
