"""A model to ship that was never trained, with a card of made-up figures, and a space of its own to ship it with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lvm import gates
from lvm.evaluation.decoding import TRUTH
from lvm.evaluation.nll import BEST_CONSTANT
from lvm.pipeline.shipped import CARD, FOLDER, Card
from lvm.spaces import Space
from lvm.training import load_model
from tests.service.running import untrained
from tests.spaces.fixtures import SHIPPED as MINILM


def other_inverter(folder: Path) -> Path:
    """The shipped inverter with another digest: its card names one training document less."""
    shutil.copytree(MINILM, folder / "finetuned", ignore=shutil.ignore_patterns(FOLDER))
    path = folder / "finetuned" / "config.json"
    config = json.loads(path.read_text())
    config["card"]["trained_documents"].pop()
    path.write_text(json.dumps(config))
    return path.parent


def space_of_its_own(folder: Path) -> Path:
    """A ``spaces.toml`` with ``minilm`` as it is shipped, but without a model, in a folder that a test may change."""
    beside = folder / "minilm"
    beside.mkdir(parents=True)
    for file in MINILM.iterdir():
        if file.is_file():
            (beside / file.name).symlink_to(file)
    entry = (MINILM.parent / "spaces.toml").read_text().partition("[gtr-base]")[0]
    path = folder / "spaces.toml"
    path.write_text(entry.replace("package:lvm/spaces/minilm", "./minilm"))
    return path


def ship(spaces: Path, space: Space, /, model: str = "gru", head: str = "energy", **changes: Any) -> Path:
    """Ship an untrained model with the space of a ``spaces.toml``.

    Args:
        spaces: what ``space_of_its_own`` gave.
        space: the space.
        model: name of the architecture.
        head: of the model.
        **changes: values of the card; of a part of it as ``roundtrip={"mean": 0.5}``.

    Returns:
        The folder.
    """
    folder = spaces.parent / "minilm" / FOLDER
    untrained(folder.parent, space, 4, model, head)
    (folder.parent / model).rename(folder)
    opened = load_model(folder)
    nll = {"nll": 4.5, "interval": [4.4, 4.6], "n": 60}
    card = {
        "model": model, "space_name": space.name, "space": space.fingerprint, "inverter": space.inverter.sha256,
        "checkpoint": opened.digest, "precision": "float32", "trained_checkpoint": "0" * 64, "corpus": "fables",
        "command": "none", "seed": 0, "context": 4, "limits": ["It is untrained."], "versions": {},
        "training": {"documents": 3, "windows": 30}, "held_out": {"documents": 1, "windows": 9},
        "hyperparameters": opened.config,
        "roundtrip": {
            "corpus_revision": "r", "mean": 0.8, "interval": [0.79, 0.81], "threshold": gates.ROUNDTRIP_MIN_COSINE,
            "chance": 0.1, "identification": 1.0, "n": 500, "inverter_encoder": space.fingerprint,
        },
        "pipeline": {"cosine": 0.7, "threshold": gates.PIPELINE_MIN_COSINE, "norm_error": 0.0},
        "figures": {"text_nll": {model: nll, BEST_CONSTANT: nll, TRUTH: nll}},
    }  # fmt: skip
    for name, value in changes.items():
        card[name] = {**card[name], **value} if isinstance(value, dict) else value  # type: ignore[dict-item]
    Card.model_validate(card)
    (folder / CARD).write_text(json.dumps(card))
    return folder
