"""Prefect's own server, started before it is needed. Nothing else of the project is imported here."""

from __future__ import annotations

import atexit
import signal
from concurrent.futures import Future
from importlib import import_module
from threading import Thread

from prefect.client.orchestration import get_client

_END_SECONDS = 5.0
"""How long the end of a process waits for the thread at most."""


def start() -> Future[object]:
    """Begin to start the server that a flow would start. It takes seconds.

    Returns:
        Done when the server answers. A process that ends earlier stops the server and does not wait.
    """
    started: Future[object] = Future()
    import_module("prefect.server.api.server")  # not in the thread: it would wait for other imports there

    def answered() -> None:
        # Ctrl-C reaches every process of the terminal. The server must not end before the run has reported its own end:
        # Prefect's client would retry for a minute. A process inherits the signals that its thread blocks.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            started.set_result(get_client(sync_client=True))
        except Exception as error:
            started.set_exception(error)

    thread = Thread(target=answered, daemon=True)
    # A thread that runs while Python takes itself down may abort the process (SIGABRT). This one ends as soon as
    # Prefect has stopped its server. Prefect registers that later than this, so it happens before.
    atexit.register(thread.join, _END_SECONDS)
    thread.start()
    return started
