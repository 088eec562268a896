"""The rooms keep to themselves: what must never be imported or written where."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lvm

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "lvm").rglob("*.py"))
FLOWS = sorted((ROOT / "flows").rglob("*.py"))
OTHERS = [path for folder in ("tests", "benchmarks", "migrations", "docs") for path in (ROOT / folder).rglob("*.py")]

GROUND = [
    "errors",
    "settings",
    "gates",
    "files",
    "devices",
    "progress",
    "terminal",
    "fitting",
    "arrays",
    "options",
    "calls",
]
ROOMS = [
    "corpus",
    "models",
    "encoding",
    "inversion",
    "spaces",
    "store",
    "sequences",
    "evaluation",
    "training",
    "report",
    "pipeline",
    "service",
    "cli",
]
"""From the ground up: a room imports only rooms below it."""


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports; ``from lvm import gates`` is ``lvm.gates``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert path in FLOWS, f"{path}: inside lvm, imports are absolute"
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"lvm.{alias.name}" for alias in node.names} if node.module == "lvm" else {node.module}
    return found


def room(module: str) -> int:
    """Height of a module of ``lvm``: 0 for the ground floor, then one for each room."""
    part = module.split(".")[1]
    return 0 if part in GROUND or part.startswith("__") else 1 + ROOMS.index(part)


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.parent.name != "lvm" or path.stem != "__init__"],
                         ids=lambda path: str(path.relative_to(ROOT)))  # fmt: skip
def test_rooms(path: Path) -> None:
    found, own = imports(path), path.relative_to(ROOT / "lvm").parts[0].removesuffix(".py")
    packages = {each.split(".")[0] for each in found}
    assert "prefect" not in packages and "flows" not in packages
    above = {each for each in found if each.startswith("lvm.") and room(each) > room(name(path))}
    assert not above, f"{name(path)} imports from above: {above}"
    if own not in ("encoding", "inversion"):
        assert not packages & {"transformers", "sentence_transformers", "vec2text"}
    if own != "store":
        assert not packages & {"psycopg", "pgvector", "alembic", "sqlalchemy"}
    if own == "models":
        assert not packages & {"safetensors", "pathlib", "os", "io"}
        assert {each for each in found if each.startswith("lvm.")} <= {
            "lvm.errors", "lvm.models.base", *(f"lvm.models.{model.stem}" for model in path.parent.glob("*.py"))
        }  # fmt: skip
    assert "unittest" not in packages
    assert ast.get_docstring(ast.parse(path.read_text())), "a file opens with what it is for"


def test_only_the_gates_have_thresholds() -> None:
    from lvm import gates

    thresholds = {value for key, value in vars(gates).items() if key.isupper() and isinstance(value, float)}
    assert 0.63 in thresholds
    for path in (*LIBRARY, *FLOWS):
        numbers = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, float)
        }
        assert 0.63 not in numbers or path.name == "gates.py", path


def test_the_flows_are_relative_among_themselves() -> None:
    for path in FLOWS:  # an installed wheel has them as lvm.flows
        assert not {each for each in imports(path) if each.split(".")[0] == "flows"}, path


def test_no_file_is_long() -> None:
    for path in (*LIBRARY, *FLOWS, *OTHERS):
        assert len(path.read_text().splitlines()) <= 500, path


def test_importing_lvm_is_light() -> None:
    command = "import sys, lvm; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert "lvm" in done.stdout
    for package in ("torch", "numpy", "sqlalchemy", "psycopg", "transformers", "prefect", "pydantic"):
        assert f"'{package}'" not in done.stdout


def test_every_public_name_is_there_and_described() -> None:
    assert 10 <= len(lvm.__all__) <= 20 and set(lvm.__all__) <= set(dir(lvm))
    for public in lvm.__all__:
        assert getattr(lvm, public).__doc__, public
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        lvm.frobnicate  # noqa: B018


def test_no_pickles() -> None:
    for path in (*LIBRARY, *FLOWS):
        text = path.read_text()
        assert "import pickle" not in text and "allow_pickle=True" not in text, path
        # converting what others publish is the one exception, by the unpickler that builds tensors only
        allowed = text.count("weights_only=True") if path.name == "weights.py" else 0
        assert text.count("torch.load(") == allowed, path
