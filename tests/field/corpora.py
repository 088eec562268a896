"""Hostile files and folders to ingest, of every format that people have texts in."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

import lvm
from tests.attacks.hostile import JSON
from tests.field.values import SKIPPED, WORKS, Case, Dice, World, anything, as_json, harmed, raw, sentence, text

NAMES = [
    "a", "\udcff\udcfe", "new\nline", "-rf", " ", "\u202egnp", "x" * 200, "[b]", "a.b.c", "caf\u00e9", "'quote\"", "%s",
    "#", "~",
]  # fmt: skip


def texts(world: World, dice: Dice, place: Path) -> Case:
    """A file or a folder to ingest."""
    suffix = dice.choice([*FORMATS, ".md", ".TXT", ".zip", "", ".jsonl.gz"])
    data = harmed(FORMATS.get(suffix.lower(), _plain)(dice), dice)
    if dice.random() < 0.03:
        data += b"x" * 17 * 2**20  # a line and a document that are too long
    source, about = place / f"source{suffix}", f"source{suffix} {data[:300]!r}"
    if dice.random() < 0.4:
        source.write_bytes(data)
    else:
        source = place / dice.choice(["folder", "My & $folder;", "\u0e27\u0e31\u0e19", "a\nb", ".hidden"])
        source.mkdir()
        names = [name + dice.choice([suffix, ".txt", ".md"]) for name in dice.sample(NAMES, 3)]
        for name in names:
            (source / name).write_bytes(harmed(data if name.endswith(suffix) else _plain(dice), dice))
        thing = dice.choice(["loop", "dangling", "zero", "pipe", "folder", "socket", "nothing", "nothing"])
        about = f"folder {source.name!r} of {names} and a {thing}, {about}"
        plant(thing, source / "odd.txt")
    limit = dice.choice([None, None, 1, 2**40])

    def attempt() -> str:
        report = lvm.ingest(world.work, source, limit)
        assert str(report)
        world.work.store.keep_documents(world.kept)
        return SKIPPED if report.skipped else WORKS

    return f"ingest {about}, limit {limit}", attempt


def plant(thing: str, at: Path) -> None:
    """Something that is no file, under the name of a file."""
    targets = {"loop": at, "dangling": at.with_name("none"), "zero": Path("/dev/zero")}
    if thing in targets:
        at.symlink_to(targets[thing])
    elif thing == "pipe":
        os.mkfifo(at)
    elif thing == "folder":
        at.mkdir()
    elif thing == "socket":
        with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(at.parent):
            bound.bind(at.name)


def _plain(dice: Dice) -> bytes:
    return raw(" ".join([sentence(dice), *(text(dice) for _ in range(dice.randint(0, 6)))]))


def _rows(dice: Dice) -> Iterator[dict[str, Any]]:
    for number in range(dice.randint(1, 5)):
        row: dict[str, Any] = {"id": number, "text": sentence(dice), "title": "A title", "year": 1846}
        for name in dice.sample([*row, "more"], dice.randrange(3)):
            row[name] = anything(dice)
        for name in dice.sample([*row], dice.choice([0, 0, 1])):
            del row[name]
        yield row


def _jsonl(dice: Dice) -> bytes:
    return raw("\n".join(dice.choice([as_json(row), as_json(row), dice.choice(JSON)]) for row in _rows(dice)))


def _table(dice: Dice, delimiter: str = ",") -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=dice.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer.writerow(
        dice.choice([["id", "text", "title"]] * 5 + [["text"], ["TEXT", "id"], ["text", "text"], [], ["a", "b"]])
    )
    for row in _rows(dice):
        writer.writerow(dice.sample([*row.values()], len(row))[: dice.choice([1, 2, 3, 9])])
    return raw(file.getvalue())


def _parquet(dice: Dice) -> bytes:
    count = dice.randint(0, 4)
    column = dice.choice(
        [
            pyarrow.array([sentence(dice) for _ in range(count)]),
            pyarrow.array([None] * count, pyarrow.string()),
            pyarrow.array([b"\xff"] * count, pyarrow.binary()),
            pyarrow.array([float("nan")] * count),
            pyarrow.array([["a"]] * count),
            pyarrow.array(["a"] * count).dictionary_encode(),
        ]
    )
    file = io.BytesIO()
    names = dice.choice(["text", "text", "Text", "content"])
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array(range(count)), names: column}), file)
    return file.getvalue()


def _html(dice: Dice) -> bytes:
    body = "".join(f"<p>{text(dice)}</p>" for _ in range(4)) + dice.choice(["", "<div>" * 5000, "<!--", "<script>a<b"])
    charset = dice.choice(["utf-8", "latin-1", "none", ""])
    return raw(f"<html><head><meta charset='{charset}'></head><body>{body}</body></html>")


def _epub(dice: Dice) -> bytes:
    opf = dice.choice(["content.opf", "../x", "", "a\0b"])
    container = f"<container><rootfiles><rootfile full-path='{opf}'/></rootfiles></container>"
    package = (
        "<package xmlns='http://www.idpf.org/2007/opf'><manifest><item id='a' href='a.xhtml' "
        "media-type='application/xhtml+xml'/></manifest><spine><itemref idref='a'/></spine></package>"
    )
    bomb = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]><package>&b;</package>"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("content.opf", dice.choice([package, package, bomb, "<"]))
        archive.writestr("a.xhtml", dice.choice([_html(dice), b" " * 2**24]))
    return file.getvalue()


def _pdf(dice: Dice) -> bytes:
    stream = f"BT /F1 12 Tf 72 720 Td ({sentence(dice)}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%d 0 R]/Count 1>>" % dice.choice([3, 3, 3, 2, 99]),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (dice.choice([len(stream), len(stream), 10**9, -1]), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]  # fmt: skip
    data, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj%s endobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    tail = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(data)
    return data + b"xref\n0 6\n0000000000 65535 f \n" + table + tail


FORMATS: dict[str, Callable[[Dice], bytes]] = {
    ".txt": _plain, ".jsonl": _jsonl, ".csv": _table, ".tsv": lambda dice: _table(dice, "\t"), ".parquet": _parquet,
    ".html": _html, ".epub": _epub, ".pdf": _pdf,
}  # fmt: skip
