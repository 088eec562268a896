"""The settings of the whole project, read from the environment (``LVM_*``) and from ``.env``.

Contract: no other code reads ``LVM_*`` variables. Secrets are ``SecretStr``, so they are never printed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from lvm.errors import UsageError

CONTEXT = 16
"""Vectors in a window, if nothing else is said."""

TEMPERATURE = 0.62
"""Temperature of samples, if nothing else is said. 1 is the trained distribution; lower ones read better."""

url_readers: dict[str, Callable[[str], str]] = {}
"""What reads a database URL that is kept elsewhere, by scheme: ``prefect:secret/NAME`` is given ``secret/NAME``. The
command line and the flows add ``prefect``; nothing below them knows Prefect."""


class Settings(BaseSettings):
    """Settings. The environment variable of a field is ``LVM_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix="LVM_", env_file=".env", extra="ignore")

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
    threads: PositiveInt | None = Field(default=None, description="CPU threads for torch; default: all cores.")
    runner: Literal["threads", "ray"] = Field(
        default="threads", description="What runs the parts of a stage: threads here, or a Ray cluster."
    )
    workers: PositiveInt = Field(default=1, description="Parts of a stage that run at the same time.")
    replicas: PositiveInt = Field(default=1, description="Processes that train one model together, with Ray Train.")
    ray_address: str | None = Field(default=None, description="Ray cluster to join, e.g. auto; unset: one is started.")
    token: SecretStr | None = Field(default=None, description="Bearer token that callers of `lvm serve` must send.")
    seed: int = Field(default=0, description="Seed of everything random.")


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
        named["inverter"] = folder = Path(inverter).expanduser()
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}; --inverter takes the folder that `lvm inverter` made")
    if source_only is not None:
        named["source_only"] = source_only
    return Settings().model_copy(update=named)
