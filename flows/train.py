"""Stage 4: train models on the sequence set. A run needs a passing gate and can be resumed."""

from __future__ import annotations

from prefect import flow, task
from prefect.artifacts import create_image_artifact

from lvm.models import MODELS
from lvm.pipeline.train import train
from lvm.report.plots import png, training_curves
from lvm.training import Loss, TrainConfig, TrainResult

from .common import (
    PART,
    STAGE,
    Context,
    Epochs,
    ModelName,
    SpaceName,
    Standing,
    fan_out,
    once,
    opened,
    progress,
    reach_database,
    say,
    standing,
    task_runner,
)


@task(name="train model", task_run_name="train {name}", **PART)
def train_part(name: str, config: TrainConfig, context: int, space: str | None) -> TrainResult:
    """Train one model."""
    with opened(space) as work:
        sequences, _ = work.sequences(context)
        result = train(work, sequences, name, config, bars=progress).report
        assert result is not None  # it ended in this process
        best = f"best epoch {result.best.epoch}, R@10 {result.best.r10:.3f}, cosine {result.best.cosine:.3f}"
        say(work, "train", f"{name}: {best} ({result.note})", sequences.corpus_revision)
    return result


@task(name="train", **STAGE)
def train_stage(
    model: str, epochs: int, loss: Loss, context: int, device: str | None, space: str | None, stands_on: Standing
) -> dict[str, TrainResult]:
    """Train models, several at a time if there are workers."""
    names = list(MODELS) if model == "all" else [model]
    with opened(space) as work:
        work.passing_gate()
        settings = work.settings
    config = TrainConfig(
        epochs=epochs,
        loss=loss,
        device=device or settings.device,
        seed=settings.seed,
        replicas=settings.replicas,
    )
    arguments = ((name, config, context, space) for name in names)
    # the replicas of one model take the cluster's workers, so models are trained one after the other then
    trained = fan_out(train_part, arguments) if config.replicas == 1 else (train_part(*each) for each in arguments)
    results = dict(zip(names, trained, strict=True))
    curves = {name: result.history for name, result in results.items()}
    create_image_artifact(image_url=png(training_curves(curves), data_uri=True), key="training-curves")
    return results


@flow(name="train", task_runner=task_runner())
def train_flow(
    model: ModelName = "all",
    epochs: Epochs = 20,
    loss: Loss = "mix",
    context: Context = 5,
    device: str | None = None,
    space: SpaceName = None,
) -> dict[str, TrainResult]:
    """Train one model or all. A run that finished with the same configuration is not run again.

    Args:
        model: which model to train, or all.
        epochs: at most; training stops early when retrieval gets no better.
        loss: cosine decodes best, infonce ranks best, mix does both.
        context: vectors before the one to predict.
        device: torch device: cpu, cuda, cuda:1; LVM_DEVICE unless given.
        space: space to work in; LVM_SPACE unless given.

    Raises:
        GateMissing: without a passing verdict for the corpus as it is now, or without its sequence set.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work)
    return once(train_stage, there, model, epochs, loss, context, device, space, stands_on)


def there(results: dict[str, TrainResult]) -> bool:
    """Whether the checkpoints of an earlier attempt are still there."""
    return all(result.checkpoint.is_file() for result in results.values())
