"""What a training run is asked to do, and what it tells about each epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from lvm.errors import UsageError

Loss = Literal["mix", "cosine", "infonce"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


class BadConfig(UsageError):
    """A training option that cannot be meant."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Two runs of equal config on one sequence set give one result.

    Attributes:
        epochs: passes over the training windows, at most.
        loss: ``cosine`` trains the vector head by cosine, ``infonce`` the query head by InfoNCE
            (van den Oord et al., 2018), ``mix`` each head by its own.
        batch_size: windows a step, about: batches are made of whole runs.
        run: consecutive windows of a document that go together and share work; more of them in a batch
            means fewer documents in it.
        learning_rate, weight_decay, clip: of AdamW; ``clip`` bounds the gradient's norm.
        warmup, decay: epochs in which the learning rate rises, and after which it has fallen to 2 %, where it
            stays: what is learned then is little, and early stopping sees it.
        temperature: of InfoNCE.
        negatives: chunks drawn from all training documents at each step, beside the batch's own targets.
        cosine_weight: of the cosine loss in ``mix``.
        patience: epochs without a better validation MRR before training stops.
        validation_windows: windows that MRR is measured on, at most; ranked among all validation chunks.
        seed: of initial weights, order, negatives and dropout.
        device: torch device. It is not part of what makes two runs equal.
        replicas: processes that train it together, each on its share of a batch (``lvm.training.parallel``).
        hyper: sizes of the model that differ from its own defaults.
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
        """All of it, as plain values for a record."""
        return asdict(self)


@dataclass(frozen=True)
class EpochReport:
    """What an epoch brought.

    Attributes:
        epoch: from 1.
        loss: mean over its steps.
        cosine: of the decoded head to the truth, on validation.
        r10, mrr: of the ranking head, among all validation chunks.
        learning_rate: after its last step.
        seconds: training and validation of this epoch.
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
