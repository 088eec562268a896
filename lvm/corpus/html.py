"""The text of a web page: paragraphs with blank lines between them, without scripts, styles and navigation.

Contract: lxml reads the page, whatever is wrong with it. Nothing is fetched, and no entity is expanded.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from lxml import etree

from lvm.corpus.encodings import NotText, decoded, errors_of, is_utf8

_LEFT_OUT = re.compile(
    "script|style|noscript|template|nav|svg|math|iframe|object|embed|head|button|select|textarea|canvas|audio|video"
)
_INLINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|q|rb|rp|rt|ruby|s|samp|small|span|"
    "strike|strong|sub|sup|time|tt|u|var|wbr|br|td|th"
)
_BEFORE = {"br": "\n", "td": " ", "th": " "}
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_BEGINNING = 4096  # bytes in which a page may say its encoding


@dataclass(frozen=True)
class Page:
    """A web page.

    Attributes:
        title: from its head, or else its first heading; may be empty.
        text: paragraphs, with blank lines between them; empty if there is none.
        encoding: of its bytes.
    """

    title: str
    text: str
    encoding: str


def read_page(data: bytes) -> Page:
    """The text of a page of HTML or XHTML.

    Args:
        data: its bytes.

    Raises:
        NotText: if they are no text, or elements are nested so deeply that the rest would be lost.
    """
    html, encoding = _decoded(data)
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(html.encode("utf-8", "surrogatepass"), parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None
    if any("Excessive depth" in each.message for each in parser.error_log):
        raise NotText("is HTML that is nested too deeply")
    if root is None:
        return Page("", "", encoding)
    return Page(_title(root), "\n\n".join(_paragraphs(root)), encoding)


def _decoded(data: bytes) -> tuple[str, str]:
    """The page as text. What it declares counts if it is not UTF-8: a declaration of UTF-8 may be false."""
    text, encoding = decoded(data) if _looks_like_utf8(data) else ("", "")
    if encoding:
        return text, encoding
    declared = _DECLARED.search(data[:_BEGINNING])
    if declared:
        try:
            name = codecs.lookup(declared[1].decode("ascii")).name
            name = {"iso8859-1": "cp1252", "ascii": "cp1252"}.get(name, name)  # browsers read them so
            if not is_utf8(name):
                return data.decode(name, errors_of(name)), name
        except (LookupError, ValueError):  # no such encoding, or one that is none of text
            pass
    return decoded(data)


def _looks_like_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return True


def _title(root: etree._Element) -> str:
    for path in ("//title", "//h1"):
        for found in root.xpath(path):
            if words := " ".join("".join(found.itertext()).split()):
                return words
    return ""


def _paragraphs(root: etree._Element) -> list[str]:
    """Texts between the borders of blocks. It walks without recursion: pages can be nested deeply."""
    paragraphs: list[str] = []
    parts: list[str] = []

    def end() -> None:
        if text := " ".join("".join(parts).split()):
            paragraphs.append(text)
        parts.clear()

    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        name = element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""
        left_out, inline = _LEFT_OUT.fullmatch(name), _INLINE.fullmatch(name)
        if event == "end":
            if not inline and not left_out:
                end()
            parts.append(element.tail or "")
        elif left_out:
            walk.skip_subtree()
        else:
            if not inline:
                end()
            parts.append(_BEFORE.get(name, "") + (element.text or ""))
    end()
    return paragraphs
