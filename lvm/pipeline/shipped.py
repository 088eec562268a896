"""The model in a space's folder: trained by the project's maintainers, so that a fresh installation can write.

Contract: the folder ``lvm`` beside a space's inverter holds

    model.safetensors   the checkpoint (``lvm.training.checkpoints``), in half precision if that keeps its figures
    card.json           origin, figures, and the verdicts of both gates: a ``Card``
    CARD.md             the same for people

``lvm.pipeline.pack`` makes the folder. ``shipped_model`` opens it only for the encoder and the inverter that its card
names, and judges the card's figures again. No database records the model: it answers where none is trained, and is
never evaluated, trained on or promoted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lvm import gates
from lvm.files import CorruptedFile, require_regular
from lvm.pipeline.errors import GateMissing
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.spaces.registry import own_folder
from lvm.training import TrainedModel, load_model
from lvm.training.checkpoints import MODEL

SHIPPED = "shipped"
"""Name of the model."""

FOLDER, CARD, CARD_FOR_PEOPLE = "lvm", "card.json", "CARD.md"


class ShippedUnusable(GateMissing):
    """The shipped model is of another encoder or inverter, or the figures on its card do not pass the gates."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Roundtrip(_Part):
    """The roundtrip verdict of the corpus that the model was trained on; see ``RoundtripFigures``."""

    corpus_revision: str
    mean: float
    interval: tuple[float, float]
    threshold: float
    chance: float | None
    identification: float
    n: int
    inverter_encoder: str


class Pipeline(_Part):
    """The pipeline verdict of the model, measured with the weights that the workspace recorded."""

    cosine: float
    threshold: float
    norm_error: float


class Size(_Part):
    """Documents and windows of a split."""

    documents: int
    windows: int


class Card(_Part):
    """Origin, figures and gates of a shipped model.

    Attributes:
        model: name of the architecture.
        space_name: name of the space.
        space: fingerprint of the space.
        inverter: sha256 of the inverter that it was trained through.
        checkpoint: sha256 of the checkpoint's content, as its header has it (``lvm.files``).
        precision: number type of the packed weights.
        trained_checkpoint: sha256 of the model that the workspace recorded, in single precision.
        corpus: name of the corpus that it was trained on.
        command: command of the training, after ``lvm extract``.
        seed: seed of the training.
        context: number of chunks that it sees.
        training: documents and windows that it was trained on.
        held_out: documents and windows that the figures are of.
        hyperparameters: configuration of the run.
        roundtrip: verdict of the roundtrip gate.
        pipeline: verdict of the pipeline gate.
        figures: from ``summary.json``: ``retrieval``, ``text_nll`` (of the model, the best constant vector and the
            truth), ``lead`` over the best baseline, ``decoded_samples``; ``packed`` are measured with packed weights.
        limits: what it cannot do.
        versions: of Python and the packages that made the figures.
    """

    model: str
    space_name: str
    space: str
    inverter: str
    checkpoint: str
    precision: str
    trained_checkpoint: str
    corpus: str
    command: str
    seed: int
    context: int
    training: Size
    held_out: Size
    hyperparameters: dict[str, Any]
    roundtrip: Roundtrip
    pipeline: Pipeline
    figures: dict[str, Any]
    limits: tuple[str, ...]
    versions: dict[str, str]

    @property
    def verdicts(self) -> tuple[gates.Verdict, gates.Verdict]:
        """The figures of both gates, judged by the thresholds of now."""
        measured = self.roundtrip
        same = measured.inverter_encoder == self.space
        return (
            gates.judge_roundtrip(measured.mean, measured.identification, measured.n, same),
            gates.judge_pipeline(self.pipeline.cosine, self.pipeline.norm_error),
        )


def shipped_model(space: Space, settings: Settings) -> TrainedModel | None:
    """Open the model in a space's folder.

    Args:
        space: the space that it is to predict in.
        settings: name the spaces and the device.

    Returns:
        The model, with the name ``SHIPPED`` and its corpus; None if the space has none.

    Raises:
        ShippedUnusable: if it is of another encoder or inverter, or its card does not pass the gates.
        CorruptedFile: if the card or the checkpoint is missing, damaged or changed.
    """
    beside = own_folder(space.name, settings)
    if beside is None or not (beside / FOLDER).is_dir():
        return None
    card = _read_card(beside / FOLDER, space.name)
    about = f"the model shipped with space {space.name!r}"
    for what, has, now, todo in (
        ("encoder", card.space, space.fingerprint, "open the space that it was made for"),
        (
            "inverter",
            card.inverter,
            space.inverter.sha256,
            "unset LVM_INVERTER" if settings.inverter else "install lvm again",
        ),
    ):
        if has != now:
            raise ShippedUnusable(
                f"{about} was made for another {what} ({has[:16]}, this is {now[:16]}), so it cannot answer; {todo}, "
                "or train a model of your own with `lvm run`"
            )
    for verdict in card.verdicts:
        if not verdict.passed:
            raise ShippedUnusable(f"{about} cannot answer: {verdict.message}")
    try:
        model = load_model(beside / FOLDER, settings.device)
    except CorruptedFile as error:
        raise _damaged(space.name, str(error).partition(";")[0]) from error
    if (model.digest, model.name, model.space) != (card.checkpoint, card.model, card.space):
        raise _damaged(space.name, f"{beside / FOLDER / MODEL} is not the checkpoint that its card names")
    return replace(model, name=SHIPPED, corpus=card.corpus)


def _read_card(folder: Path, space_name: str) -> Card:
    try:
        require_regular(folder / CARD)
        return Card.model_validate_json((folder / CARD).read_bytes())
    except OSError as error:
        raise _damaged(space_name, f"{folder / CARD} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(space_name, f"{folder / CARD}, {where or 'card'}: {first['msg']}") from error


def _damaged(space_name: str, why: str) -> CorruptedFile:
    return CorruptedFile(
        f"the model shipped with space {space_name!r} cannot be used: {why}; install lvm again, or train a model of "
        "your own with `lvm run`"
    )
