"""summary.json, report.html and plots: results that people and programs can read."""

from lvm.report.page import render, write
from lvm.report.summary import Row, Summary, verdicts

__all__ = ["Row", "Summary", "render", "verdicts", "write"]
