"""The rooms keep to themselves: what must never be imported or written where."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "lvm").rglob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def within(path: Path, *rooms: str) -> bool:
    return path.relative_to(ROOT / "lvm").parts[0] in rooms


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms(path: Path) -> None:
    packages = {name.split(".")[0] for name in imports(path)}
    assert "prefect" not in packages and "flows" not in packages
    if not within(path, "spaces"):
        assert not packages & {"transformers", "sentence_transformers", "vec2text"}
    if not within(path, "store"):
        assert not packages & {"psycopg", "pgvector", "alembic"}
    if within(path, "models"):
        assert not packages & {"safetensors", "pathlib", "os", "io", "sqlalchemy"}
        assert not {name for name in imports(path) if name.startswith("lvm.") and not name.startswith("lvm.models")} - {
            "lvm.errors"
        }
    if path.read_text().strip():
        assert ast.get_docstring(ast.parse(path.read_text())), "a file opens with what it is for"


def test_no_pickles() -> None:
    for path in (*LIBRARY, *(ROOT / "flows").glob("*.py")):
        text = path.read_text()
        assert "import pickle" not in text and "allow_pickle=True" not in text, path
        # converting what others publish is the one exception, by the unpickler that builds tensors only
        allowed = text.count("weights_only=True") if path.name == "weights.py" else 0
        assert text.count("torch.load(") == allowed, path
