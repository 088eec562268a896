"""What comes next: texts in, a trained model's prediction out, in the space that the model was trained in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.spaces import Space, SpaceMismatch
from lvm.spaces.vectors import FloatArray
from lvm.training import TrainedModel, load_model


class NoModel(UsageError):
    """No model of that name is trained."""


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
    if "/" in name or name.startswith(".") or not folder.is_dir():
        raise NoModel(f"no model {name!r} in {settings.artifacts}; train it with `lvm train --model {name}`")
    trained = load_model(folder, settings.device)
    if trained.space != space.fingerprint:
        raise SpaceMismatch(
            f"model {name!r} was trained in space {trained.space}, this is {space.fingerprint}; train it again"
        )
    return trained


def predict_next(space: Space, model: TrainedModel, texts: Sequence[str], seed: int = 0) -> Prediction:
    """What follows ``texts``, cut into chunks as ingestion would; the oldest stands in for a context too short.

    Raises:
        UsageError: if none of the texts has anything in it.
    """
    chunks = [chunk.text for text in texts for chunk in space.chunker().split(text)[0]]
    if not chunks:
        raise UsageError("none of the texts has a letter or a digit; give one sentence or more")
    context = space.encode(chunks).unit[-model.context :]
    if len(context) < model.context:
        context = context[[0] * (model.context - len(context)) + list(range(len(context)))]
    vector, query = model.predict(context[None])
    decoded = space.decode(vector, seed=seed)
    return Prediction(vector[0], query[0], decoded.texts[0], float(decoded.cosine[0]))
