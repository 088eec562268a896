"""The documentation site, as far as it can be checked without building it: every page and every package is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvm.models import MODELS, hyperparameters
from lvm.settings import Settings
from lvm.training import TrainConfig
from lvm.training.options import names_of

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


def test_every_setting_is_described() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `LVM_(\w+)` \| (.*?) \|", page, re.M))
    assert rows.keys() == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, bool | int | str | Path):
            assert rows[name.upper()] == f"`{str(field.default).lower()}`", name


def test_every_hyperparameter_is_described() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?`) \|", page, re.M))
    assert set(rows) == set(names_of(MODELS))
    for name, value in TrainConfig().as_dict().items():
        assert name not in rows or rows[name] == f"`{value}`", name
    for model in MODELS:
        for name, value in hyperparameters(model, "energy").items():
            assert rows[name] == f"`{value}`" or f"{model} `{value}`" in rows[name], (model, name)


def test_the_front_door_is_in_the_reference() -> None:
    import lvm

    guide = (ROOT / "docs" / "guide.md").read_text()
    assert re.search(r"^::: lvm$", REFERENCE, re.M) and set(lvm._HOME) == set(lvm.__all__)
    for name in re.findall(r"\blvm\.([A-Za-z_]+)\(", guide):
        assert name in lvm.__all__, f"docs/guide.md calls lvm.{name}"


def test_the_build_fetches_nothing() -> None:
    assert SITE["theme"]["font"] is False
    plugins = {name if isinstance(name, str) else next(iter(name)) for name in SITE["plugins"]}
    assert plugins == {"search", "mkdocstrings"}
