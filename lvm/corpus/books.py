"""The text of a book or paper: EPUB and PDF.

Contract: nothing is written to disk, run or fetched. What is read is bounded, whatever a file says of itself. A book
that is encrypted, or has no text because its pages are images, is refused by name.
"""

from __future__ import annotations

import io
import logging
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from lxml import etree

from lvm.corpus import documents
from lvm.corpus.documents import TOO_LONG
from lvm.corpus.encodings import NotText
from lvm.corpus.html import read_page
from lvm.errors import first_line

MAX_UNPACKED_BYTES = 256 * 2**20
"""An EPUB whose pages are longer together is skipped. A small file can hold gigabytes."""

MAX_PAGE_BYTES = 4 * 2**20
"""A page of a PDF with more instructions is left out. It is a drawing, and reading it takes minutes."""

MAX_PAGES = 20_000


@dataclass(frozen=True)
class Book:
    """A book or paper.

    Attributes:
        title: its own; may be empty.
        text: its paragraphs, with blank lines between them where they are known.
        metadata: author and language, if it names them.
        said: what was left out.
    """

    title: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()


class _TooLong(NotText):
    def __init__(self) -> None:
        super().__init__(TOO_LONG)


# -- EPUB: a zip of XHTML pages ---------------------------------------------------------------------------------

_XML: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "recover": True}
_FONTS = "idpf.org/2008/embedding", "ns.adobe.com/pdf/enc#RC"
"""Encryption of fonts, which leaves the text readable."""


def read_epub(data: bytes) -> Book:
    """The text of an EPUB, in the order of its spine.

    Args:
        data: its bytes.

    Raises:
        NotText: if it is none, is encrypted or damaged, or is too long.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _epub(archive)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        encrypted = isinstance(error, RuntimeError) and "encrypted" in str(error)
        reason = "is encrypted" if encrypted else f"cannot be read as EPUB ({first_line(error)})"
        raise NotText(reason) from error


def _epub(archive: zipfile.ZipFile) -> Book:
    container = _xml(archive, "META-INF/container.xml")
    root = next(iter(container.xpath("//*[local-name()='rootfile']/@full-path")), "")
    package = _xml(archive, root)
    folder = posixpath.dirname(root)
    items = package.xpath("//*[local-name()='manifest']/*[@id][contains(@media-type, 'html')]")
    files = {each.get("id"): each.get("href", "") for each in items}
    spine = package.xpath("//*[local-name()='spine']/*[local-name()='itemref'][not(@linear='no')]/@idref")
    names = [posixpath.normpath(posixpath.join(folder, unquote(files[each]))) for each in spine if files.get(each)]
    if locked := _encrypted(archive) & set(names):
        raise NotText(f"is encrypted ({sorted(locked)[0][:80]})")
    texts: list[str] = []
    said: list[str] = []
    read = length = 0
    for name in names:
        try:
            page = _member(archive, name)
        except KeyError:
            said.append(f"names a page that it does not have ({name[:80]})")
            continue
        text = read_page(page).text
        read, length = read + len(page), length + len(text)
        if read > MAX_UNPACKED_BYTES or length > documents.MAX_DOCUMENT_BYTES:
            raise _TooLong
        if text:
            texts.append(text)
    about = {name: _dublin_core(package, name) for name in ("title", "creator", "language")}
    metadata = {key: value for key, value in (("author", about["creator"]), ("language", about["language"])) if value}
    return Book(about["title"], "\n\n".join(texts), metadata, tuple(said))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the archive. It is not unpacked beyond the limit, whatever size it claims to have."""
    with archive.open(name) as file:
        data = file.read(documents.MAX_DOCUMENT_BYTES + 1)
    if len(data) > documents.MAX_DOCUMENT_BYTES:
        raise _TooLong
    return data


def _xml(archive: zipfile.ZipFile, name: str) -> etree._Element:
    try:
        found = etree.fromstring(_member(archive, name), etree.XMLParser(**_XML))
    except (etree.XMLSyntaxError, ValueError):
        found = None
    if found is None:
        raise NotText(f"cannot be read as EPUB ({name[:80]} is damaged)")
    return found


def _encrypted(archive: zipfile.ZipFile) -> set[str]:
    """Names of the encrypted files, but for fonts."""
    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    locked = set()
    for each in _xml(archive, "META-INF/encryption.xml").xpath("//*[local-name()='EncryptedData']"):
        method = "".join(each.xpath("./*[local-name()='EncryptionMethod']/@Algorithm"))
        if not any(font in method for font in _FONTS):
            locked |= {unquote(uri) for uri in each.xpath(".//*[local-name()='CipherReference']/@URI")}
    return locked


def _dublin_core(package: etree._Element, name: str) -> str:
    found = package.xpath(f"//*[local-name()='metadata']/*[local-name()='{name}']")
    return " ".join("".join(found[0].itertext()).split()) if found else ""


# -- PDF --------------------------------------------------------------------------------------------------------

_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")
"""Where a word was divided at the end of a line."""


def read_pdf(data: bytes) -> Book:
    """The text of a PDF, page by page. A sentence may go on over a page, so pages are not paragraphs.

    Args:
        data: its bytes.

    Raises:
        NotText: if it is none, is encrypted or damaged, has no text, or is too long.
    """
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells every oddity of a file
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise NotText("is encrypted")
        said: list[str] = []
        text = "\n".join(_pages(reader, said))
        about = reader.metadata
        title, author = (about.title, about.author) if about else (None, None)
    except NotText:
        raise
    except Exception as error:  # damaged files raise whatever their values lead to
        raise NotText(f"cannot be read as PDF ({type(error).__name__}: {first_line(error)[:80]})") from error
    if not text.strip():
        raise NotText("has no text: its pages are images, so read them with OCR first")
    text = _HYPHEN.sub("", text.replace("\u00ad\n", "").replace("\u00ad", ""))
    metadata = {"author": author} if author and isinstance(author, str) else {}
    return Book(" ".join(str(title or "").split()), text, metadata, tuple(said))


def _pages(reader: Any, said: list[str]) -> Iterator[str]:
    length = 0
    for number, page in enumerate(reader.pages, start=1):
        if number > MAX_PAGES:
            raise _TooLong
        try:
            contents = page.get_contents()
            if contents is not None and len(contents.get_data()) > MAX_PAGE_BYTES:
                said.append(f"has a page of too many instructions, left out (page {number})")
                continue
            text = page.extract_text().strip()
        except Exception as error:  # one page does not stop the others
            said.append(f"has a page that cannot be read, left out (page {number}: {type(error).__name__})")
            continue
        length += len(text)
        if length > documents.MAX_DOCUMENT_BYTES:
            raise _TooLong
        yield text
