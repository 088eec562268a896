"""HTTP connections with time limits, for uvicorn.

Contract: header and body of a request must arrive within ``REQUEST_SECONDS``, the client must accept the answer within
``ANSWER_SECONDS``, and at most ``MAX_CONNECTIONS`` connections are open. Uvicorn itself limits only the time between
two requests. What is no HTTP request is answered with JSON, as every other refusal is. A client that is answered while
it sends gets its answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 30.0
ANSWER_SECONDS = 60.0
LINGER_SECONDS = 2.0
MAX_CONNECTIONS = 256  # a process may usually have 1,024 open files

_REFUSAL = b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"


class BoundedConnection(H11Protocol):
    """The connection of one client, with a deadline for the request and one for the answer."""

    transport: Lingering  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._arriving, self._leaving = Deadline(self.loop), Deadline(self.loop)
        super().connection_made(Lingering(transport, self._sends, self._arriving))  # type: ignore[arg-type]
        transport.set_write_buffer_limits(high=0)  # writing pauses as soon as the client does not read
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(
                b"503 Service Unavailable", "Overloaded", "too many connections are open; try again in a moment"
            )
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: say so if its request is incomplete, else let the answer begin."""
        if self.transport.is_closing():
            return False
        waiting = self.cycle is not None and not self.cycle.response_started
        if (self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]) or (waiting and self._sends()):
            self._refuse(b"400 Bad Request", "InvalidRequest", "the request ended before it was complete")
            return False
        if waiting:
            self.cycle.keep_alive = False
        return waiting  # False closes the connection

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", "InvalidRequest", "this is no HTTP/1.1 request; check what the client sends")

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

    def _sends(self) -> bool:
        """Whether bytes may arrive that nobody reads."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def _watch(self) -> None:
        """Set the deadline of a request, and clear it when the request is complete.

        The deadline counts from the first byte of the request; for the first request, from the connection.
        """
        if self.transport.is_closing():
            return
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._arriving.set(REQUEST_SECONDS, self._too_slow)
        else:
            self._arriving.clear()

    def _too_slow(self) -> None:
        self._refuse(b"408 Request Timeout", "TooSlow", f"the request took longer than {REQUEST_SECONDS:g} seconds")

    def _refuse(self, status: bytes, error: str, detail: str) -> None:
        """Answer in place of the application, unless it has begun to answer, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application sends nothing more
            self.cycle.message_event.set()
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            body = json.dumps({"error": error, "detail": detail}).encode()
            self.transport.write(_REFUSAL % (status, len(body), body))
        self.transport.close()


class Lingering:
    """A transport that reads on for a moment if it is closed while the client sends.

    A kernel that closes on unread bytes resets the connection, and the client loses the answer.

    Args:
        transport: the transport.
        sends: whether the client may still send.
        deadline: ends the moment.
    """

    def __init__(self, transport: asyncio.Transport, sends: Callable[[], bool], deadline: Deadline) -> None:
        self._transport, self._sends, self._deadline = transport, sends, deadline
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self._closed:
            self._transport.write(data)

    def close(self) -> None:
        if self.is_closing():
            return
        self._closed = True
        self._deadline.clear()
        if self._sends():
            self._deadline.set(LINGER_SECONDS, self._transport.abort)
            self._transport.resume_reading()
            with suppress(OSError):  # the client is gone
                self._transport.write_eof()
        else:
            self._transport.close()


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
