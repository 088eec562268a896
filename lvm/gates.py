"""Every threshold of the project, and the verdicts computed from them.

Contract: no function takes a threshold as an argument, so no caller can lower one. The database holds the same
thresholds (see ``migrations/``): it refuses a training run without a passing roundtrip gate.
"""

from __future__ import annotations

import math
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

GATE_LOOKS = (200, 300, 400)
"""Numbers of decoded chunks after which a roundtrip gate ends if its verdict is certain; else it measures all 500."""

CERTAIN_ERRORS = 4.5
"""Standard errors between a figure and its threshold that make a verdict certain.

A figure of a corpus that does not reach a threshold lies as far above it once in 290,000 looks (3.4e-6), if errors are
normal. Three looks: a wrong pass has a probability below 1.1e-5, a wrong block (either of two criteria) below 2.1e-5.
"""

CERTAIN_MIN_SD = 0.05
"""Smallest standard deviation of roundtrip cosines that is taken for the true one."""

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

UNREADABLE_MIN_SHARE = 0.5
"""Smallest share of a chunk's letters and digits in unknown tokens that makes it unreadable.

It is also the smallest share of unreadable pieces that makes a document, or a corpus, unreadable.
"""


@dataclass(frozen=True)
class Criterion:
    """One condition of a gate.

    Attributes:
        name: what is measured.
        value: the measurement; a count is an int.
        threshold: smallest value that passes.
        advice: what to do if it does not pass.
    """

    name: str
    value: float
    threshold: float
    advice: str

    @property
    def figure(self) -> str:
        """The value as text: a count as a whole number, any other with three decimals."""
        return str(self.value) if isinstance(self.value, int) else f"{self.value:.3f}"

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
        extent: how much was measured and why no more; empty if that is not said.
    """

    gate: str
    criteria: tuple[Criterion, ...]
    extent: str = ""

    @property
    def passed(self) -> bool:
        """Whether all criteria pass, and there is at least one."""
        return bool(self.criteria) and all(c.passed for c in self.criteria)

    @property
    def message(self) -> str:
        """One line: the criteria that failed, with value, threshold and advice; or all values, if the gate passed.

        It ends with the extent.
        """
        extent = f"; {self.extent}" if self.extent else ""
        if self.passed:
            parts = ", ".join(f"{c.name} {c.figure} >= {c.threshold:g}" for c in self.criteria)
            return f"{self.gate} gate passed: {parts}{extent}"
        failed = [c for c in self.criteria if not c.passed]
        parts = "; ".join(f"{c.name} {c.figure} < {c.threshold:g} ({c.advice})" for c in failed)
        return f"{self.gate} gate blocked: {parts}{extent}"


def certain_roundtrip(samples: int, mean_cosine: float, sd: float, identification_r1: float) -> bool | None:
    """Whether measured chunks make the verdict of the roundtrip gate certain.

    Both figures must lie ``CERTAIN_ERRORS`` standard errors away from their thresholds: the mean cosine by its
    deviation, identification by Wilson's interval. The database computes the same (``lvm.roundtrip_certain``).

    Args:
        samples: number of measured chunks.
        mean_cosine: their mean roundtrip cosine.
        sd: standard deviation of their roundtrip cosines, with n - 1.
        identification_r1: share of their texts identified, 0 to 1.

    Returns:
        True: both figures are certainly high enough. False: one is certainly too low. None: more chunks may change the
        verdict, or there are too few, or a figure is NaN.
    """
    if samples < GATE_MIN_SAMPLES or math.isnan(mean_cosine + sd + identification_r1):
        return None
    margin = CERTAIN_ERRORS * max(sd, CERTAIN_MIN_SD) / math.sqrt(samples)
    share, squared = identification_r1, CERTAIN_ERRORS**2
    centre = (share + squared / (2 * samples)) / (1 + squared / samples)
    spread = math.sqrt(share * (1 - share) / samples + squared / (4 * samples**2))
    half = CERTAIN_ERRORS * spread / (1 + squared / samples)
    if mean_cosine - margin >= ROUNDTRIP_MIN_COSINE and centre - half >= IDENTIFICATION_MIN_R1:
        return True
    if mean_cosine + margin < ROUNDTRIP_MIN_COSINE or centre + half < IDENTIFICATION_MIN_R1:
        return False
    return None


def judge_roundtrip(
    mean_cosine: float, identification_r1: float, samples: int, same_encoder: bool, extent: str = ""
) -> Verdict:
    """Judge a roundtrip measurement (see ``lvm.evaluation.roundtrip``).

    Args:
        mean_cosine: mean roundtrip cosine.
        identification_r1: share of texts identified, 0 to 1.
        samples: number of measured chunks that the inverter was not trained on.
        same_encoder: whether the inverter was trained for the encoder that made the vectors. Figures alone do not show
            this: an inverter partly understands vectors of a similar encoding path.
        extent: how much was measured and why no more, for the message.
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
                "decoded texts do not identify their originals: many chunks say nearly the same (leave copies out, or "
                "adapt the inverter with `lvm inverter finetune SOURCE`), or the vectors come from another pooling, "
                "layer or library (check the encoder with `lvm diagnose`)",
            ),
            Criterion(
                "sampled chunks", samples, GATE_MIN_SAMPLES, "ingest more text that the inverter was not trained on"
            ),
            Criterion(
                "inverter trained for this encoder",
                int(same_encoder),
                1.0,
                "it was trained on vectors of another encoding path: compare the two with `lvm diagnose`, "
                "or train an inverter for this encoder with `lvm inverter train`",
            ),
        ),
        extent,
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
