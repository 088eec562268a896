"""Stage 4: train models on the sequence set. A run needs a passing gate and can be resumed."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from lvm.models import Head
from lvm.pipeline.train import architectures, default_config, train
from lvm.report import markdown
from lvm.report.plots import training_curves
from lvm.settings import CONTEXT, Settings
from lvm.training import Loss, TrainConfig, TrainResult, configured

from .common import (
    PART,
    STAGE,
    Context,
    Epochs,
    InverterFolder,
    ModelName,
    SpaceName,
    Standing,
    Where,
    fan_out,
    once,
    opened,
    reach_database,
    standing,
    task_runner,
)
from .flow import flow
from .options import Options
from .runs import progress, say, telling


@task(name="train model", task_run_name="train {name}", tags=["train"], **PART)
def train_part(name: str, config: TrainConfig, context: int, where: Where) -> TrainResult:
    """Train one model."""
    with opened(where) as work:
        sequences, _ = work.sequences(context)
        result = train(work, sequences, name, config, bars=progress).report
        assert result is not None  # it ended in this process
        best = f"best epoch {result.best.epoch}, R@10 {result.best.r10:.3f}, cosine {result.best.cosine:.3f}"
        say(work, "train", f"{name}: {best} ({result.note})", sequences.corpus_revision)
    return result


@task(name="train", task_run_name="train", tags=["stage"], **STAGE)
def train_stage(
    configs: dict[str, TrainConfig], context: int, where: Where, stands_on: Standing
) -> dict[str, TrainResult]:
    """Train models, several at a time if there are workers. Its result is kept for these configurations only."""
    with opened(where) as work:
        work.passing_gate()
    arguments = ((name, config, context, where) for name, config in configs.items())
    # the replicas of one model take the cluster's workers, so models are trained one after the other then
    alone = any(config.replicas > 1 for config in configs.values())
    with telling("train"):
        trained = (train_part(*each) for each in arguments) if alone else fan_out(train_part, arguments)
        results = dict(zip(configs, trained, strict=True))
    curves = training_curves({name: result.history for name, result in results.items()})
    about = "Loss, validation cosine and validation R@10 of every model, by epoch."
    create_markdown_artifact(markdown.picture(about, curves), key="training-curves", description=about)
    return results


@flow(name="train", task_runner=task_runner())
def train_flow(
    model: ModelName = "all",
    epochs: Epochs = 20,
    loss: Loss = "mix",
    head: Head = "energy",
    context: Context = CONTEXT,
    device: str | None = None,
    space: SpaceName = None,
    options: Options = None,
    inverter: InverterFolder = None,
) -> dict[str, TrainResult]:
    """Train one model or all. A run that finished with the same configuration is not run again.

    Args:
        model: which model to train, or all.
        epochs: at most; training stops early when retrieval gets no better.
        loss: cosine is nearest to the truth, text decodes best, infonce ranks best, mix does all.
        head: energy draws samples, point does not.
        context: vectors before the one to predict.
        device: torch device: cpu, cuda, cuda:1; LVM_DEVICE unless given.
        space: space to work in; LVM_SPACE unless given.
        options: other hyperparameters.
        inverter: folder of an inverter on the machine of the run, e.g. a fine-tuned one; LVM_INVERTER unless given.

    Raises:
        BadConfig: if a hyperparameter does not exist or has an impossible value.
        GateMissing: without a passing verdict for the corpus as it is now, or without its sequence set.
    """
    configs = configurations(model, epochs, loss, head, options, device)
    reach_database()
    where = Where(space, inverter)
    with opened(where) as work:
        stands_on = standing(work)
    return once(train_stage, there, configs, context, where, stands_on)


def configurations(
    model: str, epochs: int, loss: Loss, head: Head, options: Options, device: str | None = None
) -> dict[str, TrainConfig]:
    """Configurations of the models to train.

    Raises:
        BadConfig: if a hyperparameter does not exist or has an impossible value.
    """
    given = {"epochs": epochs, "loss": loss, "head": head, "hyper": options or {}}
    return configured(architectures(model), given, default_config(Settings(), device))


def there(results: dict[str, TrainResult]) -> bool:
    """Whether the checkpoints of an earlier attempt are still there."""
    return all(result.checkpoint.is_file() for result in results.values())
