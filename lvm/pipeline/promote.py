"""Promotion: which model answers where none is named, and the versions that there are.

Contract: the champion of a space answers in ``next``, ``write`` and ``serve`` unless another model is named. A model
becomes the champion if it passed the pipeline gate of the corpus as it is now, behind a passing roundtrip gate, and its
text NLL on the held-out documents is no higher than the champion's in the same evaluation. A reason overrides the
comparison, never a gate. The database judges this again. Promotions are rows, so there is a way back.

Text NLL is the metric because the champion answers with text: it says how well the frozen inverter reads the true next
text from a prediction. Cosine prefers the mean of what may follow, and R@10 ranks stored texts.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from lvm.files import CorruptedFile
from lvm.pipeline.errors import GateMissing, NoModel
from lvm.pipeline.predict import parsed
from lvm.pipeline.shipped import SHIPPED
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.store import Promotion, PromotionRefused, TrainingRun
from lvm.training import TrainedModel, checkpoint_in
from lvm.training.checkpoints import version_file

METRIC = "text_nll"
"""The metric that decides; the database has the same."""


@dataclass(frozen=True)
class Promoted:
    """The champion after ``promote``.

    Attributes:
        promotion: the promotion that made it the champion.
        before: the champion before; None if there was none.
        unchanged: whether it was the champion already.
    """

    promotion: Promotion
    before: Promotion | None = None
    unchanged: bool = False

    def __str__(self) -> str:
        made, before = self.promotion, self.before
        if self.unchanged:
            return f"{made.version} is the champion already; nothing was changed"
        figures = f"text NLL {made.value:.3f}"
        if made.restores is not None and before is not None:
            return f"{made.version} is the champion again, in place of {before.version}"
        if before is not None:
            compared = "not measured" if made.champion_value is None else f"{made.champion_value:.3f}"
            figures += f" (lower is better; {before.version}, the champion before: {compared})"
        return f"{made.version} is the champion: {figures}, evaluation {made.evaluation_id}"


@dataclass(frozen=True)
class Version:
    """A version of a model: what a finished training run left.

    Attributes:
        run: the training run.
        latest: whether it is the last one of its model.
        champion: whether it answers where no model is named.
        kept: whether its file is there.
        text_nll: its text NLL on held-out documents in the last evaluation that measured it; None if none did.
    """

    run: TrainingRun
    latest: bool
    champion: bool
    kept: bool
    text_nll: float | None

    @property
    def marks(self) -> list[str]:
        """What it is, in words: ``champion``, ``latest``, ``its file is gone``."""
        marks = (("champion", self.champion), ("latest", self.latest), ("its file is gone", not self.kept))
        return [word for word, holds in marks if holds]


@named_stage
def promote(
    work: Workspace,
    model: TrainedModel | str | None = None,
    *,
    reason: str | None = None,
    back: bool = False,
    flow_run_id: str | None = None,
) -> Promoted:
    """Make a model the champion of its space.

    Args:
        work: the database and the space.
        model: what ``train`` gave, or its name: ``gru``, or ``gru@1a2b3c`` for a version.
        reason: why, if it is worse than the champion or was not measured beside it.
        back: go back to the champion before, instead of naming a model. It needs no new evaluation.
        flow_run_id: id of the Prefect run, for the record.

    Raises:
        NoModel: if no model is named, it is not trained in this space, or its file is gone.
        CorruptedFile: if its file is damaged, or not the one that was recorded.
        GateMissing: if no passing roundtrip gate stands, or the model is not evaluated on the corpus as it is now.
        PromotionRefused: if it did not pass the pipeline gate, is worse than the champion and no reason is given,
            another model was promoted meanwhile, or there is no champion before.
        Busy: if another process promotes a model of this space.
    """
    if back == (model is not None):
        raise NoModel("name one model to promote, or go back to the champion before (--back); not both")
    with work.store.lock(f"promote in space {work.space.name}"):
        champion = work.store.champion(work.space_id)
        if champion is not None and flow_run_id is not None and champion.flow_run_id == flow_run_id:
            return Promoted(champion, unchanged=True)  # an earlier attempt of this run did it
        if back:
            return _back(work, champion, reason, flow_run_id)
        assert model is not None
        run = _run(work, model)
        work.model_of(run)  # an answer needs its file
        if champion is not None and champion.sha256 == run.sha256:
            return Promoted(champion, unchanged=True)
        gate = work.passing_gate()
        assert gate.inverter_id is not None and run.sha256 is not None  # a verdict that stands, and a finished run
        judged = work.store.pipeline_verdict(gate, run.sha256)
        measured = work.store.last_evaluation(work.space_id, gate.inverter_id, gate.corpus_revision, run.sha256)
        if judged is None or measured is None:
            raise GateMissing(
                f"{run.version} is not evaluated on the corpus as it is now, so nothing says how good it is; run "
                "`lvm evaluate` first"
            )
        made = work.store.promote(
            work.space_id,
            run.id,
            measured,
            champion.id if champion else None,
            reason=reason,
            flow_run_id=flow_run_id,
        )
        return Promoted(made, champion)


def _back(work: Workspace, champion: Promotion | None, reason: str | None, flow_run_id: str | None) -> Promoted:
    """Go back to the champion before."""
    before = work.store.champion_before(work.space_id)
    if champion is None or before is None:
        now = f"{champion.version} is the first champion" if champion else "no model was promoted"
        raise PromotionRefused(f"there is no champion to go back to: {now} in space {work.space.name!r}")
    run = work.store.finished_run(before.sha256)
    assert run is not None  # rows of finished runs stay
    work.model_of(run)
    made = work.store.promote(
        work.space_id,
        before.training_run_id,
        None,
        champion.id,
        restores=before.id,
        reason=reason,
        flow_run_id=flow_run_id,
    )
    return Promoted(made, champion)


def _run(work: Workspace, model: TrainedModel | str) -> TrainingRun:
    """The finished run that left a model.

    Raises:
        NoModel: if there is none in this space.
    """
    name, digits = parsed(model) if isinstance(model, str) else (model.name, model.sha256)
    run = None if name == SHIPPED else work.finished_run(name, digits)
    if run is None:
        named = f"{name}@{digits[:12]}" if digits else name
        raise NoModel(
            f"no finished run of space {work.space.name!r} left {named!r}, so it cannot be promoted; `lvm models` "
            "lists what there is"
        )
    return run


@named_stage
def versions(work: Workspace) -> list[Version]:
    """The versions of all models of this space, oldest first. Of equal files, the last run counts."""
    runs = work.store.finished_runs(work.space_id)
    champion = work.store.champion(work.space_id)
    last = {run.architecture: run.id for run in runs}
    found = {run.sha256: run for run in runs if run.sha256 is not None}
    nll = work.store.figures_of(METRIC, list(found))
    return [
        Version(
            run=run,
            latest=last[run.architecture] == run.id,
            champion=champion is not None and champion.sha256 == sha256,
            kept=_is_kept(work, run, sha256),
            text_nll=nll.get(sha256),
        )
        for sha256, run in found.items()
    ]


def _is_kept(work: Workspace, run: TrainingRun, sha256: str) -> bool:
    """Whether the file of a run is there; that of version 0.1.0 is, if no later one took its place."""
    folder = work.settings.artifacts / run.architecture
    if version_file(folder, sha256).is_file():
        return True
    with suppress(CorruptedFile):
        latest = checkpoint_in(folder)
        return latest is not None and sha256 in (latest.sha256, latest.digest)
    return False
