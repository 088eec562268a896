"""Every figure of a run, as one typed object and as ``summary.json``; and the rows of the verdict table."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lvm import gates
from lvm.files import replacing

PACKAGES = ("lvm", "prefect", "sqlalchemy", "psycopg", "pgvector", "torch", "transformers", "numpy", "sentencex")


@dataclass(frozen=True)
class Summary:
    """A run, in figures.

    Attributes:
        space: name, fingerprint, dimension, inverter.
        corpus: documents, chunks, revision, sequence counts.
        roundtrip: mean, n, chance, identify_r1 and the rest of the gate's evidence (without per-chunk arrays).
        baselines, models: by name, figures on held-out documents.
        decoding: by what was decoded (models, copy_last, context_mean, truth).
        examples: decoded predictions beside the truth.
        seconds: by stage.
    """

    space: dict[str, Any]
    corpus: dict[str, Any]
    roundtrip: dict[str, Any]
    baselines: dict[str, dict[str, float]]
    models: dict[str, dict[str, float]]
    decoding: dict[str, dict[str, Any]]
    examples: list[dict[str, Any]]
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: versions())

    def write(self, path: Path) -> None:
        """Write ``summary.json``, whole or not at all."""
        with replacing(path) as file:
            file.write(json.dumps({**asdict(self), "seeds": {"all": self.seed}}, indent=1, ensure_ascii=False).encode())


@dataclass(frozen=True)
class Row:
    """A line of the verdict table."""

    stage: str
    metric: str
    value: str
    target: str
    passed: bool | None  # None: a figure nothing is asked of


def versions() -> dict[str, str]:
    """Versions of what made the figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def verdicts(summary: Summary) -> list[Row]:
    """Stage, metric, value, target, verdict: what the terminal and the report show first."""
    seen = summary.roundtrip
    rows = [
        Row("ingest", "documents / chunks", f"{summary.corpus['documents']} / {summary.corpus['chunks']}", "", None),
        _row("validate", f"roundtrip cosine (mean of {seen['n']})", seen["mean"], gates.ROUNDTRIP_MIN_COSINE),
        _row("validate", f"identification R@1 of {seen['pool']}", seen["identify_r1"], gates.IDENTIFICATION_MIN_R1),
    ]
    best = {key: max(each[key] for each in summary.baselines.values()) for key in ("cosine", "r10")}
    for name, figures in summary.models.items():
        rows += [
            _row(f"evaluate {name}", "cosine, best baseline as target", figures["cosine"], best["cosine"]),
            _row(f"evaluate {name}", "R@10, best baseline as target", figures["r10"], best["r10"]),
            _row(f"decode {name}", "pipeline cosine", figures["pipeline_cosine"], gates.PIPELINE_MIN_COSINE),
            Row(
                f"decode {name}",
                "norm error",
                f"{figures['norm_error']:.1e}",
                f"<= {gates.MAX_NORM_ERROR:.0e}",
                figures["norm_error"] <= gates.MAX_NORM_ERROR,
            ),
        ]
    return rows


def _row(stage: str, metric: str, value: float, target: float) -> Row:
    return Row(stage, metric, f"{value:.3f}", f">= {target:.3f}", value >= target)
