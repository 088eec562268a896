from __future__ import annotations

import json

import numpy as np
import pytest

from lvm import gates
from lvm.encoding.vectors import SpaceMismatch, Vectors
from lvm.evaluation.alignment import mean_pairwise_cosine
from lvm.evaluation.choosing import NothingToMeasure, known_texts
from lvm.evaluation.intervals import interval
from lvm.evaluation.roundtrip import RoundtripFigures, identification_ranks, measure
from lvm.spaces import Decoded


def drop_last_word(text: str) -> str:
    return text.rsplit(" ", 1)[0]


def test_a_perfect_inverter_passes_with_every_figure_at_its_best(fake_space, sentences) -> None:
    found = measure(fake_space(sentences), sentences, range(300))
    assert found.mean == pytest.approx(1.0, abs=1e-5)
    assert found.interval == pytest.approx((1.0, 1.0), abs=1e-5)
    assert (found.identify_r1, found.overlap, found.n, found.pool) == (1.0, 1.0, 300, 300)
    assert abs(found.chance) < 0.05
    assert found.verdict.passed


def test_an_imperfect_inverter_is_measured_as_numpy_would(fake_space, sentences) -> None:
    space = fake_space(sentences, slip=drop_last_word)
    found = measure(space, sentences, range(300), seed=3)
    original, returned = space.encode(sentences).unit, space.encode(list(map(drop_last_word, sentences))).unit
    expected = (original * returned).sum(axis=1)
    np.testing.assert_allclose(found.cosines, expected, atol=2e-6)
    assert found.mean == pytest.approx(float(expected.mean()), abs=1e-5)
    assert found.p10 == pytest.approx(float(np.percentile(expected, 10)), abs=1e-5)
    assert found.p10 < found.median
    assert found.interval[0] < found.mean < found.interval[1]
    width = 2 * 1.96 * expected.std() / np.sqrt(300)
    assert found.interval[1] - found.interval[0] == pytest.approx(width, rel=0.15)
    assert found.overlap == pytest.approx(8 / 9)
    pairs = original @ original.T
    assert found.chance == pytest.approx((pairs.sum() - np.trace(pairs)) / (300 * 299), abs=1e-5)
    assert space.seeds == [3]


def test_a_crowded_space_with_a_high_cosine_and_garbage_text_is_blocked(fake_space, sentences) -> None:
    """The trap of the gate: all vectors alike, so any text roundtrips at a high cosine."""
    space = fake_space(sentences, slip=lambda text: "the same answer always", crowd=2.0)
    found = measure(space, sentences, range(300))
    assert found.mean > gates.ROUNDTRIP_MIN_COSINE
    assert found.chance > 0.6
    assert found.identify_r1 < 0.1
    assert not found.verdict.passed
    assert "identification" in found.verdict.message
    assert "mean roundtrip cosine" not in found.verdict.message


def test_a_space_where_every_vector_is_the_same_gets_no_credit_for_ties(fake_space, sentences) -> None:
    found = measure(fake_space(sentences, crowd=1e9), sentences, range(300))
    assert found.mean == pytest.approx(1.0)
    assert found.identify_r1 == 0.0
    assert not found.verdict.passed


def test_an_inverter_of_another_space_is_blocked_by_both_criteria(fake_space, sentences) -> None:
    space = fake_space(sentences, slip=lambda text: " ".join(f"z{w}" for w in text.split()))
    message = measure(space, sentences, range(300)).verdict.message
    assert "mean roundtrip cosine" in message and "identification" in message


def test_too_few_chunks_cannot_pass_and_one_is_no_crash(fake_space, sentences) -> None:
    few = measure(fake_space(sentences), sentences[: gates.GATE_MIN_SAMPLES - 1], range(19))
    assert few.mean == pytest.approx(1.0, abs=1e-5) and not few.verdict.passed
    one = measure(fake_space(sentences), sentences[:1], [42])
    assert np.isnan(one.chance) and one.evidence()["chance"] is None
    assert one.evidence()["interval"] == [None, None]
    of_the_database = {"inverter": "i" * 64, "drawn": 1, "seen": []}
    stored = json.loads(json.dumps(one.evidence(), allow_nan=False)) | of_the_database
    read = RoundtripFigures.from_evidence(stored)
    assert np.isnan(read.interval).all() and read.n == 1
    with pytest.raises(NothingToMeasure):
        measure(fake_space(sentences), [], [])


def test_the_summary_can_be_computed_again_from_the_evidence(fake_space, sentences) -> None:
    ids = [1000 + i for i in range(300)]
    found = measure(fake_space(sentences, slip=drop_last_word), sentences, ids, seed=5)
    evidence = json.loads(json.dumps(found.evidence(), allow_nan=False))
    assert evidence["chunk_ids"] == ids
    assert evidence["mean"] == pytest.approx(np.mean(evidence["cosines"]), abs=1e-12)
    assert evidence["identify_r1"] == np.mean(np.array(evidence["ranks"]) == 1)
    assert evidence["n"] == len(evidence["cosines"]) == len(evidence["ranks"]) == 300
    assert evidence["space"] == "f" * 64
    assert min(evidence["ranks"]) >= 1 and max(evidence["ranks"]) <= evidence["pool"]


def test_documents_are_drawn_and_not_their_chunks(fake_space, sentences) -> None:
    """The last five documents of thirty lose words; of one of them, no chunk counts."""
    documents, known = np.repeat(np.arange(30), 10), np.arange(300) >= 290
    bad = set(sentences[250:])
    space = fake_space(sentences, slip=lambda text: drop_last_word(text) if text in bad else text)
    found = measure(space, sentences, range(300), documents=documents.tolist(), was_trained_on=known, seed=2)
    assert found.interval == interval(found.cosines, documents[:290], seed=2)
    low, high = measure(space, sentences, range(300), was_trained_on=known, seed=2).interval
    assert found.interval[0] < low < high < found.interval[1]


def test_the_same_seed_measures_the_same_and_another_resamples(fake_space, sentences) -> None:
    noisy = fake_space(sentences, slip=lambda text: text.split()[0])
    first, again, other = (measure(noisy, sentences, range(300), seed=s).evidence() for s in (1, 1, 2))
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert first["interval"] != other["interval"] and first["ranks"] == other["ranks"]


def test_texts_the_inverter_knows_are_decoded_and_left_out(fake_space, sentences) -> None:
    space = fake_space(sentences, trained_texts=frozenset(sentences[:3]))
    seen = known_texts(space, sentences[:8])
    assert seen.tolist() == [True] * 3 + [False] * 5
    found = measure(space, sentences[:8], range(8), was_trained_on=seen)
    assert (found.n, found.pool, len(found.returned)) == (5, 8, 8)
    assert found.chunk_ids.tolist() == [3, 4, 5, 6, 7]
    with pytest.raises(NothingToMeasure, match="trained on every chunk"):
        known_texts(space, sentences[:3])
    with pytest.raises(NothingToMeasure):
        known_texts(space, [])


def test_examples_are_best_median_and_worst_without_repeats(fake_space, sentences) -> None:
    space = fake_space(sentences, slip=drop_last_word)
    found = measure(space, sentences, range(300))
    kinds = [example.kind for example in found.examples]
    assert kinds == ["best"] * 3 + ["median"] * 3 + ["worst"] * 3
    assert found.examples[0].cosine == found.cosines.max() and found.examples[-1].cosine == found.cosines.min()
    assert abs(found.examples[4].cosine - found.median) < 0.01
    for example in found.examples:
        assert example.text == sentences[example.chunk_id] and example.decoded == drop_last_word(example.text)
    for n in (1, 2, 4, 7):
        ids = [example.chunk_id for example in measure(space, sentences[:n], range(n)).examples]
        assert len(ids) == len(set(ids)) == n


def test_stored_vectors_must_be_what_the_space_makes_of_their_texts(fake_space, sentences) -> None:
    space = fake_space(sentences)
    stored = space.encode(sentences)
    assert measure(space, sentences, range(300), stored=stored).verdict.passed
    swapped = Vectors(stored.fingerprint, stored.unit[::-1].copy(), stored.norms)
    with pytest.raises(SpaceMismatch, match="300 of 300 stored vectors are not what space 'fake' makes"):
        measure(space, sentences, range(300), stored=swapped)
    with pytest.raises(SpaceMismatch, match=r"aaaaaaaaaaaa.*ffffffffffff"):
        measure(space, sentences, range(300), stored=Vectors("a" * 64, stored.unit, stored.norms))


def test_identification_ranks_count_nearer_originals() -> None:
    originals = np.eye(4, dtype=np.float32)
    returned = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 0.6, 0.8]], dtype=np.float32)
    ranks = identification_ranks(returned, originals)
    assert ranks.tolist() == [1, 2, 4, 1]


def test_decoding_ends_where_the_verdict_is_certain(fake_space, sentences) -> None:
    space = fake_space(sentences, slip=drop_last_word)
    whole = measure(space, sentences, range(300))
    found = measure(space, sentences, range(300), looks=(200, 250))
    assert (found.n, found.pool, len(found.returned)) == (200, 300, 200)
    np.testing.assert_array_equal(found.cosines, whole.cosines[:200])
    np.testing.assert_array_equal(found.ranks, whole.ranks[:200])
    assert found.chance == whole.chance and found.mean == pytest.approx(whole.cosines[:200].mean())
    assert measure(space, sentences[:200], range(200), looks=(200, 250)).n == 200
    none = measure(fake_space(sentences, slip=lambda text: "nothing of it"), sentences, range(300), looks=(200,))
    assert none.n == 200 and not none.verdict.passed


def test_decoding_goes_on_while_the_verdict_is_open(fake_space, sentences) -> None:
    """Thirty of the first 200 texts come back as another: identification of 0.85 may be 0.90."""
    bad = set(sentences[:200:7])
    space = fake_space(sentences, slip=lambda text: "nothing of it" if text in bad else text)
    calls: list[int] = []

    def decode(vectors: Vectors) -> Decoded:
        calls.append(len(vectors))
        return space.decode(vectors)

    found = measure(space, sentences, range(300), looks=(200, 250), decode=decode)
    assert calls == [200, 50, 50] and found.n == 300
    known = np.arange(300) < 190  # too few of the first 200 are new
    calls.clear()
    perfect = measure(fake_space(sentences), sentences, range(300), looks=(200,), was_trained_on=known, decode=None)
    assert (perfect.n, len(perfect.returned)) == (110, 300)


def test_figures_are_of_the_stored_vectors(fake_space, sentences) -> None:
    space = fake_space(sentences)
    stored = space.encode(sentences)
    turned = stored.unit + 0.02 * np.roll(stored.unit, 1, axis=0)
    near = Vectors(stored.fingerprint, turned / np.linalg.norm(turned, axis=1, keepdims=True), stored.norms)
    found = measure(space, sentences, range(300), stored=near)
    np.testing.assert_allclose(found.cosines, np.einsum("nd,nd->n", near.unit, stored.unit), atol=2e-6)


def test_evidence_of_before_is_read(fake_space, sentences) -> None:
    evidence = measure(fake_space(sentences), sentences, range(300)).evidence()
    of_the_database = {"inverter": "i" * 64, "drawn": 300, "seen": []}
    old = RoundtripFigures.from_evidence(evidence | of_the_database)
    assert (old.measured, old.stopped, old.extent) == (300, None, "all 300 drawn chunks were measured")
    stopped = {"drawn": 500, "measured": 200, "stopped": "certain after 200 of 500: because"}
    new = RoundtripFigures.from_evidence(evidence | of_the_database | stopped)
    assert (new.measured, new.extent) == (200, "certain after 200 of 500: because")
    seen = RoundtripFigures.from_evidence(evidence | of_the_database | {"seen": [4, 7]})
    assert seen.extent.endswith("; measured chunks that the inverter was trained on do not count (2)")


def test_crowding_of_fewer_than_two_vectors_does_not_exist() -> None:
    assert np.isnan(mean_pairwise_cosine(np.ones((1, 3), dtype=np.float32)))
    assert mean_pairwise_cosine(np.array([[1, 0], [0, 1], [0, -1]], dtype=np.float32)) == pytest.approx(-1 / 3)


def test_an_inverter_of_another_encoder_is_blocked_however_well_it_decodes(fake_space, sentences) -> None:
    found = measure(fake_space(sentences, inverter_encoder="e" * 64), sentences, range(300))
    assert found.mean == pytest.approx(1.0, abs=1e-5)
    assert not found.verdict.passed and "trained for this encoder" in found.verdict.message
