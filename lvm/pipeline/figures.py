"""The figures of an evaluation: models beside baselines, on held-out windows of one corpus.

Contract: every figure of a model is there for the baselines that can have it, on the same windows. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lvm.devices import side_by_side
from lvm.evaluation.baselines import baselines
from lvm.evaluation.decoding import (
    TRUTH,
    DecodedVectors,
    Windows,
    choose_windows,
    decode_predictions,
)
from lvm.evaluation.lengths import LengthFigures, by_length
from lvm.evaluation.nll import BEST_CONSTANT, TextNll, best_constant, text_nll
from lvm.evaluation.order import OrderTest, order_test
from lvm.evaluation.retrieval import MEASURED_WINDOWS, Lead, Predictor, RetrievalMetrics, WindowFigures, lead, measure
from lvm.evaluation.rollout import STEPS, LongWindows, RolloutReport, long_starts, propose, rollouts
from lvm.evaluation.samples import DecodedSamples, SampleFigures, sample_figures
from lvm.pipeline.workspace import Workspace
from lvm.progress import Bars, Progress
from lvm.sequences import SequenceSet
from lvm.spaces import Vectors
from lvm.store import Gate
from lvm.training import TrainedModel

NLL_WINDOWS = 256
"""Held-out windows whose text NLL and samples are measured."""

CONSTANT_TEXTS = 4096
"""Training texts that the best constant vector is fitted on."""

SAMPLES, SAMPLED_WINDOWS = 8, 24
"""Samples per window, and windows whose samples are decoded."""

ROLLOUTS, ROLLOUT_SAMPLES = 12, 3
"""Rollouts per model, and samples for each of their texts."""

RANDOM_CHUNKS = 2000
"""Held-out chunks that random rollouts are drawn from."""


Part = Callable[[str, Callable[[Progress], Any]], Callable[[Progress], Any]]
"""Given a model's name and the work on it, the work to be done: a flow makes a task of it."""


@dataclass(frozen=True)
class Measured:
    """Figures of a summary, under the names that they have there: ``Summary(..., **vars(measured))``."""

    text_nll: dict[str, TextNll]
    samples: dict[str, SampleFigures]
    decoded_samples: dict[str, DecodedSamples]
    order: dict[str, OrderTest]
    leads: dict[str, Lead]
    roundtrip_by_length: list[LengthFigures]
    rollouts: dict[str, RolloutReport]


@dataclass(frozen=True)
class Corpus:
    """A database and space, a sequence set of its corpus, and the passing gate of that corpus."""

    work: Workspace
    sequences: SequenceSet
    gate: Gate


def predictors_of(sequences: SequenceSet, models: Mapping[str, TrainedModel]) -> dict[str, Predictor]:
    """Models, then baselines, by name. Baselines are fitted on the training windows of the models."""
    return {**{name: model.predict for name, model in models.items()}, **baselines(sequences)}


def retrieval(
    sequences: SequenceSet, predictors: Mapping[str, Predictor], bars: Bars
) -> tuple[dict[str, RetrievalMetrics], dict[str, WindowFigures]]:
    """Models and baselines on the test windows, by name: metrics, and figures of every window."""
    figures, of_windows = {}, {}
    with bars("evaluate", len(predictors)) as advance:
        for name, predictor in predictors.items():
            figures[name], of_windows[name] = measure(sequences, predictor, limit=MEASURED_WINDOWS)
            advance(1)
    return figures, of_windows


def measured_figures(
    own: Corpus,
    corpus: Corpus,
    windows: Windows,
    models: Mapping[str, TrainedModel],
    predictors: Mapping[str, Predictor],
    of_windows: Mapping[str, WindowFigures],
    returned: tuple[Sequence[int], Sequence[float]],
    bars: Bars,
    part: Part,
) -> Measured:
    """All figures besides retrieval metrics and decoded predictions.

    Args:
        own: the corpus that the models were trained on.
        corpus: the corpus to measure on.
        windows: held-out windows of it.
        models: the models, by name.
        predictors: result of ``predictors_of``.
        of_windows: figures of every window, by predictor, from ``retrieval``.
        returned: result of ``roundtrips``.
        bars: opens progress bars.
        part: given a model's name and the longest work on it, decoding what it writes, the work to be done.
    """
    work, sequences, seed = corpus.work, corpus.sequences, corpus.work.settings.seed
    texts = _texts(work, sequences, windows.first(SAMPLED_WINDOWS), models, bars, part)
    return Measured(
        text_nll=_text_nll(own, windows, predictors, bars),
        samples=_samples(windows, models, predictors, seed),
        decoded_samples={name: each.samples for name, each in texts.items() if each.samples is not None},
        order=_orders(sequences, predictors, models, seed, bars),
        leads=_leads(of_windows, models),
        roundtrip_by_length=by_length(*returned),
        rollouts={name: each.rollout for name, each in texts.items() if each.rollout is not None},
    )


def _leads(of_windows: Mapping[str, WindowFigures], models: Mapping[str, TrainedModel]) -> dict[str, Lead]:
    """How far every model is ahead of the best baseline."""
    others = {name: each for name, each in of_windows.items() if name not in models}
    return {name: lead(of_windows[name], others) for name in models}


def roundtrips(work: Workspace, gate: Gate) -> tuple[list[int], list[float]]:
    """Token counts and roundtrip cosines of the gate's chunks.

    The evidence has no token counts. A chunk that was stored again since then has another id, and is left out.
    """
    stored = work.store.token_counts(gate.evidence["chunk_ids"])
    pairs = zip(gate.evidence["chunk_ids"], gate.evidence["cosines"], strict=True)
    found = [(stored[chunk], cosine) for chunk, cosine in pairs if chunk in stored]
    return [tokens for tokens, _ in found], [cosine for _, cosine in found]


def _text_nll(own: Corpus, windows: Windows, predictors: Mapping[str, Predictor], bars: Bars) -> dict[str, TextNll]:
    """Text NLL of models and baselines, of the best constant vector of their corpus, and of the true vectors."""
    work, sequences = own.work, own.sequences
    space, seed = work.space, work.settings.seed
    rows = sequences.rows("train")
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(len(rows), CONSTANT_TEXTS), replace=False))
    texts = work.store.chunk_texts(work.store.chunk_ids(work.space_id)[rows].tolist())
    found = {}
    with bars("text NLL", len(predictors) + 2) as advance:
        constant = best_constant(space, texts, sequences.unit[rows].mean(axis=0), seed)
        vectors = {name: predictor(windows.context)[0] for name, predictor in predictors.items()}
        vectors |= {BEST_CONSTANT: constant.unit[[0] * len(windows)], TRUTH: windows.target}
        for name, unit in vectors.items():
            given = Vectors.from_raw(windows.space, unit)
            found[name] = text_nll(space, windows.target_texts, given, windows.documents, seed)
            advance(1)
    return found


def _samples(
    windows: Windows, models: Mapping[str, TrainedModel], predictors: Mapping[str, Predictor], seed: int
) -> dict[str, SampleFigures]:
    """Figures of samples. A point prediction is one sample; ``context`` predicts one of the window's own vectors."""
    found = {}
    for name, predictor in predictors.items():
        model = models.get(name)
        if model is not None and model.samples:
            drawn = model.sample(windows.context, SAMPLES, seed=seed)
        else:
            drawn = predictor(windows.context)[0][:, None]
        found[name] = sample_figures(drawn, windows.target)
    found["context"] = sample_figures(windows.context, windows.target, all_values=True)
    found[TRUTH] = sample_figures(windows.target[:, None], windows.target)
    return found


@dataclass(frozen=True)
class _Texts:
    """What one model writes on held-out documents.

    Attributes:
        samples: decoded and ranked; None if the model has no sampling head.
        rollout: None if all held-out documents are too short.
    """

    samples: DecodedSamples | None = None
    rollout: RolloutReport | None = None


def _texts(
    work: Workspace,
    sequences: SequenceSet,
    windows: Windows,
    models: Mapping[str, TrainedModel],
    bars: Bars,
    part: Part,
) -> dict[str, _Texts]:
    """Decoded samples and rollouts of every model."""
    seed, long = work.settings.seed, _long_windows(work, sequences)
    drawn = {name: len(windows) * SAMPLES if model.samples else 0 for name, model in models.items()}
    counts = {name: ROLLOUT_SAMPLES if model.samples else 1 for name, model in models.items()}
    steps = sum(counts.values()) * len(long[0].context) * STEPS if long else 0

    def written(name: str, advance: Progress) -> _Texts:
        model, found = models[name], _Texts()
        if model.samples:
            proposals = propose(work.space, model, windows.context, samples=SAMPLES, seed=seed, progress=advance)
            found = _Texts(DecodedSamples.of(windows, proposals))
        if long:
            rollout = rollouts(work.space, model, *long, samples=counts[name], seed=seed, progress=advance)
            found = replace(found, rollout=rollout)
        return found

    with bars("decode samples and rollouts", sum(drawn.values()) + steps) as advance:
        pieces = {name: part(name, partial(written, name)) for name in models}
        return side_by_side(pieces, work.space.encoder.device, advance)


def _long_windows(work: Workspace, sequences: SequenceSet) -> tuple[LongWindows, list[str]] | None:
    """Held-out contexts to write on from, and the texts of random chunks; None if all documents are too short."""
    seed, ids = work.settings.seed, work.store.chunk_ids(work.space_id)
    starts = long_starts(sequences, n=ROLLOUTS, seed=seed)
    if not len(starts):
        return None
    following = starts[:, None] + sequences.context + np.arange(STEPS)
    last = work.store.chunk_texts(ids[starts + sequences.context - 1].tolist())
    windows = LongWindows(sequences.space, sequences.contexts(starts), sequences.unit[following], last)
    rows = sequences.rows("test")
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(len(rows), RANDOM_CHUNKS), replace=False))
    return windows, work.store.chunk_texts(ids[rows].tolist())


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


def decoded_predictions(
    work: Workspace, windows: Windows, models: Mapping[str, TrainedModel], bars: Bars
) -> list[DecodedVectors]:
    """Decoded predictions of every model, of copy-last and the context mean, and of the true vectors."""
    predictions = {}
    for name, model in models.items():
        vector, _ = model.predict(windows.context)
        predictions[name] = Vectors(windows.space, vector, np.linalg.norm(vector, axis=1))
    with bars("decode predictions", (len(models) + 3) * len(windows)) as advance:
        return decode_predictions(work.space, windows, predictions, seed=work.settings.seed, progress=advance)


def held_out_windows(work: Workspace, sequences: SequenceSet) -> Windows:
    """Held-out windows, as vectors and as text: at most ``NLL_WINDOWS``, spread over documents."""
    starts = sequences.starts["test"]
    starts = starts[choose_windows(sequences.documents_of(starts).tolist(), NLL_WINDOWS, work.settings.seed)]
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
        documents=sequences.documents_of(starts),
    )
