"""``lvm serve``: listen on an address and answer requests until stopped.

Contract: an address that other machines can reach needs a token.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from contextlib import suppress

import uvicorn

from lvm.errors import UsageError, one_line
from lvm.service.app import build
from lvm.service.connections import BoundedConnection
from lvm.settings import Settings
from lvm.spaces import open_space
from lvm.spaces.registry import open_statistics

GRACE_SECONDS = 10
"""Time that answers get when the service stops; a stream of texts may take minutes."""


class CannotListen(UsageError):
    """The service cannot listen on this address."""


def serve(host: str, port: int, space_name: str | None, settings: Settings) -> None:
    """Serve until stopped.

    Args:
        host: address to listen on.
        port: port to listen on.
        space_name: the space to serve; ``settings.space`` unless given.
        settings: names folders and the token.

    Raises:
        CannotListen: if the port is in use, or the address is not loopback and no token is set.
    """
    if not _loopback(host) and not settings.token:  # a token may be empty
        raise CannotListen(f"{host} can be reached from other machines; set LVM_TOKEN, which callers must send")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, ValueError, TypeError) as error:  # the last two: no host can have this name
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(
            f"{host}:{port} cannot be listened on ({reason}); choose another port with --port, or an address of this "
            "machine with --host"
        ) from error
    space = open_space(space_name or settings.space, settings)
    sys.setswitchinterval(0.0005)  # seconds; shorter than the default, so that the encoder does not delay answers
    space.probe()  # loads the weights before the first request
    open_statistics(space, settings)
    name = one_line(space.name)
    sys.stderr.write(f"space {name} ({space.fingerprint}) on http://{host}:{port}/, described at /docs\n")
    uvicorn.run(
        build(space, settings),
        host=host,
        port=port,
        log_level="warning",
        http=BoundedConnection,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
