"""A handful of the cases of ``fuzz``, that it finds what is broken, and what it found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lvm
from flows import database_url
from lvm.cli.vectors import UnusableFile, check
from lvm.corpus.chunker import NotUnicode
from lvm.encoding.weights import WeightsUnusable, open_tokenizer
from lvm.errors import UsageError
from lvm.files import CorruptedFile, verify
from lvm.inversion.inverter import PrefixInverter
from lvm.report import Summary
from lvm.settings import Settings
from lvm.spaces import Space
from lvm.store.errors import InvalidDatabaseUrl
from tests.conftest import fresh_database
from tests.field.cases import KINDS
from tests.field.fuzz import FAILED, quick, run, table, world
from tests.field.values import NAMED, WORKS, World

CASES = 40


@pytest.fixture(scope="module")
def made(postgres: str, minilm: Space) -> Iterator[World]:
    with fresh_database(postgres) as url, quick(), world(url, minilm) as made:
        yield made


def test_no_case_fails(made: World) -> None:
    results = [*run(made, 0, range(CASES))]
    failures = [f"{each.number}, {each.kind}: {each.about}\n{each.why}" for each in results if each.outcome == FAILED]
    assert not failures, "\n\n".join(failures)
    assert {each.kind for each in results} == {*KINDS}
    assert {WORKS, NAMED} <= {each.outcome for each in results}, table(results)


def test_a_case_can_be_repeated(made: World) -> None:
    first, again = ([*run(made, 0, [0, 4, 7])] for _ in range(2))
    assert [(each.about, each.outcome) for each in first] == [(each.about, each.outcome) for each in again]


@pytest.mark.parametrize(
    ("what", "number", "said"),
    [("lvm.ingest", 0, "ValueError: broken"), ("tests.field.cases.load_model", 4, "ValueError: broken")],
)
def test_what_is_broken_is_a_failure(
    what: str, number: int, said: str, made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(what, broken)
    results = [*run(made, 0, range(number, 20 * len(KINDS), len(KINDS)))]
    assert any(each.outcome == FAILED and said in each.why for each in results), table(results)


# -- what it found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda space: space.encode(["a text", "\ud800"]),
        lambda space: space.chunker().split("a text. \ud800"),
        lambda space: lvm.predict_next(space, None, ["a \ud800 text"]),
    ],
)
def test_a_text_that_is_no_unicode_is_refused(call: Callable[[Space], object], minilm: Space) -> None:
    with pytest.raises(NotUnicode, match="lone surrogate"):
        call(minilm)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    for suffix in (".safetensors", ".npy", ".npz"):
        os.mkfifo(tmp_path / f"vectors{suffix}")
        with pytest.raises(UnusableFile, match="pipe"):
            check(tmp_path / f"vectors{suffix}", None, Settings())
    with pytest.raises(CorruptedFile, match="not a regular file"):
        verify(tmp_path / "vectors.safetensors")


def test_pipes_in_folders_of_weights_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "modules.json"):
        os.mkfifo(tmp_path / name)
    for opens in (lambda: PrefixInverter.load(tmp_path), lambda: open_tokenizer(tmp_path / "tokenizer.json")):
        with pytest.raises(WeightsUnusable, match="regular file"):
            opens()
    os.mkfifo(tmp_path / "summary.json")
    assert Summary.read(tmp_path / "summary.json") is None


@pytest.mark.parametrize("number", [2**31, 10**30, -1])
def test_a_number_of_results_that_no_database_takes_is_refused(number: int, made: World) -> None:
    with pytest.raises(UsageError, match="k is"):
        made.work.search("The ice broke.", number)


@pytest.mark.parametrize("name", ["secret://u:s3cr3t@h/d", "secret/u:s3cr3t@h", "u:s3cr3t@h", "secret/", ""])
def test_a_url_behind_prefect_is_not_shown(name: str) -> None:
    with pytest.raises(InvalidDatabaseUrl, match="prefect:secret/NAME") as refused:
        database_url.read(name)
    assert "s3cr3t" not in str(refused.value)
