"""Stage 5: models beside the baselines on held-out documents, predictions decoded to text, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast
from uuid import UUID

import numpy as np
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.common import (
    STAGE,
    Context,
    GateBlocked,
    SpaceName,
    Standing,
    gated,
    once,
    opened,
    progress,
    reach_database,
    run_id,
    say,
    standing,
)
from lvm.evaluation.baselines import baselines
from lvm.evaluation.decoding import (
    SAMPLE_WINDOWS,
    DecodedVectors,
    Windows,
    choose_windows,
    decode_predictions,
    examples,
)
from lvm.evaluation.retrieval import MEASURED_WINDOWS, evaluate
from lvm.report import Summary, write
from lvm.report.plots import comparison, document_map, roundtrip_histogram, training_curves
from lvm.sequences import SequenceSet
from lvm.settings import Settings
from lvm.spaces import Vectors
from lvm.store import GateRecord, Store
from lvm.training import EpochReport, TrainedModel
from lvm.workspace import GateMissing

MAP_CHUNKS = 40
"""Chunks of a document on the map of its path."""


@task(name="evaluate", **STAGE)
def evaluate_stage(context: int, space: str | None, seconds: dict[str, float], stands_on: Standing) -> Summary:
    """Figures, decoded predictions, the pipeline gate, summary.json and report.html."""
    with opened(space) as work:
        settings, store, encoder, space_id = work.settings, work.store, work.space, work.space_id
        gate = work.passing_gate()
        revision = gate.corpus_revision
        sequences, recorded = work.sequences(context)
        models = work.models(sequences, recorded)
        if not models:
            raise GateMissing("no model is trained on the sequence set of the corpus as it is; run `lvm train`")

        predictors = {**{name: model.predict for name, model in models.items()}, **baselines(sequences)}
        figures: dict[str, dict[str, float]] = {}
        with progress("evaluate", len(predictors)) as advance:
            for name, predictor in predictors.items():
                figures[name] = evaluate(sequences, predictor, limit=MEASURED_WINDOWS).as_dict()
                advance(1)
        windows = _windows(store, space_id, sequences, settings.seed)
        predictions = {
            name: Vectors(sequences.space, vector, np.linalg.norm(vector, axis=1))
            for name, (vector, _) in ((name, model.predict(windows.context)) for name, model in models.items())
        }
        with progress("decode predictions", (len(models) + 3) * len(windows)) as advance:
            decoded = decode_predictions(encoder, windows, predictions, seed=settings.seed, progress=advance)
        blocked = []
        for each in decoded:
            if each.kind != "model":
                continue
            row = store.record_gate(
                GateRecord(
                    "pipeline",
                    space_id,
                    revision,
                    cast(int, gate.inverter_id),
                    returned=each.said,
                    asked=each.asked,
                    evidence={"model": each.name, "checkpoint": models[each.name].sha256},
                    flow_run_id=run_id(),
                )
            )
            if not (row.passed and each.verdict.passed):
                blocked.append(f"{each.name}: {each.verdict.message}")

        histories = _history(store, sequences)
        curves = {name: histories[name] for name in models if name in histories}
        trained = {name: sum(report.seconds for report in curves.get(name, [])) for name in models}
        summary = Summary(
            space={
                "name": encoder.name,
                "fingerprint": encoder.fingerprint,
                "dim": encoder.dim,
                "inverter": encoder.inverter.sha256,
            },
            corpus={
                **store.counts(space_id),
                "revision": revision,
                "sequences": sequences.counts(),
                "context": context,
            },
            roundtrip={k: v for k, v in gate.evidence.items() if k not in ("chunk_ids", "cosines", "ranks")},
            baselines={name: figures[name] for name in predictors if name not in models},
            models={
                each.name: {
                    **figures[each.name],
                    "norm_error": max(each.norm_error, figures[each.name]["norm_error"]),
                    "pipeline_cosine": each.pipeline.mean,
                    "seconds": round(trained[each.name], 1),
                }
                for each in decoded
                if each.kind == "model"
            },
            decoding={each.name: _decoding(each) for each in decoded},
            examples=[asdict(example) for example in examples(windows, decoded)],
            seed=settings.seed,
            seconds={name: round(value, 1) for name, value in seconds.items()},
        )
        summary.write(settings.artifacts / "summary.json")
        plots = {
            "Roundtrip cosine of held-out chunks": roundtrip_histogram(
                gate.evidence["cosines"], gate.evidence["chance"]
            ),
            "Training": training_curves(curves),
            "Models beside the baselines, held-out documents": comparison(figures, list(models)),
            "A held-out document's path through the space": _map(sequences, models),
        }
        write(summary, plots, settings.artifacts / "report.html")
        say(work, "evaluate", f"{len(models)} models beside {len(summary.baselines)} baselines", revision)
    shown = _artifacts(summary)
    if blocked:
        raise GateBlocked("; ".join(blocked), shown)
    return summary


@flow(name="evaluate")
@gated
def evaluate_flow(context: Context = 5, space: SpaceName = None) -> Summary:
    """Evaluate every model trained on the sequence set of the corpus as it is, and write summary and report.

    Args:
        context: vectors before the one to predict.
        space: space to work in; LVM_SPACE unless given.

    Raises:
        GateMissing: if no model is trained on the corpus as it is.
        GateBlocked: if predictions cannot be put into words; the report is written all the same.
    """
    reach_database()
    with opened(space) as work:
        stands_on = standing(work)
    return once(evaluate_stage, there, context, space, {}, stands_on)


def there(_: Summary) -> bool:
    """Whether the report of an earlier attempt is still there."""
    artifacts = Settings().artifacts
    return (artifacts / "summary.json").is_file() and (artifacts / "report.html").is_file()


def _history(store: Store, sequences: SequenceSet) -> dict[str, list[EpochReport]]:
    """Reports of each epoch by model, from the finished training runs on this sequence set."""
    return {
        run.architecture: [EpochReport(**report) for report in run.metrics["history"]]
        for run in store.training_runs()
        if run.metrics and run.hyperparameters["sequences_sha256"] == sequences.sha256
    }


def _windows(store: Store, space_id: int, sequences: SequenceSet, seed: int) -> Windows:
    """Held-out windows, as vectors and as text."""
    starts = sequences.starts["test"]
    documents = np.searchsorted(sequences.document_starts, starts, side="right")
    starts = starts[choose_windows(documents.tolist(), SAMPLE_WINDOWS, seed)]
    length = sequences.context + 1
    rows = starts[:, None] + np.arange(length)
    texts = store.chunk_texts(store.chunk_ids(space_id)[rows].ravel().tolist())
    lines = [texts[i : i + length] for i in range(0, len(texts), length)]
    return Windows(
        space=sequences.space,
        context=sequences.contexts(starts),
        target=sequences.targets(starts),
        context_texts=[line[:-1] for line in lines],
        target_texts=[line[-1] for line in lines],
    )


def _decoding(each: DecodedVectors) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "n": each.pipeline.n,
        "crowding": each.crowding,
        **{name: asdict(getattr(each, name)) for name in ("pipeline", "to_truth", "to_random", "overlap")},
    }


def _map(sequences: SequenceSet, models: Mapping[str, TrainedModel]) -> Any:
    start = int(sequences.starts["test"][0])
    document = int(np.searchsorted(sequences.document_starts, start, side="right")) - 1
    end = min(int(sequences.document_starts[document + 1]), start + MAP_CHUNKS)
    path = np.asarray(sequences.unit[start:end])
    window = path[None, -sequences.context - 1 : -1]
    predictions = {name: model.predict(window)[0][0] for name, model in models.items()}
    return document_map(path, predictions, f"the first {len(path)} chunks of a held-out document")


def _artifacts(summary: Summary) -> UUID:
    """The same results in the Prefect UI; id of the decoded examples."""
    keys = ("cosine", "margin", "r1", "r5", "r10", "r50", "mrr")
    rows = [
        {"name": name, **{key: round(figures[key], 4) for key in keys}}
        for group in (summary.models, summary.baselines)
        for name, figures in group.items()
    ]
    create_table_artifact(rows, key="models")
    lines = []
    for example in summary.examples:
        lines += [f"- … {example['context'][-1]}", f"  - **next: {example['truth']}**"]
        lines += [f"  - {name}: {text}" for name, text in example["decoded"].items()]
    text = "\n".join(line.replace("<", "&lt;") for line in lines)
    return cast(UUID, create_markdown_artifact(text, key="decoded-examples"))
