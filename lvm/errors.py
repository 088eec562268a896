"""The two roots of every named error in this project.

A message is one line that says what happened, what it means and what to do; the command line prints
just that line and exits with ``exit_code``.
"""

from __future__ import annotations

import unicodedata


class LvmError(Exception):
    """Something went wrong while working (exit code 1). As text it is one line, whatever names are in its message."""

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(LvmError):
    """What was asked for cannot be meant: a bad argument, a missing file, an unknown name (exit code 2)."""

    exit_code = 2


def first_line(error: object) -> str:
    """What another library's error says, in one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_SAFE_FORMATS = "\u200c\u200d"  # joiners, which scripts and emoji need


def visible(text: str, keep: str = "\n\t") -> str:
    r"""The text with control characters, direction marks and lone surrogates written out, as in ``\x1b`` or ``\u202e``.

    Args:
        keep: control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(_written_out(each) if _steers(each) and each not in keep else each for each in text)


def one_line(text: str) -> str:
    r"""``visible``, line breaks and tabs included: the text is one line, whatever a name in it holds."""
    return visible(text, keep="")


def _steers(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _SAFE_FORMATS)


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
