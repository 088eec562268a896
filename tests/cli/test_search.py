"""``lvm search``, ``lvm spaces`` and ``lvm db url``: what they print, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lvm.cli import common
from lvm.settings import Settings
from lvm.spaces import open_space
from lvm.store import Store
from tests.cli.test_cli import lvm
from tests.test_terminal import terminal

SPEECHES = [
    (
        "canal",
        "The canal treaty was signed with Panama. The work on the canal begins.",
        {"by": "Lincoln", "year": 1861},
    ),
    ("war", "War was declared on Mexico. The army crossed the river.", {"by": "Abraham Lincoln", "year": 1862}),
    ("markup", "The clerk wrote [/b] and [red] into the book. Nobody knew why.", {"by": "Nobody", "year": "1863"}),
]


@pytest.fixture
def ingested(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three documents of two sources."""
    monkeypatch.setenv("LVM_QUIET", "1")
    for source, speeches in (("old.jsonl", SPEECHES[:2]), ("new.jsonl", SPEECHES[2:])):
        lines = [json.dumps({"id": name, "title": name, "text": said, **about}) for name, said, about in speeches]
        (tmp_path / source).write_text("\n".join(lines))
        assert lvm(monkeypatch, "ingest", str(tmp_path / source)) == 0


def test_search_prints_what_was_asked_for(
    ingested: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def asked(*options: str) -> list[dict[str, Any]]:
        capfd.readouterr()
        assert lvm(monkeypatch, "search", "the canal treaty", "--json", *options) == 0
        found: list[dict[str, Any]] = json.loads(capfd.readouterr().out)
        return found

    everything = asked("--k", "100")
    assert len(everything) == 6 and everything[0]["text"].startswith("The canal treaty")
    assert everything[0].keys() == {"cosine", "text", "title", "position", "chunk_id"}
    assert asked("--k", "2", "--skip", "1") == everything[1:3] and asked("--skip", "6") == []
    assert {hit["title"] for hit in asked("--source", str(tmp_path / "new.jsonl"))} == {"markup"}
    monkeypatch.chdir(tmp_path)
    assert {hit["title"] for hit in asked("--source", "new.jsonl", "--source", "old.jsonl", "--k", "9")} == {
        "markup",
        "canal",
        "war",
    }
    assert {hit["title"] for hit in asked("--document", "war", "--document", "markup")} == {"war", "markup"}
    assert {hit["title"] for hit in asked("--where", "by=Abraham Lincoln", "--where", "year=1862")} == {"war"}
    assert {hit["title"] for hit in asked("--where", 'year="1863"', "--exact")} == {"markup"}
    hybrid = asked("--hybrid")
    assert hybrid[0]["highlights"].startswith("The **canal** **treaty** was") and hybrid[0]["score"] > 0.03

    capfd.readouterr()
    assert lvm(monkeypatch, "search", "what the clerk wrote", "--k", "1", "--hybrid") == 0
    header, hit = (line.split("\t") for line in capfd.readouterr().out.splitlines())
    assert header == ["score", "cosine", "highlights", "title", "position", "chunk_id"]
    assert hit[2] == "The **clerk** **wrote** [/b] and [red] into the book." and hit[3:5] == ["markup", "0"]
    out, file = terminal(monkeypatch, 80)
    monkeypatch.setattr(common, "out", out)
    assert lvm(monkeypatch, "search", "[/b] [red]", "--k", "1") == 0
    assert "[/b] and [red]" in " ".join(file.getvalue().split())


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--where", "by=lincoln"], 0, 'no stored chunk matches; by is "Abraham Lincoln" or "Lincoln"'),
        (["--where", "year=1863"], 0, 'matches; year is "1863": --where \'year="1863"\''),
        (["--where", 'year="1861"'], 0, "matches; year is 1861: --where year=1861"),
        (["--where", "year=1862", "--document", "canal"], 0, "no stored chunk matches; year is 1862\n"),
        (["--skip", "6"], 0, "no stored chunk matches, after the first 6\n"),
        (["--source", "sotu"], 2, "no source 'sotu' is stored in database "),
        (["--where", "by=Nixon"], 0, "no stored chunk matches\n"),
        (["--where", "by"], 2, "NAME=VALUE"),
        (["--where", "=x"], 2, "NAME=VALUE"),
        (["--where", "by=x", "--where", "by=y"], 2, "twice"),
        (["--where", "year=NaN"], 2, "JSON"),
        (["--k", "0"], 2, "--k"),
        (["--skip", "-1"], 2, "--skip"),
        (["--space", "[/b]"], 2, "[/b]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_search_is_one_line(
    options: list[str], code: int, said: str, ingested: None, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    capfd.readouterr()
    assert lvm(monkeypatch, "search", "the canal", *options) == code
    printed = capfd.readouterr()
    assert said in printed.err and printed.out == "" and "Traceback" not in printed.err


def test_a_search_in_an_empty_database_says_so(
    settings: Settings, database: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lvm(monkeypatch, "search", "the canal") == 0
    assert (
        "no stored chunk matches; space 'minilm' has none yet: run `lvm ingest`, or `lvm reembed`"
        in capfd.readouterr().err
    )
    assert lvm(monkeypatch, "search", "?!") == 2
    assert "no letter and no digit" in capfd.readouterr().err


def test_spaces_are_whole_at_80_columns(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lvm(monkeypatch, "spaces") == 0
    rows = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    folder, fingerprint = str(open_space("minilm", settings).encoder.folder), open_space("minilm", settings).fingerprint
    assert rows[0][:4] == ["space", "fingerprint", "dim", "max tokens"] and len({len(row) for row in rows}) == 1
    assert [fingerprint, "384"] == next(row for row in rows if row[0] == "minilm")[1:3]
    names = [row[0] for row in rows[1:]]
    out, file = terminal(monkeypatch, 80)
    monkeypatch.setattr("lvm.cli.spaces.out", out)
    assert lvm(monkeypatch, "spaces") == 0
    lines = file.getvalue().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("space ")] == names and "gtr-base-st" in names
    assert any(line.split() == ["encoder", folder] for line in lines) and "…" not in file.getvalue()
    assert lvm(monkeypatch, "spaces", "--json") == 0
    assert [each["space"] for each in json.loads(file.getvalue()[len("\n".join(lines)) :])] == names


def test_the_url_is_one_that_a_client_can_use(
    database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lvm(monkeypatch, "db", "url") == 0
    with psycopg.connect(capfd.readouterr().out.strip()) as connection:
        assert connection.execute("SELECT count(*) FROM lvm.chunk").fetchone() == (0,)
    monkeypatch.setenv(
        "LVM_DATABASE_URL", "postgresql+psycopg://ana:hunter2%40@db.example/lvm?sslpassword=x&sslmode=require"
    )
    assert lvm(monkeypatch, "db", "url") == 0
    assert capfd.readouterr().out == "postgresql://ana@db.example/lvm?sslmode=require\n"
    assert lvm(monkeypatch, "db", "url", "--with-password") == 0
    assert capfd.readouterr().out == "postgresql://ana:hunter2%40@db.example/lvm?sslmode=require&sslpassword=x\n"


def test_the_url_of_an_embedded_server_says_that_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LVM_DATABASE_URL", raising=False)
    monkeypatch.setenv("LVM_HOME", str(tmp_path))
    assert lvm(monkeypatch, "db", "url") == 0
    first = capfd.readouterr()
    assert first.out.startswith("postgresql://") and "lvm db start" in first.err
    assert lvm(monkeypatch, "db", "start") == 0 and lvm(monkeypatch, "db", "url") == 0
    second = capfd.readouterr()
    assert first.out in second.out and second.err == ""
    assert lvm(monkeypatch, "db", "stop") == 0
