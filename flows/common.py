"""What every stage needs: the opened database and space, retries where they help, and progress people can see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect import State, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from lvm.errors import LvmError
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import DatabaseUnavailable, Store, open_store


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
def opened(space_name: str | None = None) -> Iterator[tuple[Settings, Store, Space, int]]:
    """Settings, database, space, and the space's id in the database, its probes compared."""
    settings = Settings()
    reach_database()
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    space = open_space(space_name or settings.space, settings)
    with open_store(settings) as store:
        probes = space.probe()
        space_id = store.register_space(space.name, space.dim, space.fingerprint, space.recipe, probes.unit)
        yield settings, store, space, space_id


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar in the terminal and a progress artifact in Prefect; call it with the number of items done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    artifact = (
        cast(UUID, create_progress_artifact(0.0, key=_key(description), description=description)) if total else None
    )
    shown = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=os.environ.get("LVM_QUIET") == "1") as bar:
        task = bar.add_task(description, total=total)

        def advance(count: int) -> None:
            nonlocal shown
            bar.advance(task, count)
            percent = int(100 * bar.tasks[0].completed / total) if total else 0
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
