"""The documentation site, as far as it can be checked without building it: every page and every package is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SITE: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
REFERENCE = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))


def files(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [name for part in (nav.values() if isinstance(nav, dict) else nav) for name in files(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(files(SITE["nav"])) == PAGES


@pytest.mark.parametrize("package", sorted(path.parent.name for path in (ROOT / "lvm").glob("*/__init__.py")))
def test_every_package_has_a_reference(package: str) -> None:
    assert re.search(rf"^::: lvm\.{package}$", REFERENCE, re.M), f"add docs/api/{package}.md, and to mkdocs.yml"


def test_the_reference_names_what_exists() -> None:
    for name in re.findall(r"^::: ([\w.]+)$", REFERENCE, re.M):
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name


def test_the_build_fetches_nothing() -> None:
    assert SITE["theme"]["font"] is False
    plugins = {name if isinstance(name, str) else next(iter(name)) for name in SITE["plugins"]}
    assert plugins == {"search", "mkdocstrings"}


@pytest.mark.parametrize("name", ["run", "ray", "dev"])
def test_locks_are_exact_and_of_no_machine(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    lines = re.findall(r"^(?!#)(\S.*)$", text, re.M)
    assert lines and all(re.match(r"[a-z0-9-]+==\S+ ", line) for line in lines)
    assert text.count("--hash=sha256:") >= len(lines)
    assert "://" not in text and "file:" not in text
    assert not re.search(r"^(torch|triton|nvidia|cuda)\S*==", text, re.M), "CUDA packages"


def test_a_version_is_the_same_in_every_lock() -> None:
    found = [
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "locks" / f"{name}.txt").read_text(), re.M))
        for name in ("run", "ray", "dev")
    ]
    run, ray, dev = found
    assert run.items() <= ray.items() <= dev.items()


def test_the_lock_knows_the_torch_of_the_makefile() -> None:
    (version,) = re.findall(r"^TORCH := torch==(\S+)$", (ROOT / "Makefile").read_text(), re.M)
    assert f'version = "{version}"' in (ROOT / "locks" / "uv.toml").read_text()
    assert f"torch=={version} " in (ROOT / "Dockerfile").read_text()
