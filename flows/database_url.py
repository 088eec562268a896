"""A database URL that is kept in Prefect: ``prefect:secret/NAME`` or ``prefect:variable/NAME``."""

from __future__ import annotations

import re
from functools import cache

from lvm.errors import first_line
from lvm.store.errors import InvalidDatabaseUrl
from lvm.terminal import without_login


class NoSuchBlock(InvalidDatabaseUrl):
    """Prefect keeps no URL under this name."""


_KINDS = {"secret": "Secret block", "variable": "variable"}


@cache
def read(name: str) -> str:
    """The URL that a Secret block or a variable holds. A process reads it once.

    Args:
        name: ``secret/NAME`` or ``variable/NAME``.

    Raises:
        NoSuchBlock: if there is no such block or variable, or it holds no text.
        InvalidDatabaseUrl: if the name is no such name, or Prefect cannot be reached.
    """
    import httpx  # imported here: the package is imported before Prefect's server is started
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    kind, _, own = name.partition("/")
    if kind not in _KINDS or not re.fullmatch(r"[\w.-]+", own):  # it may be a URL with a password: it is not shown
        raise InvalidDatabaseUrl(
            "what follows prefect: is no name of a URL that Prefect keeps; write prefect:secret/NAME or "
            "prefect:variable/NAME, or a URL without prefect:"
        )
    what = f"the database's URL is kept in the {_KINDS[kind]} {own!r} of Prefect"
    where = without_login(PREFECT_API_URL.value() or "") or "this machine"
    value: object = None
    try:
        with get_client(sync_client=True) as client:
            if kind == "secret":
                value = client.read_block_document_by_name(own, "secret", include_secrets=True).data.get("value")
            elif variable := client.read_variable_by_name(own):
                value = variable.value
    except ObjectNotFound:
        pass
    # ValueError: what answers is no Prefect server. ImportError: a SOCKS proxy without its package
    except (RuntimeError, ValueError, httpx.HTTPError, ImportError) as error:
        reason = without_login(first_line(error.__cause__ or error))
        raise InvalidDatabaseUrl(
            f"{what}, but the server at {where} cannot be used ({reason}); start it, or correct PREFECT_API_URL"
        ) from error
    if not isinstance(value, str):
        raise NoSuchBlock(f"{what}, but the server at {where} has no such text; make it there, in the UI")
    return value
