"""Promise: ``lvm clear`` removes what the project made, follows no link, and names what it left."""

from __future__ import annotations

import os

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # before Prefect is imported

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.clear import clear_flow
from lvm.settings import Settings
from lvm.store import NotConfirmed, Store

OURS = [
    "summary.json",
    "report.html",
    ".report.html.tmp",
    "training_sequences_ctx5.npz",
    "sequences/ctx5.safetensors",
    "sequences/.ctx12.safetensors.tmp",
    "gru/model.safetensors",
    "gru/last.safetensors",
    "gru/config.json",
    f"gru/versions/{'a' * 64}.safetensors",
    f"gru/versions/.{'b' * 64}.safetensors.tmp",
    "mamba2/.last.safetensors.tmp",
]
THEIRS = [
    "photos/holiday.jpg",
    "photos/summary.json",
    "gru/notes.txt",
    "gru/versions/mine.safetensors",
    "sequences/ctx.safetensors",
    "report.html.bak",
    "my-model/model.safetensors",
]


@pytest.fixture
def artifacts(settings: Settings) -> Path:
    for name in (*OURS, *THEIRS):
        path = settings.artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return settings.artifacts


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.fixture(scope="module", autouse=True)
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_photos_stay_and_are_named(artifacts: Path, database: Store) -> None:
    asked = clear_flow(return_state=True)
    assert asked.is_completed() and f"{len(OURS)} files" in (asked.message or "")
    with pytest.raises(NotConfirmed, match=f"{len(OURS)} files"):
        clear_flow(confirm="another")
    assert files(artifacts) == {*OURS, *THEIRS}
    cleared = clear_flow(confirm=database.database_name)
    assert files(artifacts) == set(THEIRS)
    assert cleared.files == len(OURS)
    assert not (artifacts / "mamba2").exists(), "an empty folder of ours goes"
    named = {str(Path(each).relative_to(artifacts)) for each in cleared.left}
    in_our_folders = {"gru/notes.txt", "gru/versions/mine.safetensors", "sequences/ctx.safetensors", "report.html.bak"}
    assert named == {"photos", "my-model", *in_our_folders}


def test_links_are_left_and_not_followed(artifacts: Path, database: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "lstm").mkdir(parents=True)
    (elsewhere / "lstm" / "model.safetensors").write_text("mine")
    (artifacts / "lstm").symlink_to(elsewhere / "lstm")
    (artifacts / "summary.json").unlink()
    (artifacts / "summary.json").symlink_to(elsewhere / "lstm" / "model.safetensors")
    cleared = clear_flow(confirm=database.database_name)
    assert files(elsewhere) == {"lstm/model.safetensors"}
    assert (artifacts / "lstm").is_symlink() and (artifacts / "summary.json").is_symlink()
    assert {f"{artifacts}/lstm, a link", f"{artifacts}/summary.json, a link"} <= set(cleared.left)


def test_a_folder_of_artifacts_that_is_a_link_is_left(
    artifacts: Path, database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(artifacts)
    monkeypatch.setenv("LVM_ARTIFACTS", str(tmp_path / "link"))
    before = files(artifacts)
    cleared = clear_flow(confirm=database.database_name)
    assert cleared.files == 0 and files(artifacts) == before
    (said,) = cleared.left
    assert "a link to" in said and str(artifacts) in said


def test_nothing_there_is_nothing_left(settings: Settings, database: Store) -> None:
    cleared = clear_flow(confirm=database.database_name)
    assert (cleared.files, cleared.left) == (0, [])
