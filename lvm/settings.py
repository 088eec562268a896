"""The settings of the whole project, read from the environment (``LVM_*``) and from ``.env``.

Contract: no other code reads ``LVM_*`` variables. Secrets are ``SecretStr``, so they are never printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticUseDefault
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from lvm.errors import UsageError, did_you_mean, first_line

DOTENV = ".env"
"""File of settings in the working folder. The environment wins."""

_ENCODING = "utf-8-sig"  # UTF-8; a byte order mark is no part of the first name

CONTEXT = 16
"""Vectors in a window, if nothing else is said."""

TEMPERATURE = 0.62
"""Temperature of samples, if nothing else is said. 1 is the trained distribution; lower ones read better."""

MOST_AT_ONCE = 4096
"""Threads, workers or replicas at most: no machine has more cores, and torch takes no larger numbers than C does."""

url_readers: dict[str, Callable[[str], str]] = {}
"""What reads a database URL that is kept elsewhere, by scheme: ``prefect:secret/NAME`` is given ``secret/NAME``. The
command line and the flows add ``prefect``; nothing below them knows Prefect."""


class InvalidSetting(UsageError):
    """A setting has a value that it cannot have, or ``.env`` cannot be read."""


class Settings(BaseSettings):
    """Settings. The environment variable of a field is ``LVM_<FIELD>``.

    An empty value counts as unset. ``~`` in a path is the home folder.

    Raises:
        InvalidSetting: if a value is not possible, there is no such setting, or ``.env`` cannot be read.
    """

    model_config = SettingsConfigDict(
        env_prefix="LVM_", env_file=DOTENV, env_file_encoding=_ENCODING, env_ignore_empty=True, extra="ignore"
    )

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in type(self).model_fields and not name.startswith("_"):  # those are pydantic's own
                guess = did_you_mean(name, type(self).model_fields)
                raise InvalidSetting(f"there is no setting {name!r}{guess and '; '}{guess}")
        try:
            super().__init__(**values)
        except ValidationError as error:  # it may quote a secret, so it is not chained
            raise InvalidSetting("; ".join(_wrong(each, values) for each in error.errors())) from None
        except (OSError, UnicodeError) as error:
            raise _unreadable(error) from error

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and not text.strip():
            raise PydanticUseDefault
        return value

    @field_validator("home", "artifacts", "spaces", "inverter")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return None if path is None else expanded(path)

    @field_validator("token")
    @classmethod
    def _sendable(cls, token: SecretStr | None) -> SecretStr | None:
        """A token as a caller can send it: HTTP leaves out white space around it."""
        if token is None:
            return None
        text = token.get_secret_value().strip()
        if not text.isascii() or not text.isprintable():
            raise ValueError("it must be of ASCII letters, digits and signs, or no caller can send it")
        return SecretStr(text)

    database_url: SecretStr | None = Field(
        default=None,
        description="Postgres with pgvector, e.g. postgresql://user@host/db, or prefect:secret/NAME. "
        "Unset: an embedded server.",
    )
    gatekeeper_url: SecretStr | None = Field(
        default=None, description="The same database, for the user who writes verdicts. Unset: LVM_DATABASE_URL."
    )
    home: Path = Field(default=Path(".lvm"), description="Folder of the embedded Postgres and of Prefect's state.")
    artifacts: Path = Field(default=Path("artifacts/lvm"), description="Folder of models, sequences and reports.")
    artifacts_url: str | None = Field(
        default=None, description="Address at which LVM_ARTIFACTS is served, for links. Unset: that of `lvm ui`."
    )
    space: str = Field(default="minilm", description="Space that texts are encoded in.")
    spaces: Path = Field(default=Path("spaces.toml"), description="File of your own spaces; may be missing.")
    inverter: Path | None = Field(default=None, description="Folder of an inverter, e.g. a fine-tuned one.")
    source_only: str | None = Field(
        default=None, description="Work on this source alone: a database, a gate and models of its own."
    )
    device: str = Field(default="cpu", description="Torch device: cpu, cuda, cuda:1, mps.")
    quiet: bool = Field(default=False, description="No progress bars in the terminal.")
    threads: PositiveInt | None = Field(
        default=None, le=MOST_AT_ONCE, description="CPU threads for torch; default: all cores."
    )
    runner: Literal["threads", "ray"] = Field(
        default="threads", description="What runs the parts of a stage: threads here, or a Ray cluster."
    )
    workers: PositiveInt = Field(default=1, le=MOST_AT_ONCE, description="Parts of a stage that run at the same time.")
    replicas: PositiveInt = Field(
        default=1, le=MOST_AT_ONCE, description="Processes that train one model together, with Ray Train."
    )
    ray_address: str | None = Field(default=None, description="Ray cluster to join, e.g. auto; unset: one is started.")
    token: SecretStr | None = Field(default=None, description="Bearer token that callers of `lvm serve` must send.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of everything random.")


def expanded(path: Path) -> Path:
    """A path with ``~`` and ``~user`` replaced by the home folder.

    Raises:
        ValueError: if there is no such user.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path.parts[0]} is no home folder here; write ./{path} for a folder of this name") from None


def dotenv() -> dict[str, str]:
    """What ``.env`` sets, by name in capitals; nothing if there is no such file.

    Raises:
        InvalidSetting: if it cannot be read.
    """
    try:
        found = DotEnvSettingsSource(Settings, case_sensitive=True).env_vars
    except (OSError, UnicodeError) as error:
        raise _unreadable(error) from error
    return {name.upper(): value for name, value in found.items() if value}


def _unreadable(error: OSError | UnicodeError) -> InvalidSetting:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    where = Path(DOTENV).absolute()
    return InvalidSetting(f"{where} cannot be read ({reason or first_line(error)}); correct it, or remove it")


def _wrong(error: ErrorDetails, given: dict[str, Any]) -> str:
    """What is wrong with a value, and where it stands. The value of a secret is not shown."""
    field = str(error["loc"][0])
    name = f"LVM_{field.upper()}"
    where = ""
    if field in given:
        name = f"Settings({field}=...)"
    elif not any(each.upper() == name and value for each, value in os.environ.items()):
        where = f" in {Path(DOTENV).absolute()}"
    annotation = str(Settings.model_fields[field].annotation)
    shown = "" if "SecretStr" in annotation else f" is {error['input']!r}, and"
    why = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name}{where}{shown or ' has a value that it cannot have:'} {why}"


def chosen(inverter: Path | str | None = None, source_only: str | None = None) -> Settings:
    """The settings of the environment, with what a command or a form names in their place.

    Args:
        inverter: folder of an inverter; ``LVM_INVERTER`` unless given.
        source_only: the source to work on alone; ``LVM_SOURCE_ONLY`` unless given.

    Raises:
        UsageError: if the inverter is no folder.
    """
    named: dict[str, Any] = {}
    if inverter is not None:
        named["inverter"] = folder = expanded(Path(inverter))
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}; --inverter takes the folder that `lvm inverter` made")
    if source_only is not None:
        named["source_only"] = source_only
    return Settings().model_copy(update=named)
