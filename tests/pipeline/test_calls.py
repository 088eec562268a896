"""Wrong calls from Python are named errors, in one line, and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm
from lvm.calls import WrongType
from lvm.corpus.chunker import NotUnicode
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
            "work of ingest is 'sotu' of type str; it must be a W",
        ),
        (lambda work: lvm.validate(None), WrongType, "work of validate is None of type NoneType"),
        (lambda work: lvm.write("gru", work, "x"), WrongType, "work of write is .* must be a Workspace or a Space$"),
        (lambda work: lvm.predict_next(work.settings, "gru", ["x"]), WrongType, "an object of type Settings"),
        (lambda work: lvm.ingest(work.space), WrongType, "type Space; it must be a Workspace$"),
        (lambda work: lvm.ingest(work, "sotu", limit="3"), WrongType, "'3' of type str; .* a whole number or None$"),
        (lambda work: lvm.extract(work, context="5"), WrongType, "context of extract is '5' of type str"),
        (lambda work: lvm.train(work, None, ["gru"]), WrongType, "sequences of train is None"),
        (lambda work: lvm.promote(work, 3), WrongType, "must be a TrainedModel, a string or None$"),
        (lambda work: lvm.write(work, None, "x", steps=1.5), WrongType, "steps of write is 1.5 of type float"),
        (lambda work: lvm.predict_next(work, None, ["x"], temperature="hot"), WrongType, "it must be a number$"),
        (lambda work: work.search("x", k=None), WrongType, "k of search is None"),
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


def test_numbers_of_numpy_are_numbers(work: lvm.Workspace) -> None:
    assert list(work.search("x", k=np.int64(3))) == []


@pytest.mark.parametrize(
    ("fingerprint", "raw", "error"),
    [
        (np.ones((2, 3), dtype=np.float32), "abc", WrongType),
        ("abc", [[1.0, 2.0]], InvalidVectors),
        ("abc", np.array([["a"]]), InvalidVectors),
    ],
)
def test_what_is_no_array_of_vectors_is_named(fingerprint: Any, raw: Any, error: type[LvmError]) -> None:
    with pytest.raises(error):
        lvm.Vectors.from_raw(fingerprint, raw)


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
