"""HTTP connections with time limits, for uvicorn.

Contract: header and body of a request must arrive within ``REQUEST_SECONDS``, the client must accept the answer within
``ANSWER_SECONDS``, and at most ``MAX_CONNECTIONS`` connections are open. Uvicorn itself limits only the time between
two requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 30.0
ANSWER_SECONDS = 60.0
MAX_CONNECTIONS = 256  # a process may usually have 1,024 open files

_REFUSAL = b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedConnection(H11Protocol):
    """The connection of one client, with a deadline for the request and one for the answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arriving, self._leaving = Deadline(self.loop), Deadline(self.loop)
        transport.set_write_buffer_limits(high=0)  # writing pauses as soon as the client does not read
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(b"503 Service Unavailable")
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arriving.clear()
        self._leaving.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._leaving.set(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._leaving.clear()
        super().resume_writing()

    def _watch(self) -> None:
        """Set the deadline of a request, and clear it when the request is complete.

        The deadline counts from the first byte of the request; for the first request, from the connection.
        """
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing():
            self._arriving.set(REQUEST_SECONDS, lambda: self._refuse(b"408 Request Timeout"))
        else:
            self._arriving.clear()

    def _refuse(self, status: bytes) -> None:
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_REFUSAL % status)
        self.transport.close()


class Deadline:
    """A timer that calls a function unless it is cleared. Setting a running timer again does not change it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, then: Callable[[], object]) -> None:
        if self.timer is None:
            self.timer = self.loop.call_later(seconds, then)

    def clear(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
