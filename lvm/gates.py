"""Every threshold of the project, and the verdicts computed from them.

Contract: no function takes a threshold as an argument, so no caller can lower one. The database holds the same
thresholds (see ``migrations/``): it refuses a training run without a passing roundtrip gate.
"""

from __future__ import annotations

from dataclasses import dataclass

ROUNDTRIP_MIN_COSINE = 0.63
"""Smallest mean roundtrip cosine, cos(encode(text), encode(invert(encode(text)))).

The project chose this floor. vec2text reports more for its GTR models: 0.78 outside their training domain and 0.91
inside it, without corrections (Morris et al., EMNLP 2023).
"""

IDENTIFICATION_MIN_R1 = 0.90
"""Smallest identification: share of re-encoded texts that are nearest to their own original among all sampled texts.

A cosine alone is not enough where all vectors are similar: vectors with CLS, max or pooler pooling pass 0.63 with
wrong texts.
"""

GATE_MIN_SAMPLES = 20
"""Smallest number of measured chunks that the inverter was not trained on. With fewer, the gate does not pass."""

PIPELINE_MIN_COSINE = 0.60
"""Smallest mean cosine between an LVM's prediction and the vector of its decoded text."""

MAX_NORM_ERROR = 1e-5
"""Largest difference between the norm of an LVM's output and 1."""

PROBE_MIN_COSINE = 0.999
"""Smallest cosine between an encoder's vectors of the probe sentences and those stored with its space."""

PACKED_MAX_CHANGE = 5e-4
"""Largest change of a shipped model's held-out figures by its number type: half of the last digit that reports show."""

FOREIGN_DISTANCE = 3.3
"""A vector beyond this distance is foreign to a space: squared Mahalanobis distance divided by the dimension.

docs/spaces.md has the measurements: texts of any kind lie below it; rotations, and other encoding paths through the
same weights, lie above it.
"""

FOREIGN_MAX_SHARE = 0.25
"""Largest share of foreign vectors in a batch. Beyond it the batch is refused."""

FOREIGN_NORM_MARGIN = 0.1
"""How far a batch's median norm may lie outside the range of norms that the encoder gives, as a share of the norm."""

FOREIGN_ZERO_SHARE = 0.1
"""Largest share of dimensions that are zero in all vectors of a batch. Beyond it, vectors were cut or padded."""

REPETITION_COSINE = 0.9
"""A text of a rollout repeats an earlier one if the cosine of their vectors is larger."""


@dataclass(frozen=True)
class Criterion:
    """One condition of a gate.

    Attributes:
        name: what is measured.
        value: the measurement.
        threshold: smallest value that passes.
        advice: what to do if it does not pass.
    """

    name: str
    value: float
    threshold: float
    advice: str

    @property
    def passed(self) -> bool:
        """Whether the value reaches the threshold. NaN does not."""
        return self.value >= self.threshold


@dataclass(frozen=True)
class Verdict:
    """The decision of a gate. It passes if all its criteria pass.

    Attributes:
        gate: ``roundtrip`` or ``pipeline``.
        criteria: the conditions, with their measured values.
    """

    gate: str
    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether all criteria pass, and there is at least one."""
        return bool(self.criteria) and all(c.passed for c in self.criteria)

    @property
    def message(self) -> str:
        """One line: the criteria that failed, with value, threshold and advice; or all values, if the gate passed."""
        if self.passed:
            parts = ", ".join(f"{c.name} {c.value:.3f} >= {c.threshold:g}" for c in self.criteria)
            return f"{self.gate} gate passed: {parts}"
        failed = [c for c in self.criteria if not c.passed]
        parts = "; ".join(f"{c.name} {c.value:.3f} < {c.threshold:g} ({c.advice})" for c in failed)
        return f"{self.gate} gate blocked: {parts}"


def judge_roundtrip(mean_cosine: float, identification_r1: float, samples: int, same_encoder: bool) -> Verdict:
    """Judge a roundtrip measurement (see ``lvm.evaluation.roundtrip``).

    Args:
        mean_cosine: mean roundtrip cosine.
        identification_r1: share of texts identified, 0 to 1.
        samples: number of measured chunks that the inverter was not trained on.
        same_encoder: whether the inverter was trained for the encoder that made the vectors. Figures alone do not show
            this: an inverter partly understands vectors of a similar encoding path.
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
                "decoded texts do not identify their originals: the vectors come from another pooling, layer or "
                "library; "
                "check the encoder with `lvm diagnose`",
            ),
            Criterion(
                "sampled chunks", samples, GATE_MIN_SAMPLES, "ingest more text that the inverter was not trained on"
            ),
            Criterion(
                "inverter trained for this encoder",
                float(same_encoder),
                1.0,
                "it was trained on vectors of another encoding path: compare the two with `lvm diagnose`, "
                "or train an inverter for this encoder with `lvm inverter train`",
            ),
        ),
    )


def judge_pipeline(pipeline_cosine: float, norm_error: float) -> Verdict:
    """Judge the decoded predictions of an LVM.

    Args:
        pipeline_cosine: mean cosine between predictions and the vectors of their decoded texts.
        norm_error: largest ``|1 - norm|`` of the predictions.
    """
    return Verdict(
        "pipeline",
        (
            Criterion(
                "pipeline cosine",
                pipeline_cosine,
                PIPELINE_MIN_COSINE,
                "the inverter does not understand the predictions: train with --loss cosine or mix",
            ),
            Criterion(
                "output norm (1 - error)",
                1.0 - norm_error,
                1.0 - MAX_NORM_ERROR,
                "outputs are not unit vectors: the model's last step must be F.normalize",
            ),
        ),
    )
