"""Hyperparameters by name: types, bounds, texts of the command line, files. Every wrong one is a line that helps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm.options import (
    BadConfig,
    assignments,
    bounds_of,
    changed,
    check_types,
    descriptions_of,
    parse,
    parsed,
    read_toml,
    types_of,
    value_of,
)


@dataclass(frozen=True)
class Config:
    """Of every type.

    Attributes:
        steps: number of
            steps.
        rate: ``rate``: how fast.
        share: of one.
        kind: which.
        mix: weights.
        fast: or slow.
        more: others.

    Others:
        nothing: here.
    """

    steps: int = 3
    rate: float = 0.5
    share: float = 0.5
    kind: Literal["one", "two"] = "one"
    mix: tuple[float, ...] = (1.0, 2.0)
    fast: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        if self.steps < 1:
            raise BadConfig(f"steps is {self.steps}; it must be at least 1")
        if self.rate <= 0:
            raise BadConfig(f"rate is {self.rate}; it must be above 0")
        if not 0 <= self.share <= 1:
            raise BadConfig(f"share is {self.share}; it must be from 0 to 1")


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


TYPES = types_of(Config)


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers(value: int) -> None:
    assert same(parsed("steps", str(value), int), value) and same(value_of("steps", value, int), value)
    assert same(value_of("rate", value, float), float(value)), "5 and 5.0 are one value"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers(value: float) -> None:
    assert same(parsed("rate", repr(value), float), value) and same(value_of("rate", value, float), value)
    with pytest.raises(BadConfig, match="steps is"):
        value_of("steps", value, int)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_several_numbers(values: list[float]) -> None:
    text = " , ".join(map(repr, values))
    assert parsed("mix", text, TYPES["mix"]) == value_of("mix", values, TYPES["mix"]) == tuple(values)


@given(st.text(), st.sampled_from([int, float, bool, TYPES["kind"], TYPES["mix"], TYPES["more"]]))
def test_no_text_gets_past_its_type(text: str, kind: Any) -> None:
    try:
        found = parsed("name", text, kind)
    except BadConfig as error:
        assert str(error).startswith("name is ") and "\n" not in str(error)
    else:
        value_of("name", found, kind)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("steps", True, "steps is True; it must be a whole number"),
        ("steps", 3.0, "a whole number"),
        ("steps", "3", "a whole number"),
        ("steps", 2**63, "64 bits"),
        ("rate", "0.5", "a finite number"),
        ("rate", float("nan"), "a finite number"),
        ("rate", float("inf"), "a finite number"),
        ("rate", None, "a finite number"),
        ("fast", 1, "true or false"),
        ("kind", "three", "one of one, two"),
        ("mix", ["one"], "items, separated by commas, and every item a finite number"),
        ("mix", 3, "items"),
        ("more", [], "a table"),
        ("steps", "x" * 10_000, "a whole number"),
    ],
)
def test_values_of_another_type(name: str, value: Any, said: str) -> None:
    for act in (
        lambda: value_of(name, value, TYPES[name]),
        lambda: changed(Config(), {name: value}),
        lambda: replace(Config(), **{name: value}),
    ):
        with pytest.raises(BadConfig) as caught:
            act()
        assert str(caught.value).startswith(f"{name} is ") and said in str(caught.value)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "text"),
    [("steps", "1e3"), ("rate", "nan"), ("rate", "1e999"), ("fast", "perhaps"), ("kind", "One"), ("mix", "1,,2")],
)
def test_texts_that_mean_nothing(name: str, text: str) -> None:
    with pytest.raises(BadConfig, match=f"^{name} is "):
        parsed(name, text, TYPES[name])


def test_a_configuration_is_changed_whole_or_not_at_all() -> None:
    config = changed(Config(), {"rate": 2, "mix": [3], "kind": "two"})
    assert same(config.rate, 2.0) and config.mix == (3,) and config.kind == "two"
    with pytest.raises(BadConfig, match=r"no hyperparameter 'step'; did you mean steps\? There are steps, rate"):
        changed(config, {"step": 3})
    with pytest.raises(BadConfig, match="steps is 0; it must be at least 1"):
        changed(config, {"rate": 1.0, "steps": 0})


def test_bounds_are_those_of_the_checks() -> None:
    found = {name: bounds_of(Config(), name) for name in ("steps", "rate", "share")}
    assert found == {
        "steps": {"minimum": 1},
        "rate": {"exclusiveMinimum": 0},
        "share": {"minimum": 0, "maximum": 1},
    }


def test_descriptions_are_those_of_the_docstring() -> None:
    found = descriptions_of(Config)
    assert found["steps"] == "number of steps." and found["rate"] == "rate: how fast."
    assert set(TYPES) <= set(found)


def test_assignments() -> None:
    assert assignments(["a=1", " b = x=y ", "c.d=2"]) == {"a": "1", "b": "x=y", "c.d": "2"}
    for wrong in ("hidden", "=3", "hidden=", ""):
        with pytest.raises(BadConfig, match="is not NAME=VALUE"):
            assignments([wrong])
    with pytest.raises(BadConfig, match="a twice, 1 and 2"):
        assignments(["a=1", "a=2"])


def test_a_command_sets_each_name_once() -> None:
    assert parse(Config, ["steps=4", "fast=true"], {}, rate=None) == {"steps": 4, "fast": True}
    assert parse(Config, [], {}, rate=2.0) == {"rate": 2.0}
    with pytest.raises(BadConfig, match=r"given twice.*--rate"):
        parse(Config, ["rate=1"], {}, rate=2.0)
    with pytest.raises(BadConfig, match="set it by LVM_STEPS"):
        parse(Config, ["steps=4"], {"steps": "LVM_STEPS"})
    with pytest.raises(BadConfig, match="'stepz'") as caught:
        parse(Config, ["stepz=4"], {"steps": "LVM_STEPS"})
    assert "steps" not in str(caught.value), "what cannot be set is not offered"


@pytest.mark.parametrize(
    "content", [b"hidden", b"a = [[[[", b"\xff\xfe", b"a = 1\na = 2", b"a = \x00", b"a=" + b"[" * 9000]
)
def test_files_that_are_no_toml(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_bytes(content)
    with pytest.raises(BadConfig, match=r"train\.toml is no TOML"):
        read_toml(tmp_path / "train.toml")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(BadConfig, match="cannot be read"):
            read_toml(path)
