"""Moving to another space: encode what is stored again, then measure the new space's own gate."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.common import opened, progress
from flows.validate import validate_flow
from lvm.reembed import ReembedReport, reembed
from lvm.workspace import open_workspace


@flow(name="reembed")
def reembed_flow(to: str, space: str | None = None) -> ReembedReport:
    """Give another space vectors of every stored chunk; the old space stays as it is.

    Args:
        to: the space to move to.
        space: the space to move from; the setting unless given.

    Raises:
        GateBlocked: if the new space does not pass its roundtrip gate; the old one stands.
    """
    with opened(space) as old, open_workspace(old.settings, to) as new:
        total = old.store.counts(old.space_id)["chunks"]
        with progress(f"encode in {to}", total) as advance:
            report = reembed(old, new, advance)
        new.store.build_search_index(new.space_id)
    create_table_artifact([vars(report)], key="reembed")
    validate_flow(space=to)
    return report
