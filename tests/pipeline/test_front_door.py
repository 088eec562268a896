"""``import lvm``: the whole pipeline as plain Python, without Prefect, in a script and under a running event loop."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lvm
from lvm.calls import WrongType
from lvm.corpus.documents import Document
from lvm.errors import UsageError
from lvm.files import CorruptedFile
from lvm.pipeline.errors import ModelGone
from lvm.pipeline.predict import NothingToContinue
from lvm.progress import Progress
from lvm.settings import Settings
from lvm.spaces import registry
from lvm.spaces.space import NotTexts
from lvm.store import Store
from lvm.training import BadConfig
from tests.flows.corpora import write_unseen
from tests.pipeline.small import CODE, shrink
from tests.store.toy import set_gate_size

SCRIPT = """
import sys
import lvm

space = lvm.open_space("minilm")
vectors = space.encode(["The harbour froze before the last ship came in."])
print(space.decode(vectors).texts)

with lvm.open_workspace() as work:
    lvm.ingest(work, sys.argv[1])
    lvm.validate(work)
    sequences = lvm.extract(work, context=3)
    model = lvm.train(work, sequences, "gru", epochs=2)
    report = lvm.evaluate(work, sequences, [model])
    hits = work.search("war with Mexico", k=5)
    print(lvm.predict_next(work, model, ["The state of our union is strong."]).text)
    print(work, model, len(hits))
print(report)
assert "prefect" not in sys.modules
"""


@pytest.fixture
def corpus(tmp_path: Path, database: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A few speeches that the inverter has not seen, and a gate of 30 chunks."""
    set_gate_size(database, 30)
    monkeypatch.setenv("LVM_QUIET", "1")
    shrink(monkeypatch)
    return str(write_unseen(tmp_path / "texts", documents=6, characters=2000))


def test_the_snippet_of_the_readme_runs_as_a_script(settings: Settings, corpus: str) -> None:
    small = SCRIPT.replace("import lvm\n", f"import lvm\n{CODE}", 1)
    done = subprocess.run(
        [sys.executable, "-c", small, corpus], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "TrainedModel('gru', space='minilm', context=3, best epoch" in lines[-2]
    assert lines[-1].startswith("Summary(space='minilm', documents=6, gru R@10")


class MeasuredAgain(Exception):
    """The evaluation did not keep what was there."""


def measured_again(*_: object) -> None:
    raise MeasuredAgain


def test_stages_one_by_one_under_a_running_event_loop(
    settings: Settings, corpus: str, database: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cell() -> None:  # as in Jupyter
        with lvm.open_workspace() as work:
            stored = lvm.ingest(work, corpus)
            assert stored.documents == 6 and stored.corpus_revision == database.corpus_revision(work.space_id)
            assert lvm.ingest(work, corpus).unchanged == 6
            gate = lvm.validate(work)
            assert gate.figures.mean > 0.63 and gate.verdict.passed and not gate.reused
            assert lvm.validate(work).reused
            assert gate._repr_html_().count("<tr>") == 5
            sequences = lvm.extract(work, context=3)
            assert lvm.extract(work, context=3).sha256 == sequences.sha256
            model = lvm.train(work, sequences, "gru", epochs=2)
            assert model.report is not None and len(model.report.history) == 2
            again = lvm.train(work, sequences, "gru", epochs=2)
            assert again.sha256 == model.sha256 and len(database.training_runs()) == 1
            summary = lvm.evaluate(work, sequences, [model])
            assert set(summary.models) == {"gru"} and (settings.artifacts / "report.html").is_file()
            with monkeypatch.context() as patch:
                patch.setattr("lvm.pipeline.evaluate.retrieval", measured_again)
                assert lvm.evaluate(work, sequences).models == summary.models, "the same evaluation is kept"
                other = replace(work, settings=settings.model_copy(update={"seed": 1}))
                with pytest.raises(MeasuredAgain):
                    lvm.evaluate(other, sequences, [model])
                (settings.artifacts / "report.html").unlink()
                with pytest.raises(MeasuredAgain):
                    lvm.evaluate(work, sequences, [model])
            lvm.evaluate(work, sequences, [model])
            lvm.evaluate(work, sequences, [model])
            hits = work.search("the treaty", k=3)
            assert len(hits) == 3 and hits._repr_html_().startswith("<table>")
            by_vector = work.search(work.space.encode(["the treaty"]), k=3)
            assert [hit.chunk_id for hit in by_vector] == [hit.chunk_id for hit in hits]
            word = hits[0].text.split()[-1].strip(".,;")
            assert f"**{word}**" in str(work.search(f'"{word}"', k=1, hybrid=True)[0].highlights)
            assert work.search("the treaty", k=1, skip=2) == hits[2:]
            for wrong in ({"query": work.space.encode(["the treaty"]), "hybrid": True}, {"query": "x", "skip": -1}):
                with pytest.raises(UsageError, match=r"words of a text|skip is -1"):
                    work.search(**wrong)
            assert lvm.predict_next(work, model, ["We met."]).text == lvm.predict_next(work, "gru", ["We met."]).text
            with pytest.raises(NotTexts):
                lvm.predict_next(work, model, "one string")
            with pytest.raises(NothingToContinue):
                lvm.predict_next(work, model, ["..."])
            with pytest.raises(BadConfig, match="did you mean epochs"):
                lvm.train(work, sequences, "gru", epoch=2)
            shutil.rmtree(settings.artifacts / "gru")
            with pytest.raises(ModelGone, match=f"{model.version} is gone"):
                lvm.evaluate(work, sequences)

    asyncio.run(cell())


def test_a_blocked_gate_raises_with_its_figures(
    settings: Settings, corpus: str, database: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = registry.configured()
    wrong = {**right, "minilm": right["minilm"].model_copy(update={"pooling": "cls"})}
    monkeypatch.setattr(registry, "configured", lambda _=None: wrong)
    with lvm.open_workspace() as work:
        lvm.ingest(work, corpus)
        with pytest.raises(lvm.GateBlocked, match="identification R@1") as blocked:
            lvm.validate(work)
        report = blocked.value.report
        assert report is not None and report.figures.identify_r1 < 0.9 and not report.verdict.passed
        assert [each.name for verdict in blocked.value.verdicts for each in verdict.criteria if not each.passed]
        with pytest.raises(lvm.GateMissing, match="lvm validate"):
            lvm.extract(work, context=3)


def test_documents_of_ones_own(settings: Settings, database: Store) -> None:
    texts = ["The harbour froze. The last ship came in late.", "Rain fell for nine days. The river rose."]
    own = [Document("mine", str(number), "", text) for number, text in enumerate(texts)]
    with lvm.open_workspace() as work:
        report = lvm.ingest(work, own)
        assert (report.documents, report.chunks) == (2, work.counts()["chunks"])
        assert repr(work).endswith("space='minilm')") and "<td>2</td>" in work._repr_html_()
        assert lvm.ingest(work, iter(own), limit=1).unchanged == 1


def test_a_workspace_without_a_with_block(settings: Settings, database: Store) -> None:
    work = lvm.open_workspace()
    assert work.counts() == {"documents": 0, "chunks": 0, "embeddings": 0}
    work.close()
    with pytest.raises(KeyError, match="its own"), lvm.open_workspace():  # an error of the block is not changed
        raise KeyError("its own")


def test_settings_in_the_place_of_a_space_are_named() -> None:
    with pytest.raises(WrongType, match="name of open_space is of type Settings, not a string or None"):
        lvm.open_space(Settings())  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="type Settings, not a string, a Space or None"):
        lvm.open_workspace(Settings())  # type: ignore[arg-type]


def test_a_string_is_not_a_list_of_texts() -> None:
    space = lvm.open_space("minilm")
    with pytest.raises(NotTexts, match=r"encode\(\[text\]\)"):
        space.encode("one string")
    vectors = space.encode(["one text"])
    assert repr(vectors) == f"Vectors(n=1, dim=384, space={space.fingerprint})"
    assert repr(space).startswith("Space('minilm', a3fd36e97df65f61, dim=384")
    np.testing.assert_array_equal(space.decode(vectors).vectors.unit.shape, (1, 384))


def test_a_model_that_no_run_recorded_is_refused(settings: Settings, corpus: str, database: Store) -> None:
    shown, advanced = [], []

    @contextmanager
    def bars(description: str, total: int | None) -> Iterator[Progress]:
        shown.append(total)
        yield advanced.append

    with lvm.open_workspace() as work:
        lvm.ingest(work, corpus)
        lvm.validate(work)
        sequences = lvm.extract(work, context=3)
        model = lvm.train(work, sequences, "gru", epochs=40, patience=1, head_epochs=1, bars=bars)
        assert model.report is not None and len(model.report.history) < 40
        assert shown == [41] and sum(advanced) == 41, "a bar ends full, also if training stops early"
        other = lvm.train(work, sequences, "gru", epochs=2)
        assert other.sha256 != model.sha256 or other.report != model.report
        foreign = type(model)(**{**vars(model), "sha256": "0" * 64})
        with pytest.raises(CorruptedFile):
            lvm.predict_next(work, foreign, ["We met."])
        with pytest.raises(lvm.GateMissing, match="not one that was trained"):
            lvm.evaluate(work, sequences, [foreign])
