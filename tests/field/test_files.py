"""Files that are not ours: tables, other encodings, packed files, web pages, books and papers."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pyarrow import parquet
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from lvm.corpus import books, documents
from lvm.corpus.documents import Document
from lvm.corpus.sources import NoSuchColumn, NothingUsable, SourceUnreadable, open_source
from tests.field.texts import ENGLISH, FRENCH, JAPANESE, read

# -- tables (19) ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "|"), ("a.csv", "\t"), ("a.tsv", "\t")]
)
def test_delimited_tables_are_read(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    with path.open("w", newline="", encoding="utf-16") as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerows(
            [["id", "title", "text", "year"], ["1", "One", ENGLISH, "1990"], ["", "", 'A "b", c; d|e\tf.', "7"], []]
        )
    found, noted, skipped = read(path)
    assert [(each.external_id, each.title, each.text) for each in found] == [
        ("1", "One", ENGLISH), (f"{name}:5", f"{name}:5", 'A "b", c; d|e\tf.')
    ]  # fmt: skip
    assert found[0].metadata == {"year": "1990"} and not skipped
    assert noted == [f"{name}: is not UTF-8, read as utf-16"]


def test_a_damaged_table_loses_only_its_damaged_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 1000)
    path = tmp_path / "t.csv"
    path.write_text(
        "id,text\n1,fine\n2,too,many,cells\n" + f"3,{'x' * 2000}\n" + '4\n5,fine\r6,"never\nclosed\n7,lost\n'
    )
    found, _, skipped = read(path)
    assert [each.external_id for each in found] == ["1", "5"]
    assert [each.partition(" (")[0] for each in skipped] == [
        "t.csv:3: has more cells than the first row",
        "t.csv:4: is longer than 16 MiB; split it",
        "t.csv:5: has no string under 'text'",
        "t.csv:7: opens a quotation mark that is never closed, so that all of the rest is one row",
    ]
    for header, message in (
        ("a,b\n1,2", "no column 'text'"),
        ("text,a,a\n1,2,3", "several columns 'a'"),
        ("", "it is empty"),
    ):
        path.write_text(header)
        with pytest.raises(NoSuchColumn, match=message):
            read(path)


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff")), max_size=6))
def test_a_table_gives_back_what_was_written(tmp_path: Path, texts: list[str]) -> None:
    wanted = {str(i): documents.normalise(text) for i, text in enumerate(texts) if text.strip()} | {"end": "The end."}
    rows = [{"id": str(i), "text": text} for i, text in enumerate(texts)] + [{"id": "end", "text": "The end."}]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["id", "text"])
        table.writeheader()
        table.writerows(rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    packed = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "t.jsonl.gz").write_bytes(packed)
    for name in ("t.csv", "t.parquet", "t.jsonl.gz"):
        assert {each.external_id: each.text for each in read(tmp_path / name)[0]} == wanted, name


def test_parquet_is_read_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"id": [float(i) for i in range(300)], "text": [f"Row {i}." for i in range(300)], "img": [b"\0"] * 300}
    parquet.write_table(pyarrow.table(columns), path)
    found, noted, _ = read(path, limit=200)
    assert [each.external_id for each in found] == [str(i) for i in range(200)] and not found[0].metadata
    assert noted == ["t.parquet: has a column of bytes, left out (img)"]
    assert (open_source(str(path), 100).size() or 0) < (open_source(str(path)).size() or 0)
    with pytest.raises(NoSuchColumn, match=r"column 'id' of t\.parquet holds double, not text"):
        read(path, text_column="id")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SourceUnreadable, match=r"t\.parquet cannot be read as Parquet"):
        read(path)


# -- encodings (19) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        *((FRENCH, each, each) for each in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252")),
        (FRENCH, "latin-1", "cp1252"),
        ("Café au lait.", "latin-1", "cp1252"),
        (JAPANESE, "shift_jis", "cp932"),
        (JAPANESE, "euc_jp", "euc_jp"),
        ("Привет, как дела? Сегодня хорошая погода.", "cp1251", "cp1251"),
    ],
)
def test_a_text_is_the_same_in_every_encoding(tmp_path: Path, text: str, encoding: str, named: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    [found], noted, _ = read(tmp_path)
    assert found.sha256 == Document("", "", "", text).sha256 and found.external_id == "a.txt"
    assert noted == [f"a.txt: is not UTF-8, read as {named}"]
    (tmp_path / "rows.jsonl").write_bytes(f'{{"id": 1, "text": "{text}"}}\n'.encode(encoding) * 2)
    found_in_rows, noted, _ = read(tmp_path / "rows.jsonl")
    assert [each.sha256 for each in found_in_rows] == [found.sha256] and noted == [
        f"rows.jsonl: is not UTF-8, read as {named}"
    ]


def test_damaged_utf8_stays_utf8_and_binaries_stay_out(tmp_path: Path) -> None:
    (tmp_path / "damaged.txt").write_bytes("Größe und Schönheit über alles. ".encode() + b"\xff.")
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9)
    (tmp_path / "zeros.txt").write_bytes(bytes(5000))
    [found], noted, skipped = read(tmp_path)
    assert found.text == "Größe und Schönheit über alles. \ufffd."
    assert noted == ["damaged.txt: has characters that are not Unicode, replaced by U+FFFD (1)"]
    assert skipped == ["picture.txt: is binary", "zeros.txt: is binary"]
    lines = ['{"text": "Schön, größer."}'.encode()] * 3 + [b'{"text": "bad \xff"}']
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    assert [each.text for each in read(tmp_path / "rows.jsonl")[0]] == ["Schön, größer."] * 3 + ["bad \ufffd"]


def test_packed_files_are_bounded_and_named_if_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(ENGLISH.encode()))
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(ENGLISH.encode())[:-12])
    (tmp_path / "not.md.gz").write_text("no gzip")
    (tmp_path / "bomb.txt.gz").write_bytes(gzip.compress(bytes(10**6)))
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 10**5)
    [found], _, skipped = read(tmp_path)
    assert (found.text, found.title) == (ENGLISH, "a")
    assert [each.partition(" (")[0] for each in skipped] == [
        "bomb.txt.gz: is longer than 16 MiB; split it",
        "cut.txt.gz: is a damaged .gz file",
        "not.md.gz: is a damaged .gz file",
    ]
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"text": "One."}\n' * 999)[:-12])
    with pytest.raises(SourceUnreadable, match=r"rows\.jsonl\.gz is a damaged \.gz file"):
        read(tmp_path / "rows.jsonl.gz")


# -- pages and books (19) -------------------------------------------------------------------------------------------

PAGE = """<html><head><title>A &amp; B</title><style>p {}</style><script>var x</script></head><body><nav>Menu</nav>
<h1>Head</h1><p>One <b>bold</b> wörd.<br>Same paragraph.</p><div>Two.<script>x</script></div><!-- no -->"""


def test_a_web_page_is_its_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "b.HTM").write_bytes(PAGE.replace("<head>", '<head><meta charset="iso-8859-2">').encode("iso-8859-2"))
    (tmp_path / "c.xhtml").write_bytes(('<?xml version="1.0" encoding="utf-16"?>' + PAGE).encode("utf-16"))
    (tmp_path / "deep.html").write_text("<div>" * 5000 + "Deep." + "</div>" * 5000)
    (tmp_path / "none.html").write_text("<html><script>x</script></html>")
    found, noted, skipped = read(tmp_path)
    assert [each.text for each in found] == ["Head\n\nOne bold wörd. Same paragraph.\n\nTwo."] * 3
    assert [each.title for each in found] == ["A & B"] * 3
    assert noted == ["b.HTM: is not UTF-8, read as iso8859-2", "c.xhtml: is not UTF-8, read as utf-16"]
    assert skipped == ["deep.html: is HTML that is nested too deeply", "none.html: is empty"]


def epub(path: Path, pages: dict[str, str], **others: str) -> None:
    items = "".join(
        f'<item id="{i}" href="{name}" media-type="application/xhtml+xml"/>' for i, name in enumerate(pages)
    )
    order = "".join(f'<itemref idref="{i}"/>' for i in reversed(range(len(pages))))
    names = "<dc:title>A Book</dc:title><dc:creator>Me</dc:creator>"
    about = f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{names}</metadata>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="o/p.opf"/></rootfiles></container>'
        )
        archive.writestr("o/p.opf", f"<package>{about}<manifest>{items}</manifest><spine>{order}</spine></package>")
        for name, text in pages.items():
            archive.writestr(f"o/{name}", f"<html><body><p>{text}</p></body></html>")
        for name, text in others.items():
            archive.writestr(f"META-INF/{name}.xml", text)


def test_an_epub_is_its_pages_in_reading_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epub(tmp_path / "a.epub", {"2.xhtml": "Second.", "1.xhtml": "First."})
    locked = '<e><EncryptedData><CipherData><CipherReference URI="o/1.xhtml"/></CipherData></EncryptedData></e>'
    epub(tmp_path / "locked.epub", {"1.xhtml": "First."}, encryption=locked)
    epub(tmp_path / "bomb.epub", {"1.xhtml": " " * 10**6})
    (tmp_path / "not.epub").write_text("no zip")
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 10**5)
    [found], _, skipped = read(tmp_path)
    assert (found.text, found.title, found.metadata) == ("First.\n\nSecond.", "A Book", {"author": "Me"})
    assert [each.partition(" (")[0] for each in skipped] == [
        "bomb.epub: is longer than 16 MiB; split it", "locked.epub: is encrypted", "not.epub: cannot be read as EPUB"
    ]  # fmt: skip


def pdf(pages: list[str]) -> PdfWriter:
    writer = PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
                             NameObject("/BaseFont"): NameObject("/Helvetica")})  # fmt: skip
    for text in pages:
        page = writer.add_blank_page(300, 300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F"): font})}
        )
        stream = DecodedStreamObject()
        lines = " ".join(f"({line}) Tj 0 -20 Td" for line in text.split("\n"))
        stream.set_data(f"BT /F 12 Tf 20 200 Td {lines} ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
    writer.add_metadata({"/Title": "A Paper", "/Author": "Me"})
    return writer


def test_a_pdf_is_its_text_and_named_where_it_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pdf(["The committee recom-\nmended a sentence", "that goes on."]).write(tmp_path / "a.pdf")
    pdf(["", ""]).write(tmp_path / "scanned.pdf")
    for name, password in (("locked", "secret"), ("owned", "")):
        writer = pdf(["It is readable."])
        writer.encrypt(password, "owner")
        writer.write(tmp_path / f"{name}.pdf")
    (tmp_path / "not.pdf").write_bytes(b"%PDF-1.7 nothing")
    pdf(["Drawn. " * 999, "Small."]).write(tmp_path / "drawn.pdf")
    monkeypatch.setattr(books, "MAX_PAGE_BYTES", 5000)
    found, noted, skipped = read(tmp_path)
    assert [each.text for each in found] == [
        "The committee recommended a sentence\nthat goes on.", "Small.", "It is readable."
    ]  # fmt: skip
    assert (found[0].title, found[0].metadata) == ("A Paper", {"author": "Me"})
    assert noted == ["drawn.pdf: has a page of too many instructions, left out (page 1)"]
    assert [each.partition(" (")[0] for each in skipped] == [
        "locked.pdf: is encrypted",
        "not.pdf: cannot be read as PDF",
        "scanned.pdf: has no text: its pages are images, so read them with OCR first",
    ]


@examples(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300),
    suffix=st.sampled_from(["txt", "html", "epub", "pdf", "txt.gz", "csv", "jsonl", "parquet"]),
)
def test_any_bytes_are_read_or_named(tmp_path: Path, data: bytes, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(data)
    try:
        read(tmp_path / f"a.{suffix}")
    except (NothingUsable, NoSuchColumn, SourceUnreadable) as error:
        assert len(str(error).splitlines()) == 1
    (tmp_path / f"a.{suffix}").unlink()
