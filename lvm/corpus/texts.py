"""Files of one document: plain text, Markdown, web pages, EPUB and PDF; text may be packed with gzip.

Contract: a file is a ``Document``, or ``Skipped`` with the reason. How it was read is said if it was not UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lvm.corpus import documents
from lvm.corpus.documents import TOO_LONG, Document, Skipped, normalise
from lvm.corpus.encodings import NotText, decoded, is_utf8
from lvm.corpus.packed import DAMAGED, is_packed, kind, unpacked, why

PLAIN, PAGES, BOOKS = (".txt", ".md"), (".html", ".htm", ".xhtml"), (".epub", ".pdf")

SUFFIXES = (*PLAIN, *PAGES, *BOOKS)

MAX_BOOK_BYTES = 256 * 2**20
"""A longer EPUB or PDF is skipped. Most of a long one are images."""


def is_text(path: Path) -> bool:
    """Whether the name of a file says that it is one document."""
    return kind(path) in (*PLAIN, *PAGES) or (not is_packed(path) and kind(path) in BOOKS)


def document(path: Path, source: str, name: str) -> Iterator[Document | Skipped]:
    """The document of a file.

    Args:
        path: the file.
        source: name of the source.
        name: of the file in the source: its id.
    """
    if kind(path) in BOOKS:
        limit, too_long = MAX_BOOK_BYTES, f"is longer than {MAX_BOOK_BYTES // 2**20} MiB; split it"
    else:
        limit, too_long = documents.MAX_DOCUMENT_BYTES, TOO_LONG
    try:
        if not path.is_file():  # opening a pipe would wait for a writer
            yield Skipped(name, "is not a regular file")
            return
        with unpacked(path) as file:
            data = file.read(limit + 1)
    except DAMAGED as error:
        yield Skipped(name, why(error))
        return
    if len(data) > limit:
        yield Skipped(name, too_long)
        return
    try:
        yield from _read(data, path, source, name)
    except NotText as error:
        yield Skipped(name, str(error))


def _read(data: bytes, path: Path, source: str, name: str) -> Iterator[Document | Skipped]:
    stem = Path(name.removesuffix(".gz")).stem
    if kind(path) in BOOKS:
        from lvm.corpus.books import read_epub, read_pdf  # their libraries are loaded where they are needed

        book = (read_pdf if kind(path) == ".pdf" else read_epub)(data)
        yield from (Skipped(name, each, kept=True) for each in book.said)
        yield Document(source, name, book.title or stem, normalise(book.text), book.metadata)
        return
    if kind(path) in PAGES:
        from lvm.corpus.html import read_page

        page = read_page(data)
        title, text, encoding = page.title or stem, page.text, page.encoding
    else:
        title, (text, encoding) = stem, decoded(data)
    if not is_utf8(encoding):
        yield Skipped(name, f"is not UTF-8, read as {encoding}", kept=True)
    yield Document(source, name, title, normalise(text), {})
