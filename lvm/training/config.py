"""The configuration of a training run, the report of an epoch, and the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lvm.models import HEADS, Head
from lvm.options import BadConfig, check_types

Loss = Literal["mix", "cosine", "infonce", "text"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run. Runs with equal configurations on one sequence set give equal results.

    Attributes:
        epochs: largest number of passes over the training windows.
        loss: ``cosine`` trains the vector head with the cosine loss; ``infonce`` trains the query head with InfoNCE
            (van den Oord et al., 2018); ``text`` trains the vector head with the cross-entropy of the next chunk's
            text through the frozen inverter (SONAR-LLM, arXiv 2508.05305). ``mix`` is the sum of cosine and InfoNCE;
            its vector head is trained with text afterwards.
        head: ``point``, or ``energy`` for a sampling head besides, trained afterwards with the energy loss.
        batch_size: approximate number of windows in a step. A batch holds whole runs.
        run: consecutive windows of a document that are computed together. Longer runs are faster, but a batch then has
            fewer documents.
        learning_rate: largest learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        clip: largest norm of the gradient.
        warmup: epochs of linear warm-up.
        decay: epoch at which the learning rate has fallen to 2 %. It stays there until early stopping.
        temperature: temperature of InfoNCE.
        negatives: negatives per step, drawn from all training documents, in addition to the batch's other targets.
        cosine_weight: weight of the cosine loss in ``mix``.
        text_weight: weight of the text loss in ``mix``; 0 for a mix without it.
        text_share: share of the windows of a step that the text loss is computed for.
        energy_samples: samples per window in the energy loss.
        head_epochs: passes over the training windows that train vector head and sampling head alone, after the rest.
        patience: epochs without a better validation MRR after which training stops.
        validation_windows: largest number of windows for the validation MRR. All validation chunks are ranked.
        seed: seed of initial weights, order, negatives and dropout.
        device: torch device. A run may resume on another device.
        replicas: processes that train the model together (``lvm.training.parallel``).
        hyper: hyperparameters of the model that differ from its defaults.
    """

    epochs: int = 20
    loss: Loss = "mix"
    head: Head = "energy"
    batch_size: int = 1024
    run: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    clip: float = 1.0
    warmup: float = 0.2
    decay: float = 5.0
    temperature: float = 0.08
    negatives: int = 512
    cosine_weight: float = 4.0
    text_weight: float = 1.0
    text_share: float = 0.015
    energy_samples: int = 3
    head_epochs: int = 5
    patience: int = 2
    validation_windows: int = 2048
    seed: int = 0
    device: str = "cpu"
    replicas: int = 1
    hyper: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        if self.loss not in LOSSES:
            raise BadConfig(f"there is no loss {self.loss!r}; choose one of {', '.join(LOSSES)}")
        if self.head not in HEADS:
            raise BadConfig(f"there is no head {self.head!r}; choose one of {', '.join(HEADS)}")
        for name in ("epochs", "head_epochs", "batch_size", "run", "patience", "validation_windows", "replicas"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "temperature", "clip", "decay"):
            if not getattr(self, name) > 0:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 < self.text_share <= 1:
            raise BadConfig(f"text_share is {self.text_share}; it must be above 0 and at most 1")
        if self.energy_samples < 2:
            raise BadConfig(f"energy_samples is {self.energy_samples}; the energy loss needs at least 2")
        for name in ("weight_decay", "warmup", "negatives", "cosine_weight", "text_weight"):
            if not getattr(self, name) >= 0:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must not be negative")

    @property
    def polishes(self) -> bool:
        """Whether the vector head is trained with text, after the rest."""
        return self.loss == "mix" and self.text_weight > 0

    @property
    def has_second_part(self) -> bool:
        """Whether heads are trained alone, after the rest."""
        return self.head == "energy" or self.polishes

    @property
    def needs_text(self) -> bool:
        """Whether the loss reads texts through the inverter."""
        return self.loss == "text" or self.polishes

    def as_dict(self) -> dict[str, Any]:
        """All values by name, JSON-serialisable."""
        return asdict(self)


@dataclass(frozen=True)
class EpochReport:
    """Figures of one epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean training loss.
        cosine: mean validation cosine of the decoded head to the true next vector.
        r10: validation R@10 of the ranking head.
        mrr: validation MRR of the ranking head.
        learning_rate: learning rate after the last step.
        seconds: time for training and validation.
        best: whether its MRR is the best so far.
    """

    epoch: int
    loss: float
    cosine: float
    r10: float
    mrr: float
    learning_rate: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class TrainResult:
    """Result of a finished run.

    Attributes:
        folder: folder of its files. ``load_model(folder)`` opens the model.
        checkpoint: file of the best weights.
        sha256: of that file.
        model: name of the architecture.
        parameters: number of weights.
        config: configuration of the run, as stored in the checkpoint.
        history: reports of all epochs, also of those before an interruption.
        best: report of the epoch whose weights are kept.
        seconds: time of all epochs, also of those before an interruption, and of the heads after them.
        note: how the run started: ``anew``, with the reason if an older run was replaced, or ``resumed after epoch K``.
    """

    folder: Path
    checkpoint: Path
    sha256: str
    model: str
    parameters: int
    config: dict[str, Any]
    history: list[EpochReport]
    best: EpochReport
    seconds: float
    note: str
