"""The encoding of text files: UTF-8 unless the bytes say otherwise.

Contract: a byte order mark decides. Otherwise valid UTF-8 is UTF-8, and so are files with more valid sequences than
damaged bytes. For the rest, charset-normalizer compares the encodings that are still in use. Bytes that are no text in
any of them are refused as binary. Damaged bytes of a UTF-8 file become lone surrogates, which ``lvm.corpus.clean``
counts and replaces.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import BinaryIO

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_LIKELY = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2", "koi8_r", "cp874"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949"),
]
_SAMPLE = 64 * 1024  # bytes from which an encoding is guessed
_BLOCK = 2**20
_WORSE, _LESS_LIKE = 0.1, 0.05  # how much worse cp1252 may look than another encoding before that one is taken

_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b"))
_LONE = re.compile("[\ud800-\udfff]")


class NotText(ValueError):
    """Bytes that are no text. The message follows the name of their file as a sentence."""


def decoded(data: bytes) -> tuple[str, str]:
    """The text of a whole file, and the name of its encoding.

    Args:
        data: its bytes.

    Raises:
        NotText: if they are no text.
    """
    encoding = encoding_of(data)
    return data.decode(encoding, errors_of(encoding)), encoding


def errors_of(encoding: str) -> str:
    """How bytes that the encoding does not have are decoded: of UTF-8, so that they can be counted."""
    return "surrogateescape" if is_utf8(encoding) else "replace"


def is_utf8(encoding: str) -> bool:
    """Whether an encoding is UTF-8, with or without a byte order mark."""
    return encoding.startswith("utf-8")


def encoding_of(data: bytes) -> str:
    """Name of the encoding of a text.

    Args:
        data: its bytes; of a long text, those around the first that are not UTF-8.

    Raises:
        NotText: if they are no text.
    """
    if marked := _marked(data):
        return marked
    if unmarked := _utf16_without_mark(data[:_SAMPLE]):
        return unmarked
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "surrogateescape")
        damaged = len(_LONE.findall(text))
        if damaged < sum(character > "\x7f" for character in text) - damaged:
            return "utf-8"
        return _guessed(data, error.start)
    if len(data) and _controls(data[:_SAMPLE]) > 0.3:
        raise NotText("is binary")
    return "utf-8"


def encoding_of_file(open_file: Callable[[], BinaryIO]) -> str:
    """Name of the encoding of a file of any length. It is read once, in blocks, up to the first damage.

    Args:
        open_file: opens it.

    Raises:
        NotText: if it is no text.
    """
    with open_file() as file:
        block = file.read(_BLOCK)
        if marked := _marked(block) or _utf16_without_mark(block[:_SAMPLE]):
            return marked
        decoder, before = codecs.getincrementaldecoder("utf-8")(), b""
        while block:
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return encoding_of(before + block)
            before, block = block[-8:], file.read(_BLOCK)
    return "utf-8"


def _marked(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of mostly Latin text is NUL."""
    half = len(data) // 2
    if half < 2 or 0 not in data:
        return None
    even, odd = data[0 : 2 * half : 2].count(0) / half, data[1 : 2 * half : 2].count(0) / half
    return "utf-16-le" if odd > 0.5 > 10 * even else "utf-16-be" if even > 0.5 > 10 * odd else None


def _controls(data: bytes) -> float:
    """Share of control characters that texts do not have."""
    return 1 - len(data.translate(None, _CONTROL)) / max(1, len(data))


def _guessed(data: bytes, damaged: int) -> str:
    """The likeliest encoding of bytes that are not UTF-8. ``damaged`` is where they are not.

    Western European text is valid in every single-byte encoding, and few letters tell them apart: cp1252 is taken
    unless another one looks clearly better.
    """
    from charset_normalizer import from_bytes  # few files need it

    start = data.rfind(b"\n", 0, max(0, damaged - _SAMPLE // 2)) + 1  # whole lines: no character is cut
    sample = data[start : max(damaged, start) + _SAMPLE]
    if 0 in sample or _controls(sample) > 0.1:
        raise NotText("is binary")
    matches = from_bytes(sample, cp_isolation=_LIKELY)
    best = matches.best()
    if best is None:
        raise NotText("is neither UTF-8 nor in another encoding that can be recognised; convert it to UTF-8")
    for match in matches:
        near = match.chaos <= best.chaos + _WORSE and match.coherence >= best.coherence - _LESS_LIKE
        if "cp1252" in match.could_be_from_charset and near:
            return "cp1252"
    return str(best.encoding)
