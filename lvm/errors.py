"""The two base classes of every named error, what their messages share, and safe printing of text from elsewhere.

Contract: an error message is one line that says what happened, what it means and what to do. The command line prints
this line and exits with ``exit_code``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


class LvmError(Exception):
    """The work failed (exit code 1). ``str(error)`` is always one line: line breaks in its message are escaped."""

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(LvmError):
    """Invalid request: bad argument, missing file or unknown name (exit code 2)."""

    exit_code = 2


def first_line(error: object) -> str:
    """First line of another library's error message, or the error's type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def did_you_mean(name: str, known: Iterable[str], then: str = "") -> str:
    """A question that names the nearest of the names that exist, and what follows it.

    Args:
        name: a name that does not exist.
        known: the names that exist.
        then: a sentence, which begins with a capital after the question. It stands alone if no name is near.
    """
    near = get_close_matches(name, known, n=1)
    if not near:
        return then
    return f"did you mean {near[0]}?" + (f" {then[0].upper()}{then[1:]}" if then else "")


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of a library in Rust. It is no ``Exception``, and neither is a signal."""
    return type(error).__name__ == "PanicException"


_SAFE_FORMATS = "\u200c\u200d"  # joiners: some scripts and emoji need them


def visible(text: str, keep: str = "\n\t") -> str:
    r"""Escape control characters, direction marks and lone surrogates, e.g. as ``\x1b`` or ``\u202e``.

    Args:
        text: any text.
        keep: control characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) if _is_control(c) and c not in keep else c for c in text)


def one_line(text: str) -> str:
    r"""Escape a text like ``visible``, line breaks and tabs too, so that it is one line."""
    return visible(text, keep="")


def _is_control(character: str) -> bool:
    """Whether the character could change how a terminal shows the text around it."""
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _SAFE_FORMATS)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
