"""Results that people and programs read: summary.json, report.html, plots, Markdown for the Prefect UI."""

from lvm.report.page import render, write
from lvm.report.summary import Row, Summary, verdicts

__all__ = ["Row", "Summary", "render", "verdicts", "write"]
