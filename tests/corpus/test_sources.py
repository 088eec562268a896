"""Sources: what is usable comes out in order, what is not is named, and nothing stops the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lvm.corpus import documents as limits
from lvm.corpus.documents import Document, Skipped
from lvm.corpus.sources import InvalidLimit, NothingUsable, SourceNotFound, SourceUnreadable, open_source


def documents(spec: str | Path, limit: int | None = None) -> list[Document]:
    return [item for item in open_source(str(spec), limit) if isinstance(item, Document)]


def skipped(spec: str | Path) -> list[Skipped]:
    return [item for item in open_source(str(spec)) if isinstance(item, Skipped) and not item.kept]


def said(spec: str | Path) -> list[str]:
    return [
        f"{each.where}: {each.reason}" for each in open_source(str(spec)) if isinstance(each, Skipped) and each.kept
    ]


def test_the_sample_is_249_speeches_with_year_and_president() -> None:
    speeches = documents("sotu")
    assert len(speeches) == 249
    assert speeches[0].metadata["year"] == 1790 and "Washington" in speeches[0].metadata["president"]
    assert [each.metadata["year"] for each in speeches] == sorted(each.metadata["year"] for each in speeches)
    assert len({each.external_id for each in speeches}) == 249


def test_a_limit_counts_documents() -> None:
    assert [each.external_id for each in documents("sotu", 3)] == [e.external_id for e in documents("sotu")][:3]


def test_the_size_of_a_source_is_that_of_what_is_read(tmp_path: Path) -> None:
    for limit in (3, None):
        read = sum(len(each.text.encode()) for each in documents("sotu", limit))
        assert open_source("sotu", limit).size() == pytest.approx(read, rel=0.02)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n' * 100)
    assert open_source(str(tmp_path / "a.jsonl"), 10).size() == 160
    assert open_source(str(tmp_path / "a.jsonl"), 1000).size() == open_source(str(tmp_path / "a.jsonl")).size() == 1600
    (tmp_path / "b.txt").write_text("x" * 70)
    assert open_source(str(tmp_path / "b.txt")).size() == open_source(str(tmp_path)).size() == 70
    assert open_source("hf:wikitext").size() is None
    late = open_source(str(tmp_path / "b.txt"))
    (tmp_path / "b.txt").unlink()
    assert late.size() is None


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_is_refused(limit: int) -> None:
    with pytest.raises(InvalidLimit, match=str(limit)):
        open_source("sotu", limit)


def test_a_folder_gives_its_texts_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("Second.")
    (tmp_path / "a.md").write_text("First.")
    (tmp_path / "sub" / "c.txt").write_text("Third.")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "nul.txt").write_bytes(b"One\0two.")
    (tmp_path / "latin.txt").write_bytes("Caf\xe9 au lait.".encode("latin-1"))
    (tmp_path / "image.txt").write_bytes(bytes(range(256)) * 100)
    texts = ["First.", "Second.", "Café au lait.", "Onetwo.", "Third."]
    assert [each.text for each in documents(tmp_path)] == texts
    assert said(tmp_path) == [
        "latin.txt: is not UTF-8, read as cp1252",
        "nul.txt: has NUL characters, which were left out (1)",
    ]
    assert [(each.where, each.reason) for each in skipped(tmp_path)] == [
        ("empty.txt", "is empty"),
        ("image.txt", "is binary"),
    ]


def test_a_bad_line_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    lines = [
        json.dumps({"id": "a", "title": "A", "text": "One.", "year": 1900}),
        "{broken",
        json.dumps({"id": "b", "title": "B"}),
        json.dumps([1, 2]),
        json.dumps({"id": "a", "title": "again", "text": "Twice the same id."}),
        json.dumps({"id": 7, "title": "C", "text": "Two."}),
    ]
    path.write_text("\n".join(lines) + "\n")
    good = documents(path)
    assert [(each.external_id, each.text) for each in good] == [("a", "One."), ("7", "Two.")]
    assert good[0].metadata == {"year": 1900}
    bad = skipped(path)
    assert len(bad) == 4
    for number, each in zip((2, 3, 4), bad, strict=False):
        assert f":{number}" in each.where or f"line {number}" in each.where, each


def test_hostile_strings_never_reach_the_database(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(
        "\n".join(
            [
                '{"id": "nul", "text": "a\\u0000b"}',
                '{"id": "half", "text": "a\\ud800b"}',
                '{"id": "\\u0000", "text": "fine"}',
                '{"id": "ok", "text": "fine", "title": "\'; DROP TABLE lvm.chunk; --"}',
            ]
        )
    )
    assert [each.external_id for each in documents(path)] == ["nul", "half", "\\x00", "ok"]
    for document in documents(path):
        (document.external_id + document.title + document.text + json.dumps(document.metadata)).encode("utf-8")
        assert "\0" not in document.external_id + document.title + document.text


def test_what_cannot_be_read_at_all_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="nowhere"):
        open_source(str(tmp_path / "nowhere"))
    (tmp_path / "data.ods").write_text("a,b")
    with pytest.raises(SourceUnreadable, match=r"data\.ods"):
        open_source(str(tmp_path / "data.ods"))
    with pytest.raises(SourceNotFound):
        open_source("a\0b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingUsable):
        documents(tmp_path / "empty")
    (tmp_path / "void.jsonl").write_text("")
    with pytest.raises(NothingUsable):
        documents(tmp_path / "void.jsonl")


def test_what_is_too_long_is_read_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_DOCUMENT_BYTES", 1000)
    lines = [json.dumps({"id": name, "text": "Words. " * size}) for name, size in (("a", 1), ("long", 1000), ("b", 2))]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    (tmp_path / "long.txt").write_text("Words. " * 1000)
    (tmp_path / "short.txt").write_text("Words.")
    assert [each.external_id for each in documents(tmp_path / "texts.jsonl")] == ["a", "b"]
    assert [each.where for each in skipped(tmp_path / "texts.jsonl")] == ["texts.jsonl:2"]
    assert [each.external_id for each in documents(tmp_path)] == ["short.txt"]
    assert any(each.where == "long.txt" and "split it" in each.reason for each in skipped(tmp_path))


def test_a_folder_counts_what_it_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "LOUD.TXT").write_text("Read all the same.")
    (tmp_path / "table.csv").write_text("a,b")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "dangling.md").symlink_to(tmp_path / "nowhere")
    assert [each.external_id for each in documents(tmp_path)] == ["LOUD.TXT"]
    assert {each.where for each in skipped(tmp_path)} == {"pipe.txt", "dangling.md", "1 files with '.csv'"}


def test_two_folders_of_one_name_are_two_sources(tmp_path: Path) -> None:
    names = set()
    for parent in ("one", "two"):
        folder = tmp_path / parent / "texts"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(f"From {parent}.")
        names.add(open_source(str(folder)).name)
    assert len(names) == 2, "else the second would replace the first in the database"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "' + "x" * 2000 + '", "text": "Fine."}', "longer than"),
        ('{"id": true, "text": "Fine."}', "neither"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=["long id", "boolean id", "deep"],
)
def test_what_postgres_would_refuse_is_skipped(line: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(line + '\n{"id": null, "text": "Good."}\n')
    assert [each.external_id for each in documents(tmp_path / "texts.jsonl")] == ["texts.jsonl:2"]
    [left_out] = skipped(tmp_path / "texts.jsonl")
    assert reason in left_out.reason
