"""``lvm write`` and ``lvm next`` right after installation, and ``lvm pack``."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvm.pipeline import pack as packing
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.store import Store
from tests.cli.test_cli import lvm as run
from tests.pipeline.shipping import ship, space_of_its_own

TEXT = "The state of our union is strong."


@pytest.fixture
def fresh(minilm: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, no database, and a space that ships a model."""
    spaces = space_of_its_own(tmp_path / "own")
    ship(spaces, minilm)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("LVM_SPACES", str(spaces))
    monkeypatch.setenv("LVM_QUIET", "1")
    for name in ("DATABASE_URL", "HOME", "ARTIFACTS", "INVERTER", "SPACE"):
        monkeypatch.delenv(f"LVM_{name}", raising=False)
    return spaces


def test_a_fresh_installation_writes_and_makes_nothing(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "write", TEXT, "--steps", "2", "--samples", "2") == 0
    said = capfd.readouterr()
    first, last = said.err.splitlines()
    assert first == "model shipped (GRU, fables), space minilm, because none is trained here"
    assert last.startswith(f"{len(said.out.splitlines())} texts; ") and said.out
    assert run(monkeypatch, "write", TEXT, "--steps", "2", "--samples", "2", "--model", "shipped") == 0
    again = capfd.readouterr()
    assert again.out == said.out and again.err.splitlines()[0] == "model shipped (GRU, fables), space minilm"
    assert run(monkeypatch, "next", TEXT) == 0
    said = capfd.readouterr()
    assert said.out.startswith("shipped (") and "document" not in said.out, "no stored chunks, so none are listed"
    assert said.err.splitlines() == ["model shipped (GRU, fables), space minilm, because none is trained here"]
    assert run(monkeypatch, "next", TEXT, "--samples", "3") == 0
    assert capfd.readouterr().out.count("score ") >= 1
    assert not list(Path().iterdir()), "no database, no server, no file"


@pytest.mark.parametrize("command", ["write", "next"])
def test_what_is_not_here_is_one_line(
    command: str,
    fresh: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shipped = fresh.parent / "minilm" / "lvm"
    assert run(monkeypatch, command, TEXT, "--model", "gru") == 2
    assert capfd.readouterr().err.startswith("NoModel: no model 'gru' is trained here")
    (shipped / "card.json").rename(tmp_path / "card.json")
    assert run(monkeypatch, command, TEXT) == 1
    said = capfd.readouterr().err
    assert said.startswith("CorruptedFile: the model shipped with space 'minilm'") and said.count("\n") == 1
    shipped.rename(tmp_path / "away")
    for model in ([], ["--model", "shipped"]):
        assert run(monkeypatch, command, TEXT, *model) == 2
        said = capfd.readouterr().err
        assert said.startswith("NoModel: ") and "lvm train" in said and said.count("\n") == 1
    assert not list(Path().iterdir())


def test_an_empty_database_has_none_trained(
    fresh: Path, database: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for command in (["write", TEXT, "--steps", "1"], ["next", TEXT]):
        assert run(monkeypatch, *command) == 0
        said = capfd.readouterr()
        assert said.err.startswith("model shipped (GRU, fables), space minilm, because none is trained here\n")
        assert said.out and "document" not in said.out
    assert run(monkeypatch, "evaluate") == 1 and capfd.readouterr().err.startswith("GateMissing: ")


def test_pack_is_for_maintainers_and_refuses_in_one_line(
    fresh: Path, database: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0 and " pack " not in capfd.readouterr().out
    assert run(monkeypatch, "pack", "gru", "made") == 1
    said = capfd.readouterr().err
    assert said.startswith("GateMissing: ") and "lvm evaluate" in said and said.count("\n") == 1
    assert run(monkeypatch, "pack", "gpt", "made") == 2 and not Path("made").exists()
    capfd.readouterr()
    monkeypatch.setattr(packing, "pack", lambda work, name, folder: (name, folder))
    monkeypatch.setattr(packing, "for_people", lambda card: f"the card of {card[0]}")
    assert run(monkeypatch, "pack", "gru", "made") == 0
    assert capfd.readouterr().out == "the card of gru\nwritten to made\n"
