"""Training of latent vector models: losses, the loop, and checkpoints that survive being killed."""

from lvm.training.checkpoints import TrainedModel, checkpoint_of, load_model
from lvm.training.config import LOSSES, BadConfig, EpochReport, Loss, TrainConfig
from lvm.training.parallel import train_on_ray
from lvm.training.trainer import Diverged, NoDevice, TrainResult, describe, train

__all__ = [
    "LOSSES",
    "BadConfig",
    "Diverged",
    "EpochReport",
    "Loss",
    "NoDevice",
    "TrainConfig",
    "TrainResult",
    "TrainedModel",
    "checkpoint_of",
    "describe",
    "load_model",
    "train",
    "train_on_ray",
]
