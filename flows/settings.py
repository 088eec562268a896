"""Prefect's settings, read before anything else of Prefect: the first import of Prefect needs them."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr
from io import StringIO

from pydantic import ValidationError

from lvm.errors import one_line
from lvm.settings import InvalidSetting


def require_readable() -> None:
    """Refuse settings that Prefect cannot read, in one line.

    Raises:
        InvalidSetting: if a variable, ``prefect.toml`` or another file of Prefect's settings is invalid. Values are
            not in the message: one may be a login.
    """
    said = StringIO()
    try:
        with redirect_stderr(said):  # Prefect tells the same error in its own way, on several lines
            from prefect.settings import get_current_settings

            get_current_settings()
    except ValueError as error:  # of pydantic, or of a text that is not UTF-8
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
