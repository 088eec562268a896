"""What a run shows: its name, its tags, its log, and a gate that blocked it."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
import time
from typing import Any
from uuid import UUID

import pytest
from prefect import State, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry, Running

from flows import runs
from flows.common import call
from flows.flow import flow
from flows.runs import BLOCKED, COMMAND_LINE, close_dead_commands, progress, telling
from lvm.errors import UsageError
from lvm.gates import judge_pipeline
from lvm.pipeline.errors import GateBlocked


@pytest.fixture(autouse=True, scope="module")
def events_go_to_this_server() -> None:
    """Prefect's worker for events is one for the process, and keeps the server of an earlier test."""
    EventsWorker.drain_all(timeout=10)


@task
def never_ending() -> None:
    """A task whose process is killed."""


@flow(name="pipeline")
def blocked_once(source: str = "sotu", limit: int | None = None, space: str | None = None) -> list[str]:
    """Blocked at the first attempt, which leaves a task and a bar behind."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    if context.flow_run.run_count == 1:
        with get_client(sync_client=True) as client:
            client.create_task_run(never_ending, context.flow_run.id, dynamic_key="1", state=Running())
        runs._progress_artifact("decode")
        verdict = judge_pipeline(0.5, 0.0)
        error = GateBlocked(f"gru: {verdict.message}", (verdict,))
        error.evidence = "http://127.0.0.1/v2/artifacts/artifact/1"
        raise error
    return context.flow_run.tags


def test_a_blocked_run_is_failed_tagged_and_told_and_a_retry_begins_clean() -> None:
    state: State[Any] = call(blocked_once, limit=3, space="minilm", return_state=True)  # type: ignore[call-overload]
    assert state.is_failed() and state.name == "Failed"
    assert str(state.message).startswith("Blocked by the pipeline gate: gru: pipeline cosine 0.500 < 0.6 (")
    assert str(state.message).endswith(". Evidence: http://127.0.0.1/v2/artifacts/artifact/1")
    with pytest.raises(GateBlocked):
        state.result()
    assert state.state_details.flow_run_id is not None
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        assert (run.name, run.tags) == ("pipeline sotu limit 3 space minilm", [BLOCKED, "command-line", "lvm"])
        event = _event(client, f"prefect.flow-run.{run.id}")
    assert event["payload"] == {
        "gate": "pipeline", "criterion": "pipeline cosine", "value": 0.5, "threshold": 0.6, "space": "minilm",
        "message": state.message, "evidence": "http://127.0.0.1/v2/artifacts/artifact/1",
    }  # fmt: skip

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        run_flow(blocked_once, flow_run=client.read_flow_run(run.id))
        run = client.read_flow_run(run.id)
        assert run.state is not None and run.state.is_completed() and run.run_count == 2
        assert run.tags == ["command-line", "lvm"], "what it had before it was blocked"
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        (left,) = client.read_task_runs(flow_run_filter=mine)
        assert left.state is not None and left.state.is_crashed()
        assert client.read_artifacts(flow_run_filter=mine) == []


def test_a_command_whose_process_is_gone_does_not_stay_running() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with get_client(sync_client=True) as client:

        def command(process: int, host: str = platform.node()) -> UUID:
            run = client.create_flow_run(blocked_once, tags=[COMMAND_LINE], state=Running())
            client.update_flow_run(run.id, infrastructure_pid=f"{host}:{process}")
            client.create_task_run(never_ending, run.id, dynamic_key="1", state=Running())
            return run.id

        dead, living, elsewhere = command(ended.pid), command(os.getpid()), command(ended.pid, "another-machine")
        close_dead_commands(client)
        states = [client.read_flow_run(each).state_type for each in (dead, living, elsewhere)]
        assert states == [StateType.CRASHED, StateType.RUNNING, StateType.RUNNING]
        (task_run,) = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[dead])))
        assert task_run.state_type == StateType.CRASHED
        for each in (living, elsewhere):
            client.delete_flow_run(each)


def _event(client: Any, resource: str) -> dict[str, Any]:
    """The event of a flow run; it is sent in the background."""
    wanted = {"event": {"name": ["lvm.gate.blocked"]}, "resource": {"id": [resource]}}
    for _ in range(100):
        found = client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"]
        if found:
            return dict(found[0])
        time.sleep(0.2)
    raise AssertionError("no event came")


def test_a_run_is_named_for_what_it_does_and_a_given_name_stays() -> None:
    @flow(name="train")
    def named(source: str = "sotu", limit: int | None = None, epochs: int = 20, options: Any = None) -> str:
        return str(flow_run.name)

    assert named() == "train sotu"
    assert named(source="/srv/texts/", limit=60, options={"learning_rate": 1}) == "train texts limit 60 options"
    assert named(source="hf:owner/name", epochs=3) == "train hf:owner/name epochs 3"
    with get_client(sync_client=True) as client:
        given = client.create_flow_run(named, name="for Ana")
    assert run_flow(named, flow_run=given) == "for Ana"


def test_a_stage_says_what_it_does_while_it_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runs, "TELL_SECONDS", 0.05)
    monkeypatch.setenv("LVM_QUIET", "1")

    @flow(name="stage")
    def stage() -> None:
        with telling("train"):
            time.sleep(0.2)
            with progress("train gru", 20) as advance:
                advance(3)
                time.sleep(0.2)

    with caplog.at_level(logging.INFO, "prefect.flow_runs"):
        stage()
    said = [each.getMessage() for each in caplog.records if each.getMessage().startswith("[train]")]
    assert said[0].startswith("[train] at work, ") and any(
        each.startswith("[train] train gru: 3 of 20, ") for each in said
    )


def test_a_named_error_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    @flow(name="refused")
    def refused() -> None:
        try:
            raise UsageError("no such folder; name another")
        except UsageError:
            get_run_logger().exception("Encountered exception during execution")
            get_run_logger().exception("Engine execution exited with unexpected exception")
        try:
            raise ValueError("a fault of ours")
        except ValueError:
            get_run_logger().exception("This one needs its traceback")

    with caplog.at_level(logging.INFO, "prefect.flow_runs"):
        refused()
    errors = [each for each in caplog.records if each.levelno == logging.ERROR and each.name == "prefect.flow_runs"]
    assert [(each.getMessage()[:11], each.exc_info is not None) for each in errors] == [
        ("Encountered", False),
        ("This one ne", True),
    ]
