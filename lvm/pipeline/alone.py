"""One source alone: a database of its own beside that of the settings, and a folder of its own below the artifacts.

Contract: ``open_workspace`` opens it if the settings say ``source_only``. Its database (``lvm.store.beside``) holds
nothing but this source, so gate, sequence sets and models are about it alone, behind the same rules. The database of
the settings does not change, and knows no model of here.
"""

from __future__ import annotations

import re
from pathlib import Path

from lvm.corpus.sources import source_name
from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.store import Store, key_of, open_beside

FOLDER = "only"
"""Folder below ``LVM_ARTIFACTS`` that has one folder for each source alone."""


class OneSourceOnly(UsageError):
    """The workspace works on one source alone, and takes no document of another."""


def settings_alone(settings: Settings) -> Settings:
    """The settings with the artifacts folder of their ``source_only``. Given again, they stay as they are.

    Raises:
        SourceUnreadable: if the source is a path that is too long.
    """
    if settings.source_only is None:
        return settings
    source = source_name(settings.source_only)
    folder = Path(FOLDER) / f"{words_of(source)}-{key_of(source)}"
    inside = settings.artifacts.parts[-2:] == folder.parts
    artifacts = settings.artifacts if inside else settings.artifacts / folder
    return settings.model_copy(update={"source_only": source, "artifacts": artifacts})


def store_alone(store: Store, source: str) -> Store:
    """Open the database of one source, beside another one.

    Args:
        store: the database of the settings.
        source: name of the source.

    Raises:
        LvmError: what ``open_beside`` raises.
    """
    return open_beside(store, key_of(source), source, "only")


def words_of(source: str) -> str:
    """A few letters and digits of a source's name, for the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", Path(source).stem.lower()).strip("-")[:40].strip("-") or "corpus"
