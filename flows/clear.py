"""Empty the database and the artifacts. The name of the database must be typed out."""

from __future__ import annotations

from prefect import get_run_logger

from lvm.errors import one_line
from lvm.pipeline.clear import Cleared, clear

from .flow import flow


@flow(name="clear")
def clear_flow(confirm: str = "") -> Cleared:
    """Remove every document, vector, gate, sequence set, training run and model.

    Args:
        confirm: name of the database, typed out; if empty, nothing is removed and the run says what would be.

    Raises:
        NotConfirmed: without it; the message says what would go.
        TrainingActive: while a training run is active.
    """
    cleared = clear(confirm)
    for each in cleared.left:
        get_run_logger().info("left: %s", one_line(each))
    return cleared
