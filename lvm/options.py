"""Hyperparameters by name: from ``--set``, TOML files, forms and keyword arguments into a configuration.

Contract: a configuration is a frozen dataclass. Its fields, their types and its own checks decide what is possible;
nothing here knows a hyperparameter. Every error is a ``BadConfig`` that names the hyperparameter and what is possible.
"""

from __future__ import annotations

import functools
import inspect
import re
import reprlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lvm.errors import UsageError, did_you_mean, first_line

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


class BadConfig(UsageError):
    """A hyperparameter does not exist or has an impossible value."""


def types_of(config: type[DataclassInstance]) -> dict[str, Any]:
    """Types of the hyperparameters of a configuration, by name, in their order.

    Args:
        config: class of the configuration.
    """
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in fields(config)}


def descriptions_of(config: type[DataclassInstance]) -> dict[str, str]:
    """What the docstring of a configuration says of every hyperparameter, as one line each.

    Args:
        config: class of the configuration. Its docstring has a section ``Attributes:``.
    """
    attributes = (inspect.getdoc(config) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.+(?:\n {5,}.+)*)", attributes, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in found}


def bounds_of(config: DataclassInstance, name: str) -> dict[str, float]:
    """Bounds of a number, as JSON Schema names them. The configuration's own checks are asked, so they agree.

    Args:
        config: a possible configuration.
        name: a hyperparameter that is a number.
    """

    def possible(value: float) -> bool:
        try:
            replace(config, **{name: value})
        except BadConfig:
            return False
        return True

    whole = types_of(type(config))[name] is int
    found: dict[str, float] = {}
    if not possible(-1):
        found = {"minimum": 0} if possible(0) else {"minimum": 1} if whole else {"exclusiveMinimum": 0}
    if not whole and not possible(2.0):
        found |= {"maximum": 1} if possible(1.0) else {"exclusiveMaximum": 1}
    return found


def value_of(name: str, value: Any, kind: Any) -> Any:
    """A value, if it has the type of its hyperparameter. Of 5 it makes 5.0 for a float, of a list a tuple.

    Args:
        name: name of the hyperparameter, for the message.
        value: the value.
        kind: its type: int, float, bool, str, a Literal, a tuple or a dict.

    Raises:
        BadConfig: if it has another type, is not finite, or has more than 64 bits.
    """
    return _validated(name, tuple(value) if isinstance(value, list) else value, kind, strict=True)


def parsed(name: str, text: str, kind: Any) -> Any:
    """The value that a text of the command line means. Commas separate the items of a tuple.

    Args:
        name: name of the hyperparameter, for the message.
        text: the text.
        kind: type of the hyperparameter.

    Raises:
        BadConfig: if the text is no value of the type.
    """
    items = tuple(item.strip() for item in text.split(","))
    return _validated(name, items if get_origin(kind) is tuple else text, kind, strict=False)


def check_types(config: DataclassInstance) -> None:
    """Check the types of all values of a new configuration, first thing in its ``__post_init__``.

    Raises:
        BadConfig: if a value has another type, or is not finite.
    """
    for name, kind in types_of(type(config)).items():
        value_of(name, getattr(config, name), kind)


def changed(config: C, values: Mapping[str, Any]) -> C:
    """A configuration with other values.

    Args:
        config: the configuration to start from.
        values: values by name.

    Raises:
        BadConfig: if a name does not exist, or a value is impossible.
    """
    known = types_of(type(config))
    for name in values:
        if name not in known:
            raise unknown(name, known)
    return replace(config, **{name: value_of(name, value, known[name]) for name, value in values.items()})


def unknown(name: str, known: Iterable[str], of: str = "") -> BadConfig:
    """The error for a name that does not exist. It names the nearest one and lists all.

    Args:
        name: the name.
        known: the names that exist.
        of: whose hyperparameter it should have been, e.g. `` of gru``.
    """
    names = list(known)
    there = did_you_mean(name, names, f"there are {', '.join(names)}")
    return BadConfig(f"there is no hyperparameter {name!r}{of}; {there}")


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """The texts of ``--set NAME=VALUE``, by name.

    Args:
        texts: what was given to ``--set``, once for each time.

    Raises:
        BadConfig: if one is no assignment, or a name occurs twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            raise BadConfig(f"--set {text!r} is not NAME=VALUE; write e.g. --set learning_rate=5e-4")
        if name in found:
            raise BadConfig(f"--set names {name} twice, {found[name]} and {value}; leave one of them out")
        found[name] = value
    return found


def parse(
    config: type[DataclassInstance], texts: Sequence[str], fixed: Mapping[str, str], **named: Any
) -> dict[str, Any]:
    """The hyperparameters that a command was given.

    Args:
        config: class of the configuration.
        texts: what was given to ``--set``, once for each time.
        fixed: names that may not be set, and how they are set instead.
        **named: values of options with a name of their own; None for one that was not given.

    Raises:
        BadConfig: if a name does not exist, may not be set or is given twice, or a text is no value of its type.
    """
    known = types_of(config)
    found = {name: value for name, value in named.items() if value is not None}
    for name, text in assignments(texts).items():
        if name in fixed:
            raise not_here(name, fixed)
        if name not in known:
            raise unknown(name, [each for each in known if each not in fixed])
        if name in found:
            raise twice(name)
        found[name] = parsed(name, text, known[name])
    return found


def not_here(name: str, fixed: Mapping[str, str]) -> BadConfig:
    """The error for a name that is set in another way.

    Args:
        name: the name.
        fixed: how such names are set.
    """
    return BadConfig(f"{name} cannot be set here; set it by {fixed[name]}")


def twice(name: str) -> BadConfig:
    """The error for a name that both ``--set`` and an option of its own give."""
    return BadConfig(f"{name} is given twice, by --set {name}=... and by --{name}; leave one of them out")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        BadConfig: if it cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read ({error.strerror}); --config takes a TOML file") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number of thousands of digits
        raise BadConfig(f"{path} is no TOML ({first_line(error)}); write lines such as learning_rate = 5e-4") from error


def _validated(name: str, value: Any, kind: Any, strict: bool) -> Any:
    try:
        found = _adapter(kind).validate_python(value, strict=strict)
    except ValidationError as error:
        raise BadConfig(f"{name} is {reprlib.repr(value)}; it must be {_expected(kind)}") from error
    if kind is int and not -(2**63) <= found < 2**63:  # torch and numpy compute with 64 bits
        raise BadConfig(f"{name} is {reprlib.repr(found)}; it must be a whole number of at most 64 bits")
    return found


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))


_WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a text",
    dict: "a table of values by name",
}


def _expected(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        items = [item for item in get_args(kind) if item is not ...]
        count = "items, separated by commas" if ... in get_args(kind) else f"{len(items)} items, separated by commas"
        return f"{count}, and every item {' or '.join(dict.fromkeys(map(_expected, items)))}"
    return _WORDS.get(get_origin(kind) or kind, str(kind))
