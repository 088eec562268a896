"""A few of the crashes of ``crashes.py``, and two pipelines at once; all of them: ``python -m tests.flows.crashes``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL

from lvm.settings import Settings
from lvm.store import server
from tests.flows.corpora import write_unseen
from tests.flows.crashes import Process, crash, differences, outcome, undisturbed, world


@dataclass
class Peace:
    """What a run leaves when nothing happens to it."""

    home: Path
    corpus: Path
    expected: dict[str, Any]
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peace]:
    """A server of its own, because it is restarted."""
    home = tmp_path_factory.mktemp("crashes")
    for folder in (home, home.parent, home.parent.parent):
        folder.chmod(0o755)  # as root, the server runs as another user
    os.environ["PREFECT_API_URL"] = PREFECT_API_URL.value() or ""  # the test session's server, for the processes
    corpus = write_unseen(home / "texts", documents=5, characters=700)
    yield Peace(home, corpus, *undisturbed(home, corpus))
    del os.environ["PREFECT_API_URL"]
    server.stop(Settings(home=home, database_url=None))


@pytest.mark.parametrize(
    ("harm", "stage", "share"),
    [("connections", "ingest", 0.3), ("kill", "validate", 0.9), ("restart", "train", 0.5), ("disk", "evaluate", 0.1)],
)
def test_harmed_and_retried_it_ends_as_if_nothing_had_happened(
    peace: Peace, harm: str, stage: str, share: float
) -> None:
    with world(peace.home, f"crash_{harm}", peace.corpus) as made:
        crash(made, stage, harm, share * peace.seconds[stage])
        assert differences(peace.expected, outcome(made)) == []


def test_two_at_once_do_not_harm_each_other(peace: Peace) -> None:
    with world(peace.home, "two", peace.corpus) as made:
        both = [Process(made), Process(made)]
        codes = [each.end() for each in both]
        for each in both:
            if not each.finished:
                assert any(name in " ".join(each.errors) for name in ("Busy", "GateMissing", "CannotWrite")), (
                    each.errors
                )
        assert 0 in codes
        for each in both:
            again = each if each.finished else Process(made, each.flow_run)
            assert again.end() == 0, again.errors
        found = outcome(made)
        found["gates"] = sorted(set(map(str, found["gates"])))  # each run judges its own predictions, alike
        assert differences({**peace.expected, "gates": sorted(map(str, peace.expected["gates"]))}, found) == []
