"""docker-compose.yml and Dockerfile, as far as a machine without a Docker engine can check them.

The services of the one are started natively by ``tests/flows/test_native.py``. With ``LVM_SLOW_TESTS=1`` the commands
of the other are run in a clean virtual environment: a few minutes, mostly of downloads.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SECRETS = {
    **{f"{name}_PASSWORD": name.lower() for name in ("LVM_POSTGRES", "LVM_WORKER", "LVM_GATEKEEPER", "LVM_READER")},
    "PREFECT_POSTGRES_PASSWORD": "sesame",
    "PREFECT_AUTH": "me:sesame",
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_nothing_is_published_beyond_loopback_or_runs_as_root(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", "prefect-postgres", "prefect", "migrate", "deploy", "worker"}
    published = [port for each in services.values() for port in each.get("ports", [])]
    assert len(published) == 2 and all(port.startswith("127.0.0.1:") for port in published)
    user = re.findall(r"^USER (\w+)", (ROOT / "Dockerfile").read_text(), re.M)
    assert user == ["lvm"]
    for name, each in services.items():
        assert each["cap_drop"] == ["ALL"] and each["security_opt"] == ["no-new-privileges:true"], name
        assert "build" in each or each["user"] == "999:999", f"{name} would run as root"
        assert "healthcheck" in each or name in ("migrate", "deploy"), f"{name} has no health check"
        image = each["image"]
        assert ":" in image and not image.endswith("latest"), f"{image} is not pinned"


def test_links_to_evidence_open_where_the_ui_is_published(services: dict[str, Any]) -> None:
    (published,) = services["prefect"]["ports"]
    assert published == "127.0.0.1:${PREFECT_PORT:-4200}:4200"
    where = services["worker"]["environment"]["PREFECT_UI_URL"]
    assert where == "${PREFECT_UI_URL:-http://127.0.0.1:${PREFECT_PORT:-4200}}"


def test_only_the_migration_knows_the_owner(services: dict[str, Any]) -> None:
    knows = [name for name, each in services.items() if "LVM_POSTGRES_PASSWORD" in str(each)]
    assert knows == ["postgres", "migrate"]
    urls = {name: str(each.get("environment")) for name, each in services.items()}
    assert "postgresql://worker:" in urls["worker"] and "postgresql://gatekeeper:" in urls["worker"]
    assert "migrations/users.sql" in services["migrate"]["command"] and (ROOT / "migrations" / "users.sql").is_file()


def test_no_password_has_a_default(services: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in SECRETS:
        assert set(re.findall(rf"\$\{{{name}(.)", text)) == {":"} and f"{name}:?" in text
        assert f"{name}:-" not in text
    example = (ROOT / ".env.example").read_text()
    for name in SECRETS:
        assert re.search(rf"^{name}=$", example, re.M), "the example has names and no values"
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    assert (ROOT / ".dockerignore").read_text().startswith("*"), "no .env gets into the image"


def test_the_example_does_not_change_a_run_without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lvm.settings import Settings

    monkeypatch.chdir(tmp_path)
    before = Settings()
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text().replace("=\n", "=sesame\n"))
    assert Settings() == before


def test_docker_compose_agrees(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose here")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    command = [docker, "compose", "config", "--quiet"]
    plain = {name: value for name, value in os.environ.items() if name not in SECRETS}
    done = subprocess.run(command, cwd=tmp_path, env={**plain, **SECRETS}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "in .env" in done.stderr


def commands() -> list[str]:
    return re.findall(r"^RUN (.*)$", (ROOT / "Dockerfile").read_text(), re.M)


def test_the_image_has_what_is_copied_and_the_torch_of_the_makefile() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.*) \S+$", text, re.M):
        for name in line.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in (ROOT / ".dockerignore").read_text().split()
    (torch,) = set(re.findall(r"torch==[\d.]+", text))
    assert torch in (ROOT / "Makefile").read_text() and torch in (ROOT / "pyproject.toml").read_text()
    assert "CUDA" in text and "ARG TORCH_INDEX" in text
    assert all("PASSWORD" not in line for line in text.splitlines())


@pytest.mark.skipif(not os.environ.get("LVM_SLOW_TESTS"), reason="some minutes of downloads; LVM_SLOW_TESTS=1 runs it")
@pytest.mark.timeout(1800)
def test_every_command_of_the_dockerfile_runs(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    for line in re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M):
        for name in line.split():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, app / name)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    path = f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TORCH_INDEX": ""}  # of the index that this machine has
    ran = []
    for command in commands():
        if shlex.split(command)[0] in ("useradd", "chown"):  # of the image's own user
            continue
        command = command.replace("/data/", f"{tmp_path}/data/")
        done = subprocess.run(
            command, shell=True, cwd=app, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr[-2000:])
        ran.append(command.split()[0])
    assert ran == ["mkdir", "pip", "pip", "pip"]
    environment |= {"LVM_HOME": f"{tmp_path}/data/home", "LVM_ARTIFACTS": f"{tmp_path}/data/artifacts"}
    done = subprocess.run(["lvm", "doctor"], cwd=app, env=environment, capture_output=True, text=True, check=False)
    assert "minilm" in done.stdout, done.stderr
