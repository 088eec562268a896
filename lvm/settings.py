"""The settings of the whole project, read from the environment (``LVM_*``) and from ``.env``.

Contract: no other code reads ``LVM_*`` variables. Secrets are ``SecretStr``, so they are never printed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    space: str = Field(default="minilm", description="Space that texts are encoded in.")
    spaces: Path = Field(default=Path("spaces.toml"), description="File of your own spaces; may be missing.")
    inverter: Path | None = Field(default=None, description="Folder of an inverter, e.g. a fine-tuned one.")
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
