"""Arguments from Python, compared with the annotations of the function they are given to.

Contract: only annotations that are made of plain classes are compared: numbers, texts, paths, and classes of this
project. What holds other things (lists, arrays, vectors) the function itself looks at, and says what is wrong with it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sized
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from lvm.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_ACCEPTED: dict[type, tuple[type, ...]] = {
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
    bool: (bool, np.bool_),
    Path: (os.PathLike,),
}
"""What is taken for a class: NumPy's numbers are numbers."""

_NAMES = {NoneType: "None", str: "a string", int: "a whole number", float: "a number", bool: "True or False"}


class WrongType(UsageError):
    """An argument is of a type that the function does not take."""


def typed(function: F) -> F:
    """Let a function raise WrongType for an argument of a wrong type, before it begins."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        require_types(function, args, kwargs)
        return function(*args, **kwargs)

    return cast(F, checked)


def require_types(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Compare the arguments of a call with the function's annotations.

    Python itself raises a TypeError, at the call, for an argument that is missing or is no parameter. The message
    shows no value, because it may be a secret.

    Raises:
        WrongType: if one has another type.
    """
    signature, expected = _expected(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return
    for name, classes in expected.items():
        accepted = tuple(each for kind in classes for each in _ACCEPTED.get(kind, (kind,)))
        if name in given and not isinstance(given[name], accepted):
            *others, last = [_NAMES.get(kind) or f"a {kind.__name__}" for kind in classes]
            possible = f"{', '.join(others)} or {last}" if others else last
            raise WrongType(f"{name} of {function.__name__} is of type {type(given[name]).__name__}, not {possible}")


@functools.cache
def _expected(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, tuple[type, ...]]]:
    """A function's signature, and the classes that each parameter takes, where the annotation is made of classes."""
    signature, found = inspect.signature(function), {}
    hints = get_type_hints(function)
    for name, parameter in signature.parameters.items():
        hint = hints.get(name)
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        several = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if all(map(_is_plain, kinds)) and not several:
            found[name] = kinds
    return signature, found


def _is_plain(kind: Any) -> bool:
    """Whether an annotation, or a part of a union, is a class whose objects hold nothing."""
    if not isinstance(kind, type) or get_origin(kind) is not None:
        return False
    if kind is Any or getattr(kind, "_is_protocol", False):  # no object can be compared with these
        return False
    return kind is str or not issubclass(kind, Sized)
