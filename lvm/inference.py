"""What comes next: texts in, a trained model's prediction out, in the space that the model was trained in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.spaces import Space, SpaceMismatch, Vectors
from lvm.store import server
from lvm.training import TrainedModel, load_model
from lvm.training.checkpoints import MODEL
from lvm.workspace import Workspace, open_workspace


class NoModel(UsageError):
    """No model of that name is trained."""


class NothingToContinue(UsageError):
    """Texts without a letter or a digit."""


@dataclass(frozen=True)
class Prediction:
    """What a model says comes next.

    Attributes:
        vector: what was decoded, one row.
        query: what to rank stored chunks by, one row.
        text: the decoded vector.
        cosine: of the decoded text's own vector to ``vector``.
    """

    vector: Vectors
    query: Vectors
    text: str
    cosine: float


def open_model(name: str, space: Space, settings: Settings, work: Workspace | None = None) -> TrainedModel:
    """A trained model of this space. Where there is a database, it is the one that a finished run recorded there.

    Args:
        work: the database and the space, if they are open already.

    Raises:
        NoModel: if it is not trained.
        SpaceMismatch: if it was trained in another space.
        CorruptedFile: if it is damaged, or another than the one that was recorded.
        GateMissing: if the space's inverter never passed a gate in this database.
    """
    folder = settings.artifacts / name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) or not (folder / MODEL).is_file():
        raise NoModel(f"no model {name[:64]!r} is trained here; train one with `lvm train --model NAME`")
    trained = load_model(folder, settings.device)
    _same_space(trained, space)
    if work is not None:
        work.require_recorded(trained, folder)
    elif server.exists(settings):
        with open_workspace(settings, space=space) as opened:
            opened.require_recorded(trained, folder)
    return trained


def predict_next(space: Space, model: TrainedModel, texts: Sequence[str], seed: int = 0) -> Prediction:
    """What follows ``texts``, cut into chunks as ingestion would; the oldest stands in for a context too short.

    Raises:
        NothingToContinue: if none of the texts has anything in it.
        SpaceMismatch: if the model was trained in another space.
    """
    _same_space(model, space)
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
    vector, query = (Vectors.from_raw(model.space, raw) for raw in model.predict(context[None]))
    decoded = space.decode(vector, seed=seed)
    return Prediction(vector, query, decoded.texts[0], float(decoded.cosine[0]))


def _same_space(model: TrainedModel, space: Space) -> None:
    if model.space != space.fingerprint:
        raise SpaceMismatch(
            f"model {model.name!r} was trained in space {model.space_name!r} ({model.space}), this is {space.name!r} "
            f"({space.fingerprint}); train it again"
        )
