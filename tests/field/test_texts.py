"""Texts that are not ours: ids of pandas, JSON of anybody, folders of developers, writing systems, datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lvm.cli.vectors import encode
from lvm.corpus.documents import Document, Skipped
from lvm.corpus.readable import UnreadableText
from lvm.corpus.sources import NoSuchColumn, NothingUsable, SourceNotFound, SourceUnreadable, open_source
from lvm.pipeline.ingest import IngestReport, ingest
from lvm.pipeline.workspace import Workspace, open_workspace
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import Store
from tests.field.texts import ENGLISH, FRENCH, OTHER_THAI, THAI, read


def jsonl(folder: Path, *lines: str) -> Path:
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return folder / "rows.jsonl"


# -- ids (14) -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        ("7.0", "7"),
        ("7", "7"),
        ('"7"', "7"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("null", "rows.jsonl:1"),
        ('"7.0"', "7.0"),
    ],
)
def test_a_whole_number_is_an_id_in_any_spelling(tmp_path: Path, written: str, identity: str) -> None:
    [found], *nothing = read(jsonl(tmp_path, f'{{"id": {written}, "text": "Fine."}}'))
    assert found.external_id == identity and nothing == [[], []]


@pytest.mark.parametrize("written", ["7.5", "NaN", "Infinity", "true", "[7]", "{}", '""'])
def test_any_other_id_is_skipped_and_says_so(tmp_path: Path, written: str) -> None:
    path = jsonl(
        tmp_path, f'{{"id": {written}, "text": "Not fine."}}', '{"id": 7, "text": "Fine."}', '{"id": 7.0, "text": ""}'
    )
    found, _, skipped = read(path)
    assert [each.external_id for each in found] == ["7"]
    assert skipped == [
        "rows.jsonl:1: has an 'id' that is neither a string nor a whole number",
        "7: has the id of an earlier document of this source",
    ]


# -- JSON (15) ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "text", "metadata", "noted"),
    [
        (r'"text": "a\u0000b"', "ab", {}, "has NUL characters, which were left out (1)"),
        (r'"text": "a\ud800b"', "a\ufffdb", {}, "has characters that are not Unicode, replaced by U+FFFD (1)"),
        (r'"text": "\ud83d\ude00!"', "😀!", {}, ""),
        (r'"text": "a\\u0000b"', r"a\u0000b", {}, ""),
        (r'"text": "a", "k": "\\u0000"', "a", {"k": r"\u0000"}, ""),
        ('"text": "a", "k": NaN', "a", {"k": None}, "has NaN or infinity in its metadata, stored as null (1)"),
        ('"text": "a", "k": [1e999]', "a", {"k": [None]}, "has NaN or infinity in its metadata, stored as null (1)"),
        (r'"text": "a", "\ud800\u0000": 1', "a", {"\ufffd": 1}, "has NUL characters, which were left out (1)"),
        ('"text": "a", "k": ' + "9" * 5000, "a", {"k": "9" * 5000},
         "has integers of more than 4,300 digits, kept as text"),
        ('"text": "b", "text": "a"', "a", {}, "has a key twice, of which the last counts"),
        ('"text": "a", "k": ' + "[" * 300 + "]" * 300, "a", None,
         "has metadata that is nested too deeply, left out (1)"),
    ],
)  # fmt: skip
def test_a_text_is_kept_whatever_stands_beside_it(
    tmp_path: Path, row: str, text: str, metadata: dict[str, Any] | None, noted: str
) -> None:
    [found], said, skipped = read(jsonl(tmp_path, f'\ufeff{{"id": "x", {row}}}\r'))
    assert found.text == text and not skipped
    assert metadata is None or found.metadata == metadata
    assert said[:1] == ([f"x: {noted}"] if noted else [])


def test_ids_that_postgres_cannot_hold_stay_apart(tmp_path: Path) -> None:
    found, noted, _ = read(
        jsonl(tmp_path, *(rf'{{"id": "a{each}", "text": "Fine."}}' for each in ("", r"\u0000", r"\ud800")))
    )
    assert [each.external_id for each in found] == ["a", r"a\x00", r"a\ud800"]
    assert noted == [f"{each.external_id}: has an id that Postgres cannot hold, escaped (1)" for each in found[1:]]


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=5)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
ANY_ROW = st.dictionaries(st.sampled_from(["id", "text", "title", "k", "\0", "\ud800"]), ANY_JSON)


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ANY_ROW | ANY_JSON, max_size=5))
def test_whatever_json_says_can_be_stored_or_is_named(tmp_path: Path, rows: list[Any]) -> None:
    path = jsonl(tmp_path, *map(json.dumps, rows), '{"id": "last", "text": "Read."}')
    found, _, skipped = read(path)
    assert {each.external_id for each in found} >= {"last"} or any(
        each.startswith("last: has the id") for each in skipped
    )
    assert len(found) + len(skipped) == len(rows) + 1
    for each in found:
        assert each.text.strip()
        for part in (
            each.external_id,
            each.title,
            each.text,
            json.dumps(each.metadata, allow_nan=False, ensure_ascii=False),
        ):
            assert "\0" not in part and part.encode()
        assert "\\u0000" not in json.dumps(each.metadata).replace("\\\\", "")


def test_what_was_changed_is_stored_and_told(database: Store, settings: Settings, tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        r'{"id": 1.0, "text": "The cat\u0000 sat.", "k": NaN, "\u0000k": "\ud800"}',
        '{"id": NaN, "text": "x"}',
    )
    with open_workspace("minilm", settings) as work:
        report = ingest(work, str(path))
        from_memory = ingest(work, [Document("s", "a\0", "t\0", "The dog\0 ran.", {"n": float("inf")})])
        texts = [hit.text for hit in work.search("cat and dog", 9)]
    assert report.documents == from_memory.documents == 1 and sorted(texts) == ["The cat sat.", "The dog ran."]
    assert report.skipped == {"has an 'id' that is neither a string nor a whole number": 1}
    assert report.noted["has NUL characters, which were left out"] == 1


# -- folders (16) ---------------------------------------------------------------------------------------------------


def test_hidden_folders_and_folders_of_tools_are_counted_not_read(tmp_path: Path) -> None:
    left = [".git/objects", ".svn", "sub/.ipynb_checkpoints", "node_modules/a", "__pycache__", "env/lib", "x.egg-info"]
    for folder in left:
        (tmp_path / folder).mkdir(parents=True)
        for name in ("a.txt", "b.bin"):
            (tmp_path / folder / name).write_text(ENGLISH)
    (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr")
    for name in (".DS_Store", "._a.txt", "~$a.txt", "Thumbs.db", "photo.jpg", "photo2.jpg", "t.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "a.txt").write_text("A folder of that name which is no environment.")
    (tmp_path / "a.txt").write_text(ENGLISH)
    found, _, skipped = read(tmp_path)
    assert [each.external_id for each in found] == ["a.txt", "venv/a.txt"]
    assert "9 files: are hidden, or in hidden folders" in skipped
    assert "3 files: are in folders that tools fill (env)" in skipped
    assert "2 files: are in folders that tools fill (node_modules)" in skipped
    assert (
        "2 files with '.jpg': are not of a kind that is read (.txt, .md, .html, .htm, .xhtml, .epub, .pdf)" in skipped
    )
    report = IngestReport("folder")
    for item in open_source(str(tmp_path)):
        if isinstance(item, Skipped):
            report.skip(item)
    assert report.skipped == {
        "are hidden, or in hidden folders": 9,
        "are in folders that tools fill": 9,
        "are not of a kind that is read": 3,
        "hold many documents each; name such a file alone": 1,
    }
    assert len(read(tmp_path / ".git")[0]) == 1, "the folder that is named may be hidden"


# -- writing systems (17) -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def space() -> Space:
    return open_space("minilm", Settings())


@pytest.fixture
def work(database: Store, settings: Settings, space: Space) -> Iterator[Workspace]:
    with open_workspace(space, settings) as opened:
        yield opened


def test_a_corpus_that_the_encoder_cannot_read_changes_nothing(work: Workspace, tmp_path: Path) -> None:
    for name, text in (("a", THAI), ("b", OTHER_THAI), ("c", THAI + OTHER_THAI), ("d", "Hello.")):
        (tmp_path / f"{name}.txt").write_text(text)
    with pytest.raises(
        UnreadableText, match=r"\d+ % of source .* writing system, .* nothing was stored: work in a space"
    ) as refused:
        ingest(work, str(tmp_path))
    assert refused.value.exit_code == 2 and "\n" not in str(refused.value)
    with pytest.raises(UnreadableText):
        ingest(work, str(tmp_path), sync=True)
    assert not any(work.counts().values())


def test_pieces_that_the_encoder_cannot_read_are_counted(work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mixed.txt").write_text(ENGLISH + "\n\n" + THAI)
    (tmp_path / "more.txt").write_text(20 * (ENGLISH + "\n\n"))
    (tmp_path / "thai.txt").write_text(THAI + ".\n\n" + OTHER_THAI)
    report = ingest(work, str(tmp_path))
    assert report.documents == 2
    what = "is in a writing system, or of words, that the encoder does not know"
    assert report.skipped == {what: 1, f"for the most part {what}": 1}


def test_long_words_are_cut_until_the_encoder_knows_them(space: Space) -> None:
    word = "".join(chr(ord("a") + i * i % 26) for i in range(700))
    chunks, skipped = space.chunker().split(f"{word} {THAI} {ENGLISH}")
    assert "".join(chunk.text for chunk in chunks).startswith(word) and not space.unreadable([c.text for c in chunks])
    assert skipped
    emoji, nothing = space.chunker().split("Thanks 😀😀😀😀😀😀!")
    assert [chunk.text for chunk in emoji] == ["Thanks 😀😀😀😀😀😀!"] and not nothing


def test_queries_and_lines_that_the_encoder_cannot_read_are_refused(
    work: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work.space.encode(["Fine.", "Thanks 😀😀😀"])
    assert not caplog.messages
    work.space.encode(["Fine.", THAI])
    assert [each.partition(": each")[0] for each in caplog.messages] == ["1 of 2 texts"]
    with pytest.raises(UnreadableText, match=r"^the text is in a writing system, .*ตลาด.* work in a space"):
        work.search(THAI)
    (tmp_path / "lines.txt").write_text(f"Hello there.\n{THAI}\n")
    with pytest.raises(UnreadableText, match=r"^text 2 of 2 is in a writing system"):
        encode(tmp_path / "lines.txt", tmp_path / "v.jsonl", "minilm", work.settings)
    assert not (tmp_path / "v.jsonl").exists()
    with TestClient(build(work.space, work.settings.model_copy(update={"database_url": None}))) as client:
        for path, request in (("encode", {"texts": ["Fine.", THAI]}), ("next", {"texts": [THAI]})):
            answer = client.post(f"/{path}", json=request)
            assert (answer.status_code, answer.json()["error"]) == (422, "UnreadableText"), answer.text
        assert client.post("/encode", json={"texts": ["Fine.", FRENCH]}).status_code == 200
    assert work.space.unreadable(["Fine.", THAI, "😀", FRENCH, "Прежде чем уйти", "word " * 100 + THAI, THAI * 9]) == [
        1,
        6,
    ]


# -- datasets and columns (18) --------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with two configurations."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("en", "de"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"id": 1, "body": f"A text, {name}."}) + "\n")
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("en", "de"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return folder


def test_a_configuration_and_a_column_can_be_named(dataset: Path) -> None:
    [found], *_ = read(f"hf:{dataset}/de:train", text_column="body")
    assert (found.text, found.source, found.external_id) == ("A text, de.", f"hf:{dataset}/de:train", "1")
    for spec, error, message in (
        (f"hf:{dataset}", SourceUnreadable, r"several configurations: en, de; name one, e\.g\. hf:.*/data/en$"),
        (f"hf:{dataset}/fr", SourceUnreadable, r"no configuration 'fr' .*\['en', 'de'\]"),
        (f"hf:{dataset}/en:nothing", SourceUnreadable, r"no such split .*\['train'\]"),
        (
            f"hf:{dataset}/en",
            NoSuchColumn,
            "no column 'text' for the text; it has 'id', 'body': name one with --text-column",
        ),
        ("hf:a/b/c/d", SourceNotFound, r"hf:\[OWNER/\]NAME\[/CONFIGURATION\]\[:SPLIT\]"),
        ("hf:", SourceNotFound, "names no dataset"),
    ):
        with pytest.raises(error, match=message):
            read(spec)


def test_two_parts_are_owner_and_name_and_else_name_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.exceptions import DatasetNotFoundError

    there = {
        ("owner/name", None): "owned",
        ("owner/name", "en"): "configured",
        ("bare", None): "bare",
        ("bare", "en"): "both",
    }

    class Rows(list[dict[str, str]]):
        column_names = None

    def load(name: str, configuration: str | None, split: str, streaming: bool) -> Rows:
        if (name, configuration) not in there:
            raise DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub.")
        return Rows([{"text": f"{there[name, configuration]} {split}"}])

    monkeypatch.setattr("datasets.load_dataset", load)
    texts = {spec: read(f"hf:{spec}")[0][0].text for spec in ("owner/name", "owner/name/en:test", "bare", "bare/en:x")}
    assert list(texts.values()) == ["owned train", "configured test", "bare train", "both x"]
    with pytest.raises(SourceUnreadable, match=r"'no/where' cannot be read .*check its name and the network"):
        read("hf:no/where")


def test_a_column_is_for_tables(work: Workspace, tmp_path: Path) -> None:
    path = jsonl(tmp_path, '{"body": "The text is here.", "text": 7}')
    assert read(path, text_column="body")[0][0].metadata == {"text": 7}
    assert ingest(work, str(path), text_column="body").documents == 1
    assert ingest(work, str(path), text_column="body").unchanged == 1, "a second run is the same"
    with pytest.raises(NothingUsable, match=r"no string under 'text' \(it has 'body', 'text'\)"):
        read(path)
    (tmp_path / "a.txt").write_text(ENGLISH)
    for source in ("sotu", tmp_path, tmp_path / "a.txt"):
        with pytest.raises(NoSuchColumn, match="has no columns, so leave --text-column out"):
            read(source, text_column="body")
