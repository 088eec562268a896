"""``lvm sources``, ``lvm remove`` and ``--inverter``: what is shown, and wrong requests that change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvm.settings import Settings
from lvm.store import Store
from tests.cli.test_cli import lvm
from tests.flows.corpora import write_unseen
from tests.store.toy import set_gate_size


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ingest", "sotu", "--sync"], 2, "no folder or file"),
        (["ingest", "FOLDER", "--sync", "--limit", "2"], 2, "leave --limit out"),
        (["ingest", "no/such/place", "--sync"], 2, "no/such/place"),
        (["remove", "sotu"], 2, "no source 'sotu' is stored"),
        (["remove", "no/such/place", "--confirm", "no/such/place"], 2, "there is none"),
        (["run", "FOLDER", "--inverter", "no/such/folder"], 2, "there is no folder no/such/folder"),
        (["run", "no/such/place", "--source-only"], 2, "no/such/place"),
        (["validate", "--inverter", "no/such/folder"], 2, "--inverter takes"),
        (["train", "--inverter", "no/such/folder"], 2, "--inverter takes"),
        (["write", "A text.", "--inverter", "no/such/folder"], 2, "--inverter takes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_requests(
    arguments: list[str],
    code: int,
    said: str,
    settings: Settings,
    database: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("The harbour froze in January.")
    before = database.contents()
    assert lvm(monkeypatch, *(str(tmp_path / "texts") if each == "FOLDER" else each for each in arguments)) == code
    error = capfd.readouterr().err
    assert said in " ".join(error.split()) and "Traceback" not in error
    assert {**database.contents(), "space": 0} == {**before, "space": 0}


def test_sources_are_listed_and_removed(
    settings: Settings,
    database: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    set_gate_size(database, 40)

    def said(*arguments: str, code: int = 0) -> str:
        assert lvm(monkeypatch, *arguments) == code
        captured = capfd.readouterr()
        return " ".join((captured.out + captured.err).split())

    assert "nothing is stored yet" in said("sources")
    texts = str(write_unseen(tmp_path / "texts", documents=4, characters=1500))
    said("ingest", texts)
    said("ingest", "sotu", "--limit", "2")
    shown = said("validate")
    assert ", inverter " in shown
    listed = said("sources")
    assert "sotu" in listed and "texts" in listed
    with database.engine.connect() as connection:
        (row,) = connection.exec_driver_sql(f"SELECT n, mean FROM gate_sources WHERE source = '{texts}'")
    assert f"{row.mean:.3f}" in listed
    (Path(texts) / "gone.txt").write_text("The harbour froze in January. The last ship came in late.")
    assert "1 documents, 2 chunks" in said("ingest", texts, "--sync")
    (Path(texts) / "gone.txt").unlink()
    assert f"lvm ingest {texts} --sync --confirm {texts}" in said("ingest", texts, "--sync", code=2)
    assert "1 that the source does not have any more" in said("ingest", texts, "--sync", "--confirm", texts)
    assert f"lvm remove {texts} --confirm {texts}" in said("remove", texts, code=2)
    assert f"removed source {texts}: 4 document" in said("remove", texts, "--confirm", texts)
    assert [each.name for each in database.sources()] == ["sotu"]
