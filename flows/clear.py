"""Empty the database and the artifacts, on purpose only."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, get_run_logger

from lvm.errors import one_line
from lvm.models import MODELS
from lvm.settings import Settings
from lvm.store import NotConfirmed, open_store
from lvm.training.checkpoints import CONFIG, LAST, MODEL

_MODEL_FILES = "|".join(map(re.escape, (MODEL, LAST, CONFIG)))
_OURS = {
    ".": r"summary\.json|report\.html|training_sequences_ctx\d+\.npz",
    "sequences": r"ctx\d+\.safetensors",
    **dict.fromkeys(MODELS, _MODEL_FILES),
}
"""What the project writes into each folder below ``LVM_ARTIFACTS``: patterns of names."""


@dataclass(frozen=True)
class Cleared:
    """What went and what stayed.

    Attributes:
        rows: of each table.
        files: how many of the project's were removed.
        left: what else is in the folder of artifacts, or why nothing there was touched.
    """

    rows: dict[str, int]
    files: int
    left: list[str]


@flow(name="clear")
def clear_flow(confirm: str = "") -> Cleared:
    """Remove every document, vector, gate, sequence set, training run and model.

    Args:
        confirm: name of the database, typed out; left empty, nothing goes and the run says what would.

    Raises:
        NotConfirmed: without it; the message says what would go.
        TrainingActive: while a training run is active.
    """
    settings = Settings()
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
    cleared = Cleared(gone, remove(settings.artifacts), left(settings.artifacts))
    for each in cleared.left:
        get_run_logger().info("left: %s", one_line(each))
    return cleared


def written(artifacts: Path) -> Iterator[Path]:
    """The files that the project wrote, unfinished ones included; no link is followed."""
    for folder in _folders(artifacts):
        name = re.compile(_OURS[str(folder.relative_to(artifacts))])
        for path in folder.iterdir():
            plain = re.sub(r"^\.(.+)\.tmp$", r"\1", path.name)
            if name.fullmatch(plain) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def remove(artifacts: Path) -> int:
    """Remove what the project wrote, then folders that are empty; how many files went."""
    count = 0
    for path in list(written(artifacts)):
        with suppress(OSError):  # it is named as left
            path.unlink()
            count += 1
    for folder in reversed(_folders(artifacts)):
        with suppress(OSError):  # something else is in it
            folder.rmdir()
    return count


def left(artifacts: Path) -> list[str]:
    """What is in the folders that the project writes to, for people."""
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
    """The folder of artifacts, and those in it that the project makes; none where a link leads elsewhere."""
    found = [artifacts / name for name in _OURS]
    return [] if artifacts.is_symlink() else [path for path in found if path.is_dir() and not path.is_symlink()]
