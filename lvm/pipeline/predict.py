"""What comes next: texts in, a trained model's prediction out, in the space that the model was trained in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lvm.errors import UsageError
from lvm.pipeline.workspace import Workspace, named_stage, not_recorded, open_workspace
from lvm.settings import Settings
from lvm.spaces import Space, SpaceMismatch, Vectors
from lvm.spaces.space import NotTexts
from lvm.store import server
from lvm.training import TrainedModel, load_model
from lvm.training.checkpoints import MODEL


class NoModel(UsageError):
    """No model of that name is trained."""


class NothingToContinue(UsageError):
    """None of the texts has a letter or a digit."""


@dataclass(frozen=True)
class Prediction:
    """What a model predicts.

    Attributes:
        vector: the predicted vector to decode, one row.
        query: the predicted vector to rank stored chunks by, one row.
        text: ``vector``, decoded.
        cosine: between the decoded text's own vector and ``vector``.
    """

    vector: Vectors
    query: Vectors
    text: str
    cosine: float


def open_model(name: str, space: Space, settings: Settings, work: Workspace | None = None) -> TrainedModel:
    """Open a trained model of this space. If there is a database, it must have recorded the model.

    Args:
        name: of the model, a folder in ``settings.artifacts``.
        space: that it predicts in.
        settings: where artifacts and database are.
        work: the database and the space, if they are open already.

    Raises:
        NoModel: if it is not trained.
        SpaceMismatch: if it was trained in another space.
        CorruptedFile: if it is damaged, or not the one that was recorded.
        GateMissing: if the space's inverter never passed a gate in this database.
    """
    folder = settings.artifacts / name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) or not (folder / MODEL).is_file():
        raise NoModel(f"no model {name[:64]!r} is trained here; train one with `lvm train --model NAME`")
    trained = load_model(folder, settings.device)
    _require_space(trained, space)
    if work is not None:
        work.require_recorded(trained, folder)
    elif server.exists(settings):
        with open_workspace(space, settings) as opened:
            opened.require_recorded(trained, folder)
    return trained


@named_stage
def predict_next(work: Workspace, model: TrainedModel | str, texts: Sequence[str]) -> Prediction:
    """Predict what follows ``texts``, and decode it.

    Args:
        work: the database and space that the model belongs to.
        model: what ``train`` gave, or the name of a trained model.
        texts: consecutive texts, the oldest first. They are cut into chunks as ingestion would; the last ``context``
            chunks count. If there are fewer, the oldest chunk is repeated.

    Raises:
        NotTexts: for a single string.
        NothingToContinue: if none of the texts has a letter or a digit.
        NoModel: if no model of that name is trained.
        SpaceMismatch: if the model was trained in another space.
        CorruptedFile: if the model is damaged, or not the one that was recorded.
        GateMissing: if the space's inverter never passed a gate in this database.
    """
    name = model if isinstance(model, str) else model.name
    opened = open_model(name, work.space, work.settings, work)  # weights in memory may have been changed
    if isinstance(model, TrainedModel) and model.sha256 != opened.sha256:
        raise not_recorded(work.settings.artifacts / name, name)
    return predict(work.space, opened, texts, work.settings.seed)


def predict(space: Space, model: TrainedModel, texts: Sequence[str], seed: int = 0) -> Prediction:
    """``predict_next`` for a model that was compared with the database already.

    Args:
        space: that the model was trained in.
        model: the model.
        texts: see ``predict_next``.
        seed: of the decoding.

    Raises:
        NotTexts: for a single string.
        NothingToContinue: if none of the texts has a letter or a digit.
        SpaceMismatch: if the model was trained in another space.
    """
    _require_space(model, space)
    if isinstance(texts, str):
        raise NotTexts("predict_next takes a list of texts, not one string; write [text]")
    chunker, chunks = space.chunker(), list[str]()
    for text in reversed(texts):  # only the last chunks count
        if any(map(str.isalnum, text)):  # a text without one has no chunk
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


def _require_space(model: TrainedModel, space: Space) -> None:
    if model.space != space.fingerprint:
        raise SpaceMismatch(
            f"model {model.name!r} was trained in space {model.space_name!r} ({model.space}), this is {space.name!r} "
            f"({space.fingerprint}); train it again"
        )
