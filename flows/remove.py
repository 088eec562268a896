"""Remove one source. Its name must be typed out."""

from __future__ import annotations

from typing import cast

from prefect.states import Completed

from lvm.pipeline.sources import Removed, remove
from lvm.store import NotConfirmed

from .common import InverterFolder, SourceName, SpaceName, Where, opened, reach_database
from .flow import flow
from .runs import say


@flow(name="remove")
def remove_flow(
    source: SourceName, confirm: str = "", space: SpaceName = None, inverter: InverterFolder = None
) -> Removed:
    """Remove a source: its documents with their chunks and vectors of every space. Files of models stay.

    Args:
        source: the source, e.g. sotu or a folder, which need not exist any more.
        confirm: its name as it is stored, typed out; if empty, nothing is removed and the run says what would be.
        space: space to work in; LVM_SPACE unless given.
        inverter: folder of an inverter on the machine of the run, e.g. a fine-tuned one; LVM_INVERTER unless given.

    Returns:
        What was removed: nothing, if ``confirm`` is empty.

    Raises:
        SourceNotStored: if nothing of it is stored; the message says which sources there are.
        NotConfirmed: if another name was typed; the message says what would go.
        TrainingActive: while a training run is active.
        Busy: while another process ingests, or a stage reads the corpus.
    """
    reach_database()
    with opened(Where(space, inverter)) as work:
        try:
            removed = remove(work, source, confirm=confirm)
        except NotConfirmed as error:
            if confirm:
                raise
            nothing = Removed(source, {}, work.store.corpus_revision(work.space_id))
            return cast(Removed, Completed(message=str(error), data=nothing))  # to ask what would go is no failure
        say(work, "remove", str(removed), removed.corpus_revision)
    return removed
