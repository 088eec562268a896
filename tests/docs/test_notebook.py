"""The notebooks of the docs run from top to bottom, in a kernel of their own, on a small corpus and a small gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lvm.store import Store
from tests.pipeline.small import CODE
from tests.store.toy import set_gate_size

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first-hour.ipynb"
SMALL = f'limit, folder = 10, "first-hour"\n{CODE}'
"""Replaces the cell of parameters: ten speeches, nine of them known to the inverter, and few windows decoded."""


@pytest.fixture(scope="module")
def stored() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def parameters(notebook: Any) -> Any:
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return cell


def printed(notebook: Any, beginning: str) -> str:
    """What the one cell that begins so printed or returned."""
    (cell,) = (cell for cell in notebook.cells if cell.source.startswith(beginning))
    return "".join(out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs)


def test_what_is_stored_is_small_and_of_one_run(stored: Any) -> None:
    assert NOTEBOOK.stat().st_size < 60_000
    assert "limit = 20" in parameters(stored).source
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert all(out.output_type != "error" and out.get("name") != "stderr" for out in cell.outputs), cell.source


def test_the_first_hour_runs(database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: Any) -> None:
    set_gate_size(database, 24)
    monkeypatch.setenv("LVM_QUIET", "1")
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = nbformat.from_dict(stored)  # type: ignore[no-untyped-call]
    parameters(notebook).source = SMALL
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()

    assert database.spaces().keys() == {"minilm", "wrong"}, "the notebook takes the database of LVM_DATABASE_URL"
    assert printed(notebook, "print(lvm.ingest(work").startswith("10 documents, 1062 chunks")
    assert "identification R@1" in printed(notebook, "settings.spaces.write_text")
    assert "no passing roundtrip gate" in printed(notebook, "try:\n    lvm.extract")
    assert "(671, 16, 384)" in printed(notebook, "from lvm.pipeline.extract")
    assert (tmp_path / "first-hour" / "artifacts" / "report.html").is_file()
