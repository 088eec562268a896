"""The parameter ``options`` of the flows that train, as the form in the UI shows it.

Contract: the fields are those of ``TrainConfig``, with its defaults, bounds and descriptions. Architectures have
different hyperparameters, so these are entries of one JSON field, ``hyper``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import TypeAdapter, WithJsonSchema

from lvm.models import MODELS, hyperparameters
from lvm.options import bounds_of, descriptions_of, types_of
from lvm.training import TrainConfig
from lvm.training.options import FIXED

OWN = ("epochs", "loss", "head")
"""Fields of ``TrainConfig`` that are parameters of their own."""


def form() -> dict[str, Any]:
    """JSON Schema of the options."""
    default, text = TrainConfig(), descriptions_of(TrainConfig)
    properties: dict[str, Any] = {}
    for name, kind in types_of(TrainConfig).items():
        if name in FIXED or name in OWN or name == "hyper":
            continue
        bounds = bounds_of(default, name) if kind in (int, float) else {}
        about = {"title": name, "default": getattr(default, name), "description": text[name]}
        properties[name] = {**TypeAdapter(kind).json_schema(), **bounds, **about}
    architectures = "; ".join(
        f"{model}: {', '.join(f'{name} {value}' for name, value in hyperparameters(model, 'energy').items())}"
        for model in MODELS
    )
    properties["hyper"] = {
        "type": "object",
        "title": "hyper",
        "default": {},
        "description": "hyperparameters of the architectures that differ from their defaults, as JSON: "
        f'{{"hidden": 512}}, or for one of them {{"gru": {{"hidden": 512}}}}. Defaults: {architectures}.',
    }
    return {"type": "object", "title": "options", "properties": properties}


Options = Annotated[dict[str, Any] | None, WithJsonSchema(form())]
