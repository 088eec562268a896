"""Stage 4: models are trained on the sequence set, each run behind the gate, each resumable."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

from prefect import flow, task
from prefect.artifacts import create_image_artifact

from flows.common import (
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
from lvm.files import CorruptedFile, verify
from lvm.models import MODELS
from lvm.report.plots import png, training_curves
from lvm.store import DatabaseUnavailable, named_errors
from lvm.training import Loss, TrainConfig, TrainResult, checkpoint_of, describe, train, train_on_ray
from lvm.training.checkpoints import LAST
from lvm.workspace import not_recorded


@task(name="train model", task_run_name="train {name}", **PART)
def train_part(name: str, config: TrainConfig, context: int, space: str | None) -> TrainResult:
    """Train one model, unless a run with the same configuration finished before."""
    with opened(space) as work:
        settings, store, gate = work.settings, work.store, work.passing_gate()
        sequences, recorded = work.sequences(context)
        folder = settings.artifacts / name
        with store.lock(f"train in {folder.resolve()}"):
            asked = describe(name, sequences, config)
            same = [
                run
                for run in store.training_runs(recorded.id)
                if (run.architecture, run.hyperparameters) == (name, asked)
            ]
            kept = checkpoint_of(folder, asked)
            finished = bool(same) and same[-1].status == "finished" and kept is not None
            if finished and same[-1].sha256 != kept:
                raise not_recorded(folder, name)
            run_id = None
            if not finished:
                run_id = store.start_training_run(name, recorded.id, gate, work.inverter_id, asked)
            try:
                if config.replicas > 1:
                    train_on_ray(name, sequences.path, config, folder, settings.home / "ray", settings.threads or 1)
                with progress(f"train {name}", config.epochs) as advance:
                    result = train(name, sequences, config, folder, lambda _: advance(1))
                if verify(sequences.path)[0]["__metadata__"]["sha256"] != sequences.sha256:  # it was read until now
                    (folder / LAST).unlink(missing_ok=True)  # nothing goes on from what was trained on it
                    raise CorruptedFile(f"{sequences.path} changed while {name} was trained; run `lvm extract` again")
            except BaseException as error:
                if run_id is not None:
                    with suppress(DatabaseUnavailable), named_errors(store.engine):  # a dead session marks itself
                        store.fail_training_run(run_id, interrupted=not isinstance(error, Exception))
                raise
            if run_id is not None:
                metrics = {
                    "history": [asdict(report) for report in result.history],
                    "seconds": result.seconds,
                    "parameters": result.parameters,
                }
                store.finish_training_run(run_id, metrics, str(result.checkpoint.resolve()), result.sha256)
            elif result.sha256 != kept:
                raise not_recorded(folder, name)
        best = f"R@10 {result.best.r10:.3f}, cosine {result.best.cosine:.3f}"
        say(work, "train", f"{name}: best epoch {result.best.epoch}, {best} ({result.note})", gate.corpus_revision)
    return result


@task(name="train", **STAGE)
def train_stage(
    model: str, epochs: int, loss: Loss, context: int, device: str | None, space: str | None, stands_on: Standing
) -> dict[str, TrainResult]:
    """Train models, side by side where there are workers for it."""
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
    # replicas of one model take the cluster's workers, so models come one after the other then
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
    """Train one model or all; a run that finished with the same configuration is not run again.

    Args:
        model: which model to train, or all.
        epochs: at most; training stops early when retrieval gets no better.
        loss: cosine decodes best, infonce ranks best, mix does both.
        context: vectors before the one to predict.
        device: torch device: cpu, cuda, cuda:1; LVM_DEVICE unless given.
        space: space to work in; LVM_SPACE unless given.

    Raises:
        GateMissing: without a passing verdict for the corpus as it is, or without its sequence set.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work)
    return once(train_stage, there, model, epochs, loss, context, device, space, stands_on)


def there(results: dict[str, TrainResult]) -> bool:
    """Whether the checkpoints of an earlier attempt are still there."""
    return all(result.checkpoint.is_file() for result in results.values())
