"""Training of latent vector models: losses, the training loop, checkpoints, replicas."""

from lvm.training.checkpoints import NoSamples, TrainedModel, checkpoint_of, load_model
from lvm.training.config import LOSSES, BadConfig, EpochReport, Loss, TrainConfig, TrainResult
from lvm.training.parallel import train_on_ray
from lvm.training.trainer import describe, train

__all__ = [
    "LOSSES",
    "BadConfig",
    "EpochReport",
    "Loss",
    "NoSamples",
    "TrainConfig",
    "TrainResult",
    "TrainedModel",
    "checkpoint_of",
    "describe",
    "load_model",
    "train",
    "train_on_ray",
]
