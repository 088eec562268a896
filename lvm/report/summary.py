"""Every figure of a run as one typed object, as ``summary.json``, and as rows of the verdict table."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from lvm import gates
from lvm.evaluation.decoding import DecodedExample, DecodedSamples, DecodedVectors, Kind, Spread
from lvm.evaluation.nll import TextNll
from lvm.evaluation.order import OrderTest
from lvm.evaluation.retrieval import RetrievalMetrics
from lvm.evaluation.rollout import RolloutReport
from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.evaluation.samples import SampleFigures
from lvm.files import replacing
from lvm.report.html import table

PACKAGES = ("lvm", "prefect", "sqlalchemy", "psycopg", "pgvector", "torch", "transformers", "numpy", "sentencex")


@dataclass(frozen=True)
class SpaceFigures:
    """The space of a run.

    Attributes:
        name: name of the space.
        fingerprint: fingerprint of its encoder.
        dim: dimension of its vectors.
        inverter: sha256 of its inverter.
    """

    name: str
    fingerprint: str
    dim: int
    inverter: str


@dataclass(frozen=True)
class CorpusFigures:
    """The corpus of a run.

    Attributes:
        documents: number of stored documents.
        chunks: number of stored chunks.
        embeddings: number of stored vectors of the space.
        revision: revision of the corpus.
        sequences: vectors, documents, documents_without_window, and windows by split.
        context: vectors in a window before the one to predict.
    """

    documents: int
    chunks: int
    embeddings: int
    revision: str
    sequences: dict[str, int]
    context: int


@dataclass(frozen=True)
class ModelFigures(RetrievalMetrics):
    """A model on held-out documents.

    Attributes:
        pipeline_cosine: mean cosine between predictions and the vectors of their decoded texts.
        seconds: training time.
    """

    pipeline_cosine: float
    seconds: float


@dataclass(frozen=True)
class DecodingFigures:
    """Vectors decoded to text; the fields are those of ``lvm.evaluation.decoding.DecodedVectors``."""

    kind: Kind
    n: int
    mean_pairwise_cosine: float
    pipeline: Spread
    to_truth: Spread
    to_random: Spread
    overlap: Spread
    off_manifold: Spread
    distinct_2: float

    @classmethod
    def of(cls, decoded: DecodedVectors) -> DecodingFigures:
        return cls(
            decoded.kind,
            decoded.pipeline.n,
            decoded.mean_pairwise_cosine,
            decoded.pipeline,
            decoded.to_truth,
            decoded.to_random,
            decoded.overlap,
            decoded.off_manifold,
            decoded.distinct_2,
        )


@dataclass(frozen=True)
class Summary:
    """A run, in figures. A notebook shows it as the verdict table.

    Attributes:
        space: the space.
        corpus: the corpus.
        roundtrip: figures of the roundtrip gate.
        baselines: metrics of the baselines on held-out documents, by name.
        models: metrics of the models on held-out documents, by name.
        decoding: figures of decoded vectors: by name of the model, ``copy_last``, ``context_mean``, ``truth``.
        text_nll: text NLL by name of the model or baseline, and of ``best_constant`` (the floor) and ``truth``.
        samples: figures of samples by name: of models with a sampling head, of point predictions as single samples,
            of ``context`` (its own vectors as samples), and of ``truth``.
        decoded_samples: samples decoded and chosen by the ranking head, by name of the model.
        order: order tests by name of the model, and of ``recency_mean``.
        rollouts: five texts written on from held-out contexts, by name of the model, beside copying and random chunks.
        examples: decoded predictions and true next texts.
        seed: seed of all random numbers.
        seconds: wall time by stage.
        versions: of Python and of the packages that made the figures.
        on: source of the corpus, if models were only measured on it; None if it is the one that they were trained on.
        left_out: number of its documents that models or inverter were trained on, by reason; they are not measured.
        trained_on: the corpus that models were trained on, if it is another one.
    """

    space: SpaceFigures
    corpus: CorpusFigures
    roundtrip: RoundtripFigures
    baselines: dict[str, RetrievalMetrics]
    models: dict[str, ModelFigures]
    decoding: dict[str, DecodingFigures]
    text_nll: dict[str, TextNll]
    samples: dict[str, SampleFigures]
    decoded_samples: dict[str, DecodedSamples]
    order: dict[str, OrderTest]
    rollouts: dict[str, RolloutReport]
    examples: list[DecodedExample]
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: versions())
    on: str | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    trained_on: CorpusFigures | None = None

    def write(self, path: Path) -> None:
        """Write ``summary.json``, whole or not at all.

        Raises:
            CannotWrite: if the disk is full.
        """
        with replacing(path) as file:
            file.write(json.dumps({**asdict(self), "seeds": {"all": self.seed}}, indent=1, ensure_ascii=False).encode())

    def __repr__(self) -> str:
        models = ", ".join(f"{name} R@10 {each.r10:.3f}" for name, each in self.models.items())
        return f"Summary(space={self.space.name!r}, documents={self.corpus.documents}, {models})"

    def _repr_html_(self) -> str:
        words = {None: "", True: "met", False: "not met"}
        rows = [(row.stage, row.metric, row.value, row.target, words[row.passed]) for row in verdicts(self)]
        return table(("stage", "metric", "value", "target", "verdict"), rows)


@dataclass(frozen=True)
class Row:
    """A line of the verdict table.

    Attributes:
        passed: None for a figure without a target.
    """

    stage: str
    metric: str
    value: str
    target: str
    passed: bool | None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def verdicts(summary: Summary) -> list[Row]:
    """Stage, metric, value, target and verdict: what the terminal and the report show first."""
    gate, corpus = summary.roundtrip, summary.corpus
    rows = (
        []
        if summary.on is None
        else [Row("evaluate", "measured on; models were trained elsewhere", summary.on, "", None)]
    )
    rows += [Row("ingest", f"left out: {why}", str(count), "", None) for why, count in summary.left_out.items()]
    rows += [
        Row("ingest", "documents / chunks", f"{corpus.documents} / {corpus.chunks}", "", None),
        _row("validate", f"roundtrip cosine (mean of {gate.n})", gate.mean, gates.ROUNDTRIP_MIN_COSINE),
        _row("validate", f"identification R@1 of {gate.pool}", gate.identify_r1, gates.IDENTIFICATION_MIN_R1),
    ]
    best_cosine = max(each.cosine for each in summary.baselines.values())
    best_r10 = max(each.r10 for each in summary.baselines.values())
    for name, model in summary.models.items():
        rows += [
            _row(f"evaluate {name}", "cosine, best baseline as target", model.cosine, best_cosine),
            _row(f"evaluate {name}", "R@10, best baseline as target", model.r10, best_r10),
            _row(f"decode {name}", "pipeline cosine", model.pipeline_cosine, gates.PIPELINE_MIN_COSINE),
            Row(
                f"decode {name}",
                "norm error",
                f"{model.norm_error:.1e}",
                f"<= {gates.MAX_NORM_ERROR:.0e}",
                model.norm_error <= gates.MAX_NORM_ERROR,
            ),
        ]
    return rows


def _row(stage: str, metric: str, value: float, target: float) -> Row:
    return Row(stage, metric, f"{value:.3f}", f">= {target:.3f}", value >= target)
