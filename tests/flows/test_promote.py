"""Promotion as a flow: the champion, the table of versions, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.artifacts import Artifact
from prefect.exceptions import ParameterTypeError

from flows.evaluate import evaluate_flow
from flows.extract import extract_flow
from flows.ingest import ingest_flow
from flows.promote import promote_flow
from flows.train import train_flow
from flows.validate import validate_flow
from lvm.pipeline.errors import GateMissing
from lvm.settings import Settings
from lvm.store import PromotionRefused, Store
from tests.flows.corpora import write_unseen

pytestmark = pytest.mark.usefixtures("small")

CONTEXT = 5


def test_a_model_is_promoted_in_the_ui(settings: Settings, database: Store, tmp_path: Path) -> None:
    ingest_flow(source=str(write_unseen(tmp_path / "texts", documents=6, characters=2000)))
    validate_flow()
    extract_flow(CONTEXT)
    train_flow(model="gru", context=CONTEXT, epochs=2)
    with pytest.raises(GateMissing, match="lvm evaluate"):
        promote_flow(model="gru")
    evaluate_flow(CONTEXT)
    promoted = promote_flow(model="gru")
    [run] = database.training_runs()
    assert promoted.promotion.sha256 == run.sha256 and promoted.promotion.flow_run_id
    table = Artifact.get("versions")
    assert table is not None and run.version in str(table.data) and "champion" in str(table.data)
    assert promote_flow(model=run.version).unchanged
    with pytest.raises(PromotionRefused, match="no champion to go back to"):
        promote_flow(back=True)
    with pytest.raises(ParameterTypeError):
        promote_flow(model="../gru")
