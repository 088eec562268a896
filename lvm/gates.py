"""Every threshold of the project, in one place, and the verdicts drawn from them.

A gate is thresholds, measurements and evidence. The database holds the same floors (see
``migrations/``): a training run that no passing roundtrip gate stands behind is refused there too.
Nothing in the project takes a threshold as an argument, so nothing can lower one.
"""

from __future__ import annotations

from dataclasses import dataclass

ROUNDTRIP_MIN_COSINE = 0.63
"""Mean cos(encode(text), encode(invert(encode(text)))): what vec2text's own path reaches in one step."""

IDENTIFICATION_MIN_R1 = 0.90
"""Share of re-encoded texts nearest to their own original among all sampled ones.

A cosine alone is blind in a crowded space: CLS, max and pooler vectors roundtrip above 0.63 as garbage.
"""

GATE_MIN_SAMPLES = 20
"""Fewer chunks than this that the inverter was not trained on: nothing can be said, so nothing passes."""

PIPELINE_MIN_COSINE = 0.60
"""Mean cosine between an LVM's prediction and the re-encoded text that it was decoded to."""

MAX_NORM_ERROR = 1e-5
"""How far the norm of an LVM's output may be from 1."""

PROBE_MIN_COSINE = 0.999
"""Probe sentences re-embedded by an encoder must agree this well with those its space was registered with."""

FOREIGN_DISTANCE = 3.3
"""A vector this far from a space's own is foreign to it: squared Mahalanobis distance for each dimension.

Measured in docs/spaces.md: text of any kind lies below, other paths of the same weights and rotations above.
"""

FOREIGN_MAX_SHARE = 0.25
"""Share of foreign vectors in a batch beyond which the batch is not of the space."""

FOREIGN_NORM_MARGIN = 0.1
"""How far the median norm of a batch may lie outside what the space's encoder gives, as a share of it."""

FOREIGN_ZERO_SHARE = 0.1
"""Share of dimensions that are zero in every vector of a batch: more than this, and they were cut or padded."""

INVERTER_TARGET_COSINE = 0.80
"""Held-out roundtrip cosine a shipped inverter must reach."""


@dataclass(frozen=True)
class Criterion:
    """One thing a gate asks for, and what was measured."""

    name: str
    value: float
    threshold: float
    advice: str

    @property
    def passed(self) -> bool:
        """NaN never passes."""
        return self.value >= self.threshold


@dataclass(frozen=True)
class Verdict:
    """What a gate decided. It passes only if every criterion does."""

    gate: str
    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        return bool(self.criteria) and all(c.passed for c in self.criteria)

    @property
    def message(self) -> str:
        """One line: which criteria failed, by how much, and what to do."""
        if self.passed:
            parts = ", ".join(f"{c.name} {c.value:.3f} >= {c.threshold:g}" for c in self.criteria)
            return f"{self.gate} gate passed: {parts}"
        failed = [c for c in self.criteria if not c.passed]
        parts = "; ".join(f"{c.name} {c.value:.3f} < {c.threshold:g} ({c.advice})" for c in failed)
        return f"{self.gate} gate blocked: {parts}"


def judge_roundtrip(mean_cosine: float, identification_r1: float, samples: int, same_encoder: bool) -> Verdict:
    """Judge a roundtrip measurement (see ``lvm.evaluation.roundtrip``).

    Args:
        same_encoder: whether the inverter was trained for the very encoder that made the vectors. A good inverter
            half understands vectors of a path close to its own; that is still not its own.
    """
    return Verdict(
        "roundtrip",
        (
            Criterion(
                "mean roundtrip cosine",
                mean_cosine,
                ROUNDTRIP_MIN_COSINE,
                "the inverter does not understand these vectors: check the encoder with `lvm diagnose`, "
                "or adapt the inverter to this text with `lvm inverter finetune SOURCE`",
            ),
            Criterion(
                "identification R@1",
                identification_r1,
                IDENTIFICATION_MIN_R1,
                "decoded texts cannot be told apart: the vectors come from another pooling, layer or library; "
                "check the encoder with `lvm diagnose`",
            ),
            Criterion(
                "sampled chunks", samples, GATE_MIN_SAMPLES, "ingest more text that the inverter was not trained on"
            ),
            Criterion(
                "inverter trained for this encoder",
                float(same_encoder),
                1.0,
                "it was trained on vectors of another path: compare the two with `lvm diagnose`, "
                "or train an inverter for this one with `lvm inverter train`",
            ),
        ),
    )


def judge_pipeline(pipeline_cosine: float, norm_error: float) -> Verdict:
    """Judge decoded predictions of an LVM: they must be unit vectors that the inverter can put into words."""
    return Verdict(
        "pipeline",
        (
            Criterion(
                "pipeline cosine",
                pipeline_cosine,
                PIPELINE_MIN_COSINE,
                "predictions leave the region the inverter knows: train with --loss cosine or mix",
            ),
            Criterion(
                "output norm (1 - error)",
                1.0 - norm_error,
                1.0 - MAX_NORM_ERROR,
                "outputs are not unit vectors: the model's last step must be F.normalize",
            ),
        ),
    )
