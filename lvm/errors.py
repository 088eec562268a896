"""The two roots of every named error in this project.

A message is one line that says what happened, what it means and what to do; the command line prints
just that line and exits with ``exit_code``.
"""

from __future__ import annotations


class LvmError(Exception):
    """Something went wrong while working (exit code 1)."""

    exit_code = 1


class UsageError(LvmError):
    """What was asked for cannot be meant: a bad argument, a missing file, an unknown name (exit code 2)."""

    exit_code = 2


def first_line(error: object) -> str:
    """What another library's error says, in one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
