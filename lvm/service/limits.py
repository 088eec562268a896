"""Middleware of the service: the bearer token, and the size limit of requests."""

from __future__ import annotations

import secrets

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 8 * 2**20  # bytes of one request
OPEN = ("/health", "/")  # need no token: the page says nothing about the service


class Bearer:
    """Answers 401 to requests without the token, before their body is read.

    The paths of ``OPEN`` need no token. ``scope["bearer"]`` says whether the request has it.

    Args:
        app: the application.
        token: the token; empty turns the check off.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.expected = app, f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            scope["bearer"] = not self.expected or secrets.compare_digest(given, self.expected)
            if not scope["bearer"] and scope["path"] not in OPEN:
                refusal = {"error": "Unauthorized", "detail": "a bearer token is needed"}
                await JSONResponse(refusal, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses bodies over ``MAX_BODY`` while they arrive. The content-length header is not trusted.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                raise HTTPException(413, f"a request may have {MAX_BODY} bytes; send fewer texts in one request")
            return message

        await self.app(scope, limited, send)
