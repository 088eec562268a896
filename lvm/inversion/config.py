"""The hyperparameters of an inverter's training."""

from __future__ import annotations

from dataclasses import dataclass

from lvm.options import BadConfig, check_types


@dataclass(frozen=True)
class InverterTraining:
    """Hyperparameters. Those of the shipped inverter are on its card.

    Attributes:
        epochs: passes over the training chunks; may be a fraction.
        tokens_per_batch: positions (prefix, text, end token) per step.
        learning_rate: learning rate of the layers. Projection and tied embeddings use twice this rate.
        warmup: steps of linear warm-up. A cosine decay to 5 % follows.
        weight_decay: weight decay of AdamW.
        vocabulary: size of the decoder's vocabulary.
        noise: largest share of noise in the vectors of a batch (``lvm.inversion.augmentation``); 0 for none.
        splices: texts of two chunks' parts to train on, per chunk and epoch, new ones in every epoch; 0 for none.
        dropout: dropout rate of the layers.
        seed: seed of new weights, of the order of batches, of noise, splices and dropout.
    """

    epochs: float = 4.0
    tokens_per_batch: int = 1664
    learning_rate: float = 5e-4
    warmup: int = 100
    weight_decay: float = 0.01
    vocabulary: int = 10_000
    noise: float = 0.3
    splices: float = 1.0
    dropout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("tokens_per_batch", "vocabulary"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("epochs", "learning_rate"):
            if getattr(self, name) <= 0:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup", "weight_decay", "splices", "seed"):
            if getattr(self, name) < 0:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("noise", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise BadConfig(f"{name} is {getattr(self, name)}; it must be from 0 up to 1, 1 excluded")
