"""Empty the database and the artifacts. The name of the database must be typed out."""

from __future__ import annotations

from typing import cast

from prefect import get_run_logger
from prefect.states import Completed

from lvm.errors import one_line
from lvm.pipeline.clear import Cleared, clear
from lvm.store import NotConfirmed

from .flow import flow


@flow(name="clear")
def clear_flow(confirm: str = "") -> Cleared:
    """Remove every document, vector, gate, sequence set, training run and model.

    Args:
        confirm: name of the database, typed out; if empty, nothing is removed and the run says what would be.

    Returns:
        What was removed: nothing, if ``confirm`` is empty.

    Raises:
        NotConfirmed: if another name was typed; the message says what would go.
        TrainingActive: while a training run is active.
    """
    try:
        cleared = clear(confirm)
    except NotConfirmed as error:
        if confirm:
            raise
        nothing = Cleared(rows={}, files=0, left=[])
        return cast(Cleared, Completed(message=str(error), data=nothing))  # to ask what would go is no failure
    for each in cleared.left:
        get_run_logger().info("left: %s", one_line(each))
    return cleared
