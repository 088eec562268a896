"""Stage 5, evaluate: models beside the baselines on held-out documents, predictions decoded to text, and the report.

Contract: models and baselines are measured on the same windows: held-out ones of their own corpus, or all windows of
another one, which they were never fitted on. The database judges the decoded predictions of each model (the pipeline
gate). ``summary.json`` and ``report.html`` are written whether or not a model passes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from matplotlib.figure import Figure

from lvm.devices import give_back_memory
from lvm.evaluation.decoding import (
    SAMPLE_WINDOWS,
    DecodedVectors,
    Windows,
    examples,
)
from lvm.evaluation.retrieval import RetrievalMetrics
from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.gates import Verdict
from lvm.models import MODELS
from lvm.pipeline.elsewhere import OtherCorpus, other_corpus
from lvm.pipeline.errors import GateBlocked, GateMissing
from lvm.pipeline.figures import (
    Corpus,
    Measured,
    Part,
    decoded_predictions,
    held_out_windows,
    measured_figures,
    predictors_of,
    retrieval,
    roundtrips,
)
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.progress import Bars
from lvm.report import Plot, Summary, write
from lvm.report.plots import document_map, roundtrip_by_length, roundtrip_histogram, training_curves
from lvm.report.questions import summary_plots
from lvm.report.summary import CorpusFigures, DecodingFigures, ModelFigures, SpaceFigures, versions
from lvm.sequences import SequenceSet
from lvm.store import Gate, GateMeasurement, RunMetrics, SequenceSetRecord
from lvm.training import EpochReport, TrainedModel

MAP_CHUNKS = 40
"""Chunks of a document on the map of its path."""


@named_stage
def evaluate(
    work: Workspace,
    sequences: SequenceSet,
    models: Iterable[TrainedModel] | TrainedModel | None = None,
    *,
    on: str | Path | None = None,
    limit: int | None = None,
    seconds: Mapping[str, float] | None = None,
    bars: Bars | None = None,
    part: Part = lambda _, work: work,
    flow_run_id: str | None = None,
) -> Summary:
    """Measure models beside the baselines, decode their predictions, and write ``summary.json`` and ``report.html``.

    Nothing is measured again if the files are of the same models, corpus, seed and versions, and every model passed.

    Args:
        work: the database and space that the models belong to.
        sequences: what ``extract`` gave.
        models: what ``train`` gave; all finished models of the sequence set unless given.
        on: another corpus to measure on instead: ``sotu``, a folder, a .jsonl file, or ``hf:NAME``. It is stored apart,
            and all of its windows are measured. Files go to a folder of its own (``lvm.pipeline.elsewhere``).
        limit: documents of ``on`` at most; all unless given.
        seconds: wall time of earlier stages, for the report.
        bars: opens progress bars; in the terminal unless given.
        part: given a model's name and the longest work on it, the work to be done.
        flow_run_id: id of the Prefect run, for the record.

    Raises:
        GateMissing: if the sequence set is not of the corpus as it is now, or no model is trained on it.
        CorruptedFile: if a model is not one that a finished training run recorded.
        GateBlocked: if predictions cannot be decoded; the summary is written, and is ``report`` of the error. If text
            of ``on`` does not come back from its vectors, nothing is written, and ``report`` has the gate's figures.
        LvmError: what ``other_corpus`` raises, if ``on`` cannot be measured on.
    """
    gate, bars = work.passing_gate(), bars or work.bars
    sequences, record = work.reopened(sequences)
    opened = _models(work, sequences, record, models)
    own = Corpus(work, sequences, gate)
    if on is None:
        return _kept(own, opened) or _evaluate(own, own, opened, None, seconds or {}, bars, part, flow_run_id)
    with other_corpus(work, on, sequences.context, limit=limit, bars=bars, flow_run_id=flow_run_id) as other:
        measured = Corpus(other.work, other.sequences, other.gate)
        return _evaluate(own, measured, opened, other, seconds or {}, bars, part, flow_run_id)


def _evaluate(
    own: Corpus,
    measured: Corpus,
    opened: Mapping[str, TrainedModel],
    other: OtherCorpus | None,
    seconds: Mapping[str, float],
    bars: Bars,
    part: Part,
    flow_run_id: str | None,
) -> Summary:
    """Measure models on a corpus.

    Args:
        own: the corpus that the models were trained on. Baselines are fitted on it.
        measured: the corpus to measure on.
        opened: the models, by name.
        other: the same corpus, if it is another one.
        seconds: wall time of earlier stages.
        bars: opens progress bars.
        part: given a model's name and the longest work on it, the work to be done.
        flow_run_id: id of the Prefect run.
    """
    work, sequences, began = measured.work, measured.sequences, time.monotonic()
    predictors = predictors_of(own.sequences, opened)
    figures, of_windows = retrieval(sequences, predictors, bars)
    give_back_memory()
    returned = roundtrips(work, measured.gate)
    windows = held_out_windows(work, sequences)
    found = measured_figures(own, measured, windows, opened, predictors, of_windows, returned, bars, part)
    give_back_memory()
    decoded = decoded_predictions(work, windows.first(SAMPLE_WINDOWS), opened, bars)
    failed = _judge(work, measured.gate, opened, decoded, flow_run_id)

    runs = _runs(own.work, own.sequences, opened)
    seconds = {**seconds, "evaluate": time.monotonic() - began}
    summary = _summary(measured, opened, figures, found, windows, decoded, runs, seconds)
    if other is not None:
        summary = replace(summary, on=other.source, left_out=other.left_out, trained_on=_corpus_figures(own))
    summary.write(work.settings.artifacts / "summary.json")
    curves = {name: [EpochReport(**report) for report in run["history"]] for name, run in runs.items()}
    plots = _plots(summary, measured.gate, returned, curves, _map(sequences, opened))
    write(summary, plots, work.settings.artifacts / "report.html")
    if failed:
        message = "; ".join(f"{name}: {verdict.message}" for name, verdict in failed.items())
        raise GateBlocked(message, tuple(failed.values()), summary)
    return summary


def _kept(corpus: Corpus, models: Mapping[str, TrainedModel]) -> Summary | None:
    """The summary of an earlier evaluation of the same, if its files are still there and every model passed."""
    work, artifacts = corpus.work, corpus.work.settings.artifacts
    kept = Summary.read(artifacts / "summary.json") if (artifacts / "report.html").is_file() else None
    if kept is None or kept.on is not None:
        return None
    same = (
        {name: each.checkpoint for name, each in kept.models.items()} == {n: each.sha256 for n, each in models.items()}
        and (kept.space, kept.corpus) == (_space_figures(work), _corpus_figures(corpus))
        and (kept.seed, kept.versions) == (work.settings.seed, versions())
    )
    verdicts = (work.store.pipeline_verdict(corpus.gate, each.sha256) for each in models.values())
    return kept if same and all(verdict is not None and verdict.passed for verdict in verdicts) else None


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


def _runs(work: Workspace, sequences: SequenceSet, models: Mapping[str, TrainedModel]) -> dict[str, RunMetrics]:
    """What the finished training runs on this sequence set brought, by model."""
    found = {
        run.architecture: run.metrics
        for run in work.store.training_runs()
        if run.metrics and run.hyperparameters["sequences_sha256"] == sequences.sha256
    }
    return {name: found[name] for name in models if name in found}


def _summary(
    corpus: Corpus,
    models: Mapping[str, TrainedModel],
    figures: Mapping[str, RetrievalMetrics],
    measured: Measured,
    windows: Windows,
    decoded: Sequence[DecodedVectors],
    runs: Mapping[str, RunMetrics],
    seconds: Mapping[str, float],
) -> Summary:
    of_models = {}
    for each in decoded:
        if each.kind == "model":
            values = asdict(figures[each.name])
            values["norm_error"] = max(each.norm_error, values["norm_error"])
            of_models[each.name] = ModelFigures(
                **values,
                pipeline_cosine=each.pipeline.mean,
                seconds=round(runs[each.name]["seconds"], 1) if each.name in runs else 0.0,
                checkpoint=models[each.name].sha256,
            )
    return Summary(
        space=_space_figures(corpus.work),
        corpus=_corpus_figures(corpus),
        roundtrip=RoundtripFigures.from_evidence(corpus.gate.evidence),
        baselines={name: each for name, each in figures.items() if name not in models},
        models=of_models,
        decoding={each.name: DecodingFigures.of(each) for each in decoded},
        examples=examples(windows.first(SAMPLE_WINDOWS), decoded),
        seed=corpus.work.settings.seed,
        seconds={name: round(value, 1) for name, value in seconds.items()},
        **vars(measured),
    )


def _space_figures(work: Workspace) -> SpaceFigures:
    space = work.space
    return SpaceFigures(space.name, space.fingerprint, space.dim, space.inverter.sha256)


def _corpus_figures(corpus: Corpus) -> CorpusFigures:
    counts = corpus.work.counts()
    return CorpusFigures(
        documents=counts["documents"],
        chunks=counts["chunks"],
        embeddings=counts["embeddings"],
        revision=corpus.gate.corpus_revision,
        sequences=corpus.sequences.counts(),
        context=corpus.sequences.context,
    )


def _plots(
    summary: Summary,
    gate: Gate,
    roundtrips: tuple[Sequence[int], Sequence[float]],
    curves: Mapping[str, Sequence[EpochReport]],
    path: Figure,
) -> list[Plot]:
    """The plots of the report: what the summary has, and what it has no room for."""
    evidence = gate.evidence
    found = summary_plots(summary)
    if roundtrips[0]:
        found.append(
            Plot(
                "Are long chunks understood as well as short ones?",
                "Roundtrip cosine of the gate's chunks by length. One vector holds only so many words.",
                roundtrip_by_length(summary.roundtrip_by_length, *roundtrips),
            )
        )
    return [
        *found,
        Plot(
            "Is the space understood?",
            "Roundtrip cosines of the gate's chunks. The mean must reach the threshold; chance is what two different "
            "chunks have.",
            roundtrip_histogram(evidence["cosines"], evidence["chance"]),
        ),
        Plot("Did training converge?", "Validation windows are of other documents.", training_curves(curves)),
        Plot(
            "Where does a prediction lie?",
            "A held-out document's path through the space, on its two main directions. A point prediction is a mean, "
            "so it lies inside.",
            path,
        ),
    ]


def _map(sequences: SequenceSet, models: Mapping[str, TrainedModel]) -> Figure:
    """The first chunks of a held-out document, and each model's prediction of the last of them."""
    start = int(sequences.starts["test"][0])
    document = sequences.documents_of(sequences.starts["test"][:1])[0]
    end = min(int(sequences.document_starts[document + 1]), start + MAP_CHUNKS)
    path = sequences.unit[start:end]
    window = path[None, -sequences.context - 1 : -1]
    predictions = {name: model.predict(window)[0][0] for name, model in models.items()}
    return document_map(path, predictions, f"the first {len(path)} chunks of a held-out document")
