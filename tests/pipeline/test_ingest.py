"""Ingestion killed at any moment is completed by the next, and ends like one that was left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lvm.corpus.sources import open_source
from lvm.evaluation.roundtrip import NothingToMeasure
from lvm.pipeline.ingest import ingest, require_trainable
from lvm.pipeline.workspace import open_workspace, register
from lvm.progress import Progress
from lvm.sequences import NotEnoughDocuments
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import Store, open_store
from tests.flows.corpora import write_unseen

KILLED = """
import os, signal, sys
from contextlib import contextmanager
import lvm.pipeline.ingest
from lvm.pipeline.workspace import open_workspace

lvm.pipeline.ingest.GROUP_CHUNKS = 60
left = int(sys.argv[1])

def advance(count):
    global left
    left -= count
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def killing(description, total):
    yield advance

with open_workspace("minilm") as work:
    lvm.pipeline.ingest.ingest(work, "sotu", 6, bars=killing)
"""


def registered(store: Store, settings: Settings) -> tuple[int, Space]:
    space = open_space("minilm", settings)
    return register(store, space), space


@pytest.mark.parametrize("characters", [4_000, 25_000])
def test_killed_and_run_again(characters: int, database: Store, settings: Settings, postgres: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(characters)], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    with open_workspace("minilm", settings) as work:
        number, space = work.space_id, work.space
    partial = database.counts(number)
    assert partial["documents"] < 6
    assert partial["chunks"] == partial["embeddings"], "no document is half there"
    assert all(row.chunk_count > 0 for row in database.documents(number))

    with open_workspace(space, settings) as work:
        report = ingest(work, "sotu", 6)
    assert report.unchanged == partial["documents"] and report.documents == 6 - partial["documents"]
    with open_workspace(space, settings) as work:
        again = ingest(work, "sotu", 6)
    assert (again.documents, again.chunks, again.unchanged) == (0, 0, 6)
    chunker = space.chunker()
    expected = [len(chunker.split(document.text)[0]) for document in open_source("sotu", 6)]  # type: ignore[union-attr]
    assert database.counts(number) == {"documents": 6, "chunks": sum(expected), "embeddings": sum(expected)}


def test_the_bar_of_an_ingestion_has_an_end(database: Store, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"Sentence {number} is stored. Café {number} too. " * (number + 1))
    (folder / "image.png").write_bytes(b"0" * 5000)
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(f'{{"text": "Line {number} is a document."}}\n' for number in range(9)))
    for source, limit in ((folder, None), (folder, 2), (lines, None), (lines, 4)):
        for _ in range(2):  # the second time, all documents are there already
            totals, advanced = [], []

            @contextmanager
            def bars(description: str, total: int | None) -> Iterator[Progress]:
                totals.append(total)  # noqa: B023
                yield advanced.append  # noqa: B023

            with open_workspace("minilm", settings) as work:
                report = ingest(work, str(source), limit, bars=bars)
            assert totals[0] is not None and sum(advanced) == max(totals[0], report.characters)
            assert 0.6 * totals[0] < report.characters <= totals[0], "the total is what is read"


def test_a_document_without_words_is_counted_and_named(database: Store, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A real sentence.")
    (tmp_path / "b.txt").write_text("... --- ...")
    with open_workspace("minilm", settings) as work:
        report = ingest(work, str(tmp_path))
    assert report.documents == 1 and sum(report.skipped.values()) >= 1
    assert any("b.txt" in each.where for each in report.listed)


def test_two_stores_are_one_database(database: Store, settings: Settings) -> None:
    registered(database, settings)
    with open_store(settings) as second:
        assert second.database_name == database.database_name


def test_a_large_ingestion_has_a_bar_for_its_index(
    database: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm.store.search.INDEX_FROM", 20)
    opened: dict[str, int | None] = {}

    @contextmanager
    def bars(description: str, total: int | None) -> Iterator[Progress]:
        opened[description] = total
        yield lambda count: None

    with open_workspace("minilm", settings) as work:
        report = ingest(work, "sotu", 2, bars=bars)
        assert opened["index"] == report.chunks
        assert work.store.vectors_to_index(work.space_id) == 0
        hit = work.search("peace", 1, filter={"source": "sotu"})[0]
        assert work.search("peace", 1, exact=True)[0].chunk_id == hit.chunk_id
        opened.clear()
        ingest(work, "sotu", 2, bars=bars)
    assert "index" not in opened


def test_what_cannot_be_trained_on_is_refused_before_the_gate(
    database: Store, settings: Settings, tmp_path: Path
) -> None:
    (first,) = write_unseen(tmp_path / "book", documents=1, characters=4_000).iterdir()
    with open_workspace("minilm", settings) as work:
        ingest(work, "sotu", 8)
        with pytest.raises(NothingToMeasure, match=r"trained on all 8 documents that are stored.*a larger limit"):
            require_trainable(work, 3)
        ingest(work, str(first))
        require_trainable(work, 3)
        with pytest.raises(NotEnoughDocuments, match=r"^0 of 9 documents.*a file a chapter"):
            require_trainable(work, 10_000)
