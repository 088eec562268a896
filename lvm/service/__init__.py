"""The HTTP service: encode, decode and continue texts."""

from lvm.service.server import CannotListen, serve

__all__ = ["CannotListen", "serve"]
