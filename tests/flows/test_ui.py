"""``lvm ui``: a real Prefect server and its runs, used as people use them. Failed stages retried, runs cancelled."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from textwrap import indent
from typing import Any, TypeVar

import httpx
import psutil
import pytest
from sqlalchemy import create_engine

from flows.deployments import definitions
from lvm.cli.surroundings import TASKS_WRITTEN_EVERY
from lvm.models import MODELS
from lvm.store import open_store
from tests.browser import chromium
from tests.flows.corpora import write_unseen
from tests.flows.ui import WRONG_POOLING, Ui, start
from tests.pipeline.small import CODE

R = TypeVar("R")

_CODE = "".join(line for line in CODE.splitlines(keepends=True) if "candidates" not in line)
SMALL_RUNS = f"import sys\nif 'prefect.engine' in sys.orig_argv:\n{indent(_CODE, '    ')}"
"""A ``sitecustomize.py``, which Python runs at its start: in processes of flow runs it makes the samples small.

Candidates stay as many as they are: a run that is killed or cancelled while it decodes must decode for some seconds.
"""


@pytest.fixture(scope="module")
def ui(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    folder = tmp_path_factory.mktemp("ui")
    (folder / "spaces.toml").write_text(WRONG_POOLING)
    (folder / "small").mkdir()
    (folder / "small" / "sitecustomize.py").write_text(SMALL_RUNS)
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE ui TEMPLATE template_lvm")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LVM_"))} | {
        "LVM_DATABASE_URL": engine.url.set(database="ui").render_as_string(hide_password=False),
        "LVM_HOME": str(folder / "home"),
        "LVM_ARTIFACTS": str(folder / "artifacts"),
        "LVM_SPACES": str(folder / "spaces.toml"),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "LVM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "small"), os.environ.get("PYTHONPATH")])),
    }
    started = start(folder, environment)
    yield started
    if started.process.poll() is None:
        for each in (*psutil.Process(started.process.pid).children(recursive=True), started.process):
            each.kill()
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE ui WITH (FORCE)")


def test_every_flow_has_a_deployment_with_a_good_form(ui: Ui) -> None:
    found = {each["name"]: each for each in ui.post("deployments/filter")}
    assert set(found) == {each["name"] for each in definitions()}
    assert set(found) == set(
        ["pipeline", "ingest", "validate", "extract", "train", "evaluate", "promote", "reembed", "remove", "clear"]
    )
    for each in found.values():
        assert each["description"] and "lvm" in each["tags"] and each["version"]
        assert each["global_concurrency_limit"]["limit"] == 1
        for name, parameter in each["parameter_openapi_schema"]["properties"].items():
            assert parameter.get("description"), f"{each['name']}: {name} has no help text"
    form = found["pipeline"]["parameter_openapi_schema"]["properties"]
    assert form["model"]["enum"] == ["all", *MODELS]
    assert form["loss"]["enum"] == ["mix", "cosine", "infonce", "text"]
    spaces, nothing = form["space"]["anyOf"]
    assert {"blocked", "minilm"} <= set(spaces["enum"]) and nothing == {"type": "null"}
    assert (form["context"]["minimum"], form["epochs"]["minimum"]) == (1, 1)
    (nightly,) = found["pipeline"]["schedules"]
    assert nightly["active"] is False and nightly["schedule"]["cron"]
    with pytest.raises(httpx.HTTPStatusError):  # the server itself refuses what the form would not offer
        ui.run("pipeline", model="gpt")
    for name in ("pipeline", "train"):
        options = found[name]["parameter_openapi_schema"]["properties"]["options"]["properties"]
        assert options["learning_rate"]["default"] == 0.001 and options["hyper"]["description"]
        with pytest.raises(httpx.HTTPStatusError):
            ui.run(name, options={"learning_rate": 0})


def test_a_failed_stage_is_retried_and_the_finished_ones_are_not(ui: Ui) -> None:
    corpus = write_unseen(ui.folder / "texts", documents=5, characters=650)
    (ui.folder / "artifacts").mkdir(exist_ok=True)
    (ui.folder / "artifacts" / "gru").write_text("a file where a folder belongs")
    run = ui.run("pipeline", source=str(corpus), limit=None, model="gru", epochs=2, context=3)
    failed = ui.wait(run)
    assert failed["state_type"] == "FAILED", ui.logs(run)
    assert "gru" in failed["state"]["message"]
    before = ui.rows("SELECT count(*), max(created_at) FROM lvm.gate_result")

    (ui.folder / "artifacts" / "gru").unlink()
    ui.retry(run)
    time.sleep(1)
    done = ui.wait(run)
    assert done["state_type"] == "COMPLETED", ui.logs(run)
    assert done["run_count"] == 2
    again = {task["name"]: task["state_name"] for task in ui.tasks(run)[-20:] if task["flow_run_run_count"] == 2}
    stages = {name.rsplit("-", 1)[0]: state for name, state in again.items()}
    assert {stages[name] for name in ("ingest", "validate", "extract")} == {"Cached"}
    assert {stages[name] for name in ("train", "evaluate")} == {"Completed"}
    assert ui.rows("SELECT count(*), max(created_at) FROM lvm.gate_result WHERE gate = 'roundtrip'") == before
    assert json.loads((ui.folder / "artifacts" / "summary.json").read_text())["models"].keys() == {"gru"}
    log = ui.logs(run)
    assert "[train space=minilm/" in log and "corpus=" in log
    assert (done["name"], set(done["tags"])) == ("pipeline texts context 3 model gru epochs 2", {"lvm", "writes"})
    artifacts = ui.post(
        "artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}, "type": {"not_any_": ["result"]}}
    )
    assert {each["key"] for each in artifacts} == {
        "ingest", "roundtrip-gate", "sequences", "training-curves", "report", "pipeline-gate"
    }, "what was in progress is gone"  # fmt: skip
    assert all(each["description"] for each in artifacts)
    (report,) = (each["data"] for each in artifacts if each["key"] == "report")
    (model,) = ui.rows("SELECT training_run_id, sha256 FROM lvm.training_runs WHERE status = 'finished'")
    assert f"`{model[0]}, sha256 {model[1][:16]}`" in report and "data:image/png" in report
    link = re.search(r"\((http://127.0.0.1:\d+/report.html)\)", report)
    assert link and httpx.get(link[1]).text == (ui.folder / "artifacts" / "report.html").read_text()


def test_the_graph_of_a_run_tells_the_story(ui: Ui) -> None:
    run = ui.run("pipeline", source=str(ui.folder / "texts"), limit=None, model="gru", epochs=2, context=3)
    assert ui.wait(run)["state_type"] == "COMPLETED", ui.logs(run)
    graph = httpx.get(f"{ui.api}/flow_runs/{run}/graph-v2", timeout=30).json()
    labels = {node["id"]: node["label"].rsplit("-", 1)[0] for _, node in graph["nodes"]}
    before = {labels[node["id"]]: {labels[each["id"]] for each in node["parents"]} for _, node in graph["nodes"]}
    stages = ["ingest", "validate", "extract", "train", "evaluate"]
    for one, following in itertools.pairwise(stages):
        assert one in before[following], before
    tagged = {each["name"].rsplit("-", 1)[0]: set(each["tags"]) for each in ui.tasks(run)}
    assert all("stage" in tagged[each] for each in stages)


def test_a_task_that_begins_does_not_meet_the_end_of_another(ui: Ui) -> None:
    """Prefect's client waits two seconds where it finds the server's SQLite database locked."""
    recorder = httpx.get(f"{ui.api}/admin/settings", timeout=30).json()["server"]["services"]["task_run_recorder"]
    assert (recorder["batch_size"], recorder["flush_interval"]) == (100, TASKS_WRITTEN_EVERY)


def test_what_was_killed_does_not_stay_running(ui: Ui) -> None:
    corpus = write_unseen(ui.folder / "killed", documents=5, characters=650, skip=10)
    run = ui.run("pipeline", source=str(corpus), limit=None, model="gru", epochs=2, context=3)
    ui.wait_for_task(run, "decode")
    for process in psutil.Process(ui.process.pid).children(recursive=True):
        if "prefect.engine" in process.cmdline():
            process.kill()
    assert ui.wait(run, seconds=60)["state_type"] == "CRASHED"
    until = time.monotonic() + 30
    while {each["state_type"] for each in ui.tasks(run)} - {"COMPLETED", "CRASHED"}:
        assert time.monotonic() < until, [(each["name"], each["state_type"]) for each in ui.tasks(run)]
        time.sleep(0.5)
    ui.retry(run)
    time.sleep(1)
    assert ui.wait(run)["state_type"] == "COMPLETED", ui.logs(run)
    assert {each["state_type"] for each in ui.tasks(run)} == {"COMPLETED", "CRASHED"}


def test_a_command_ended_by_sigterm_does_not_stay_running(ui: Ui) -> None:
    # Many documents: the run still ingests when the signal comes.
    command = [sys.executable, "-c", "from lvm.cli import main; main()", "run", "sotu", "--limit", "99"]
    environment = {name: value for name, value in ui.environment.items() if name != "PREFECT_HOME"}
    process = subprocess.Popen(command, env=environment, cwd=ui.folder, stderr=subprocess.DEVNULL)
    (run,) = _until(lambda: ui.runs("pipeline sotu limit 99"))
    ui.wait_for_task(run["id"], "ingest")
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert ui.wait(run["id"], seconds=30)["state_type"] == "CRASHED"
    assert "RUNNING" not in {each["state_type"] for each in ui.tasks(run["id"])}
    assert {"lvm", "command-line"} <= set(run["tags"])


def test_asked_what_it_would_clear_a_run_says_so_and_completes(ui: Ui) -> None:
    asked = ui.wait(ui.run("clear"))
    assert asked["state_type"] == "COMPLETED" and "lvm clear --confirm ui" in asked["state"]["message"]
    assert ui.rows("SELECT count(*) > 0 FROM lvm.document") == [(True,)]


def _until(found: Callable[[], R], seconds: float = 60) -> R:
    until = time.monotonic() + seconds
    while not (each := found()):
        assert time.monotonic() < until
        time.sleep(0.3)
    return each


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "from lvm.cli import main; main()", "ingest", "sotu", "--limit", "1"],
        ["-c", "from flows.ingest import ingest_flow; ingest_flow('sotu', limit=1)"],
    ],
    ids=["command", "Python"],
)
def test_a_run_started_beside_it_shows_there(ui: Ui, command: list[str]) -> None:
    environment = {name: value for name, value in ui.environment.items() if name != "PREFECT_HOME"}
    done = subprocess.run(
        [sys.executable, *command], env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=ui.folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    newest = max(ui.runs("ingest sotu limit 1"), key=lambda each: str(each["created"]))
    assert newest["state_type"] == "COMPLETED" and "documents" in ui.logs(newest["id"]), "with its log"
    assert ("command-line" in newest["tags"]) == ("ingest" in command)


def test_seen_in_a_browser(ui: Ui) -> None:
    """What people do by hand; with LVM_SCREENSHOTS=FOLDER it leaves pictures there."""
    pictures = Path(os.environ.get("LVM_SCREENSHOTS", str(ui.folder)))
    address = ui.api.removesuffix("/api")
    late = ui.folder / "late"
    failed = ui.run("ingest", source=str(late))
    assert ui.wait(failed)["state_type"] == "FAILED"

    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(address)
        page.get_by_role("link", name="Deployments").click()
        for each in definitions():
            page.get_by_role("link", name=each["name"], exact=True).first.wait_for()
        page.screenshot(path=pictures / "deployments.png")

        page.get_by_role("link", name="pipeline", exact=True).first.click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Custom run").click()
        page.get_by_role("textbox", name="source").fill(str(ui.folder / "texts"))
        page.get_by_text("None", exact=True).first.click()
        page.get_by_label("context").fill("3")
        page.get_by_role("spinbutton", name="epochs (Optional)", exact=True).fill("2")
        page.get_by_label("model").click()
        page.get_by_role("option", name="gru").click()
        page.get_by_label("name").fill("from-the-form")
        page.wait_for_timeout(500)  # the list of models fades
        page.screenshot(path=pictures / "form.png")
        page.get_by_role("button", name="Submit").click()
        page.get_by_role("link", name="from-the-form").first.click()
        page.wait_for_url("**/flow-run/**")
        run = page.url.split("/flow-run/")[1].split("?")[0]
        assert ui.wait(run)["state_type"] == "COMPLETED", ui.logs(run)  # tasks that completed are on the page before
        assert ui.state(run)["parameters"]["model"] == "gru"
        page.get_by_text("Completed", exact=True).first.wait_for()
        page.reload()
        page.wait_for_timeout(3000)  # the graph settles
        page.screenshot(path=pictures / "run.png")

        for key, words in (("roundtrip-gate", "mean roundtrip cosine"), ("report", "Decoded examples")):
            page.goto(f"{address}/v2/runs/flow-run/{run}?tab=Artifacts")
            page.get_by_text(key, exact=True).click()
            page.get_by_text(re.compile("^[0-9a-f]{8}$")).first.click()
            page.get_by_text(words).first.wait_for()
            page.screenshot(path=pictures / f"{key}.png")

        (report,) = (
            each["id"]
            for each in ui.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
            if each["key"] == "report"
        )
        for version in ("", "/v2"):  # both UIs of Prefect: the plots are inside the text
            page.goto(f"{address}{version}/artifacts/artifact/{report}")
            page.get_by_text("Decoded examples").first.wait_for()
            drawn = page.locator("img[src^='data:image/png']")
            drawn.nth(1).wait_for(state="attached")
            assert all(each.evaluate("image => image.naturalWidth") > 100 for each in drawn.all())
            page.screenshot(path=pictures / f"report{version.replace('/', '-')}.png")

        page.goto(f"{address}/v2/runs/flow-run/{failed}")
        page.get_by_text("Failed", exact=True).first.wait_for()
        shutil.copytree(ui.folder / "texts", late)
        page.get_by_role("button", name="Open menu").click()
        page.get_by_role("menuitem", name="Retry").click()
        page.screenshot(path=pictures / "retry.png")
        page.get_by_role("button", name="Retry", exact=True).click()
        page.get_by_text(re.compile("^(Scheduled|AwaitingRetry|Pending|Running|Completed)$")).first.wait_for()
    assert ui.wait(failed)["state_type"] == "COMPLETED"
    assert ui.state(failed)["run_count"] == 2


def test_cancelled_it_stops_in_seconds_and_a_retry_finishes(ui: Ui) -> None:
    corpus = write_unseen(ui.folder / "more", documents=5, characters=650, skip=5)
    run = ui.run("pipeline", source=str(corpus), limit=None, model="lstm", epochs=2, context=3)
    ui.wait_for_task(run, "decode")
    began = time.monotonic()
    ui.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"}, force=False)
    cancelled = ui.wait(run, seconds=60)
    took = time.monotonic() - began
    assert cancelled["state_type"] == "CANCELLED" and took < 20, took
    assert ui.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    ui.retry(run)
    time.sleep(1)
    assert ui.wait(run)["state_type"] == "COMPLETED", ui.logs(run)
    assert ui.rows("SELECT DISTINCT status FROM lvm.training_run") == [("finished",)]


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook: its address, and what it was sent."""
    sent: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/gate", sent
    server.shutdown()
    server.server_close()


def test_what_a_gate_stops_is_seen_stays_so_and_is_told(ui: Ui, hook: tuple[str, list[dict[str, Any]]]) -> None:
    address, sent = hook
    for url in ("http://127.0.0.1:9/old", address):  # the second address replaces the first
        notify(ui, url)
    run = ui.run("pipeline", source=str(ui.folder / "texts"), limit=None, space="blocked", model="gru", context=3)
    blocked = ui.wait(run)
    assert (blocked["state_type"], blocked["state_name"], blocked["run_count"]) == ("FAILED", "Failed", 1)
    assert blocked["state"]["message"].startswith("Blocked by the roundtrip gate: ")
    assert "identification" in blocked["state"]["message"] and blocked["tags"] == ["blocked", "lvm", "writes"]
    log = _until(
        lambda: said if "Finished in state Failed('Blocked" in (said := ui.logs(run)) else ""
    )  # logs come a little late
    assert "Traceback" not in log and "unexpected exception" not in log
    assert log.splitlines()[-1].startswith("Finished in state Failed('Blocked by the roundtrip gate: "), log
    link = blocked["state"]["message"].split("Evidence: ")[1]
    shown = httpx.get(f"{ui.api}/artifacts/{link.rsplit('/', 1)[1]}", timeout=30).json()
    assert shown["key"] == "roundtrip-gate" and "identification R@1" in shown["data"], "one click away"
    until = time.monotonic() + 30
    while not sent and time.monotonic() < until:
        time.sleep(0.2)
    (told,) = sent
    assert (told["what"], told["flow"], told["run"]) == ("lvm-blocked", "pipeline", blocked["name"])
    assert link in told["message"]
    gate = told["gate"]
    assert (gate["gate"], gate["space"], gate["threshold"]) == ("roundtrip", "blocked", 0.9)
    assert gate["criterion"] == "identification R@1" and gate["value"] < 0.9
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)
        for version in ("", "/v2"):  # the lists of both UIs show it, under their default filter and under "Failed"
            page.goto(
                f"{ui.api.removesuffix('/api')}{version}/deployments/deployment/{blocked['deployment_id']}?tab=Runs"
            )
            page.get_by_role("link", name=blocked["name"]).first.wait_for()
    with open_store(ui.settings) as store:
        space = store.space_id("blocked")
        assert space is not None and not store.latest_gate(space).passed  # type: ignore[union-attr]


def notify(ui: Ui, url: str) -> None:
    """``lvm notify``, which finds the running ``lvm ui``."""
    environment = {name: value for name, value in ui.environment.items() if name != "PREFECT_HOME"}
    command = [sys.executable, "-c", "from lvm.cli import main; main()", "notify", url]
    done = subprocess.run(command, env=environment, cwd=ui.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "lvm-failed, lvm-crashed, lvm-blocked" in done.stdout, done.stderr


def test_a_webhook_hears_once_of_what_failed_or_crashed(ui: Ui, hook: tuple[str, list[dict[str, Any]]]) -> None:
    address, sent = hook
    notify(ui, address)
    assert len(ui.post("automations/filter")) == 3, "done again, it makes none anew"
    failed = ui.run("ingest", source="no/such/place")
    ui.wait(failed)
    crashed = ui.post("flow_runs/", flow_id=ui.state(failed)["flow_id"], name="gone")["id"]
    ui.post(f"flow_runs/{crashed}/set_state", state={"type": "CRASHED", "message": "its process"}, force=True)
    until = time.monotonic() + 30
    while len(sent) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(1)  # for a message too many
    heard = {each["what"]: each for each in sent}
    assert len(sent) == 2 and heard.keys() == {"lvm-failed", "lvm-crashed"}, sent
    assert (heard["lvm-crashed"]["run"], heard["lvm-crashed"]["message"]) == ("gone", "its process")
    assert "no/such/place" in heard["lvm-failed"]["message"] and heard["lvm-failed"]["gate"] is None


def test_ctrl_c_stops_server_and_runs(ui: Ui) -> None:
    run = ui.run("pipeline")  # it ingests for long
    ui.wait_for_task(run, "ingest")
    family = psutil.Process(ui.process.pid).children(recursive=True)
    assert family
    ui.process.send_signal(signal.SIGINT)
    assert ui.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{ui.api}/health", timeout=2)
    kept = sqlite3.connect(ui.folder / "home" / "prefect" / "prefect.db")
    (state,) = kept.execute("SELECT state_type FROM flow_run WHERE id = ?", (run,)).fetchone()
    assert state == "CRASHED", "so that it can be retried"
    kept.close()
    assert "Traceback" not in (ui.folder / "said.txt").read_text()


def test_started_again_it_keeps_schedules_and_sigterm_stops_it_without_a_word(ui: Ui) -> None:
    assert ui.process.poll() is not None, "the test before stopped it"
    environment = {name: value for name, value in ui.environment.items() if name != "PREFECT_HOME"}
    for change in (True, False):
        again = start(ui.folder, environment)
        try:
            (pipeline,) = (each for each in again.post("deployments/filter") if each["name"] == "pipeline")
            where = f"deployments/{pipeline['id']}/schedules"
            if change:
                (nightly,) = pipeline["schedules"]
                theirs = {"schedule": {"cron": "30 4 * * *", "timezone": "UTC"}, "parameters": {"limit": 9}}
                again.send("PATCH", f"{where}/{nightly['id']}", {**theirs, "active": True})
                weekly = {"schedule": {"cron": "0 5 * * 1", "timezone": "UTC"}, "active": True}
                again.send("POST", where, [weekly])
            found = {each["schedule"]["cron"]: each for each in again.send("GET", where, None)}
            assert found.keys() == {"30 4 * * *", "0 5 * * 1"} and all(each["active"] for each in found.values())
            assert found["30 4 * * *"]["parameters"] == {"limit": 9}
            if not change:  # the second time something runs
                again.wait(again.run("ingest"), ("RUNNING",))
        finally:
            again.process.send_signal(signal.SIGTERM)
            code = again.process.wait(60)
        said = (ui.folder / "said.txt").read_text()
        assert code == 0 and "Traceback" not in said and "never awaited" not in said
        assert not (change and said)
