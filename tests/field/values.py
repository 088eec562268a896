"""What hostile cases are made of: the world that they attack, and values."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvm.pipeline.workspace import Workspace
from tests.attacks.hostile import mutated

SECONDS = 60
"""A case that takes longer hangs; most take less than one."""

SECRET = "s3cr3tPart"
"""In tokens and passwords; no message may show it."""

SKIPPED, WORKS, NAMED = "named skip", "works", "named error"

Dice = random.Random
Case = tuple[str, Callable[[], str]]


class Broken(Exception):
    """A case broke a rule without an exception."""


@dataclass
class World:
    """What cases attack: a database with three documents, a service on a socket, and files to damage.

    Attributes:
        folder: of everything; ``files`` in it has what ``files`` damages.
        url: of the database.
        work: the database and the space.
        port: of the service.
        kept: the documents that stay.
        logged: faults of the log since the case began.
    """

    folder: Path
    url: str
    work: Workspace
    port: int
    kept: list[tuple[str, str]]
    logged: list[str] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        """The URL as psycopg takes it."""
        return self.url.replace("+psycopg", "")

    def contents(self) -> object:
        """What a failed case must leave as it was."""
        rows = self.work.store.contents()
        return {**rows, "space": 0}, self.work.store.corpus_revision(self.work.space_id)


# -- values -------------------------------------------------------------------------------------------------------

WORDS = ("the", "harbour", "ice", "ship", "street", "union", "winter", "treaty", "we", "they", "broke", "met", "is")
TEXTS = [
    "", " ", "\0", "\ud800", "a\nERROR: forged", "\x1b[31mred", "[/b]", "\u202eabc", "x" * 3000, "\u00e9" * 50,
    "\uff45", "\u0e27\u0e31\u0e19\u0e19\u0e35\u0e49", "\u6f22\u5b57\u304b\u306a", "\U0001f600" * 20, "a\u0301\u0323",
    "\ufeffbegin", "\\u0000", "-", "--help", "%00", "%s%n", "{}", "{0}", "NaN", "null", "\u2028",
    "'; DROP TABLE lvm.document; --", "../../etc/passwd", "/dev/null", "~", "~nobody/x", "a" * 300 + "/b", "C:\\x",
    "file:///etc", "hf:", "minilm", "minilm:pooling=cls", "shipped", "gru", "gru@", "gru@" + "0" * 64,
]  # fmt: skip
INTEGERS = [0, 1, 2, 3, -1, 7, 2**15, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400]
REALS = [0.0, 0.5, 1.0, -1.0, 1e-320, 1e308, -0.0, 11.0, float("nan"), float("inf"), float("-inf")]


def sentence(dice: Dice) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(4, 9))).capitalize() + "."


def text(dice: Dice) -> str:
    return dice.choice([sentence(dice), dice.choice(TEXTS), sentence(dice) + dice.choice(TEXTS)])


def anything(dice: Dice, depth: int = 2) -> Any:
    """A value of JSON."""
    kind = dice.randrange(8 if depth else 6)
    if kind == 6:
        return [anything(dice, depth - 1) for _ in range(dice.randrange(4))]
    if kind == 7:
        return {dice.choice(TEXTS): anything(dice, depth - 1) for _ in range(dice.randrange(4))}
    plain: list[Any] = [text(dice), text(dice), dice.choice(INTEGERS), dice.choice(REALS), dice.random() < 0.5, None]
    return plain[kind]


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def harmed(data: bytes, dice: Dice) -> bytes:
    """The same bytes, or after an accident."""
    text = data.decode("utf-8", "replace")
    return dice.choice(
        [
            *[lambda: data] * 5,
            lambda: data + b" word" * 2000,
            lambda: mutated(data or b"\0", dice),
            lambda: data[: dice.randrange(len(data) + 1)],
            lambda: data + data,
            lambda: b"",
            lambda: b"\xef\xbb\xbf" + data,
            lambda: text.encode(dice.choice(["utf-16", "utf-32", "utf-16-be"])),
            lambda: text.encode(dice.choice(["latin-1", "gb18030", "cp1252"]), "ignore"),
            lambda: data.replace(b" ", dice.choice([b"\0", b"\r", b"\xff", b"\n" * 9, b"\xc2\xa0"])),
        ]
    )()
