"""``lvm check``: wrong paths are named by their numbers alone, and no text on the right path is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm import gates
from lvm.encoding.encoder import TextEncoder
from lvm.evaluation.baselines import context_mean, recency_mean
from lvm.files import CorruptedFile
from lvm.inversion.inverter import PrefixInverter
from lvm.settings import Settings
from lvm.spaces import Space, Vectors, open_space, statistics
from lvm.spaces.check import ForeignVectors, check, demand
from lvm.spaces.registry import open_statistics
from lvm.spaces.statistics import FILE, Statistics
from tests.spaces.fixtures import SHIPPED, Variant

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shipped() -> Statistics:
    return Statistics.load(SHIPPED / FILE)


def test_the_shipped_statistics_are_of_the_shipped_encoder(minilm: Space, shipped: Statistics) -> None:
    assert shipped.fingerprint == minilm.fingerprint == minilm.inverter_encoder
    assert (shipped.dim, shipped.chunks) == (minilm.dim, statistics.CHUNKS)
    assert shipped.own_distance == pytest.approx(0.83, abs=0.02)
    assert shipped.any_distance > 4, "so a rotation can be told"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pooling": "cls"}, "pooling=cls"),
        ({"pooling": "max"}, "pooling=max"),
        ({"pooling": "pooler"}, "pooling=pooler"),
        ({"layer": 5}, "layer=5"),
        ({"layer": 3}, "layer=3"),
        ({"projection": "rotation.safetensors"}, "rotation"),
        ({"normalize": False}, "not normalised"),
    ],
    ids=str,
)
def test_wrong_paths_are_named(
    changes: dict[str, Any], said: str, variant: Variant, held_out: list[str], shipped: Statistics
) -> None:
    vectors = variant(**changes).encode(held_out)
    assert len(vectors) == 200
    found = check(vectors, shipped, "minilm")
    assert not found.passed and said in found.message and "\n" not in found.message
    with pytest.raises(ForeignVectors, match=f"not of 'minilm' \\({shipped.fingerprint}\\)"):
        demand(vectors, shipped, "minilm")
    random = np.random.default_rng(0)
    for size in (1, 5, 20):
        for _ in range(50):
            assert not check(vectors[random.choice(200, size, replace=False).tolist()], shipped, "minilm").passed


def texts_of_other_kinds() -> dict[str, list[str]]:
    random = np.random.default_rng(0)
    pages = " ".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    words = sorted(set(re.findall(r"[A-Za-z]{3,}", pages)))
    code = {line.strip() for path in sorted((ROOT / "lvm").rglob("*.py")) for line in path.read_text().splitlines()}
    return {
        "documentation": [part.strip() for part in re.split(r"[.:|\n]", pages) if len(part.split()) > 5][:400],
        "words": words[:400],
        "code": [line for line in sorted(code) if len(line) > 20][::10][:400],
        "numbers": [" ".join(map(str, random.integers(0, 10**5, 6))) for _ in range(200)],
        "letters": ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz  "), 60)) for _ in range(200)],
        "one text again and again": ["The harbour froze before the last ship came in."] * 200,
    }


@pytest.mark.parametrize("kind", texts_of_other_kinds())
def test_no_text_on_the_right_path_is_named(kind: str, minilm: Space, shipped: Statistics) -> None:
    vectors = minilm.encode(texts_of_other_kinds()[kind])
    found = check(vectors, shipped, "minilm")
    assert found.passed and "can be of" in found.message, found.message
    assert len(found.foreign) <= 0.02 * len(vectors)
    random = np.random.default_rng(0)
    for size in (5, 20, 200):
        refused = [
            not check(vectors[random.choice(len(vectors), size).tolist()], shipped, "minilm").passed for _ in range(50)
        ]
        assert np.mean(refused) <= 0.02


@pytest.mark.parametrize("predictor", [context_mean, recency_mean])
def test_predictions_between_the_spaces_vectors_are_not_named(
    predictor: Any, minilm: Space, held_out: list[str], shipped: Statistics
) -> None:
    raw, _ = predictor(minilm.encode(held_out).unit.reshape(40, 5, -1))
    assert check(Vectors.from_raw(minilm.fingerprint, raw), shipped, "minilm").passed


def changed(unit: np.ndarray, how: str) -> np.ndarray:
    random = np.random.default_rng(0)
    centred = unit - unit.mean(axis=0)
    if how == "permuted":
        return unit[:, random.permutation(unit.shape[1])]
    if how == "signs flipped":
        return unit * random.choice([-1.0, 1.0], unit.shape[1])
    if how == "moved by one":
        return np.roll(unit, 1, axis=1)
    if how == "random":
        return random.normal(size=unit.shape)
    if how == "half zero":
        return unit * (np.arange(unit.shape[1]) < unit.shape[1] // 2)
    return {"negated": -unit, "centred": centred, "signs only": np.sign(unit), "8 bits": np.round(unit * 500)}[how]


@pytest.mark.parametrize("how", ["permuted", "signs flipped", "moved by one", "random", "half zero"])
def test_harder_wrong_paths_are_named(how: str, minilm: Space, held_out: list[str], shipped: Statistics) -> None:
    raw = changed(minilm.encode(held_out).unit, how)
    vectors = Vectors.from_raw("", (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32))
    assert not check(vectors, shipped, "minilm").passed
    assert not check(vectors[:1], shipped, "minilm").passed


@pytest.mark.parametrize("how", ["negated", "centred", "signs only", "8 bits"])
def test_what_docs_spaces_says_cannot_be_told(
    how: str, minilm: Space, held_out: list[str], shipped: Statistics
) -> None:
    raw = changed(minilm.encode(held_out).unit, how)
    vectors = Vectors.from_raw("", (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32))
    assert check(vectors, shipped, "minilm").passed


def test_a_share_of_another_path_is_named(
    minilm: Space, variant: Variant, held_out: list[str], shipped: Statistics
) -> None:
    right, wrong = minilm.encode(held_out), variant(pooling="cls").encode(held_out)

    def mixed(count: int) -> Vectors:
        unit = np.concatenate([right.unit[count:], wrong.unit[:count]])
        return Vectors("", unit, np.ones(200, np.float32))

    few = check(mixed(10), shipped, "minilm")
    assert few.passed and few.foreign == tuple(range(190, 200)) and "10 of them lie beyond" in few.message
    many = check(mixed(60), shipped, "minilm")
    assert not many.passed and "60 of 200" in many.message and "pooling=cls" in many.message


def test_lengths(minilm: Space, held_out: list[str], shipped: Statistics) -> None:
    right = minilm.encode(held_out)
    for length, passes in ((1.0, True), (1.05, True), (0.5, False), (5.5, False)):
        scaled = Vectors.from_raw("", right.unit * np.float32(length))
        assert check(scaled, shipped, "minilm").passed == passes, length
    longer = replace(shipped, norms=np.array([2.0, 2.5, 3.0], np.float32))  # of an encoder that does not normalise
    for length, passes in ((2.4, True), (1.0, True), (1.5, False), (5.0, False)):
        scaled = Vectors.from_raw("", right.unit * np.float32(length))
        assert check(scaled, longer, "other").passed == passes, length


def test_another_dimension_is_a_clear_answer(shipped: Statistics) -> None:
    wide = Vectors.from_raw("", np.random.default_rng(0).normal(size=(20, 768)).astype(np.float32))
    with pytest.raises(ForeignVectors, match="768 dimensions and 'minilm' has 384"):
        demand(wide, shipped, "minilm")


def test_a_space_too_even_to_tell_says_so(shipped: Statistics) -> None:
    even = replace(shipped, mean=shipped.mean * 0, covariance=np.eye(384, dtype=np.float32) / 384)
    anything = Vectors.from_raw("", np.random.default_rng(0).normal(size=(20, 384)).astype(np.float32))
    unit = Vectors("", anything.unit, np.ones(20, np.float32))
    found = check(unit, even, "even")
    assert found.passed and "could not be told" in found.message


def test_statistics_are_measured_once_where_the_inverter_has_none(
    minilm: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, part in enumerate((ROOT / "docs").glob("*.md")):
        (folder / f"{number}.txt").write_text(part.read_text())
    monkeypatch.setattr(statistics, "CORPUS", str(folder))
    monkeypatch.setattr(statistics, "CHUNKS", 600)
    monkeypatch.setattr(statistics, "PATH_CHUNKS", 20)
    bare = tmp_path / "inverter"
    bare.mkdir()
    PrefixInverter.load(SHIPPED).save(bare)
    settings = Settings(home=tmp_path / "home", inverter=bare)
    space = open_space("minilm", settings)
    found = open_statistics(space, settings)
    kept = tmp_path / "home" / "statistics" / f"{space.fingerprint}.safetensors"
    assert kept.is_file() and found.fingerprint == space.fingerprint and found.chunks <= 600
    assert "pooling=cls" in found.path_names and "layer=5" in found.path_names
    monkeypatch.setattr(statistics.TextEncoder, "encode", None)  # nothing is encoded again
    again = open_statistics(space, settings)
    np.testing.assert_array_equal(again.covariance, found.covariance)
    kept.write_bytes(kept.read_bytes()[:-5])
    with pytest.raises(CorruptedFile, match="cannot be used"):
        open_statistics(space, settings)


def test_statistics_of_another_encoder_are_not_used(
    minilm: Space, tmp_path: Path, shipped: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inverter may stand behind another encoder than it was trained for; its statistics may not."""
    settings = Settings(home=tmp_path, inverter=None)
    encoder = TextEncoder(minilm.encoder.folder, replace(minilm.encoder.recipe, pooling="cls"))
    crossed = Space("minilm", encoder, lambda: minilm.inverter)
    own = replace(shipped, fingerprint=encoder.fingerprint)
    own.save(tmp_path / "statistics" / f"{encoder.fingerprint}.safetensors")
    assert open_statistics(crossed, settings).fingerprint == encoder.fingerprint
    assert open_statistics(minilm, settings).fingerprint == minilm.fingerprint


def test_the_threshold_lies_between(shipped: Statistics) -> None:
    assert shipped.own_distance < 0.5 * gates.FOREIGN_DISTANCE < gates.FOREIGN_DISTANCE < shipped.any_distance
