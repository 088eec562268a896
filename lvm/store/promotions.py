"""Evaluations as rows, and promotions: which model answers where none is named.

Contract: the rows never change. The database judges a promotion: gates, evaluation, the champion before it. A refusal
is ``PromotionRefused``, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError

from lvm.errors import first_line
from lvm.store.connect import Connections
from lvm.store.errors import PromotionRefused
from lvm.store.records import Figure, PastFigure, Promotion

_PROMOTION = (
    "SELECT p.id, t.architecture AS model, t.sha256, p.training_run_id, p.evaluation_id, p.metric, p.value, "
    "p.champion_value, p.replaces, p.restores, p.reason, p.flow_run_id, p.created_at "
    "FROM ONLY promotion p JOIN ONLY training_run t ON t.id = p.training_run_id "
)


class Promotions(Connections):
    """Records evaluations and promotions."""

    # -- evaluations ------------------------------------------------------------------------------------------

    def record_evaluation(
        self,
        space_id: int,
        inverter_id: int,
        corpus_revision: str,
        figures: Sequence[Figure],
        *,
        measured_on: str | None = None,
        seed: int = 0,
        flow_run_id: str | None = None,
    ) -> int:
        """Store an evaluation with all of its figures.

        Args:
            space_id: id of the space.
            inverter_id: id of the inverter that decoded.
            corpus_revision: revision of the corpus that was measured on.
            figures: at least one.
            measured_on: source of another corpus; None for the held-out documents of this one.
            seed: seed of all random numbers.
            flow_run_id: id of the Prefect run.

        Returns:
            Id of the evaluation.
        """
        about = {
            "space": space_id,
            "inverter": inverter_id,
            "revision": corpus_revision,
            "on": measured_on,
            "seed": seed,
            "run": flow_run_id,
        }
        insert = text(
            "INSERT INTO evaluation (space_id, inverter_id, corpus_revision, measured_on, seed, flow_run_id) "
            "VALUES (:space, :inverter, :revision, :on, :seed, :run) RETURNING id"
        )
        rows = text(
            "INSERT INTO evaluation_figure (evaluation_id, name, kind, training_run_id, metric, value, low, high, n) "
            "VALUES (:evaluation, :name, :kind, :training_run_id, :metric, :value, :low, :high, :n)"
        )
        with self.engine.begin() as connection:
            number = int(connection.scalars(insert, about).one())
            connection.execute(rows, [{**asdict(figure), "evaluation": number} for figure in figures])
        return number

    def last_evaluation(self, space_id: int, inverter_id: int, corpus_revision: str, sha256: str) -> int | None:
        """Id of the last evaluation of a model on the held-out documents of a corpus; None if there is none.

        Args:
            space_id: id of the space.
            inverter_id: id of the inverter that decoded.
            corpus_revision: revision of the corpus.
            sha256: of the model, as its training run has it.
        """
        statement = text(
            "SELECT max(e.id) FROM ONLY evaluation e JOIN ONLY evaluation_figure f ON f.evaluation_id = e.id "
            "JOIN ONLY training_run t ON t.id = f.training_run_id "
            "WHERE e.space_id = :space AND e.inverter_id = :inverter AND e.corpus_revision = :revision "
            "AND e.measured_on IS NULL AND t.sha256 = :sha256"
        )
        about = {"space": space_id, "inverter": inverter_id, "revision": corpus_revision, "sha256": sha256}
        with self.engine.connect() as connection:
            found: int | None = connection.scalar(statement, about)
            return found

    def past_figures(
        self, space_id: int, metrics: Sequence[str], *, measured_on: str | None = None, last: int = 20
    ) -> list[PastFigure]:
        """Figures of models in the last evaluations of a space, oldest first.

        Args:
            space_id: id of the space.
            metrics: which figures.
            measured_on: source of another corpus; None for the held-out documents of this one.
            last: number of evaluations.
        """
        statement = text(
            "SELECT e.id AS evaluation_id, e.corpus_revision, f.name, f.metric, f.value "
            "FROM (SELECT id, corpus_revision FROM ONLY evaluation WHERE space_id = :space "
            "AND measured_on IS NOT DISTINCT FROM :on ORDER BY id DESC LIMIT :last) e "
            "JOIN ONLY evaluation_figure f ON f.evaluation_id = e.id "
            "WHERE f.kind = 'model' AND f.metric = ANY (:metrics) ORDER BY e.id, f.name, f.metric"
        )
        about = {"space": space_id, "on": measured_on, "last": last, "metrics": list(metrics)}
        with self.engine.connect() as connection:
            return [PastFigure(**row._mapping) for row in connection.execute(statement, about)]

    def figures_of(self, metric: str, shas: Sequence[str]) -> Mapping[str, float]:
        """The last figure of models on the held-out documents of their corpus, by sha256; unmeasured ones are left out.

        Args:
            metric: as in ``Figure``.
            shas: sha256 of models, as their training runs have them.
        """
        statement = text(
            "SELECT DISTINCT ON (t.sha256) t.sha256, f.value FROM ONLY evaluation_figure f "
            "JOIN ONLY training_run t ON t.id = f.training_run_id JOIN ONLY evaluation e ON e.id = f.evaluation_id "
            "WHERE f.metric = :metric AND e.measured_on IS NULL AND t.sha256 = ANY (:shas) "
            "ORDER BY t.sha256, e.id DESC"
        )
        with self.engine.connect() as connection:
            found = connection.execute(statement, {"metric": metric, "shas": list(shas)})
            return {sha256: value for sha256, value in found}

    # -- promotions -------------------------------------------------------------------------------------------

    def champion(self, space_id: int) -> Promotion | None:
        """The last promotion of a space; None if no model was promoted."""
        return self._promotion("WHERE p.space_id = :about ORDER BY p.id DESC LIMIT 1", space_id)

    def champion_before(self, space_id: int) -> Promotion | None:
        """The promotion that a way back restores; None if there is none."""
        champion = self.champion(space_id)
        return champion and self._promotion("WHERE p.id = promotion_before(:about)", champion.id)

    def promote(
        self,
        space_id: int,
        training_run_id: int,
        evaluation_id: int | None,
        replaces: int | None,
        *,
        restores: int | None = None,
        reason: str | None = None,
        flow_run_id: str | None = None,
    ) -> Promotion:
        """Make a model the champion of its space.

        Args:
            space_id: id of the space.
            training_run_id: run that left the model.
            evaluation_id: evaluation that measured it and the champion; None on the way back.
            replaces: id of the promotion that was the last one until now; None if there is none.
            restores: id of the promotion to go back to.
            reason: why, if it is worse than the champion or was not compared with it.
            flow_run_id: id of the Prefect run.

        Raises:
            PromotionRefused: if the database refuses it; the message says why.
        """
        insert = text(
            "INSERT INTO promotion (space_id, training_run_id, evaluation_id, replaces, restores, reason, flow_run_id) "
            "VALUES (:space, :training_run, :evaluation, :replaces, :restores, :reason, :run) RETURNING id"
        )
        about = {
            "space": space_id,
            "training_run": training_run_id,
            "evaluation": evaluation_id,
            "replaces": replaces,
            "restores": restores,
            "reason": reason,
            "run": flow_run_id,
        }
        try:
            with self.engine.begin() as connection:
                number = connection.scalars(insert, about).one()
                made = connection.execute(text(_PROMOTION + "WHERE p.id = :about"), {"about": number}).one()
        except DBAPIError as error:
            why = first_line(error.orig)
            if "promotion refused: " not in why:
                raise
            raise PromotionRefused(why) from error
        return Promotion(**made._mapping)

    def _promotion(self, which: str, about: Any) -> Promotion | None:
        with self.engine.connect() as connection:
            row: Row[Any] | None = connection.execute(text(_PROMOTION + which), {"about": about}).first()
            return None if row is None else Promotion(**row._mapping)
