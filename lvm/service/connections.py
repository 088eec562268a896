"""HTTP connections with time limits, for uvicorn.

Contract: header and body of a request must arrive within ``REQUEST_SECONDS``, the client must accept the answer within
``ANSWER_SECONDS``, and at most ``MAX_CONNECTIONS`` connections are open. Uvicorn itself limits only the time between
two requests. What is no HTTP request is answered with JSON, as every other refusal is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 30.0
ANSWER_SECONDS = 60.0
LINGER_SECONDS = 1.0
MAX_CONNECTIONS = 256  # a process may usually have 1,024 open files

_REFUSAL = b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"


class BoundedConnection(H11Protocol):
    """The connection of one client, with a deadline for the request and one for the answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arriving, self._leaving = Deadline(self.loop), Deadline(self.loop)
        self._refused = False
        transport.set_write_buffer_limits(high=0)  # writing pauses as soon as the client does not read
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(
                b"503 Service Unavailable", "Overloaded", "too many connections are open; try again in a moment"
            )
            self.transport.close()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if not self._refused:
            self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: say so if its request is incomplete, else let the answer begin."""
        header_began = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        waiting = self.cycle is not None and not self.cycle.response_started
        if self._refused:
            return False
        if header_began or (waiting and self.conn.their_state is h11.SEND_BODY):
            self.send_400_response("the request ended before it was complete")
            return False
        if waiting:
            self.cycle.keep_alive = False
        return waiting  # False closes the connection

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request. Read on for a moment: a kernel that closes on unread bytes drops the answer."""
        self._arriving.clear()
        if self._refuse(b"400 Bad Request", "InvalidRequest", msg):
            self.transport.write_eof()
            self._arriving.set(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

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
            self._arriving.set(REQUEST_SECONDS, self._too_slow)
        else:
            self._arriving.clear()

    def _too_slow(self) -> None:
        self._refuse(b"408 Request Timeout", "TooSlow", f"the request took longer than {REQUEST_SECONDS:g} seconds")
        self.transport.close()

    def _refuse(self, status: bytes, error: str, detail: str) -> bool:
        """Answer in place of the application, unless it has begun to answer. Nothing more is read as a request."""
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                return False
            self.cycle.disconnected = True  # the application sends nothing after this
            self.cycle.message_event.set()
        body = json.dumps({"error": error, "detail": detail}).encode()
        self.transport.write(_REFUSAL % (status, len(body), body))
        return True


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
