"""The locks: exact, of no machine, without CUDA packages, and what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"run": (), "ray": ("ray",), "dev": ("bench", "dev", "docs", "ray")}
"""The extras of pyproject.toml that each lock holds, besides the dependencies."""


def text(name: str) -> str:
    return (ROOT / "locks" / f"{name}.txt").read_text()


def versions(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text(name), re.M))


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_is_exact_and_of_no_machine(name: str) -> None:
    lines = re.findall(r"^(?!#)(\S.*)$", text(name), re.M)
    assert lines and all(re.match(r"[a-z0-9-]+==\S+ ", line) for line in lines)
    assert text(name).count("--hash=sha256:") >= len(lines)
    assert "://" not in text(name) and "file:" not in text(name)
    assert not re.search(r"^(torch|triton|nvidia|cuda)\S*==", text(name), re.M)


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_is_what_the_project_asks_for(name: str) -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(line) for line in sum((extras[extra] for extra in EXTRAS[name]), PROJECT["dependencies"])]
    locked = versions(name)
    for requirement in wanted:
        if requirement.name not in ("lvm", "torch"):
            version = locked.get(canonicalize_name(requirement.name))
            assert version and version in requirement.specifier, f"{requirement}: {version}; run `make lock`"


def test_a_version_is_the_same_in_every_lock() -> None:
    assert versions("run").items() <= versions("ray").items() <= versions("dev").items()


def test_the_locks_are_made_for_the_torch_of_the_makefile() -> None:
    (version,) = re.findall(r"^TORCH := torch==(\S+)$", (ROOT / "Makefile").read_text(), re.M)
    (torch,) = [Requirement(line) for line in PROJECT["dependencies"] if line.startswith("torch")]
    assert version in torch.specifier
    assert f'version = "{version}"' in (ROOT / "locks" / "uv.toml").read_text()
    assert f"torch=={version} " in (ROOT / "Dockerfile").read_text()
