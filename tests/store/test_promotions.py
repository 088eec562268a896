"""Promise: a champion passed its gates and is no worse than the one before, also in SQL; figures stay as recorded."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from lvm.settings import Settings
from lvm.store import Figure, Gate, PromotionRefused, Store, open_store
from tests.store.toy import INVERTER, at_cosine, fill, gate, ingested, measured, register, sequence_set, start


@pytest.fixture
def verdict(database: Store, space: int) -> Gate:
    fill(database, space)
    return gate(database, space)


def trained(store: Store, verdict: Gate, sha256: str, finished: bool = True) -> int:
    """A run of its own that left a model of this digest."""
    run = start(store, sequence_set(store, verdict), verdict, seed=sha256)
    if finished:
        store.finish_training_run(run, {"history": [], "seconds": 1.0, "parameters": 1}, "gru", sha256)
    return run


def judged(store: Store, verdict: Gate, sha256: str, cosine: float = 0.9) -> bool:
    """The pipeline gate's verdict about predictions whose decoded texts lie at this cosine."""
    about = replace(measured(store, verdict.space_id, 1.0), gate="pipeline", sampled=None)
    back = replace(about.returned, unit=at_cosine(about.returned.unit, cosine))
    evidence = {"model": "gru", "checkpoint": sha256}
    return store.record_gate(replace(about, asked=about.returned, returned=back, evidence=evidence)).passed


def evaluated(store: Store, verdict: Gate, nll: dict[int, float], **changes: Any) -> int:
    """An evaluation with the text NLL of the models that these runs left."""
    figures = [Figure(f"gru{run}", "model", "text_nll", value, n=9, training_run_id=run) for run, value in nll.items()]
    assert verdict.inverter_id is not None
    about = {"corpus_revision": verdict.corpus_revision, "inverter_id": verdict.inverter_id, **changes}
    return store.record_evaluation(verdict.space_id, figures=figures, **about)


def model(store: Store, verdict: Gate, digit: str) -> int:
    """A finished run whose model passed the pipeline gate."""
    run = trained(store, verdict, digit * 64)
    assert judged(store, verdict, digit * 64)
    return run


def test_the_better_one_becomes_the_champion_and_the_way_back_leads_step_by_step(
    database: Store, verdict: Gate
) -> None:
    space, (a, b, c) = verdict.space_id, [model(database, verdict, digit) for digit in "abc"]
    evaluation = evaluated(database, verdict, {a: 4.5, b: 4.4, c: 4.6})
    assert database.champion(space) is None and database.champion_before(space) is None
    first = database.promote(space, a, evaluation, None)
    assert (first.version, first.value, first.champion_value) == ("gru@aaaaaaaaaaaa", 4.5, None)
    second = database.promote(space, b, evaluation, first.id)
    assert (second.value, second.champion_value, second.replaces) == (4.4, 4.5, first.id)
    with pytest.raises(PromotionRefused, match=r"text NLL is 4\.600 .* the champion has 4\.400"):
        database.promote(space, c, evaluation, second.id)
    assert database.champion(space) == second, "nothing was changed"
    third = database.promote(space, c, evaluation, second.id, reason="it writes better")
    assert third.reason == "it writes better"
    for expected in (second, first):
        before, now = database.champion_before(space), database.champion(space)
        assert before is not None and now is not None and before.sha256 == expected.sha256
        back = database.promote(space, before.training_run_id, None, now.id, restores=before.id)
        assert (back.training_run_id, back.value) == (expected.training_run_id, expected.value)
        assert database.champion(space) == back
    assert database.champion_before(space) is None
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT model, champion FROM promotions ORDER BY promotion_id")).all()
        assert [row.champion for row in rows] == [False] * 4 + [True]
        champions = text("SELECT sha256 FROM training_runs WHERE champion")
        assert connection.scalars(champions).all() == ["a" * 64]


def test_a_model_without_its_gates_is_refused_whatever_the_reason(database: Store, verdict: Gate) -> None:
    space = verdict.space_id
    running, unjudged, failed = (
        trained(database, verdict, "a" * 64, finished=False),
        trained(database, verdict, "b" * 64),
        trained(database, verdict, "c" * 64),
    )
    assert not judged(database, verdict, "c" * 64, cosine=0.5)
    evaluation = evaluated(database, verdict, {unjudged: 4.0, failed: 4.0})
    for run, why in ((running, "no finished run"), (unjudged, "pipeline gate"), (failed, "pipeline gate")):
        with pytest.raises(PromotionRefused, match=why):
            database.promote(space, run, evaluation, None, reason="I want it")
    good = model(database, verdict, "d")
    with pytest.raises(PromotionRefused, match="did not measure the model"):
        database.promote(space, good, evaluation, None, reason="I want it")
    elsewhere = evaluated(database, verdict, {good: 4.0}, measured_on="other.jsonl")
    with pytest.raises(PromotionRefused, match="held-out documents of the corpus as it is now"):
        database.promote(space, good, elsewhere, None)
    evaluation = evaluated(database, verdict, {good: 4.0})
    gate(database, space, 0.5)  # a later roundtrip gate
    with pytest.raises(PromotionRefused, match="no passing roundtrip gate"):
        database.promote(space, good, evaluation, None, reason="I want it")
    gate(database, space)
    with database.writer(space) as writer:
        writer.write_documents([ingested("later", 3, 77)])
    with pytest.raises(PromotionRefused, match="as it is now"):
        database.promote(space, good, evaluation, None, reason="I want it")
    assert database.champion(space) is None


def test_a_champion_that_was_not_measured_beside_it_needs_a_reason(database: Store, verdict: Gate) -> None:
    space, a, b = verdict.space_id, model(database, verdict, "a"), model(database, verdict, "b")
    first = database.promote(space, a, evaluated(database, verdict, {a: 4.0}), None)
    alone = evaluated(database, verdict, {b: 3.0})
    with pytest.raises(PromotionRefused, match="did not measure the champion"):
        database.promote(space, b, alone, first.id)
    assert database.promote(space, b, alone, first.id, reason="the other is too slow").champion_value is None


def test_of_two_promotions_at_once_one_wins(database: Store, verdict: Gate, settings: Settings) -> None:
    space, a, b = verdict.space_id, model(database, verdict, "a"), model(database, verdict, "b")
    evaluation, outcomes = evaluated(database, verdict, {a: 4.0, b: 4.0}), list[str]()
    both = threading.Barrier(2)

    def promote(run: int) -> None:
        with open_store(settings) as store:
            both.wait()
            try:
                outcomes.append(store.promote(space, run, evaluation, None).sha256[0])
            except PromotionRefused as error:
                assert "promoted meanwhile" in str(error) and "\n" not in str(error)
                outcomes.append("refused")

    threads = [threading.Thread(target=promote, args=(run,)) for run in (a, b)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    champion = database.champion(space)
    assert champion is not None and sorted(outcomes) == sorted(["refused", champion.sha256[0]])


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE promotion SET training_run_id = 2", "never change"),
        ("DELETE FROM promotion", "never change"),
        ("TRUNCATE promotion", "never change"),
        ("UPDATE evaluation_figure SET value = 0", "never change"),
        ("DELETE FROM evaluation_figure", "never change"),
        ("TRUNCATE evaluation CASCADE", "never change"),
        ("UPDATE evaluation SET measured_on = NULL", "never change"),
        ("INSERT INTO evaluation_figure SELECT 1, 'x', 'baseline', NULL, 'text_nll', 0", "comes after the evaluation"),
        # what the statement says about verdict, figures and user is not read
        (
            "INSERT INTO promotion (space_id, training_run_id, evaluation_id, gate_result_id, metric, value, replaces, "
            "promoted_by) VALUES (1, 2, 1, 1, 'cosine', 0, 1, 'nobody')",
            "the champion has 4.000",
        ),
        (
            "INSERT INTO promotion (space_id, training_run_id, restores, replaces) VALUES (1, 2, 1, 1)",
            "is not the promotion before",
        ),
    ],
)
def test_nobody_walks_around_it_in_sql(database: Store, verdict: Gate, statement: str, why: str) -> None:
    a, b = model(database, verdict, "a"), model(database, verdict, "b")
    evaluation = evaluated(database, verdict, {a: 4.0, b: 5.0})
    first = database.promote(verdict.space_id, a, evaluation, None)
    assert (verdict.space_id, a, b, evaluation, first.id) == (1, 1, 2, 1, 1), "the statements name them"
    with pytest.raises(DBAPIError, match=why), database.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # triggers fire all the same
        connection.exec_driver_sql(statement)
    assert database.champion(verdict.space_id) == first


def test_figures_of_no_finished_run_are_refused_and_nothing_is_stored(database: Store, verdict: Gate) -> None:
    running = trained(database, verdict, "a" * 64, finished=False)
    with pytest.raises(DBAPIError, match="no model of a finished run"):
        evaluated(database, verdict, {running: 4.0})
    assert database.contents()["evaluation"] == 0


def test_evaluations_are_rows_of_one_view_and_past_ones_are_found(database: Store, verdict: Gate) -> None:
    a = model(database, verdict, "a")
    space, inverter = verdict.space_id, verdict.inverter_id
    assert inverter is not None
    figures = [
        Figure("gru", "model", "text_nll", 4.5, 4.4, 4.6, 9, a),
        Figure("gru", "model", "cosine", 0.5, training_run_id=a),
        Figure("ridge", "baseline", "cosine", 0.4, n=8),
    ]
    revision = verdict.corpus_revision
    for number in range(3):
        database.record_evaluation(space, inverter, revision, figures, flow_run_id=f"run {number}", seed=number)
    database.record_evaluation(space, inverter, "other", figures, measured_on="other.jsonl")
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM evaluations WHERE metric = 'text_nll' ORDER BY created_at")).all()
    assert [(row.space, row.model, row.sha256, row.training_run_id) for row in rows] == [
        ("toy", "gru", "a" * 64, a)
    ] * 4
    assert [row.measured_on for row in rows] == [None] * 3 + ["other.jsonl"]
    first = rows[0]
    assert (first.value, first.low, first.high, first.n, first.kind) == (4.5, 4.4, 4.6, 9, "model")
    assert (first.flow_run_id, first.corpus_revision, first.inverter) == ("run 0", revision, INVERTER)
    past = database.past_figures(space, ["cosine"], last=2)
    assert [(each.evaluation_id, each.name, each.value) for each in past] == [(2, "gru", 0.5), (3, "gru", 0.5)]
    assert len(database.past_figures(space, ["cosine"], measured_on="other.jsonl")) == 1
    assert database.last_evaluation(space, inverter, revision, "a" * 64) == 3
    assert database.last_evaluation(space, inverter, "other", "a" * 64) is None, "it is about another corpus"
    assert database.figures_of("text_nll", ["a" * 64, "b" * 64]) == {"a" * 64: 4.5}


def test_runs_say_which_is_the_latest_and_digits_find_a_version(database: Store, verdict: Gate) -> None:
    for sha256 in ("ab" + "0" * 62, "ac" + "0" * 62):
        trained(database, verdict, sha256)
    trained(database, verdict, "ad" + "0" * 62, finished=False)
    space = verdict.space_id
    with database.engine.connect() as connection:
        latest = text("SELECT training_run_id FROM training_runs WHERE latest")
        assert connection.scalars(latest).all() == [2]
    assert [run.id for run in database.finished_runs(space, "gru")] == [1, 2]
    assert [run.id for run in database.finished_runs(space, "gru", "ac")] == [2]
    assert [run.version for run in database.finished_runs(space, "gru", "a")] == [
        "gru@ab0000000000",
        "gru@ac0000000000",
    ]
    assert database.finished_runs(space, "lstm") == database.finished_runs(register(database, "other")) == []


def test_a_worker_promotes_and_a_reader_does_not(database: Store, verdict: Gate, database_url: str) -> None:
    a = model(database, verdict, "a")
    insert = "INSERT INTO lvm.promotion (space_id, training_run_id, evaluation_id, replaces) VALUES (1, 1, 1, NULL)"
    evaluated(database, verdict, {a: 4.0})
    for role, may in (("lvm_reader", False), ("lvm_worker", True)):
        name = f"{role}_{make_url(database_url).database}"
        with database.engine.begin() as connection:
            connection.execute(text(f"CREATE USER {name} IN ROLE {role} PASSWORD 'x'"))
        user = create_engine(make_url(database_url).set(username=name, password="x"))
        try:
            with user.connect() as connection:
                assert connection.scalar(text("SELECT count(*) FROM lvm.evaluations")) == 1
                assert connection.scalar(text("SELECT count(*) FROM lvm.promotions")) == 0
            if may:
                with user.begin() as connection:
                    connection.execute(text(insert))
                with user.connect() as connection:
                    assert connection.scalar(text("SELECT promoted_by FROM lvm.promotions")) == name
            else:
                with pytest.raises(DBAPIError, match="permission denied"), user.begin() as connection:
                    connection.execute(text(insert))
        finally:
            user.dispose()
            with database.engine.begin() as connection:
                connection.execute(text(f"DROP USER {name}"))


def test_everything_new_is_explained(database: Store) -> None:
    columns = text(
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = 'lvm'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped "
        "AND c.relname IN ('evaluation', 'evaluation_figure', 'promotion', 'evaluations', 'promotions') "
        "AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)"
    )
    with database.engine.connect() as connection:
        assert connection.scalars(columns).all() == []
