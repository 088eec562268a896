"""The configuration of a training run, the report of an epoch, and the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lvm.options import BadConfig, check_types

Loss = Literal["mix", "cosine", "infonce"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run. Runs with equal configurations on one sequence set give equal results.

    Attributes:
        epochs: largest number of passes over the training windows.
        loss: ``cosine`` trains the vector head with the cosine loss; ``infonce`` trains the query head with InfoNCE
            (van den Oord et al., 2018); ``mix`` trains both heads, with the sum of both losses.
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
        patience: epochs without a better validation MRR after which training stops.
        validation_windows: largest number of windows for the validation MRR. All validation chunks are ranked.
        seed: seed of initial weights, order, negatives and dropout.
        device: torch device. A run may resume on another device.
        replicas: processes that train the model together (``lvm.training.parallel``).
        hyper: hyperparameters of the model that differ from its defaults.
    """

    epochs: int = 20
    loss: Loss = "mix"
    batch_size: int = 1024
    run: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    clip: float = 1.0
    warmup: float = 0.2
    decay: float = 5.0
    temperature: float = 0.05
    negatives: int = 512
    cosine_weight: float = 4.0
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
        for name in ("epochs", "batch_size", "run", "patience", "validation_windows", "replicas"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "temperature", "clip", "decay"):
            if not getattr(self, name) > 0:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("weight_decay", "warmup", "negatives", "cosine_weight"):
            if not getattr(self, name) >= 0:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must not be negative")

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
        sha256: digest of the content of ``checkpoint``.
        model: name of the architecture.
        parameters: number of weights.
        config: configuration of the run, as stored in the checkpoint.
        history: reports of all epochs, also of those before an interruption.
        best: report of the epoch whose weights are kept.
        seconds: time of all epochs, also of those before an interruption.
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
