"""The recipe of an encoder: how texts become vectors.

Contract: a recipe holds plain values only. It is part of the encoder's fingerprint and is stored in the database.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lvm.encoding.weights import WeightsUnusable, inside, read_json
from lvm.errors import first_line
from lvm.files import require_regular

Pooling = Literal["mean", "cls", "max", "pooler"]


@dataclass(frozen=True)
class Recipe:
    """How an encoder turns texts into vectors.

    Attributes:
        weights: name of the weights, e.g. a package, a hub repository or a folder.
        pooling: how token states become one vector. ``mean`` averages all tokens, special tokens included.
        layer: hidden layer that is pooled; -1 is the last.
        projection: file with a linear layer that is applied after pooling (``linear.weight``, ``linear.bias``; the
            Dense module of sentence-transformers). A path inside the encoder's folder, or absolute. Empty: none.
        normalize: whether the encoder returns unit vectors.
        max_tokens: token limit of a chunk, without special tokens.
    """

    weights: str
    pooling: Pooling = "mean"
    layer: int = -1
    projection: str = ""
    normalize: bool = True
    max_tokens: int = 31

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sentence_transformers_recipe(folder: Path, weights: str, max_tokens: int) -> Recipe:
    """The recipe of sentence-transformers for an encoder: the modules that ``modules.json`` lists.

    Args:
        folder: the encoder's folder.
        weights: name of the weights.
        max_tokens: token limit of a chunk, without special tokens.

    Raises:
        WeightsUnusable: if the list is missing, or has a module that a recipe cannot express.
    """
    try:
        require_regular(folder / "modules.json")
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
        modes = read_json(inside(folder, kinds["Pooling"]) / "config.json")
        pooling: Pooling = "mean"
        if modes.get("pooling_mode_cls_token"):
            pooling = "cls"
        elif modes.get("pooling_mode_max_tokens"):
            pooling = "max"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsUnusable(
            f"the modules of sentence-transformers in {folder} cannot be read ({first_line(error)}); fetch "
            "modules.json and the folders that it names"
        ) from error
    if unknown := set(kinds) - {"Transformer", "Pooling", "Dense", "Normalize"}:
        raise WeightsUnusable(
            f"{folder / 'modules.json'} has a module {sorted(unknown)[0]!r}, which a recipe cannot express; use "
            "another encoder"
        )
    projection = ""
    if "Dense" in kinds:
        projection = str((inside(folder, kinds["Dense"]) / "model.safetensors").relative_to(folder))
    return Recipe(weights, pooling, -1, projection, "Normalize" in kinds, max_tokens)
