"""Prefect's own server, started before it is needed. Nothing else of the project is imported here."""

from __future__ import annotations

import atexit
import signal
import time
from concurrent.futures import Future
from threading import Thread

from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer

_END_SECONDS = 10.0
"""How long the end of a process waits at most for a server that is starting, to stop it."""


def start() -> Future[object]:
    """Begin to start the server that a flow would start. It takes seconds.

    Returns:
        Done when the server answers. A process that ends earlier stops the server first.
    """
    started: Future[object] = Future()

    def answered() -> None:
        # Ctrl-C reaches every process of the terminal. The server must not end before the run has reported its own end:
        # Prefect's client would retry for a minute. A process inherits the signals that its thread blocks.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            started.set_result(get_client(sync_client=True))
        except Exception as error:
            started.set_exception(error)

    thread = Thread(target=answered, daemon=True)
    atexit.register(_end, thread)
    thread.start()
    return started


def _end(thread: Thread) -> None:
    """End the thread before Python ends: one that still runs then may abort the process (SIGABRT).

    It ends when its server is stopped. Prefect stops the server at exit, but not one that starts during the exit.
    """
    until = time.monotonic() + _END_SECONDS
    while thread.is_alive() and time.monotonic() < until:
        for server in list(SubprocessASGIServer._instances.values()):
            if server.server_process is not None:  # else it would be forgotten, and start all the same
                server.stop()
        thread.join(0.05)
