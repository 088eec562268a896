"""Why a stage of the pipeline does not start or does not pass."""

from __future__ import annotations

from lvm.errors import LvmError, UsageError
from lvm.gates import Verdict
from lvm.report import Summary
from lvm.report.gate import GateReport


class GateMissing(LvmError):
    """No passing verdict, sequence set or model exists for the corpus, encoder and inverter as they are now."""


class NoModel(UsageError):
    """No model of that name is trained, and none is shipped."""


class ModelGone(NoModel):
    """The database knows the model, and its file is not there."""


class AmbiguousVersion(NoModel):
    """Several versions of a model begin with these digits."""


class GateBlocked(LvmError):
    """A gate did not pass. What comes after it does not start.

    Attributes:
        verdicts: the failed verdicts, with every criterion, its value and its threshold.
        report: what the stage measured.
        evidence: where the evidence can be read, if it was published.
    """

    def __init__(
        self, message: str, verdicts: tuple[Verdict, ...] = (), report: GateReport | Summary | None = None
    ) -> None:
        super().__init__(message)
        self.verdicts, self.report = verdicts, report
        self.evidence: str | None = None
