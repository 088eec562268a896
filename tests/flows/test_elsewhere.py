"""The flow ``evaluate`` with ``on``: another corpus is measured, or blocked by its own gate."""

from __future__ import annotations

from pathlib import Path

import pytest

import lvm
from flows.evaluate import evaluate_flow
from lvm.corpus.sources import NothingUsable
from lvm.settings import Settings
from lvm.store import Store, key_of, open_beside
from tests.flows.corpora import write_unseen
from tests.pipeline.small import shrink
from tests.store.toy import set_gate_size


def test_on_another_corpus(
    settings: Settings, database: Store, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    own = write_unseen(tmp_path / "own", documents=5, characters=900)
    with lvm.open_workspace() as work:
        lvm.ingest(work, own)
        lvm.validate(work)
        lvm.train(work, lvm.extract(work, context=3), "gru", epochs=1)
        revision = database.corpus_revision(work.space_id)
    source = str(write_unseen(tmp_path / "others", documents=3, characters=1200, skip=8))
    with open_beside(database, key_of("minilm", source), "a test") as other:
        set_gate_size(other, 26)
    summary = evaluate_flow(context=3, on=source, limit=3)
    assert summary.on == source and summary.corpus.documents == 3 and set(summary.models) == {"gru"}
    assert database.corpus_revision(1) == revision
    with pytest.raises(NothingUsable, match="models are trained on"):
        evaluate_flow(context=3, on=str(own))

    tiny = tmp_path / "tiny.txt"
    tiny.write_text("The harbour froze. The last ship came in late. Rain fell for nine days. The river rose. We left.")
    with pytest.raises(lvm.GateBlocked, match=r"nothing was measured on .*sampled chunks [0-9.]+ < 20") as blocked:
        evaluate_flow(context=3, on=str(tiny))
    assert blocked.value.evidence is not None and "/artifacts/artifact/" in blocked.value.evidence
