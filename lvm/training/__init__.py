"""Training of latent vector models: losses, the training loop, checkpoints, replicas."""

from lvm.options import BadConfig
from lvm.training.checkpoints import NoSamples, TrainedModel, checkpoint_in, load_model
from lvm.training.config import LOSSES, EpochReport, Loss, TrainConfig, TrainResult
from lvm.training.options import configured, from_command_line
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
    "checkpoint_in",
    "configured",
    "describe",
    "from_command_line",
    "load_model",
    "train",
    "train_on_ray",
]
