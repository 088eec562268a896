"""Results that people and programs read: summary.json, report.html, plots, Markdown for the Prefect UI."""

from lvm.report.page import Plot, render, write
from lvm.report.results import Result, results
from lvm.report.summary import Summary

__all__ = ["Plot", "Result", "Summary", "render", "results", "write"]
