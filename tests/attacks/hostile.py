"""Bytes that may stand where a file is expected, and what opening them may end in."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lvm.errors import LvmError

DEEP = "[" * 100_000
LONG = "9" * 400
ENDLESS = "9" * 5000  # Python refuses to read a number of more than 4,300 digits

JSON = [
    "", "{}", "[]", "7", "null", '"text"', "NaN", DEEP, '{"a":' * 100_000, LONG, ENDLESS, "{", "\ud800", "\0", "[{}]",
]  # fmt: skip
"""What may stand where a JSON object is expected."""


def one_line(error: BaseException) -> None:
    assert isinstance(error, LvmError), repr(error)
    assert "\n" not in str(error) and 20 < len(str(error)) < 1000, str(error)


def refused(open_it: Callable[[], object], kind: type[LvmError] = LvmError) -> None:
    with pytest.raises(LvmError) as caught:
        open_it()
    one_line(caught.value)
    assert isinstance(caught.value, kind)


def opens_or_is_refused(open_it: Callable[[], object]) -> None:
    try:
        open_it()
    except LvmError as error:
        one_line(error)


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, cut out or put in, most of them where the structure is: at the beginning."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = min(int(dice.expovariate(1 / 600)), len(changed) - 1)
        what = dice.choice(["change", "cut", "insert", "digit", "end"])
        if what == "change":
            changed[place] = dice.randrange(256)
        elif what == "cut":
            del changed[place : place + dice.randint(1, 40)]
        elif what == "insert":
            changed[place:place] = dice.choice([b"9", b"-", b"[", b"}", b"null", b"1e400", b"\xff", bytes(8)])
        elif what == "digit":
            places = [at for at, byte in enumerate(changed[:4000]) if 48 <= byte < 58]
            if places:
                changed[dice.choice(places)] = dice.choice(b"0123456789")
        else:
            del changed[dice.randrange(len(changed)) :]
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)
