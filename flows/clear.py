"""Empty the database and the artifacts, on purpose only."""

from __future__ import annotations

import shutil

from prefect import flow

from lvm.settings import Settings
from lvm.store import NotConfirmed, open_store


@flow(name="clear")
def clear_flow(confirm: str = "") -> dict[str, int]:
    """Remove every document, vector, gate, sequence set, training run and model.

    Args:
        confirm: name of the database, typed out; left empty, nothing goes and the run says what would.

    Raises:
        NotConfirmed: without it; the message says what would go.
        TrainingActive: while a training run is active.
    """
    settings = Settings()
    with open_store(settings) as store:
        if confirm != store.database_name:
            rows = ", ".join(f"{count} {table}" for table, count in store.contents().items())
            raise NotConfirmed(
                f"this would remove from database {store.database_name!r}: {rows}; and the folder "
                f"{settings.artifacts}; nothing was touched, to do it: lvm clear --confirm {store.database_name}"
            )
        with store.lock("ingest"):
            gone = store.clear(confirm)
    shutil.rmtree(settings.artifacts, ignore_errors=True)
    return gone
