from __future__ import annotations

import numpy as np
import pytest

from lvm import gates
from lvm.encoding.vectors import SpaceMismatch, Vectors
from lvm.evaluation.decoding import (
    SAMPLE_WINDOWS,
    UnusablePredictions,
    choose_windows,
    decode_predictions,
    examples,
)


def test_every_set_is_decoded_and_compared_on_the_same_windows(fake_space, sentences, windows) -> None:
    space = fake_space(sentences)
    done: list[int] = []
    oracle = Vectors("f" * 64, windows.target, np.ones(40, dtype=np.float32))
    found = decode_predictions(space, windows, {"oracle": oracle}, seed=9, progress=done.append)
    assert [(each.name, each.kind) for each in found] == [
        ("oracle", "model"),
        ("copy_last", "baseline"),
        ("context_mean", "baseline"),
        ("truth", "ceiling"),
    ]
    assert sum(done) == 4 * 40 and set(space.seeds) == {9}
    by_name = {each.name: each for each in found}
    assert by_name["truth"].texts == windows.target_texts == by_name["oracle"].texts
    assert by_name["truth"].to_truth.mean == pytest.approx(1.0, abs=1e-5)
    assert by_name["truth"].overlap.mean == 1.0
    assert abs(by_name["truth"].to_random.mean) < 0.1 and by_name["truth"].to_random.n == 40
    assert by_name["copy_last"].texts == [context[-1] for context in windows.context_texts]
    expected = (windows.context[:, -1] * windows.target).sum(axis=1)
    assert by_name["copy_last"].to_truth.mean == pytest.approx(float(expected.mean()), abs=1e-5)
    assert by_name["copy_last"].to_truth.median == pytest.approx(float(np.median(expected)), abs=1e-5)
    # The mean of four sentences is decoded to one of them, about half as near as the sentence itself.
    assert 0.4 < by_name["context_mean"].pipeline.mean < 0.8
    assert by_name["context_mean"].norm_error == 0.0
    assert by_name["oracle"].verdict.passed


def test_collapsed_predictions_are_seen_as_one_and_outputs_that_are_not_unit_fail(
    fake_space, sentences, windows
) -> None:
    same = np.repeat(windows.target[:1], 40, axis=0)
    collapsed = Vectors("f" * 64, same, np.ones(40, dtype=np.float32))
    long = Vectors("f" * 64, windows.target, np.full(40, 1.01, dtype=np.float32))
    found = decode_predictions(fake_space(sentences), windows, {"collapsed": collapsed, "long": long})
    assert found[0].mean_pairwise_cosine == pytest.approx(1.0, abs=1e-5)
    assert found[0].to_truth.mean < 0.2
    assert found[1].norm_error == pytest.approx(0.01, abs=1e-6)
    assert not found[1].verdict.passed and "unit" in found[1].verdict.message


def test_predictions_the_inverter_cannot_say_fail_the_pipeline_gate(fake_space, sentences, windows) -> None:
    noise = np.random.default_rng(0).normal(size=windows.target.shape).astype(np.float32)
    unit = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    lost = Vectors("f" * 64, unit, np.ones(40, dtype=np.float32))
    (lost_found, *_) = decode_predictions(fake_space(sentences), windows, {"lost": lost})
    assert lost_found.pipeline.mean < gates.PIPELINE_MIN_COSINE
    assert not lost_found.verdict.passed


def test_examples_show_the_same_window_to_everybody(fake_space, sentences, windows) -> None:
    found = decode_predictions(fake_space(sentences), windows, {})
    shown = examples(windows, found, 5)
    assert len(shown) == 5
    assert shown[2].truth == shown[2].decoded["truth"] == sentences[14]
    assert shown[2].context == sentences[11:14]
    assert shown[2].decoded["copy_last"] == sentences[13]
    assert set(shown[2].cosines) == {"copy_last", "context_mean", "truth"}
    assert len(examples(windows, found, 99)) == 40


def test_one_window_has_no_other_to_compare_with(fake_space, sentences, windows) -> None:
    one = windows.first(1)
    (*_, truth) = decode_predictions(fake_space(sentences), one, {})
    assert truth.to_random.n == 0 and np.isnan(truth.to_random.mean)
    assert truth.to_truth.n == 1


def test_vectors_of_another_space_and_of_other_windows_are_refused(fake_space, sentences, windows) -> None:
    space = fake_space(sentences)
    with pytest.raises(SpaceMismatch, match="gru: vectors of space aaaaaaaaaaaaaaaa cannot be decoded by 'fake'"):
        decode_predictions(space, windows, {"gru": Vectors("a" * 64, windows.target, np.ones(40, np.float32))})
    with pytest.raises(UnusablePredictions, match="gru: 39 predictions for 40 windows"):
        decode_predictions(space, windows, {"gru": Vectors("f" * 64, windows.target[1:], np.ones(39, np.float32))})
    empty = windows.first(0)
    with pytest.raises(UnusablePredictions, match="no held-out window"):
        decode_predictions(space, empty, {})


def test_windows_are_spread_over_documents() -> None:
    documents = [0] * 5000 + [1] * 30 + [2] * 2
    chosen = choose_windows(documents, seed=4)
    assert len(chosen) == SAMPLE_WINDOWS == len(set(chosen.tolist()))
    assert [sum(documents[i] == d for i in chosen) for d in (0, 1, 2)] == [64, 30, 2]
    assert len(choose_windows(documents[-3:])) == 3


def test_how_far_decoding_leads_from_the_truth(fake_space, sentences, windows) -> None:
    space = fake_space(sentences)
    oracle = Vectors("f" * 64, windows.target, np.ones(40, dtype=np.float32))
    by_name = {each.name: each for each in decode_predictions(space, windows, {"oracle": oracle})}
    assert by_name["oracle"].off_manifold.mean == pytest.approx(0.0, abs=1e-3)
    assert by_name["context_mean"].off_manifold.mean != 0.0, "no sentence has the vector of a mean"
    assert by_name["truth"].distinct_2 > 0


def test_the_first_windows(windows) -> None:
    few = windows.first(3)
    assert (
        len(few) == 3
        and few.target_texts == windows.target_texts[:3]
        and few.context.shape[0] == len(few.documents) == 3
    )
    assert len(windows.first(99)) == 40
