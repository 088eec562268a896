"""Arguments from Python, compared with the annotations of the function they are given to.

Contract: only annotations that are made of plain classes are compared: numbers, texts, paths, and classes of this
project. What holds other things (lists, arrays, vectors) the function itself looks at, and says what is wrong with it.
"""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Sized
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from lvm.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_ACCEPTED: dict[type, tuple[type, ...]] = {int: (Integral,), float: (Real,), bool: (bool, np.bool_)}
"""What is taken besides a class itself: NumPy's numbers are numbers."""

_NAMES = {NoneType: "None", str: "a string", int: "a whole number", float: "a number", bool: "True or False"}


_SHOWN = (int, float, bool, str, bytes, list, tuple, dict, set, NoneType)


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

    Raises:
        WrongType: if one has another type.
        TypeError: if an argument is missing, or there is no such parameter: Python's own error.
    """
    for name, value in inspect.signature(function).bind(*args, **kwargs).arguments.items():
        classes = _classes(function).get(name, ())
        if classes and not isinstance(value, tuple(each for kind in classes for each in _ACCEPTED.get(kind, (kind,)))):
            *others, last = [_NAMES.get(kind) or f"a {kind.__name__}" for kind in classes]
            possible = f"{', '.join(others)} or {last}" if others else last
            given = reprlib.repr(value) if type(value) in _SHOWN else "an object"
            raise WrongType(
                f"{name} of {function.__name__} is {given} of type {type(value).__name__}; it must be {possible}"
            )


@functools.cache
def _classes(function: Callable[..., Any]) -> dict[str, tuple[type, ...]]:
    """The classes that each parameter takes, for those whose annotation is made of classes alone."""
    found, parameters = {}, inspect.signature(function).parameters
    for name, hint in get_type_hints(function).items():
        if name == "return":
            continue
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if all(map(_is_plain, kinds)) and parameters[name].kind is not inspect.Parameter.VAR_KEYWORD:
            found[name] = kinds
    return found


def _is_plain(kind: Any) -> bool:
    """Whether an annotation, or a part of a union, is a class whose objects hold nothing."""
    if not isinstance(kind, type) or kind is Any or get_origin(kind) is not None:
        return False
    return kind is str or not issubclass(kind, Sized)
