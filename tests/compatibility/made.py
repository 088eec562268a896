"""What version 0.1.0 left behind, and how it is opened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.settings import Settings

FOLDER = Path(__file__).with_name("0.1.0")
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
AS_BEFORE: dict[str, Any] = {"head": "point", "text_weight": 0.0}
"""Options of a training that version 0.1.0 did not have, as it trained."""
CONTEXT = 3


def settings(home: Path, **changes: Any) -> Settings:
    """Settings by which the space and the artifacts of then are found."""
    here: dict[str, Any] = {"home": home, "artifacts": FOLDER / "lvm", "spaces": FOLDER / "spaces.toml"}
    return Settings(space="toy", inverter=None, device="cpu", **{**here, **changes})


def documents() -> list[Document]:
    """The corpus of then, under the name it was ingested by."""
    found = open_source(str(FOLDER / "corpus.jsonl"))
    return [replace(each, source="toy") for each in found if isinstance(each, Document)]
