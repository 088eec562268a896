"""Stage 5, evaluate: models beside the baselines on held-out documents, predictions decoded to text, and the report.

Contract: models and baselines are measured on the same windows: held-out ones of their own corpus, or all windows of
another one, which they were never fitted on. The champion is measured beside them, so that a promotion can compare. The
database judges the decoded predictions of each model (the pipeline gate). ``summary.json`` and ``report.html`` are
written, and every figure recorded in the database, whether or not a model passes. A model that is trained again
meanwhile stays what it was: its file is a version of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from matplotlib.figure import Figure as MatplotlibFigure

from lvm.devices import give_back_memory
from lvm.evaluation.decoding import (
    SAMPLE_WINDOWS,
    DecodedVectors,
    Windows,
    examples,
)
from lvm.evaluation.retrieval import RetrievalMetrics
from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.files import CorruptedFile
from lvm.gates import Verdict
from lvm.pipeline.elsewhere import OtherCorpus, other_corpus
from lvm.pipeline.errors import GateBlocked, GateMissing, NoModel
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
from lvm.pipeline.predict import open_model
from lvm.pipeline.workspace import Workspace, named_stage, reads_corpus
from lvm.progress import Bars
from lvm.report import Plot, Summary, write
from lvm.report.plots import (
    document_map,
    quality_over_time,
    roundtrip_by_length,
    roundtrip_histogram,
    training_curves,
)
from lvm.report.questions import summary_plots
from lvm.report.rows import rows
from lvm.report.summary import CorpusFigures, DecodingFigures, ModelFigures, SpaceFigures, versions
from lvm.sequences import SequenceSet
from lvm.store import Figure, Gate, GateMeasurement, PastFigure, SequenceSetRecord, TrainingRun
from lvm.training import EpochReport, TrainedModel

log = logging.getLogger(__name__)

MAP_CHUNKS = 40
"""Chunks of a document on the map of its path."""

OVER_TIME = ("text_nll", "cosine")
"""Figures that the report shows over the last evaluations."""


@named_stage
@reads_corpus
def evaluate(
    work: Workspace,
    sequences: SequenceSet,
    models: Iterable[TrainedModel | str] | TrainedModel | str | None = None,
    *,
    on: str | Path | None = None,
    limit: int | None = None,
    text_column: str | None = None,
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
        models: what ``train`` gave, or names (``gru``, ``gru@1a2b3c``); the last finished models of the sequence set
            unless given. The champion of the space is measured beside them, unless it needs a longer context.
        on: another corpus to measure on instead: what ``lvm.corpus.sources.open_source`` takes. It is stored apart,
            and all of its windows are measured. Files go to a folder of its own (``lvm.pipeline.elsewhere``).
        limit: documents of ``on`` at most; all unless given.
        text_column: column of the text of ``on``, if that is a table or dataset; ``text`` unless given.
        seconds: wall time of earlier stages, for the report.
        bars: opens progress bars; in the terminal unless given.
        part: given a model's name and the longest work on it, the work to be done.
        flow_run_id: id of the Prefect run, for the record.

    Raises:
        GateMissing: if the sequence set is not of the corpus as it is now, or no model is trained on it.
        NoModel: if no model of a name is trained, or the list of models is empty.
        ModelGone: if the files of all its models are gone.
        CorruptedFile: if a model is not one that a finished training run recorded.
        GateBlocked: if predictions cannot be decoded; the summary is written, and is ``report`` of the error. If text
            of ``on`` does not come back from its vectors, nothing is written, and ``report`` has the gate's figures.
        LvmError: what ``other_corpus`` raises, if ``on`` cannot be measured on.
    """
    gate, bars = work.passing_gate(), bars or work.bars
    sequences, record = work.reopened(sequences)
    wanted = _models(work, record, models)
    opened = {**wanted, **_champion(work, sequences, wanted)}
    own = Corpus(work, sequences, gate)
    if on is None:
        kept = _kept(own, opened, wanted)
        return kept or _evaluate(own, own, opened, wanted, None, seconds or {}, bars, part, flow_run_id)
    with other_corpus(
        work, on, sequences.context, limit=limit, text_column=text_column, bars=bars, flow_run_id=flow_run_id
    ) as other:
        measured = Corpus(other.work, other.sequences, other.gate)
        return _evaluate(own, measured, opened, wanted, other, seconds or {}, bars, part, flow_run_id)


def _evaluate(
    own: Corpus,
    measured: Corpus,
    opened: Mapping[str, TrainedModel],
    wanted: Iterable[str],
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
        wanted: names of the models that must pass the pipeline gate; the champion beside them need not.
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

    runs = _runs(own.work, opened)
    seconds = {**seconds, "evaluate": time.monotonic() - began}
    summary = _summary(measured, opened, figures, found, windows, decoded, runs, seconds)
    if other is not None:
        summary = replace(summary, on=other.source, left_out=other.left_out, trained_on=_corpus_figures(own))
    found_rows = rows(summary, {name: run.id for name, run in runs.items()})
    past = own.work.store.past_figures(own.work.space_id, OVER_TIME, measured_on=summary.on)
    now = [
        PastFigure(0, summary.corpus.revision, row.name, row.metric, row.value)
        for row in found_rows
        if row.kind == "model" and row.metric in OVER_TIME
    ]
    summary.write(work.settings.artifacts / "summary.json")
    curves = {
        name: [EpochReport(**report) for report in run.metrics["history"]] for name, run in runs.items() if run.metrics
    }
    plots = _plots(summary, measured.gate, returned, curves, [*past, *now], _map(sequences, opened))
    write(summary, plots, work.settings.artifacts / "report.html")
    _record(own, summary, found_rows, flow_run_id)
    blocking = {name: failed[name] for name in wanted if name in failed}
    if blocking:
        message = "; ".join(f"{name}: {verdict.message}" for name, verdict in blocking.items())
        raise GateBlocked(message, tuple(blocking.values()), summary)
    return summary


def _record(own: Corpus, summary: Summary, figures: Sequence[Figure], flow_run_id: str | None) -> None:
    """Record every figure in the database of the models, after the report: without it, nothing counts as measured."""
    assert own.gate.inverter_id is not None  # a verdict that stands names its inverter
    own.work.store.record_evaluation(
        own.work.space_id,
        own.gate.inverter_id,
        summary.corpus.revision,
        figures,
        measured_on=summary.on,
        seed=summary.seed,
        flow_run_id=flow_run_id,
    )


def _kept(corpus: Corpus, models: Mapping[str, TrainedModel], wanted: Iterable[str]) -> Summary | None:
    """The summary of an earlier evaluation of the same, if files and rows are there and every wanted model passed."""
    work, artifacts = corpus.work, corpus.work.settings.artifacts
    kept = Summary.read(artifacts / "summary.json") if (artifacts / "report.html").is_file() else None
    if kept is None or kept.on is not None:
        return None
    same = (
        {name: each.checkpoint for name, each in kept.models.items()} == {n: each.sha256 for n, each in models.items()}
        and (kept.space, kept.corpus) == (_space_figures(work), _corpus_figures(corpus))
        and (kept.seed, kept.versions) == (work.settings.seed, versions())
    )
    if not same or not all(_recorded(corpus, each) for each in models.values()):
        return None
    verdicts = (work.store.pipeline_verdict(corpus.gate, models[name].sha256) for name in wanted)
    return kept if all(verdict is not None and verdict.passed for verdict in verdicts) else None


def _recorded(corpus: Corpus, model: TrainedModel) -> bool:
    """Whether an evaluation of a model on this corpus is recorded; version 0.1.0 recorded none."""
    work, gate = corpus.work, corpus.gate
    assert gate.inverter_id is not None
    known = work.store.last_evaluation(work.space_id, gate.inverter_id, gate.corpus_revision, model.sha256)
    return known is not None


def _models(
    work: Workspace, record: SequenceSetRecord, given: Iterable[TrainedModel | str] | TrainedModel | str | None
) -> dict[str, TrainedModel]:
    """The models to evaluate, by name, read from their files: weights in memory may have been changed.

    A second version of a model has the name of the version.
    """
    wanted = [given] if isinstance(given, TrainedModel | str) else list(given or ())
    if given is not None and not wanted:
        raise NoModel("the list of models to evaluate is empty; leave it out to evaluate all")
    runs = {run.sha256: run for run in work.store.training_runs(record.id) if run.status == "finished"}
    found: dict[str, TrainedModel] = {}
    for each in wanted:
        model = open_model(each, work.space, work.settings, work) if isinstance(each, str) else each
        if model.sha256 not in runs:
            raise GateMissing(
                f"model {model.name!r} is not one that was trained on the sequence set of the current corpus; "
                "run `lvm train`"
            )
        opened = model if isinstance(each, str) else work.model_of(runs[model.sha256])
        found[opened.version if opened.name in found else opened.name] = opened
    if wanted:
        return found
    found = work.models(record)
    if not found and runs:
        work.model_of(list(runs.values())[-1])  # says that its file is gone
    if not found:
        raise GateMissing("no model is trained on the sequence set of the current corpus; run `lvm train`")
    return found


def _champion(work: Workspace, sequences: SequenceSet, others: Mapping[str, TrainedModel]) -> dict[str, TrainedModel]:
    """The champion of the space, by name, unless it is one of the models, is gone, or needs a longer context."""
    champion = work.store.champion(work.space_id)
    run = work.store.finished_run(champion.sha256) if champion else None
    if run is None or run.sha256 in {model.sha256 for model in others.values()}:
        return {}
    try:
        model = work.model_of(run)
    except (NoModel, CorruptedFile) as error:
        log.warning("the champion is not measured beside the others: %s", error)
        return {}
    if model.context > sequences.context:
        log.warning(
            "the champion %s is not measured beside the others: it sees %d vectors, the windows have %d",
            model.version,
            model.context,
            sequences.context,
        )
        return {}
    return {model.version: model}


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


def _runs(work: Workspace, models: Mapping[str, TrainedModel]) -> dict[str, TrainingRun]:
    """The training runs that left the models, by name."""
    found = {name: work.store.finished_run(model.sha256) for name, model in models.items()}
    return {name: run for name, run in found.items() if run is not None}


def _summary(
    corpus: Corpus,
    models: Mapping[str, TrainedModel],
    figures: Mapping[str, RetrievalMetrics],
    measured: Measured,
    windows: Windows,
    decoded: Sequence[DecodedVectors],
    runs: Mapping[str, TrainingRun],
    seconds: Mapping[str, float],
) -> Summary:
    of_models = {}
    for each in decoded:
        if each.kind == "model":
            values = asdict(figures[each.name])
            metrics = runs[each.name].metrics if each.name in runs else None
            values["norm_error"] = max(each.norm_error, values["norm_error"])
            of_models[each.name] = ModelFigures(
                **values,
                pipeline_cosine=each.pipeline.mean,
                seconds=round(metrics["seconds"], 1) if metrics else 0.0,
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
    past: Sequence[PastFigure],
    path: MatplotlibFigure,
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
    if len({each.evaluation_id for each in past}) > 1:
        found.append(
            Plot(
                "Did models become better?",
                "The last evaluations in this space; lower text NLL and higher cosine are better. At a dotted line the "
                "corpus changed, so figures on its two sides are of different held-out documents.",
                quality_over_time(past),
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


def _map(sequences: SequenceSet, models: Mapping[str, TrainedModel]) -> MatplotlibFigure:
    """The first chunks of a held-out document, and each model's prediction of the last of them."""
    start = int(sequences.starts["test"][0])
    document = sequences.documents_of(sequences.starts["test"][:1])[0]
    end = min(int(sequences.document_starts[document + 1]), start + MAP_CHUNKS)
    path = sequences.unit[start:end]
    window = path[None, -sequences.context - 1 : -1]
    predictions = {name: model.predict(window)[0][0] for name, model in models.items()}
    return document_map(path, predictions, f"the first {len(path)} chunks of a held-out document")
