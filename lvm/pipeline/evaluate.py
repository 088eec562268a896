"""Stage 5, evaluate: models beside the baselines on held-out documents, predictions decoded to text, and the report.

Contract: models and baselines are measured on the same windows. The database judges the decoded predictions of each
model (the pipeline gate). ``summary.json`` and ``report.html`` are written whether or not a model passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from matplotlib.figure import Figure

from lvm.evaluation.baselines import baselines
from lvm.evaluation.decoding import (
    SAMPLE_WINDOWS,
    DecodedVectors,
    Windows,
    choose_windows,
    decode_predictions,
    examples,
)
from lvm.evaluation.retrieval import MEASURED_WINDOWS, Predictor, RetrievalMetrics
from lvm.evaluation.retrieval import evaluate as measure
from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.gates import Verdict
from lvm.models import MODELS
from lvm.pipeline.errors import GateBlocked, GateMissing
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.progress import Bars
from lvm.report import Summary, write
from lvm.report.plots import comparison, document_map, roundtrip_histogram, training_curves
from lvm.report.summary import CorpusFigures, DecodingFigures, ModelFigures, SpaceFigures
from lvm.sequences import SequenceSet
from lvm.spaces import Vectors
from lvm.store import Gate, GateMeasurement, SequenceSetRecord
from lvm.training import EpochReport, TrainedModel

MAP_CHUNKS = 40
"""Chunks of a document on the map of its path."""


@named_stage
def evaluate(
    work: Workspace,
    sequences: SequenceSet,
    models: Iterable[TrainedModel] | TrainedModel | None = None,
    *,
    seconds: Mapping[str, float] | None = None,
    bars: Bars | None = None,
    flow_run_id: str | None = None,
) -> Summary:
    """Measure models beside the baselines, decode their predictions, and write ``summary.json`` and ``report.html``.

    Args:
        work: the database and space that the models belong to.
        sequences: what ``extract`` gave.
        models: what ``train`` gave; all finished models of the sequence set unless given.
        seconds: wall time of earlier stages, for the report.
        bars: opens progress bars; in the terminal unless given.
        flow_run_id: id of the Prefect run, for the record.

    Raises:
        GateMissing: if the sequence set is not of the corpus as it is now, or no model is trained on it.
        CorruptedFile: if a model is not one that a finished training run recorded.
        GateBlocked: if predictions cannot be decoded; the summary is written, and is ``report`` of the error.
    """
    gate, bars = work.passing_gate(), bars or work.bars
    sequences, record = work.reopened(sequences)
    opened = _models(work, sequences, record, models)
    figures = _figures(sequences, opened, bars)
    windows = _windows(work, sequences)
    decoded = _decoded(work, windows, opened, bars)
    failed = _judge(work, gate, opened, decoded, flow_run_id)

    curves = _histories(work, sequences, opened)
    summary = _summary(work, gate, sequences, opened, figures, windows, decoded, curves, seconds or {})
    summary.write(work.settings.artifacts / "summary.json")
    write(summary, _plots(gate, sequences, opened, figures, curves), work.settings.artifacts / "report.html")
    if failed:
        message = "; ".join(f"{name}: {verdict.message}" for name, verdict in failed.items())
        raise GateBlocked(message, tuple(failed.values()), summary)
    return summary


def _models(
    work: Workspace,
    sequences: SequenceSet,
    record: SequenceSetRecord,
    given: Iterable[TrainedModel] | TrainedModel | None,
) -> dict[str, TrainedModel]:
    """The models to evaluate, by name, read from their files: weights in memory may have been changed."""
    wanted = [given] if isinstance(given, TrainedModel) else list(given or ())
    names = [model.name for model in wanted] or list(MODELS)
    found = work.models(sequences, record, names)
    for model in wanted:
        if model.name not in found or found[model.name].sha256 != model.sha256:
            raise GateMissing(
                f"model {model.name!r} is not the one that was trained last on the sequence set of the current corpus; "
                "run `lvm train`"
            )
    if not found:
        raise GateMissing("no model is trained on the sequence set of the current corpus; run `lvm train`")
    return found


def _figures(sequences: SequenceSet, models: Mapping[str, TrainedModel], bars: Bars) -> dict[str, RetrievalMetrics]:
    """Models and baselines on the test windows, by name."""
    predictors: dict[str, Predictor] = {name: model.predict for name, model in models.items()}
    predictors |= baselines(sequences)
    figures = {}
    with bars("evaluate", len(predictors)) as advance:
        for name, predictor in predictors.items():
            figures[name] = measure(sequences, predictor, limit=MEASURED_WINDOWS)
            advance(1)
    return figures


def _decoded(work: Workspace, windows: Windows, models: Mapping[str, TrainedModel], bars: Bars) -> list[DecodedVectors]:
    """Decoded predictions of every model, of copy-last and the context mean, and of the true vectors."""
    predictions = {}
    for name, model in models.items():
        vector, _ = model.predict(windows.context)
        predictions[name] = Vectors(windows.space, vector, np.linalg.norm(vector, axis=1))
    with bars("decode predictions", (len(models) + 3) * len(windows)) as advance:
        return decode_predictions(work.space, windows, predictions, seed=work.settings.seed, progress=advance)


def _windows(work: Workspace, sequences: SequenceSet) -> Windows:
    """Held-out windows, as vectors and as text: at most ``SAMPLE_WINDOWS``, spread over documents."""
    starts = sequences.starts["test"]
    documents = np.searchsorted(sequences.document_starts, starts, side="right")
    starts = starts[choose_windows(documents.tolist(), SAMPLE_WINDOWS, work.settings.seed)]
    length = sequences.context + 1
    rows = starts[:, None] + np.arange(length)
    texts = work.store.chunk_texts(work.store.chunk_ids(work.space_id)[rows].ravel().tolist())
    lines = [texts[i : i + length] for i in range(0, len(texts), length)]
    return Windows(
        space=sequences.space,
        context=sequences.contexts(starts),
        target=sequences.targets(starts),
        context_texts=[line[:-1] for line in lines],
        target_texts=[line[-1] for line in lines],
    )


def _judge(
    work: Workspace,
    gate: Gate,
    models: Mapping[str, TrainedModel],
    decoded: Sequence[DecodedVectors],
    flow_run_id: str | None,
) -> dict[str, Verdict]:
    """Let the database judge the decoded predictions of each model. Returns the verdicts that failed, by model."""
    assert gate.inverter_id is not None  # a verdict that stands names its inverter
    failed = {}
    for each in decoded:
        if each.kind != "model":
            continue
        judged = work.store.record_gate(
            GateMeasurement(
                "pipeline",
                work.space_id,
                gate.corpus_revision,
                gate.inverter_id,
                returned=each.decoded,
                asked=each.predicted,
                evidence={"model": each.name, "checkpoint": models[each.name].sha256},
                flow_run_id=flow_run_id,
            )
        )
        if not (judged.passed and each.verdict.passed):
            failed[each.name] = each.verdict
    return failed


def _histories(
    work: Workspace, sequences: SequenceSet, models: Mapping[str, TrainedModel]
) -> dict[str, list[EpochReport]]:
    """Reports of each epoch by model, from the finished training runs on this sequence set."""
    runs = work.store.training_runs()
    found = {
        run.architecture: [EpochReport(**report) for report in run.metrics["history"]]
        for run in runs
        if run.metrics and run.hyperparameters["sequences_sha256"] == sequences.sha256
    }
    return {name: found[name] for name in models if name in found}


def _summary(
    work: Workspace,
    gate: Gate,
    sequences: SequenceSet,
    models: Mapping[str, TrainedModel],
    figures: Mapping[str, RetrievalMetrics],
    windows: Windows,
    decoded: Sequence[DecodedVectors],
    curves: Mapping[str, Sequence[EpochReport]],
    seconds: Mapping[str, float],
) -> Summary:
    space = work.space
    of_models = {}
    for each in decoded:
        if each.kind == "model":
            values = asdict(figures[each.name])
            values["norm_error"] = max(each.norm_error, values["norm_error"])
            trained = sum(report.seconds for report in curves.get(each.name, []))
            of_models[each.name] = ModelFigures(**values, pipeline_cosine=each.pipeline.mean, seconds=round(trained, 1))
    counts = work.counts()
    return Summary(
        space=SpaceFigures(space.name, space.fingerprint, space.dim, space.inverter.sha256),
        corpus=CorpusFigures(
            documents=counts["documents"],
            chunks=counts["chunks"],
            embeddings=counts["embeddings"],
            revision=gate.corpus_revision,
            sequences=sequences.counts(),
            context=sequences.context,
        ),
        roundtrip=RoundtripFigures.from_evidence(gate.evidence),
        baselines={name: each for name, each in figures.items() if name not in models},
        models=of_models,
        decoding={each.name: DecodingFigures.of(each) for each in decoded},
        examples=examples(windows, decoded),
        seed=work.settings.seed,
        seconds={name: round(value, 1) for name, value in seconds.items()},
    )


def _plots(
    gate: Gate,
    sequences: SequenceSet,
    models: Mapping[str, TrainedModel],
    figures: Mapping[str, RetrievalMetrics],
    curves: Mapping[str, Sequence[EpochReport]],
) -> dict[str, Figure]:
    """The figures of the report, by caption."""
    return {
        "Roundtrip cosine of held-out chunks": roundtrip_histogram(gate.evidence["cosines"], gate.evidence["chance"]),
        "Training": training_curves(curves),
        "Models beside the baselines, held-out documents": comparison(figures, list(models)),
        "A held-out document's path through the space": _map(sequences, models),
    }


def _map(sequences: SequenceSet, models: Mapping[str, TrainedModel]) -> Figure:
    """The first chunks of a held-out document, and each model's prediction of the last of them."""
    start = int(sequences.starts["test"][0])
    document = int(np.searchsorted(sequences.document_starts, start, side="right")) - 1
    end = min(int(sequences.document_starts[document + 1]), start + MAP_CHUNKS)
    path = np.asarray(sequences.unit[start:end])
    window = path[None, -sequences.context - 1 : -1]
    predictions = {name: model.predict(window)[0][0] for name, model in models.items()}
    return document_map(path, predictions, f"the first {len(path)} chunks of a held-out document")
