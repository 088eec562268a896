"""Sources of a corpus: removed by name, synced by content, measured one by one, and worked on alone."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import lvm
from lvm.corpus.documents import Document
from lvm.corpus.sources import NothingUsable, SourceNotFound, SourceUnreadable
from lvm.errors import UsageError
from lvm.pipeline.alone import OneSourceOnly, settings_alone
from lvm.pipeline.clear import clear
from lvm.pipeline.sources import NotSyncable, SourceNotStored, sources
from lvm.report import markdown
from lvm.report.gate import GateReport
from lvm.settings import Settings, chosen
from lvm.store import Busy, NotConfirmed, Store, databases_beside, drop_beside, key_of, open_beside, open_store
from tests.flows.corpora import write_unseen
from tests.spaces.fixtures import permuted_inverter
from tests.store.toy import set_gate_size


@pytest.fixture
def work(settings: Settings, database: Store) -> Iterator[lvm.Workspace]:
    set_gate_size(database, 40)
    with lvm.open_workspace(settings=settings.model_copy(update={"quiet": True})) as opened:
        yield opened
    drop_beside(database)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "b", "c", "deep/d"):
        (folder / f"{name}.txt").write_text(f"The harbour of {name} froze in January. The river of {name} rose.")
    return folder


def noise(path: Path) -> Path:
    """A file that no inverter understands."""
    letters, rng = "bcdfghjklmnpqrstvwxz", random.Random(0)
    words = ["".join(rng.choices(letters, k=rng.randint(5, 9))) for _ in range(400)]
    path.write_text(" ".join(f"{word}." if i % 9 == 8 else word for i, word in enumerate(words)))
    return path


def names(work: lvm.Workspace) -> dict[str, list[str]]:
    """External ids by source."""
    found: dict[str, list[str]] = {}
    for each in work.store.documents(work.space_id):
        found.setdefault(each.source, []).append(each.external_id)
    return found


def state(work: lvm.Workspace) -> tuple[object, ...]:
    return names(work), work.store.contents(), work.store.corpus_revision(work.space_id)


# -- sync ---------------------------------------------------------------------------------------------------------


def test_what_vanished_is_listed_first_and_removed_when_the_name_is_typed(work: lvm.Workspace, texts: Path) -> None:
    lvm.ingest(work, texts)
    assert lvm.ingest(work, texts, sync=True).removed == 0
    (texts / "a.txt").unlink()
    (texts / "deep" / "d.txt").unlink()
    (texts / "b.txt").write_text("The harbour of b thawed in March.")
    (texts / "new.txt").write_text("A new document came.")
    before = state(work)
    with pytest.raises(NotConfirmed, match=r"2 stored documents .* any more: a.txt, deep/d.txt; nothing was touched"):
        lvm.ingest(work, texts, sync=True)
    with pytest.raises(NotConfirmed, match=f"--sync --confirm {texts}"):
        lvm.ingest(work, texts, sync=True, confirm="texts")
    assert state(work) == before
    report = lvm.ingest(work, texts, sync=True, confirm=str(texts))
    assert (report.documents, report.unchanged, report.moved, report.removed) == (2, 1, 0, 2)
    assert names(work) == {str(texts): ["b.txt", "c.txt", "new.txt"]}
    assert work.store.corpus_revision(work.space_id) == work.store.recomputed_revision(work.space_id)
    assert "2 that the source does not have any more were removed" in str(report)


def test_a_renamed_folder_is_recognised_and_not_encoded_again(work: lvm.Workspace, texts: Path) -> None:
    lvm.ingest(work, texts)
    moved = texts.with_name("moved")
    texts.rename(moved)
    (moved / "new.txt").write_text("A new document came.")
    report = lvm.ingest(work, moved, sync=True)
    assert (report.documents, report.unchanged, report.moved, report.removed) == (1, 4, 4, 0)
    assert names(work) == {str(moved): ["a.txt", "b.txt", "c.txt", "deep/d.txt", "new.txt"]}


def test_a_copy_of_a_folder_that_is_not_there_now_removes_nothing_of_it(
    work: lvm.Workspace, texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lvm.ingest(work, texts)
    copied = texts.with_name("copied")
    shutil.copytree(texts, copied)
    lvm.ingest(work, copied)
    texts.rename(texts.with_name("not mounted"))
    (copied / "a.txt").unlink()
    with pytest.raises(NotConfirmed, match=f"1 stored documents are not in '{copied}' any more: a.txt; nothing"):
        lvm.ingest(work, copied, sync=True)
    assert lvm.ingest(work, copied, sync=True, confirm=str(copied)).removed == 1
    four = ["a.txt", "b.txt", "c.txt", "deep/d.txt"]
    assert names(work) == {str(texts): four, str(copied): four[1:]}
    assert f"4 documents stay stored under '{texts}'" in caplog.text and "lvm remove" in caplog.text


def test_a_renamed_file_is_moved_and_a_copied_folder_stays(work: lvm.Workspace, texts: Path) -> None:
    lvm.ingest(work, texts)
    (texts / "a.txt").rename(texts / "deep" / "z.txt")
    report = lvm.ingest(work, texts, sync=True)
    assert (report.documents, report.moved, report.removed) == (0, 1, 0)
    assert names(work) == {str(texts): ["b.txt", "c.txt", "deep/d.txt", "deep/z.txt"]}
    copied = texts.with_name("copied")
    shutil.copytree(texts, copied)
    assert lvm.ingest(work, copied, sync=True).documents == 4
    assert set(names(work)) == {str(texts), str(copied)}


def test_nothing_goes_with_a_source_that_cannot_be_read_whole(work: lvm.Workspace, texts: Path, tmp_path: Path) -> None:
    lvm.ingest(work, texts)
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(f'{{"id": "{i}", "text": "Line {i} is a document."}}\n' for i in range(4)))
    lvm.ingest(work, lines)
    before = state(work)

    def refused(error: type[Exception], message: str, source: object, limit: int | None = None) -> None:
        with pytest.raises(error, match=message) as raised:
            lvm.ingest(work, source, limit, sync=True, confirm=str(source))  # type: ignore[arg-type]
        assert "\n" not in str(raised.value) and state(work) == before

    refused(NotSyncable, "leave --limit out", texts, 2)
    refused(NotSyncable, "no folder or file", "sotu")
    refused(NotSyncable, "name one", [Document("mine", "a", "a", "A text.")])
    lines.write_text('{"id": "0", "text": "Line 0 is a document."}\n{"id": "1", "text": \n')
    refused(NotSyncable, r"1 rows .* cannot be used \(first: lines.jsonl:2: is not JSON", lines)
    kept = texts.with_name("kept")
    texts.rename(kept)
    refused(SourceNotFound, "no source", texts)
    texts.mkdir()
    refused(NothingUsable, "no usable document", texts)
    texts.rmdir()
    kept.rename(texts)
    (texts / "a.txt").write_bytes(b"\xff\xfe broken")
    (texts / "b.txt").write_text("")
    assert lvm.ingest(work, texts, sync=True).removed == 0
    assert state(work) == before, "a file that is damaged or empty now is still there"


def test_a_sync_waits_for_nobody(work: lvm.Workspace, texts: Path) -> None:
    lvm.ingest(work, texts)
    (texts / "a.txt").unlink()
    before = state(work)
    with open_store(work.settings) as reader, reader.reading(), pytest.raises(Busy, match="reads the corpus"):
        lvm.ingest(work, texts, sync=True, confirm=str(texts))
    assert state(work) == before


# -- removal ------------------------------------------------------------------------------------------------------


def test_a_removal_takes_the_name_typed_out(work: lvm.Workspace, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lvm.ingest(work, texts)
    lvm.ingest(work, "sotu", 1)
    before = state(work)
    monkeypatch.chdir(texts.parent)
    with pytest.raises(NotConfirmed, match=rf"4 documents and 8 chunks.*lvm remove {texts} --confirm {texts}"):
        lvm.remove(work, "texts")
    with pytest.raises(NotConfirmed):
        lvm.remove(work, texts, confirm="texts")
    with pytest.raises(SourceNotStored, match=f"there is '{texts}', 'sotu'"):
        lvm.remove(work, "elsewhere", confirm="elsewhere")
    with pytest.raises(SourceUnreadable):
        lvm.remove(work, "a\0b", confirm="a\0b")
    with open_store(work.settings) as other:
        with other.lock("ingest"), pytest.raises(Busy, match="'ingest'"):
            lvm.remove(work, texts, confirm=str(texts))
        with other.reading(), pytest.raises(Busy, match="reads the corpus"):
            lvm.remove(work, texts, confirm=str(texts))
    assert state(work) == before
    shutil.rmtree(texts)
    removed = lvm.remove(work, "texts/", confirm=str(texts))
    assert removed.rows == {"document": 4, "chunk": 8, "embedding": 8}
    assert removed.corpus_revision == work.store.corpus_revision(work.space_id)
    assert set(names(work)) == {"sotu"}


def test_a_foreign_source_is_named_and_can_be_taken_out(work: lvm.Workspace, tmp_path: Path) -> None:
    good = write_unseen(tmp_path / "good", documents=5, characters=900)
    lvm.ingest(work, good)
    passed = lvm.validate(work)
    sequences = lvm.extract(work, context=3)
    lvm.train(work, sequences, "gru", epochs=1)
    bad = noise(tmp_path / "foreign words.txt")
    lvm.ingest(work, bad)
    with pytest.raises(lvm.GateBlocked, match=r"of 2 sources 1 fail: .*foreign words.txt \(mean cosine") as blocked:
        lvm.validate(work)
    assert f"`lvm remove '{bad}'` takes one out" in str(blocked.value) and str(good) not in str(blocked.value)
    report = blocked.value.report
    assert isinstance(report, GateReport)
    by_source = {each.source: each for each in report.figures.sources}
    assert by_source[str(good)].passes and not by_source[str(bad)].passes
    assert sum(each.n for each in by_source.values()) == report.figures.n
    escaped = str(bad).replace("_", r"\_")
    assert f"| {escaped} | {by_source[str(bad)].n} |" in markdown.gate_evidence(report.figures, report.verdict)
    assert str(bad) in report._repr_html_()
    found = {each.stored.name: each for each in sources(work)}
    assert found[str(bad)].figures == by_source[str(bad)] and found[str(bad)].current
    with pytest.raises(lvm.GateMissing):
        lvm.predict_next(work, "gru", ["The state of our union is strong."])

    lvm.remove(work, bad, confirm=str(bad))
    again = lvm.validate(work)
    assert again.reused and again.gate_id == passed.gate_id
    assert work.sequences(3)[0].sha256 == sequences.sha256
    assert lvm.predict_next(work, "gru", ["The state of our union is strong."]).text


# -- one source alone ---------------------------------------------------------------------------------------------


def alone(settings: Settings, source: Path) -> Settings:
    """Settings of one source alone, whose gate measures 40 chunks."""
    found = settings.model_copy(update={"source_only": str(source), "quiet": True})
    with open_store(settings) as store, open_beside(store, key_of(str(source)), str(source), "only") as own:
        set_gate_size(own, 40)
    return found


def test_one_source_alone_has_a_gate_and_models_of_its_own(work: lvm.Workspace, tmp_path: Path) -> None:
    good = write_unseen(tmp_path / "good", documents=5, characters=900)
    bad = noise(tmp_path / "noise.txt")
    lvm.ingest(work, bad)
    lvm.ingest(work, good)
    with pytest.raises(lvm.GateBlocked):
        lvm.validate(work)
    before = state(work)

    with lvm.open_workspace(settings=alone(work.settings, good)) as own:
        assert own.settings.artifacts.parent == work.settings.artifacts / "only"
        with pytest.raises(OneSourceOnly, match=r"nothing of .* was stored"):
            lvm.ingest(own, bad)
        with pytest.raises(OneSourceOnly):
            lvm.ingest(own, [Document("another", "a", "a", "A text of another source.")])
        assert own.counts()["documents"] == 0
        with pytest.raises(lvm.LvmError, match="nothing is stored"):
            lvm.validate(own)
        lvm.ingest(own, good)
        assert lvm.validate(own).verdict.passed
        model = lvm.train(own, lvm.extract(own, context=3), "gru", epochs=1)
        assert (own.settings.artifacts / "gru" / "model.safetensors").is_file()
        assert lvm.predict_next(own, model, ["The state of our union is strong."]).text
        assert lvm.predict_next(own, "gru", ["The state of our union is strong."]).text
        folder = own.settings.artifacts
    assert state(work) == before
    with pytest.raises(lvm.GateMissing):
        lvm.extract(work, context=3)

    shutil.copytree(folder / "gru", work.settings.artifacts / "gru")  # no way around the gate of the whole
    with pytest.raises(lvm.LvmError, match="not one that a finished training run recorded"):
        lvm.predict_next(work, "gru", ["The state of our union is strong."])
    with lvm.open_workspace(settings=alone(work.settings, bad)) as own:
        lvm.ingest(own, bad)
        with pytest.raises(lvm.GateBlocked, match=r"all is of source .*noise.txt"):
            lvm.validate(own)


def test_clear_drops_single_sources_too(settings: Settings, database: Store, tmp_path: Path) -> None:
    with lvm.open_workspace(settings=alone(settings, tmp_path / "a.txt")) as own:
        (listed,) = databases_beside(database)
        assert (listed.name, listed.kind, listed.about) == (own.store.database_name, "only", str(tmp_path / "a.txt"))
        with open_beside(own.store, key_of("b"), "b"):  # measured on, beside a source alone
            pass
        for path in (own.settings.artifacts / "gru" / "model.safetensors", own.settings.artifacts / "notes.txt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        assert settings_alone(own.settings) == own.settings
    assert len(databases_beside(database)) == 2
    with pytest.raises(NotConfirmed, match="and 1 files"):
        clear(settings=settings)
    with pytest.raises(NotConfirmed, match=r"all of it, not .*a\.txt alone"):
        clear(settings=alone(settings, tmp_path / "a.txt"))
    cleared = clear(database.database_name, settings)
    assert (cleared.rows["other corpus"], cleared.files) == (2, 1)
    assert cleared.left == [str(own.settings.artifacts / "notes.txt")] and databases_beside(database) == []


# -- which inverter -----------------------------------------------------------------------------------------------


def test_a_verdict_is_about_its_inverter(work: lvm.Workspace, tmp_path: Path) -> None:
    lvm.ingest(work, write_unseen(tmp_path / "good", documents=5, characters=900))
    passed = lvm.validate(work)
    other = chosen(permuted_inverter(tmp_path / "permuted")).model_copy(update={"quiet": True})
    with lvm.open_workspace(settings=other) as second:
        assert second.verdict() is None and sources(second)[0].figures is None
        with pytest.raises(lvm.GateMissing, match=second.space.inverter.sha256[:12]):
            lvm.extract(second, context=3)
        with pytest.raises(lvm.GateBlocked):
            lvm.validate(second)
    assert lvm.validate(work).gate_id == passed.gate_id
    assert sources(work)[0].gate_id == passed.gate_id
    lvm.extract(work, context=3)
    with pytest.raises(UsageError, match="there is no folder"):
        chosen(tmp_path / "nowhere")


def test_clearing_leaves_the_files_of_a_database_that_is_in_use(work: lvm.Workspace, texts: Path) -> None:
    own = lvm.open_workspace(settings=alone(work.settings, texts))
    try:
        lvm.ingest(own, texts)
        file = own.settings.artifacts / "sequences" / "ctx16.safetensors"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"vectors")
        kept = clear(work.store.database_name, work.settings)
        assert any("being accessed" in each for each in kept.left) and file.is_file() and kept.files == 0
    finally:
        own.close()
    cleared = clear(work.store.database_name, work.settings)
    assert not file.exists() and cleared.files == 1 and cleared.rows["other corpus"] == 1
