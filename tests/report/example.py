"""A summary with every figure: four models with samples, baselines with long names, hostile texts."""

from __future__ import annotations

from dataclasses import asdict

from lvm.evaluation.decoding import DecodedExample, Kind, Spread
from lvm.evaluation.lengths import LengthFigures
from lvm.evaluation.nll import TextNll
from lvm.evaluation.order import Drop, OrderTest
from lvm.evaluation.retrieval import Difference, Lead, RetrievalMetrics
from lvm.evaluation.rollout import RolloutFigures, RolloutReport
from lvm.evaluation.roundtrip import Example, RoundtripFigures
from lvm.evaluation.samples import DecodedSamples, SampleFigures
from lvm.report import Summary
from lvm.report.summary import CorpusFigures, DecodingFigures, ModelFigures, SpaceFigures

HOSTILE = '<script>alert("x")</script> & "quotes" | pipes'
TRUTH_TEXT = "The other officers for the Territory have proceeded by sea, and the agent will follow them in the spring."

COSINES = {"lstm": 0.475, "gru": 0.476, "mamba2": 0.462, "transformer": 0.471}
R10 = {"lstm": 0.157, "gru": 0.164, "mamba2": 0.120, "transformer": 0.152}
NLL = {"lstm": 4.41, "gru": 4.38, "mamba2": 4.66, "transformer": 4.43}
BASELINES = {
    "copy_last": (0.301, 0.085, 5.18),
    "context_mean": (0.421, 0.131, 4.98),
    "recency_mean": (0.408, 0.134, 4.80),
    "ridge": (0.470, 0.040, 4.75),
    "nearest_continuation": (0.330, 0.101, 5.02),
}


def metrics(cosine: float, r10: float) -> RetrievalMetrics:
    return RetrievalMetrics(
        n=2458, pool=2488, cosine=cosine, copy_cosine=0.6, margin=cosine - 0.6, r1=0.028, r5=0.1, r10=r10, r50=0.37,
        mrr=0.07, norm_error=1e-7,
    )  # fmt: skip


def _nll(value: float) -> TextNll:
    return TextNll(value, (value - 0.07, value + 0.08), 256)


def _decoding(kind: Kind, pipeline: float, to_truth: float) -> DecodingFigures:
    other = Spread(0.25, 0.22, 96)
    return DecodingFigures(
        kind, 96, 0.7, Spread(pipeline, pipeline, 96), Spread(to_truth, to_truth, 96), other, other, other, 0.8
    )


def _samples(count: int, pairwise: float) -> SampleFigures:
    return SampleFigures(256, count, 1.27, pairwise, 0.4 if count > 1 else None, 0.3, 0.36, 0.45)


def _drop(cosine: float, r10: float) -> Drop:
    return Drop(cosine, (cosine - 0.004, cosine + 0.004), r10, (r10 - 0.01, r10 + 0.011))


def _order(scale: float) -> OrderTest:
    left_out = tuple(_drop(scale * 0.02 / back, scale * 0.05 / back) for back in range(1, 6))
    return OrderTest(1024, _drop(scale * 0.011, scale * 0.031), _drop(scale * 0.021, scale * 0.052), left_out)


def _rollout(scale: float, text: str) -> RolloutReport:
    def figures(first: float, repetition: float) -> RolloutFigures:
        return RolloutFigures(
            [first, first - 0.03, first - 0.05, first - 0.06, first - 0.06], [first + 0.1] * 5, repetition, 0.8
        )

    written, copied, random = figures(scale, 0.02), figures(0.30, 1.0), figures(0.17, 0.0)
    return RolloutReport(12, 5, written, copied, random, [[text] * 5, ["and so on."] * 5], [text, "We begin."])


def example_summary(text: str = TRUTH_TEXT) -> Summary:
    """The summary; ``text`` is the text of documents and decodings."""
    return Summary(
        space=SpaceFigures("minilm", "f" * 16, 384, "a" * 64),
        corpus=CorpusFigures(60, 18909, 18909, "b" * 64, {"train": 15386, "validation": 765, "test": 2458}, 5),
        roundtrip=RoundtripFigures(
            space="f" * 16, inverter="a" * 64, inverter_encoder="f" * 16, seed=0, n=500, mean=0.84, p10=0.7,
            median=0.85, interval=(0.83, 0.85), chance=0.167, identify_r1=0.998, pool=500, drawn=500, measured=200,
            stopped="certain after 200 of 500: mean cosine and identification are high enough", overlap=0.5,
            seconds=98.0, seen=[],
            examples=[Example(kind, 1, text, text, 0.9) for kind in ("best", "median", "worst")],
        ),
        baselines={name: metrics(cosine, r10) for name, (cosine, r10, _) in BASELINES.items()},
        models={
            name: ModelFigures(
                **asdict(metrics(COSINES[name], R10[name])), pipeline_cosine=0.74 if name != "mamba2" else 0.52,
                seconds=29.0, checkpoint="c" * 64,
            )
            for name in COSINES
        },
        decoding={name: _decoding("model", 0.74, 0.36) for name in COSINES}
        | {
            "copy_last": _decoding("baseline", 0.841, 0.262),
            "context_mean": _decoding("baseline", 0.755, 0.33),
            "truth": _decoding("ceiling", 0.846, 0.846),
        },
        text_nll={name: _nll(value) for name, value in NLL.items()}
        | {name: _nll(nll) for name, (_, _, nll) in BASELINES.items()}
        | {"best_constant": _nll(4.51), "truth": _nll(2.51)},
        samples={name: _samples(8, 0.168) for name in COSINES}
        | {"ridge": _samples(1, 0.72), "context": _samples(5, 0.166), "truth": _samples(1, 0.166)},
        decoded_samples={
            name: DecodedSamples(
                24, 8, Spread(0.62, 0.63, 192), Spread(0.31, 0.3, 24), Spread(0.27, 0.25, 192), Spread(0.44, 0.43, 24),
                0.2, 0.85, [[f"{name} chose: {text}", *(f"sample {i}: {text}" for i in range(7))]] * 24,
            )
            for name in COSINES
        },
        order={name: _order(1.0) for name in COSINES} | {"recency_mean": _order(0.4)},
        leads={
            name: Lead(
                Difference("ridge", COSINES[name] - 0.470, (COSINES[name] - 0.476, COSINES[name] - 0.464)),
                Difference("recency_mean", R10[name] - 0.134, (R10[name] - 0.146, R10[name] - 0.122)),
            )
            for name in COSINES
        },
        roundtrip_by_length=[
            LengthFigures(3 + 8 * i, 10 + 8 * i, 100, 0.88 - 0.02 * i, (0.87 - 0.02 * i, 0.89 - 0.02 * i))
            for i in range(5)
        ],
        rollouts={name: _rollout(0.36, text) for name in COSINES},
        examples=[
            DecodedExample(
                ["Before it.", text],
                text,
                {name: f"{name} says: {text}" for name in (*COSINES, "copy_last", "context_mean", "truth")},
                dict.fromkeys((*COSINES, "copy_last", "context_mean", "truth"), 0.43),
            )
        ]
        * 5,
        seed=0,
        seconds={"ingest": 40.0, "validate": 100.0, "train": 29.0},
    )  # fmt: skip
