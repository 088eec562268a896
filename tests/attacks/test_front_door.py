"""Python code cannot walk around the gate by accident: what it changed in memory is not what is trained or judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest
import torch
from sqlalchemy.exc import OperationalError

import lvm
from lvm.files import CorruptedFile
from lvm.pipeline.workspace import Workspace
from lvm.sequences import CheckedRows
from lvm.settings import Settings
from lvm.spaces import Decoded, Vectors
from lvm.store import DatabaseUnavailable, Store
from tests.flows.corpora import write_unseen
from tests.pipeline.small import shrink
from tests.store.toy import set_gate_size


@pytest.fixture
def work(tmp_path: Path, settings: Settings, database: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    set_gate_size(database, 25)
    shrink(monkeypatch)
    source = write_unseen(tmp_path / "texts", documents=5, characters=1500)
    with lvm.open_workspace(settings=settings.model_copy(update={"quiet": True})) as opened:
        lvm.ingest(opened, source)
        yield opened


def test_vectors_changed_in_memory_are_not_trained_on(work: Workspace) -> None:
    lvm.validate(work)
    sequences = lvm.extract(work, context=3)
    honest = lvm.train(work, sequences, "gru", epochs=1).sha256
    (work.settings.artifacts / "gru" / "last.safetensors").unlink()
    rolled = CheckedRows(np.roll(sequences.unit, 1, axis=1), None, sequences.path)
    sequences = replace(sequences, unit=rolled)
    assert lvm.train(work, sequences, "gru", epochs=1).sha256 == honest
    other = replace(sequences, sha256="0" * 64)
    with pytest.raises(lvm.GateMissing, match="another sequence set"):
        lvm.train(work, other, "gru", epochs=1)


def test_weights_changed_in_memory_are_not_judged(work: Workspace) -> None:
    lvm.validate(work)
    sequences = lvm.extract(work, context=3)
    model = lvm.train(work, sequences, "gru", epochs=1)
    before = lvm.evaluate(work, sequences, model).models["gru"].cosine
    text = lvm.predict_next(work, model, ["We met."]).text
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.zero_().add_(0.01)
    assert lvm.evaluate(work, sequences, [model]).models["gru"].cosine == before
    assert lvm.predict_next(work, model, ["We met."]).text == text
    with pytest.raises(CorruptedFile):
        lvm.predict_next(work, replace(model, sha256="0" * 64), ["We met."])


def test_vectors_that_no_text_has_pass_no_gate(work: Workspace) -> None:
    def near(parts: Iterable[Vectors]) -> Iterator[Decoded]:
        for part in parts:
            raw = part.unit + np.float32(0.01) * np.random.default_rng(0).normal(size=part.unit.shape).astype("f4")
            vectors = Vectors.from_raw(part.fingerprint, raw)
            yield Decoded(["Anything."] * len(part), vectors, np.ones(len(part), np.float32))

    from lvm.pipeline.validate import validate

    with pytest.raises(lvm.SpaceMismatch, match="does not make of them"):
        validate(work, decode_parts=near)
    assert work.verdict() is None


def test_a_database_that_goes_away_is_named_without_a_with_block(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, psycopg.OperationalError("server closed the connection"))

    monkeypatch.setattr(Store, "counts", gone)
    with pytest.raises(DatabaseUnavailable, match="nothing that was stored is lost"):
        lvm.validate(work)
    with pytest.raises(DatabaseUnavailable):
        work.counts()
