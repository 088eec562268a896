"""A real Prefect server for the session, and samples small enough for a test."""

from __future__ import annotations

import os

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # as the command line sets them, before Prefect is imported
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer chunks and windows decoded; everything else is the real thing."""
    monkeypatch.setattr("flows.validate.SAMPLE_CHUNKS", 40)
    monkeypatch.setattr("flows.evaluate.SAMPLE_WINDOWS", 8)
    monkeypatch.setenv("LVM_QUIET", "1")
