"""Server-sent events: an answer that grows while it is made.

Contract: an event is sent as soon as it is made. If the client goes away, no further event is made. ``finished`` is
called once, however the stream ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send


class EventStream(StreamingResponse):
    """An answer of server-sent events.

    Args:
        events: the events, as ``event`` makes them.
        finished: called when the stream ended, was broken off, or never began.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], finished: Callable[[], None]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.finished = finished

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.finished()


def event(name: str, data: BaseModel) -> bytes:
    """One event; its data is one line of JSON."""
    return f"event: {name}\ndata: {data.model_dump_json()}\n\n".encode()
