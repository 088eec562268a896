"""Every figure of a run as one typed object, and as ``summary.json``."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from lvm.evaluation.decoding import DecodedExample, DecodedVectors, Kind, Spread
from lvm.evaluation.lengths import LengthFigures
from lvm.evaluation.nll import TextNll
from lvm.evaluation.order import OrderTest
from lvm.evaluation.retrieval import Lead, RetrievalMetrics
from lvm.evaluation.rollout import RolloutReport
from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.evaluation.samples import DecodedSamples, SampleFigures
from lvm.files import replacing, require_regular

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
        checkpoint: sha256 of the model's weights.
    """

    pipeline_cosine: float
    seconds: float
    checkpoint: str


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
    """A run, in figures. A notebook shows it as the table of results (``lvm.report.results``).

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
        leads: how far a model is ahead of the best baseline, by name of the model.
        roundtrip_by_length: roundtrip cosines of the gate's chunks, by length of the chunk.
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
    leads: dict[str, Lead]
    roundtrip_by_length: list[LengthFigures]
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
            file.write(json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False).encode())

    def as_json(self) -> Any:
        """What ``summary.json`` holds. A figure that does not exist (NaN, or infinite) is None."""
        return _without_nan({**asdict(self), "seeds": {"all": self.seed}})

    @classmethod
    def read(cls, path: Path) -> Summary | None:
        """Read what ``write`` wrote.

        Returns:
            None if the file is missing or of another version.
        """
        adapter = TypeAdapter(cls)
        try:
            require_regular(path)
            values = from_json(path.read_bytes())
            try:
                return adapter.validate_python(values)
            except ValidationError as error:
                _restore_nan(values, error)
                return adapter.validate_python(values)
        except (OSError, ValueError):
            return None

    def __repr__(self) -> str:
        models = ", ".join(f"{name} R@10 {each.r10:.3f}" for name, each in self.models.items())
        return f"Summary(space={self.space.name!r}, documents={self.corpus.documents}, {models})"

    def _repr_html_(self) -> str:
        from lvm.report.results import notebook_table  # it reads summaries, so it imports this module

        return notebook_table(self)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the figures."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    """Version of a package. A package on ``PYTHONPATH`` may not be installed; a run must not fail for that."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _restore_nan(values: Any, error: ValidationError) -> None:
    """Put NaN back where a figure must be a number and is None: ``as_json`` writes NaN as None."""
    for each in error.errors(include_url=False):
        if each["type"] == "float_type" and each["input"] is None:
            *path, last = each["loc"]
            holder = values
            for key in path:
                holder = holder[key]
            holder[last] = float("nan")


def _without_nan(value: Any) -> Any:
    """The same JSON value with None in place of NaN, which is no JSON."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
