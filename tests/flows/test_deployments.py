"""What ``lvm ui`` and ``lvm deploy`` do about what is there: killed runs, and what people set in the UI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.flow_engine import run_flow
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling, Completed, Pending, Running, State

from flows.clear import clear_flow
from flows.common import PrefectUnavailable
from flows.deployments import DeploymentRefused, alone, crash_unattended, definitions, deploy, register
from flows.extract import extract_flow

ROOT = Path(__file__).parents[2]


def serve() -> list[str]:
    """What ``lvm ui`` does when it starts."""
    return register(Runner().add_deployment)


def prefect_deploy() -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT, env={**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())},
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.fixture
def client() -> Any:
    """The server, without deployments."""
    with get_client(sync_client=True) as found:
        for each in found.read_deployments():
            found.delete_deployment(each.id)
        yield found


def pipeline(client: SyncPrefectClient) -> DeploymentResponse:
    return client.read_deployment_by_name("pipeline/pipeline")


def add_schedule(client: SyncPrefectClient, **schedule: Any) -> None:
    created = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 5 * * 1"), **schedule)
    path = f"/deployments/{pipeline(client).id}/schedules"
    client.request("POST", path, json=[created.model_dump(mode="json")]).raise_for_status()


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
    serve()
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


@pytest.mark.parametrize(("way", "keeps_all"), [(serve, True), (deploy, True), (prefect_deploy, False)])
def test_what_people_set_stays(way: Callable[[], object], keeps_all: bool, client: SyncPrefectClient) -> None:
    serve() if way is serve else deploy()
    (nightly,) = pipeline(client).schedules
    assert (nightly.slug, nightly.active, nightly.schedule.cron) == ("nightly", False, "0 2 * * *")  # type: ignore[union-attr]
    client.request(
        "PATCH",
        f"/deployments/{pipeline(client).id}/schedules/{nightly.id}",
        json={"active": True, "schedule": {"cron": "30 4 * * *", "timezone": "UTC"}, "parameters": {"epochs": 3}},
    ).raise_for_status()
    add_schedule(client, parameters={"limit": 9})  # the UI gives a schedule no slug
    theirs = DeploymentUpdate(parameters={"limit": 7}, tags=["lvm", "mine"], concurrency_limit=2)
    client.update_deployment(pipeline(client).id, theirs)
    before = pipeline(client)
    assert {each.schedule.cron for each in before.schedules} == {"30 4 * * *", "0 5 * * 1"}  # type: ignore[union-attr]

    way()
    after = pipeline(client)
    assert {each.id: each for each in after.schedules} == {each.id: each for each in before.schedules}
    if keeps_all:
        assert (after.parameters, after.tags) == ({"limit": 7}, ["lvm", "mine"])
        assert after.global_concurrency_limit and after.global_concurrency_limit.limit == 2

    client.delete_deployment_schedule(after.id, nightly.id)
    way()
    assert [each.slug for each in pipeline(client).schedules] == [None], "a deleted one does not come back"


def test_a_deployment_runs_wherever_the_package_is_installed(client: SyncPrefectClient) -> None:
    deploy()
    prefect_deploy()
    for each in client.read_deployments():
        assert (each.path, each.pull_steps or [], each.work_pool_name) == (None, [], "lvm"), "no path of this machine"
        assert each.entrypoint == f"lvm.cli.flows.{each.name}_flow"
        assert each.job_variables == {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
    assert {each.name for each in client.read_deployments()} == {each["name"] for each in definitions()}
    assert len(client.read_automations_by_name("silent-runs")) == 1


def test_parameters_of_an_older_version_are_named(client: SyncPrefectClient) -> None:
    assert serve() == []
    add_schedule(client, slug="weekly", parameters={"epoch": 3})
    client.update_deployment(
        pipeline(client).id, DeploymentUpdate(parameters={"model": "gpt"}, enforce_parameter_schema=False)
    )
    wrong, unknown = serve()
    assert wrong.startswith("deployment pipeline: model: 'gpt' is not one of") and "edit it in the UI" in wrong
    assert unknown.startswith("deployment pipeline, schedule weekly: no parameter epoch in this version;")
    client.update_deployment(pipeline(client).id, DeploymentUpdate(parameters={}))
    assert serve() == [unknown] and pipeline(client).enforce_parameter_schema


def test_a_run_names_the_parameter_that_is_gone() -> None:
    state = run_flow(clear_flow, parameters={"confirm": "", "epoch": 3}, return_type="state")
    assert state.is_failed() and state.message and "\n" not in state.message
    assert "clear has no parameter epoch in this version; remove it from the parameters" in state.message


def test_a_refused_deployment_is_one_line(client: SyncPrefectClient) -> None:
    client.delete_work_pool("lvm")
    with pytest.raises(DeploymentRefused, match=r"'pipeline' \(.*lvm.* not found"):
        register(lambda each: each.apply(), pool=True)
