"""The plots of a summary: one question each.

Contract: a summary in, plots out, in the order of the report. What was not measured has no plot.
"""

from __future__ import annotations

from lvm.report.page import Plot
from lvm.report.plots import comparison, rollouts, text_nll
from lvm.report.summary import Summary


def summary_plots(summary: Summary) -> list[Plot]:
    """Models beside baselines, text NLL, rollouts."""
    found = []
    if summary.baselines and summary.leads:
        found.append(
            Plot(
                "Who is ahead of the best baseline, and by how much?",
                "Bars are 95 % intervals of the difference to the best baseline (dashed line), on the same windows: a "
                "model whose bar does not reach the line is ahead, or behind.",
                comparison(summary.models, summary.baselines, summary.leads),
            )
        )
    if summary.text_nll:
        found.append(
            Plot(
                "What is a prediction worth as text?",
                "How unlikely the true next chunk is for the inverter, given the prediction. A prediction that does "
                "not get below the floor is worth less than one constant vector. Bars are 95 % intervals.",
                text_nll(summary.text_nll, list(summary.models)),
            )
        )
    if summary.rollouts:
        first = next(iter(summary.rollouts.values()))
        found.append(
            Plot(
                "Does a text that goes on stay with the document?",
                f"{first.n} texts written on from held-out contexts: predict, decode, encode, append, and again. "
                "Nearer to the truth than copying or random chunks is better.",
                rollouts(summary.rollouts),
            )
        )
    return found
