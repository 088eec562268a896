"""Reports over HTTP, read only: what ``lvm ui`` serves beside the Prefect server.

Contract: only files named ``report.html`` and ``summary.json`` below one folder are served. No link is followed out of
it. Nothing is listed, nothing is written.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

SERVED = ("report.html", "summary.json")
"""Names of the files that are served."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class _Reports(StaticFiles):
    """The files of ``SERVED``. Starlette keeps paths inside the folder."""

    async def check_config(self) -> None:
        """Nothing to check: a missing folder is one without reports."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if Path(path).name not in SERVED:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def build(folder: Path, hosts: list[str]) -> Starlette:
    """The application.

    Args:
        folder: the artifacts; it may be missing until a run writes it.
        hosts: names that a request may call the server by: a page of another name cannot read it.
    """
    return Starlette(
        routes=[
            Route("/", lambda _: RedirectResponse("/report.html")),
            Mount("/", _Reports(directory=folder, check_dir=False)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


@contextmanager
def served(folder: Path, host: str, port: int, names: Iterable[str] = ()) -> Iterator[str]:
    """Serve the reports of a folder in a thread until the block ends. Gives the address.

    Args:
        folder: the artifacts.
        host: address to listen on.
        port: port to listen on; a free one if it is taken.
        names: other names that requests may call the server by, e.g. that of a proxy.
    """
    with _listening(host, port) as bound:
        hosts = ["127.0.0.1", "localhost", "[::1]", *names] if host in ("127.0.0.1", "localhost", "::1") else ["*"]
        config = uvicorn.Config(build(folder, hosts), log_level="critical", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError:
        return socket.create_server((host, 0), family=family)
