"""What ``lvm ui`` does about others: one that was killed, and one that runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.runner import Runner
from prefect.states import Cancelling, Completed, Pending, Running, State

from flows.common import PrefectUnavailable
from flows.deployments import add_deployments, alone, crash_unattended
from flows.extract import extract_flow


@pytest.mark.parametrize(
    ("left", "found"),
    [
        (Pending(), "CRASHED"),
        (Running(), "CRASHED"),
        (Cancelling(), "CANCELLED"),
        (Completed(), "COMPLETED"),
    ],
    ids=lambda each: each.name if isinstance(each, State) else each,
)
def test_runs_that_nobody_runs_any_more(left: State, found: str) -> None:
    add_deployments(Runner())
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("extract/extract")
        served = client.create_flow_run_from_deployment(deployment.id)
        by_hand = client.create_flow_run(extract_flow)
        for each in (served, by_hand):
            client.set_flow_run_state(each.id, left, force=True)
        crash_unattended("its process is gone")
        states = [client.read_flow_run(each.id).state for each in (served, by_hand)]
        assert [state.type.value for state in states if state] == [found, left.type.value]
        for each in (served, by_hand):
            client.delete_flow_run(each.id)


def test_one_in_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(PrefectUnavailable, match="runs already"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
