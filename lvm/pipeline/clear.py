"""Empty the database and the artifacts. The name of the database must be typed out."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lvm.models import MODELS
from lvm.settings import Settings
from lvm.store import NotConfirmed, open_store
from lvm.training.checkpoints import CONFIG, LAST, MODEL

_MODEL_FILES = "|".join(map(re.escape, (MODEL, LAST, CONFIG)))
_OURS = {
    ".": r"summary\.json|report\.html|training_sequences_ctx\d+\.npz",
    "sequences": r"ctx\d+(\.tokens)?\.safetensors",
    **dict.fromkeys(MODELS, _MODEL_FILES),
}
"""Patterns of the file names that the project writes into each folder below ``LVM_ARTIFACTS``."""


@dataclass(frozen=True)
class Cleared:
    """What was removed and what was left.

    Attributes:
        rows: removed from each table.
        files: removed files of the project.
        left: everything else in the artifacts folder, or why nothing there was touched.
    """

    rows: dict[str, int]
    files: int
    left: list[str]


def clear(confirm: str = "", settings: Settings | None = None) -> Cleared:
    """Remove every document, vector, gate, sequence set, training run and model.

    Args:
        confirm: name of the database, typed out.
        settings: which database and artifacts; from the environment unless given.

    Raises:
        NotConfirmed: if ``confirm`` is not the name; the message says what would go.
        TrainingActive: while a training run is active.
        NotAllowed: if this database user does not own the tables.
    """
    settings = settings or Settings()
    with open_store(settings) as store:
        if confirm != store.database_name:
            rows = ", ".join(f"{count} {table}" for table, count in store.contents().items())
            files = sum(1 for _ in written(settings.artifacts))
            raise NotConfirmed(
                f"this would remove from database {store.database_name!r}: {rows}; and {files} files that the project "
                f"wrote into {settings.artifacts}; nothing was touched, to do it: "
                f"lvm clear --confirm {store.database_name}"
            )
        with store.lock("ingest"):
            gone = store.clear(confirm)
    return Cleared(gone, remove(settings.artifacts), left(settings.artifacts))


def written(artifacts: Path) -> Iterator[Path]:
    """The files that the project wrote, unfinished ones included. No link is followed."""
    for folder in _folders(artifacts):
        name = re.compile(_OURS[str(folder.relative_to(artifacts))])
        for path in folder.iterdir():
            plain = re.sub(r"^\.(.+)\.tmp$", r"\1", path.name)
            if name.fullmatch(plain) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def remove(artifacts: Path) -> int:
    """Remove what the project wrote, then empty folders. Returns the number of files."""
    count = 0
    for path in list(written(artifacts)):
        with suppress(OSError):  # ``left`` names it
            path.unlink()
            count += 1
    for folder in reversed(_folders(artifacts)):
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    return count


def left(artifacts: Path) -> list[str]:
    """What is in the folders that the project writes to, in words."""
    if artifacts.is_symlink():
        where = artifacts.readlink()
        return [f"all that is in {artifacts}, a link to {where}; to clear it set LVM_ARTIFACTS to the folder itself"]
    return [
        f"{path}, a link" if path.is_symlink() else str(path)
        for folder in _folders(artifacts)
        for path in sorted(folder.iterdir())
        if path not in _folders(artifacts)
    ]


def _folders(artifacts: Path) -> list[Path]:
    """The artifacts folder, and the project's folders in it. None if a link leads elsewhere."""
    found = [artifacts / name for name in _OURS]
    return [] if artifacts.is_symlink() else [path for path in found if path.is_dir() and not path.is_symlink()]
