"""What every stage needs: the opened database and space, retries where they help, and progress people can see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect import State, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from lvm.errors import LvmError
from lvm.settings import Settings
from lvm.store import DatabaseUnavailable, GateRow, open_store
from lvm.terminal import bars
from lvm.workspace import Workspace, open_workspace


class GateBlocked(LvmError):
    """A gate did not pass; what comes after does not start."""


class GateMissing(LvmError):
    """No verdict stands for the corpus as it is now."""


def _unreachable(task: Any, run: Any, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), DatabaseUnavailable)


@task(retries=3, retry_delay_seconds=[2, 5, 15], retry_condition_fn=_unreachable)
def reach_database() -> None:
    """Wait for a database that does not answer yet; nothing else is retried, a gate never changes by itself."""
    open_store(Settings()).close()


@contextmanager
def opened(space_name: str | None = None) -> Iterator[Workspace]:
    """The workspace of a stage, once its database answers."""
    reach_database()
    with open_workspace(Settings(), space_name) as workspace:
        yield workspace


def passing_gate(work: Workspace) -> GateRow:
    """The passing verdict about the corpus as it is.

    Raises:
        GateMissing: if there is none.
    """
    gate = work.store.passing_gate(work.space_id, work.store.corpus_revision(work.space_id))
    if gate is None:
        raise GateMissing(
            f"no passing roundtrip gate stands for the corpus as it is now in space {work.space.name!r}; "
            "run `lvm validate` first"
        )
    return gate


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar in the terminal and a progress artifact in Prefect; call it with the number of items done."""
    artifact = (
        cast(UUID, create_progress_artifact(0.0, key=_key(description), description=description)) if total else None
    )
    shown = 0
    with bars() as shown_bars:
        task = shown_bars.add_task(description, total=total)

        def advance(count: int) -> None:
            nonlocal shown
            shown_bars.advance(task, count)
            percent = int(100 * shown_bars.tasks[0].completed / total) if total else 0
            if artifact is not None and percent >= shown + 10:  # the server need not hear of every batch
                shown = percent
                update_progress_artifact(artifact, float(min(percent, 100)))

        yield advance
        if artifact is not None:
            update_progress_artifact(artifact, 100.0)


def _key(description: str) -> str:
    return "progress-" + "".join(c if c.isalnum() else "-" for c in description.lower()).strip("-")


def run_id() -> str | None:
    """Id of the flow run, for lineage in the database."""
    identity = flow_run.id
    return str(identity) if identity else None
