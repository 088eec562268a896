"""Stage 4: models are trained on the sequence set, each run behind the gate, each resumable."""

from __future__ import annotations

from dataclasses import asdict

from prefect import flow
from prefect.artifacts import create_image_artifact

from flows.common import GateMissing, opened, passing_gate, progress
from flows.extract import record, sequences_path
from lvm.files import CorruptedFile
from lvm.models import MODELS, UnknownModel
from lvm.report.plots import png, training_curves
from lvm.sequences import load
from lvm.training import Loss, TrainConfig, TrainResult, describe, train


@flow(name="train")
def train_flow(
    model: str = "all",
    epochs: int = 20,
    loss: Loss = "mix",
    context: int = 5,
    device: str | None = None,
    space: str | None = None,
) -> dict[str, TrainResult]:
    """Train one model or all; a run that finished with the same configuration is not run again.

    Args:
        model: lstm, gru, mamba2, transformer, or all.
        epochs: at most; training stops early when held-out retrieval no longer improves.
        loss: cosine, infonce, or mix.
        context: context length of the sequence set.
        device: torch device; the setting unless given.
        space: space of the vectors; the setting unless given.

    Raises:
        GateMissing: without a passing verdict for the corpus as it is, or without its sequence set.
    """
    names = list(MODELS) if model == "all" else [model]
    if unknown := [name for name in names if name not in MODELS]:
        raise UnknownModel(f"no model is called {unknown[0]!r}; there is {', '.join(MODELS)}, and all")
    results: dict[str, TrainResult] = {}
    with opened(space) as work:
        settings, store, gate = work.settings, work.store, passing_gate(work)
        config = TrainConfig(epochs=epochs, loss=loss, device=device or settings.device, seed=settings.seed)
        try:
            sequences = load(sequences_path(settings, context))
        except (FileNotFoundError, CorruptedFile) as error:
            raise GateMissing(f"no usable sequence set of context {context} ({error}); run `lvm extract`") from error
        if (sequences.corpus_revision, sequences.space) != (gate.corpus_revision, work.space.fingerprint):
            raise GateMissing(f"{sequences.path} is not of the corpus as it is now; run `lvm extract` again")
        set_id = record(work, gate, sequences)
        finished = {
            run.architecture: run
            for run in store.training_runs(set_id)
            if run.status == "finished" and run.hyperparameters == describe(run.architecture, sequences, config)
        }
        for name in names:
            asked = describe(name, sequences, config)
            run_id = None if name in finished else store.start_training_run(name, set_id, gate.id, asked)
            try:
                with progress(f"train {name}", epochs) as advance:
                    results[name] = result = train(
                        name, sequences, config, settings.artifacts / name, lambda _: advance(1)
                    )
            except BaseException as error:
                if run_id is not None:
                    store.fail_training_run(run_id, interrupted=not isinstance(error, Exception))
                raise
            if run_id is not None:
                metrics = {
                    "history": [asdict(report) for report in result.history],
                    "seconds": result.seconds,
                    "parameters": result.parameters,
                }
                store.finish_training_run(run_id, metrics, str(result.checkpoint.resolve()), result.sha256)
    curves = {name: result.history for name, result in results.items()}
    create_image_artifact(image_url=png(training_curves(curves), data_uri=True), key="training-curves")
    return results
