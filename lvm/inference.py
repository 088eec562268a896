"""What comes next: texts in, a trained model's prediction out, in the space that the model was trained in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.spaces import Space, SpaceMismatch
from lvm.spaces.vectors import FloatArray
from lvm.training import TrainedModel, load_model
from lvm.training.checkpoints import MODEL


class NoModel(UsageError):
    """No model of that name is trained."""


class NothingToContinue(UsageError):
    """Texts without a letter or a digit."""


@dataclass(frozen=True)
class Prediction:
    """What a model says comes next.

    Attributes:
        vector: (dim,) unit vector to decode.
        query: (dim,) unit vector to rank stored chunks by.
        text: the decoded vector.
        cosine: of the decoded text's own vector to ``vector``.
    """

    vector: FloatArray
    query: FloatArray
    text: str
    cosine: float


def open_model(name: str, space: Space, settings: Settings) -> TrainedModel:
    """A trained model of this space.

    Raises:
        NoModel: if it is not trained.
        SpaceMismatch: if it was trained in another space.
    """
    folder = settings.artifacts / name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) or not (folder / MODEL).is_file():
        raise NoModel(f"no model {name[:64]!r} is trained here; train one with `lvm train --model NAME`")
    trained = load_model(folder, settings.device)
    if trained.space != space.fingerprint:
        raise SpaceMismatch(
            f"model {name!r} was trained in space {trained.space}, this is {space.fingerprint}; train it again"
        )
    return trained


def predict_next(space: Space, model: TrainedModel, texts: Sequence[str], seed: int = 0) -> Prediction:
    """What follows ``texts``, cut into chunks as ingestion would; the oldest stands in for a context too short.

    Raises:
        NothingToContinue: if none of the texts has anything in it.
    """
    chunker, chunks = space.chunker(), list[str]()
    for text in reversed(texts):  # only the last chunks matter
        if any(map(str.isalnum, text)):  # else it has none
            chunks = [chunk.text for chunk in chunker.split(text)[0]] + chunks
        if len(chunks) >= model.context:
            break
    if not chunks:
        raise NothingToContinue("none of the texts has a letter or a digit; give one sentence or more")
    context = space.encode(chunks[-model.context :]).unit
    if len(context) < model.context:
        context = context[[0] * (model.context - len(context)) + list(range(len(context)))]
    vector, query = model.predict(context[None])
    decoded = space.decode(vector, seed=seed)
    return Prediction(vector[0], query[0], decoded.texts[0], float(decoded.cosine[0]))
