"""Wrong calls from Python are named errors, in one line, and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm
from lvm.calls import WrongType
from lvm.corpus.chunker import NotUnicode
from lvm.corpus.sources import open_source
from lvm.encoding.vectors import InvalidVectors
from lvm.errors import LvmError
from lvm.pipeline.errors import NoModel
from lvm.pipeline.ingest import NotDocuments
from lvm.settings import InvalidSetting, Settings
from lvm.spaces import Space
from lvm.spaces.space import NotTexts
from lvm.store import Store
from tests.pipeline.small import shrink, small_corpus

Call = Callable[[Any], object]


@pytest.fixture
def work(settings: Settings, database: Store, minilm: Space) -> Iterator[lvm.Workspace]:
    with lvm.open_workspace(minilm, settings) as opened:
        yield opened


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (
            lambda work: lvm.ingest("sotu", work),
            WrongType,
            "^work of ingest is of type str, not a Workspace$",
        ),
        (lambda work: lvm.validate(None), WrongType, "work of validate is of type NoneType"),
        (lambda work: lvm.write("gru", work, "x"), WrongType, "work of write is .* not a Workspace or a Space$"),
        (lambda work: lvm.predict_next(work.settings, "gru", ["x"]), WrongType, "is of type Settings"),
        (lambda work: lvm.ingest(work.space), WrongType, "is of type Space, not a Workspace$"),
        (
            lambda work: lvm.ingest(work, "sotu", limit="3"),
            WrongType,
            "is of type str, not a whole number or None$",
        ),
        (lambda work: lvm.extract(work, context="5"), WrongType, "context of extract is of type str"),
        (lambda work: lvm.train(work, None, ["gru"]), WrongType, "sequences of train is of type NoneType"),
        (lambda work: lvm.promote(work, 3), WrongType, "not a TrainedModel, a string or None$"),
        (lambda work: lvm.write(work, None, "x", steps=1.5), WrongType, "steps of write is of type float"),
        (
            lambda work: lvm.predict_next(work, None, ["x"], temperature="hot"),
            WrongType,
            "is of type str, not a number$",
        ),
        (lambda work: work.search("x", k=None), WrongType, "k of search is of type NoneType"),
        (lambda work: lvm.ingest(work, ["a text", "another"]), NotDocuments, "item 1 is of type str, not a document"),
        (lambda work: lvm.ingest(work, np.zeros(3)), NotDocuments, "item 1 is of type float64"),
        (lambda work: lvm.ingest(work, None), NotDocuments, "NoneType is no source"),
        (lambda work: lvm.Settings(hom="trial"), InvalidSetting, "no setting 'hom'; did you mean home"),
    ],
)
def test_what_is_in_the_wrong_place_is_named(call: Call, error: type[LvmError], said: str, work: lvm.Workspace) -> None:
    with pytest.raises(error, match=said) as raised:
        call(work)
    assert "\n" not in str(raised.value)
    assert work.counts()["documents"] == 0


def test_numbers_of_numpy_are_numbers(work: lvm.Workspace, minilm: Space) -> None:
    assert list(work.search("x", k=np.int64(3), skip=np.int64(1))) == []  # type: ignore[arg-type]
    found = lvm.predict_next(
        minilm, None, ["We met."], samples=np.int64(2), seed=np.int64(2), temperature=np.float32(1)
    )  # type: ignore[arg-type]
    assert found.text == lvm.predict_next(minilm, None, ["We met."], samples=2, seed=2, temperature=1).text


@pytest.mark.parametrize(
    "call",
    [
        lambda: lvm.open_workspace(settings={"database_url": "postgresql://u:sesame@db/lvm"}),  # type: ignore[arg-type]
        lambda: lvm.open_workspace(None, ["postgresql://u:sesame@db"]),  # type: ignore[arg-type]
        lambda: lvm.open_workspace("postgresql://u:sesame@db/lvm"),
        lambda: open_source("postgresql://u:sesame@db/lvm"),
    ],
)
def test_a_login_in_the_wrong_place_is_not_shown(call: Callable[[], object]) -> None:
    with pytest.raises(LvmError) as raised:
        call()
    assert "sesame" not in str(raised.value)


def test_what_is_missing_or_misspelt_is_pythons_own_error(work: lvm.Workspace) -> None:
    with pytest.raises(TypeError, match=r"extract\(\) got an unexpected keyword argument 'contxt'"):
        lvm.extract(work, contxt=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"train\(\) missing 2 required positional arguments"):
        lvm.train(work)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("fingerprint", "raw"),
    [
        (np.ones((2, 3), dtype=np.float32), "abc"),
        ("abc", [[1.0, 2.0], [1.0]]),
        ("abc", np.array([["a"]])),
        ("abc", None),
        (None, np.ones((2, 3), dtype=np.float32)),
    ],
)
def test_what_is_no_array_of_vectors_is_named(fingerprint: Any, raw: Any) -> None:
    with pytest.raises(InvalidVectors, match="need the fingerprint of their space"):
        lvm.Vectors.from_raw(fingerprint, raw)


def test_what_numpy_makes_an_array_of_are_vectors() -> None:
    expected = lvm.Vectors.from_raw("abc", np.ones((2, 3), dtype=np.float32))
    for raw in ([[1.0] * 3] * 2, torch.ones(2, 3), np.ones((2, 3), dtype=np.int64)):
        found = lvm.Vectors.from_raw("abc", raw)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.unit, expected.unit)
        assert found.unit.dtype == found.norms.dtype == np.float32


@pytest.mark.parametrize("texts", ["one", b"bytes", None, 3])
def test_what_holds_no_texts_is_named(texts: Any, minilm: Space) -> None:
    for function in (minilm.encode, lambda each: lvm.predict_next(minilm, None, each)):
        with pytest.raises(NotTexts, match=r"takes a list of texts, not .*; write \w+\(\[text\]\)$"):
            function(texts)
    if texts != "one":
        with pytest.raises(NotTexts, match="write takes a list of texts"):
            lvm.write(minilm, None, texts)


def test_texts_may_be_held_by_anything(minilm: Space) -> None:
    expected = minilm.encode(["One text."]).unit
    for texts in (("One text.",), np.array(["One text."]), {"One text."}, (each for each in ["One text."])):
        np.testing.assert_array_equal(minilm.encode(texts).unit, expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", [[None], ["good", b"bytes"], np.zeros(2)])
def test_what_is_no_text_is_named(texts: Any, minilm: Space) -> None:
    with pytest.raises(NotUnicode, match=r"text \d of \d is of type .*, not a string"):
        minilm.encode(texts)


def test_a_setting_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"there is no setting 'xyzzy'$"):
        Settings(xyzzy=1)  # type: ignore[call-arg]


def test_models_are_evaluated_by_their_names(
    work: lvm.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    sequences = small_corpus(work, tmp_path / "texts")
    model = lvm.train(work, sequences, "gru", epochs=1)
    with pytest.raises(NoModel, match="list of models to evaluate is empty"):
        lvm.evaluate(work, sequences, [])
    with pytest.raises(NoModel):
        lvm.evaluate(work, sequences, ["lstm"])
    summary = lvm.evaluate(work, sequences, "gru")
    assert summary.models["gru"].checkpoint == model.sha256
    assert lvm.evaluate(work, sequences, [model.version]).models["gru"].checkpoint == model.sha256
