"""A real Prefect server for the session, and samples small enough for a test."""

from __future__ import annotations

import os
import shutil
import tempfile

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # as the command line sets them, before Prefect is imported
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# as the command line sets them too: else most tasks wait two seconds for Prefect's SQLite
os.environ.setdefault("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE", "100")
os.environ.setdefault("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL", "1")

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.testing.utilities import prefect_test_harness

from lvm.settings import Settings
from lvm.store import Store, server
from tests.flows.corpora import write_unseen
from tests.flows.crashes import undisturbed
from tests.pipeline.small import shrink
from tests.store.toy import set_gate_size


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def small(database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer chunks and windows decoded; everything else is the real thing."""
    set_gate_size(database, 30)
    shrink(monkeypatch)
    monkeypatch.setenv("LVM_QUIET", "1")


@dataclass
class Peace:
    """What a run leaves when nothing happens to it."""

    home: Path
    corpus: Path
    expected: dict[str, Any]
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def peace() -> Iterator[Peace]:
    """A Postgres of its own, because it is restarted."""
    with tempfile.TemporaryDirectory(prefix="lvm-crashes-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        corpus = write_unseen(home / "texts", documents=5, characters=700)
        yield Peace(home, corpus, *undisturbed(home, corpus))
        settings = Settings(home=home, database_url=None)
        server.stop(settings)
        shutil.rmtree(server.folder(settings))  # as root it is elsewhere
