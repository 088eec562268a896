"""Prefect's settings and its SQLite database, looked at before anything else of Prefect: what is wrong is one line.

Prefect reads its settings when it is imported. It waits two minutes before it gives up a server that cannot start.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from lvm.errors import UsageError, one_line
from lvm.settings import InvalidSetting

_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_ERROR)
"""SQLite's codes for a database that is locked, or that is new and has no table of revisions."""

_ANEW = "move it away, and Prefect begins a new one: no texts, vectors or models are in it"


def require_readable() -> None:
    """Refuse settings that Prefect cannot read, and a database of the server that this process would start.

    Raises:
        InvalidSetting: if a variable, ``prefect.toml`` or another file of Prefect's settings is invalid. Values are
            not in the message: one may be a login.
        UsageError: see ``require_startable``.
    """
    said = StringIO()
    try:
        with redirect_stderr(said):  # Prefect tells the same error in its own way, on several lines
            from prefect.settings import get_current_settings

            elsewhere = get_current_settings().api.url
    except (ValueError, OSError, AttributeError, TypeError) as error:  # a wrong file leads to any of these
        reason = one_line(str(error))
        if isinstance(error, ValidationError):
            reason = "; ".join(
                f"{error.title}, {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
            )
        raise InvalidSetting(
            f"Prefect cannot read its settings ({reason}); mend the variable PREFECT_..., or the file: "
            "prefect.toml, pyproject.toml, .env, or profiles.toml in Prefect's home"
        ) from error
    sys.stderr.write(said.getvalue())
    if not elsewhere:
        require_startable()


def require_startable() -> None:
    """Refuse a SQLite database with which Prefect's server would not start. A locked one passes.

    Raises:
        UsageError: if it is damaged, cannot be opened, or was changed by a newer Prefect.
    """
    from prefect.settings import get_current_settings

    url = get_current_settings().server.database.connection_url
    parts = urlsplit(url.get_secret_value() if url else "")
    database = Path(unquote(parts.path[1:]))
    if not parts.scheme.startswith("sqlite") or not database.exists():  # a database in memory is no file
        return
    try:
        address = f"{database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, timeout=0, uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _PASSING:  # the higher bits give details
            return
        raise UsageError(
            f"{database}, the history of runs, cannot be opened ({error}); see that it is a file that you may read and "
            f"write, or {_ANEW}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{database}, the history of runs, is damaged ({error}); {_ANEW}") from error
    if not _known(revision):
        raise UsageError(
            f"{database}, the history of runs, is of a newer Prefect than this one; upgrade Prefect (pip install "
            f"-U prefect), or {_ANEW}"
        )


def _known(revision: str) -> bool:
    """Whether the installed Prefect has a migration of its SQLite database. True if its migrations are not found."""
    found = find_spec("prefect")
    assert found is not None and found.origin is not None
    folder = Path(found.origin).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    files = sorted(folder.glob("*.py"), reverse=True)  # the newest first: it is the one, as a rule
    return not files or any(revision in file.read_text(encoding="utf-8") for file in files)
