"""What comes next: texts in, a trained model's prediction out, in the space that the model was trained in.

Contract: if no model is named, the champion of the space answers (``lvm.pipeline.promote``); if none was promoted, the
best one that is trained here; if none is trained, the shipped one (``lvm.pipeline.shipped``). A space alone, without a
database, has the shipped one only. ``gru`` is the last finished gru, ``gru@1a2b3c`` the version whose sha256 begins so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lvm.arrays import FloatArray
from lvm.errors import UsageError
from lvm.evaluation.rollout import Proposals, propose
from lvm.files import CorruptedFile
from lvm.pipeline.errors import AmbiguousVersion, GateMissing, ModelGone, NoModel
from lvm.pipeline.shipped import SHIPPED, shipped_model
from lvm.pipeline.workspace import MODEL_NAME, Workspace, named_stage, not_recorded, open_workspace
from lvm.settings import TEMPERATURE, Settings
from lvm.spaces import Space, SpaceMismatch, Vectors
from lvm.spaces.space import as_texts
from lvm.store import TrainingRun, named_errors, server
from lvm.training import NoSamples, TrainedModel, load_model
from lvm.training.checkpoints import MODEL, version_file


class NothingToContinue(UsageError):
    """None of the texts has a letter or a digit."""


class InvalidOption(UsageError):
    """An option of writing or predicting has an impossible value."""


MAX_TEMPERATURE = 10.0
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Candidate:
    """One way to go on.

    Attributes:
        vector: the predicted vector, one row.
        text: ``vector``, decoded.
        encoded: the decoded text's own vector, one row.
        cosine: between ``vector`` and ``encoded``; how well the inverter read the prediction.
        score: cosine between ``encoded`` and the vector that the model ranks by; candidates are ranked by it.
    """

    vector: Vectors
    text: str
    encoded: Vectors
    cosine: float
    score: float


@dataclass(frozen=True)
class Prediction(Candidate):
    """What a model predicts.

    Attributes:
        query: the predicted vector to rank stored chunks by, one row.
        others: the other candidates of a model that samples, the best first. Equal texts are one candidate.
    """

    query: Vectors
    others: tuple[Candidate, ...] = ()


def open_model(name: str, space: Space, settings: Settings, work: Workspace | None = None) -> TrainedModel:
    """Open a model of this space. If there is a database, it must have recorded the model; the shipped one has a card.

    Args:
        name: of the model, a folder in ``settings.artifacts``; with ``@`` and the first digits of its sha256, a version
            of it; or ``SHIPPED``.
        space: that it predicts in.
        settings: where artifacts and database are.
        work: the database and the space, if they are open already.

    Raises:
        NoModel: if it is not trained, or the space has no shipped one.
        ModelGone: if it is trained, and its file is gone.
        AmbiguousVersion: if the digits are those of several versions.
        SpaceMismatch: if it was trained in another space.
        CorruptedFile: if it is damaged, or not the one that was recorded.
        GateMissing: if the space's inverter never passed a gate in this database.
        ShippedUnusable: if the shipped model is of another encoder or inverter.
    """
    if name == SHIPPED:
        shipped = shipped_model(space, settings)
        if shipped is None:
            raise _none_trained(space)
        return shipped
    model, digits = parsed(name)
    if work is None and server.exists(settings):
        with open_workspace(space, settings) as opened:
            return open_model(name, space, settings, opened)
    folder = settings.artifacts / model
    if work is None:
        trained = load_model(_stored_file(folder, name, digits), settings.device)
        _require_space(trained, space)
        return trained
    run = work.finished_run(model, digits)
    if run is None:
        if digits or not (folder / MODEL).is_file():
            raise _not_trained(name)
        _require_space(load_model(folder, settings.device), space)
        raise not_recorded(folder, model)
    trained = work.model_of(run)
    _require_space(trained, space)
    work.require_readable()
    return trained


def parsed(name: str) -> tuple[str, str]:
    """The name of a model, and the first digits of the version's sha256; these are empty for the last version.

    Raises:
        NoModel: if no model can have this name.
    """
    model, at, digits = name.partition("@")
    if not MODEL_NAME.fullmatch(model) or (at and not re.fullmatch(r"[0-9a-f]{1,64}", digits)):
        raise _not_trained(name)
    return model, digits


def exact_name(name: str | None, work: Workspace | None) -> str | None:
    """The version that a name means now: ``gru@`` with all digits. It opens nothing.

    Args:
        name: of a model; None for the champion.
        work: the database and the space; None if there is no database.

    Returns:
        The same name for the shipped model, without a database, and where no such model is recorded. None for the
        champion if no model was promoted.

    Raises:
        NoModel: if no model can have this name.
        AmbiguousVersion: if the digits are those of several versions.
        DatabaseUnavailable: if the database cannot be reached.
    """
    if work is None or name == SHIPPED:
        return name
    with named_errors(work.store.engine):
        if name is None:
            champion = work.store.champion(work.space_id)
            return f"{champion.model}@{champion.sha256}" if champion else None
        run = work.finished_run(*parsed(name))
        return f"{run.architecture}@{run.sha256}" if run else name


def _stored_file(folder: Path, name: str, digits: str) -> Path:
    """The file of a model or of a version where no database says which there are."""
    files = sorted(version_file(folder, "x").parent.glob(f"{digits}*.safetensors")) if digits else [folder / MODEL]
    if len(files) > 1:
        raise AmbiguousVersion(f"{name} can be {' or '.join(file.stem[:12] for file in files)}; give more digits")
    if not files or not files[0].is_file():
        raise _not_trained(name)
    return files[0]


@named_stage
def best_model(work: Workspace | Space) -> TrainedModel:
    """The champion of this space. If none was promoted, the best finished model: one that samples before one that does
    not, then by validation MRR. If none is trained, it is the shipped one.

    Args:
        work: the database and the space; or the space alone, where none is trained.

    Raises:
        NoModel: if no finished model of this space is there, and none is shipped with it.
        ModelGone: if the file of the champion is gone.
        CorruptedFile: if the champion or the only models are damaged, or not the ones that were recorded.
        GateMissing: if the space's inverter never passed a gate in this database.
        ShippedUnusable: if none is trained, and the shipped one is of another encoder or inverter.
    """
    if isinstance(work, Space):
        return open_model(SHIPPED, work, Settings())
    champion = work.store.champion(work.space_id)
    if champion is not None:
        try:
            return open_model(f"{champion.model}@{champion.sha256}", work.space, work.settings, work)
        except ModelGone as error:
            raise ModelGone(
                f"{error}; it is the champion of space {work.space.name!r}: name another model with --model, or "
                "promote one"
            ) from error
    found, damaged = _opened(_finished(work), work.space, work.settings, work)
    for model in found.values():
        return model
    if damaged:
        raise damaged[0]
    return open_model(SHIPPED, work.space, work.settings)


def usable_models(space: Space, settings: Settings, work: Workspace | None = None) -> dict[str, TrainedModel]:
    """The models that can predict in a space, by name: the best first as ``best_model`` ranks them, the shipped last.

    The champion is there by the name of its version, e.g. ``gru@1a2b3c4d5e6f``, unless it is the last one of its name.
    Without a database, all in the folder of artifacts count: one that samples before one that does not, then by name.
    Models of other spaces are left out. So are damaged ones and those that the database did not record.

    Args:
        space: the space.
        settings: where artifacts are.
        work: the database and the space; None if there is no database.

    Raises:
        GateMissing: if the space's inverter never passed a gate in this database.
        DatabaseUnavailable: if the database cannot be reached.
    """
    if work is None:
        folders = sorted(path.parent for path in settings.artifacts.glob(f"*/{MODEL}"))
        names = {folder.name: 0.0 for folder in folders if folder.name != SHIPPED}
        found, _ = _opened(names, space, settings, None)
    else:
        with named_errors(work.store.engine):
            found, _ = _opened(_finished(work), space, settings, work)
            found = _champion_first(work, found)
    with suppress(NoModel, GateMissing, CorruptedFile):
        found[SHIPPED] = open_model(SHIPPED, space, settings)
    return found


def _champion_first(work: Workspace, found: Mapping[str, TrainedModel]) -> dict[str, TrainedModel]:
    """The same models, the champion first; it is added if it is not one of them."""
    champion = work.store.champion(work.space_id)
    if champion is None:
        return dict(found)
    if champion.model in found and found[champion.model].sha256 == champion.sha256:
        return {champion.model: found[champion.model], **found}
    with suppress(NoModel, SpaceMismatch, CorruptedFile):
        return {champion.version: open_model(champion.version, work.space, work.settings, work), **found}
    return dict(found)


def _finished(work: Workspace) -> dict[str, float]:
    """Validation MRR of the best epoch of the last finished run in this space, by name of the model."""
    runs: dict[str, TrainingRun] = {run.architecture: run for run in work.store.finished_runs(work.space_id)}
    histories = {name: run.metrics["history"] if run.metrics else [] for name, run in runs.items()}
    return {name: max((epoch.get("mrr", 0.0) for epoch in history), default=0.0) for name, history in histories.items()}


def _opened(
    names: Mapping[str, float], space: Space, settings: Settings, work: Workspace | None
) -> tuple[dict[str, TrainedModel], list[CorruptedFile]]:
    """The usable models by name, the best first, and what is wrong with damaged ones.

    Args:
        names: names of models, and the figure that ranks those that sample, and those that do not.
        space: see ``open_model``.
        settings: see ``open_model``.
        work: see ``open_model``; None if there is no database.
    """
    found: dict[str, TrainedModel] = {}
    damaged: list[CorruptedFile] = []
    for name in names:
        try:
            found[name] = open_model(name, space, settings, work)
        except (NoModel, SpaceMismatch):  # removed, or of another space
            continue
        except CorruptedFile as error:  # e.g. it is being trained again
            damaged.append(error)
    best_first = sorted(found, key=lambda name: (found[name].samples, names[name]), reverse=True)
    return {name: found[name] for name in best_first}, damaged


@named_stage
def predict_next(
    work: Workspace | Space,
    model: TrainedModel | str | None,
    texts: Sequence[str],
    *,
    samples: int | None = None,
    temperature: float = TEMPERATURE,
    seed: int | None = None,
) -> Prediction:
    """Predict what follows ``texts``, and decode it.

    Args:
        work: the database and space that the model belongs to; or a space alone, for the shipped model.
        model: what ``train`` gave, the name of a trained model or of a version of it (``gru@1a2b3c``), or ``shipped``;
            None for ``best_model``.
        texts: consecutive texts, the oldest first. They are cut into chunks as ingestion would; the last ``context``
            chunks count. If there are fewer, the oldest chunk is repeated.
        samples: candidates to draw; 8 unless given, if the model samples. Another model gives its one prediction.
        temperature: of the samples, 0 to 10.
        seed: of samples and decoding; ``LVM_SEED`` unless given.

    Returns:
        The candidate with the highest score.

    Raises:
        NotTexts: if ``texts`` is a single string, or cannot be iterated.
        NothingToContinue: if none of the texts has a letter or a digit.
        UnreadableText: if one is in a writing system that the encoder does not know.
        InvalidOption: if an option has an impossible value.
        NoSamples: if a model that does not sample is asked for more than one.
        NoModel: if no model of that name is trained.
        SpaceMismatch: if the model was trained in another space.
        CorruptedFile: if the model is damaged, or not the one that was recorded.
        GateMissing: if the space's inverter never passed a gate in this database.
        ShippedUnusable: if the shipped model is of another encoder or inverter.
    """
    opened, space, settings = reopened_model(work, model)
    seed = settings.seed if seed is None else seed
    return predict(space, opened, texts, seed, samples=samples, temperature=temperature)


def reopened_model(work: Workspace | Space, model: TrainedModel | str | None) -> tuple[TrainedModel, Space, Settings]:
    """The same model, read from its file: weights in memory may have been changed. See ``predict_next``.

    Returns:
        The model, the space that it predicts in, and the settings.
    """
    space, settings = (work, Settings()) if isinstance(work, Space) else (work.space, work.settings)
    if model is None:
        return best_model(work), space, settings
    name = model if isinstance(model, str) else model.name
    if isinstance(work, Space):
        if name != SHIPPED:
            raise _not_trained(name)
        return open_model(name, space, settings), space, settings
    if isinstance(model, TrainedModel) and name != SHIPPED:
        if work.finished_run(name, model.sha256) is None:
            raise not_recorded(settings.artifacts / name, name)
        name = f"{name}@{model.sha256}"
    return open_model(name, space, settings, work), space, settings


def predict(
    space: Space,
    model: TrainedModel,
    texts: Sequence[str],
    seed: int = 0,
    *,
    samples: int | None = None,
    temperature: float = TEMPERATURE,
) -> Prediction:
    """``predict_next`` for a model that was compared with the database already.

    Args:
        space: that the model was trained in.
        model: the model.
        texts: see ``predict_next``.
        seed: of samples and decoding.
        samples: see ``predict_next``.
        temperature: of the samples.

    Raises:
        NotTexts: if ``texts`` is a single string, or cannot be iterated.
        NothingToContinue: if none of the texts has a letter or a digit.
        UnreadableText: if one is in a writing system that the encoder does not know.
        InvalidOption: if an option has an impossible value.
        NoSamples: if a model that does not sample is asked for more than one.
        SpaceMismatch: if the model was trained in another space.
    """
    check_options(model, samples, temperature, seed)
    context = context_of(space, model, as_texts(texts, "predict_next"))
    best, *others = candidates(propose(space, model, context, samples=samples, temperature=temperature, seed=seed))
    return replace(best, others=tuple(others))


def check_options(model: TrainedModel | None, samples: int | None, temperature: float, seed: int) -> None:
    """Check the options of drawing samples.

    Args:
        model: the model; None if it is not open yet.
        samples: candidates to draw, 1 or more; None for the model's default.
        temperature: 0 to ``MAX_TEMPERATURE``.
        seed: 0 to ``MAX_SEED``.

    Raises:
        InvalidOption: if a value is impossible.
        NoSamples: if a model that does not sample is asked for more than one.
    """
    if samples is not None and samples < 1:
        raise InvalidOption(f"samples is {samples}, so there is nothing to choose from; draw 1 or more")
    if not 0 <= temperature <= MAX_TEMPERATURE:  # NaN neither
        raise InvalidOption(f"temperature is {temperature}; it scales the noise, from 0 to {MAX_TEMPERATURE:g}")
    if not 0 <= seed <= MAX_SEED:
        raise InvalidOption(f"seed is {seed}; choose one from 0 to {MAX_SEED}")
    if model is not None and samples is not None and samples > 1 and not model.samples:
        raise NoSamples(
            f"model {model.name!r} predicts one vector and draws no samples, so there are not {samples} ways to go on; "
            "leave samples out, or choose a model with a sampling head"
        )


def context_of(space: Space, model: TrainedModel, texts: Sequence[str]) -> FloatArray:
    """Vectors of the last chunks of texts: (1, context, dim). If there are fewer, the oldest one is repeated.

    Args:
        space: that the model was trained in.
        model: the model.
        texts: see ``predict_next``.

    Raises:
        NothingToContinue: if none of the texts has a letter or a digit.
        UnreadableText: if one is in a writing system that the encoder does not know.
        SpaceMismatch: if the model was trained in another space.
    """
    _require_space(model, space)
    space.require_readable(texts)
    chunker, chunks = space.chunker(), list[str]()
    for text in reversed(texts):  # only the last chunks count
        if any(map(str.isalnum, text)):  # a text without one has no chunk
            chunks = [chunk.text for chunk in chunker.split(text)[0]] + chunks
        if len(chunks) >= model.context:
            break
    if not chunks:
        raise NothingToContinue("none of the texts has a letter or a digit; give one sentence or more")
    unit = space.encode(chunks[-model.context :]).unit
    missing = model.context - len(unit)
    return np.concatenate([unit[:1].repeat(missing, axis=0), unit])[None]


def candidates(proposals: Proposals) -> list[Prediction]:
    """The different texts of the proposals for one context, the best first.

    Args:
        proposals: what ``lvm.evaluation.rollout.propose`` gave for one context.
    """
    decoded, scores = proposals.decoded, proposals.scores[0]
    found: dict[str, Prediction] = {}
    for row in np.lexsort((-decoded.cosine, -scores)).tolist():  # of equal texts, the nearest to its prediction
        text, each = decoded.texts[row], [row]
        if text not in found:
            found[text] = Prediction(
                vector=proposals.vectors[each],
                text=text,
                encoded=decoded.vectors[each],
                cosine=float(decoded.cosine[row]),
                score=float(scores[row]),
                query=proposals.query,
            )
    return list(found.values())


def _require_space(model: TrainedModel, space: Space) -> None:
    if model.space != space.fingerprint:
        raise SpaceMismatch(
            f"model {model.name!r} was trained in space {model.space_name!r} ({model.space}), this is {space.name!r} "
            f"({space.fingerprint}); train it again"
        )


def _not_trained(name: str) -> NoModel:
    return NoModel(
        f"no model {name[:80]!r} is trained here; train one with `lvm train --model NAME`, or see `lvm models`"
    )


def _none_trained(space: Space) -> NoModel:
    return NoModel(
        f"no model of space {space.name!r} is trained here, and none is shipped with it; train one with "
        "`lvm train --model NAME`"
    )
