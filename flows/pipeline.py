"""All stages in order: ingest, validate, extract, train, evaluate."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow

from flows.evaluate import evaluate_flow
from flows.extract import extract_flow
from flows.ingest import ingest_flow
from flows.train import train_flow
from flows.validate import validate_flow
from lvm.report import Summary
from lvm.training import Loss


@flow(name="pipeline")
def pipeline_flow(
    source: str = "sotu",
    limit: int | None = None,
    context: int = 5,
    model: str = "all",
    epochs: int = 20,
    loss: Loss = "mix",
    space: str | None = None,
) -> Summary:
    """Text to trained models to a report; what an earlier run finished is not done again.

    Args:
        source, limit: documents, see the flow ``ingest``.
        context: vectors before the one to predict.
        model, epochs, loss: see the flow ``train``.
        space: space to work in; the setting unless given.
    """
    seconds: dict[str, float] = {}

    def timed(stage: str, run: Any, **arguments: Any) -> Any:
        started = time.monotonic()
        result = run(**arguments, space=space)
        seconds[stage] = time.monotonic() - started
        return result

    timed("ingest", ingest_flow, source=source, limit=limit)
    timed("validate", validate_flow)
    timed("extract", extract_flow, context=context)
    timed("train", train_flow, model=model, epochs=epochs, loss=loss, context=context)
    summary: Summary = evaluate_flow(context=context, space=space, seconds=seconds)
    return summary
