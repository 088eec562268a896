"""Empty the database and the artifacts, and drop the databases of corpora that models were only measured on.

Contract: the name of the database must be typed out. No link is followed, and what is not the project's is left.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lvm.models import MODELS
from lvm.pipeline import alone, elsewhere
from lvm.settings import Settings
from lvm.store import NotConfirmed, databases_beside, drop_beside, open_store
from lvm.training.checkpoints import BEST, CONFIG, HEADS, LAST, MODEL, VERSIONS

_MODEL_FILES = "|".join(map(re.escape, (MODEL, LAST, BEST, HEADS, CONFIG)))
_REPORTS = {
    ".": r"summary\.json|report\.html|training_sequences_ctx\d+\.npz",
    "sequences": r"ctx\d+(\.tokens)?\.safetensors",
}
_OURS = {
    **_REPORTS,
    **dict.fromkeys(MODELS, _MODEL_FILES),
    **dict.fromkeys((f"{model}/{VERSIONS}" for model in MODELS), r"[0-9a-f]{64}\.safetensors"),
}
"""Patterns of the file names that the project writes into each folder below ``LVM_ARTIFACTS``.

Those of ``_REPORTS`` are also in the folders of other corpora.
"""


@dataclass(frozen=True)
class Cleared:
    """What was removed and what was left.

    Attributes:
        rows: removed from each table; under ``other corpus``, the number of dropped databases of other corpora and of
            single sources.
        files: removed files of the project.
        left: everything else in the artifacts folder, or why nothing there was touched; and such databases that could
            not be dropped.
    """

    rows: dict[str, int]
    files: int
    left: list[str]


def clear(confirm: str = "", settings: Settings | None = None) -> Cleared:
    """Remove every document, vector, gate, sequence set, training run and model, and all other corpora.

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
            others = "".join(f"; database {each.name} ({each.about})" for each in databases_beside(store))
            whole = "" if settings.source_only is None else f" (all of it, not {settings.source_only} alone)"
            raise NotConfirmed(
                f"this would remove from database {store.database_name!r}{whole}: {rows}{others}; and {files} files "
                f"that the project wrote into {settings.artifacts}; nothing was touched. To do it, type the name of "
                f"the database: lvm clear --confirm {store.database_name}, or the parameter confirm of a flow run"
            )
        with store.lock("ingest"):
            gone = store.clear(confirm)
        dropped, kept = drop_beside(store)
        used = [each.name.rpartition("_")[2] for each in databases_beside(store)]  # they need their files
    if dropped:
        gone["other corpus"] = dropped
    return Cleared(gone, remove(settings.artifacts, used), [*kept, *left(settings.artifacts, used)])


def written(artifacts: Path, used: Collection[str] = ()) -> Iterator[Path]:
    """The files that the project wrote, unfinished ones included. No link is followed.

    Args:
        artifacts: the folder.
        used: keys of databases beside whose folders are left out.
    """
    for folder, pattern in _folders(artifacts, used).items():
        for path in folder.iterdir():
            plain = re.sub(r"^\.(.+)\.tmp$", r"\1", path.name)
            if re.fullmatch(pattern, plain) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def remove(artifacts: Path, used: Collection[str] = ()) -> int:
    """Remove what the project wrote, then empty folders. See ``written``. Returns the number of files."""
    count = 0
    for path in list(written(artifacts, used)):
        with suppress(OSError):  # ``left`` names it
            path.unlink()
            count += 1
    for folder in reversed(list(_folders(artifacts, used))):
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    return count


def left(artifacts: Path, used: Collection[str] = ()) -> list[str]:
    """What is in the folders that the project writes to, in words. See ``written``."""
    if artifacts.is_symlink():
        where = artifacts.readlink()
        return [f"all that is in {artifacts}, a link to {where}; to clear it set LVM_ARTIFACTS to the folder itself"]
    folders = _folders(artifacts, used)
    return [
        f"{path}, a link" if path.is_symlink() else str(path)
        for folder in folders
        for path in sorted(folder.iterdir())
        if path not in folders
    ]


def _folders(artifacts: Path, used: Collection[str]) -> dict[Path, str]:
    """The project's folders, outer ones first, with the pattern of its files there. None if a link leads elsewhere."""
    if artifacts.is_symlink():
        return {}
    found = {artifacts / name: pattern for name, pattern in _OURS.items()}
    for others in (artifacts / elsewhere.FOLDER, artifacts / alone.FOLDER):
        if not others.is_dir() or others.is_symlink():
            continue
        found[others] = "(?!)"  # no file of ours is in there
        for corpus in sorted(others.iterdir()):
            if not re.fullmatch(elsewhere.FOLDER_NAME, corpus.name) or corpus.is_symlink():
                continue
            if corpus.name.rpartition("-")[2] in used:
                continue
            if others.name == alone.FOLDER:  # it has models and other corpora of its own
                found |= _folders(corpus, used)
            else:
                found |= {corpus / name: pattern for name, pattern in _REPORTS.items()}
    return {path: pattern for path, pattern in found.items() if path.is_dir() and not _behind_link(path, artifacts)}


def _behind_link(path: Path, artifacts: Path) -> bool:
    """Whether a folder below the artifacts, or one above it there, is a link."""
    return any(each.is_symlink() for each in (path, *path.parents) if artifacts in each.parents)
