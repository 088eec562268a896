"""Split a text into chunks: sentence-sized, in order, every chunk within the space's token limit.

Contract: no text is lost silently. The library sentencex finds sentences. A sentence over the token limit is halved
until every part fits. The cut is near the middle and at a natural pause: after ``;``, ``:`` or a dash, after a comma,
before a conjunction, or between words. White space inside a chunk is collapsed; no other character is changed. Running
time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import sentencex
from tokenizers import Encoding, Tokenizer

from lvm.corpus.documents import Skipped
from lvm.corpus.readable import UNREADABLE, is_unreadable, unknown_id
from lvm.errors import UsageError, is_panic

MAX_CHARACTERS_PER_TOKEN = 16
"""Characters per allowed token. A longer chunk is split too: WordPiece makes one unknown token of any word of more than
100 characters, so the number of tokens alone does not limit the length."""

_PARAGRAPH = re.compile(r"\n\r*\n")  # sentencex never joins text across it
_WINDOW = 10_000  # characters given to sentencex at once: its time is quadratic if a quotation mark is never closed
_WHITE_SPACE = re.compile(r"[^\S\n\r]")
_BLOCK = 20_000  # characters given to the tokenizer at once: a single line can have 100 MB
_PAUSE = re.compile(r"[;:\u2014\u2013]['\")\u201d\u2019]?$|--$")
_COMMA = re.compile(r"[,)\]]['\"\u201d\u2019]?$")
_CONJUNCTION = re.compile(
    r"(and|or|but|nor|yet|so|that|which|who|whom|whose|when|where|while|because|if|unless|until|although|"
    r"though|since|as|than|for|to|in|on|by|with|from|of|at|under|upon|through)\b",
    re.IGNORECASE,
)


class NotUnicode(UsageError):
    """A text is no string, or has a lone surrogate: no tokenizer reads it, and no file or database can hold it."""


def require_unicode(texts: Sequence[str]) -> None:
    """Refuse what is no string, and lone surrogates, which Python makes of bytes that are not UTF-8.

    Raises:
        NotUnicode: for the first such text.
    """
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise NotUnicode(f"text {number} of {len(texts)} is of type {type(text).__name__}, not a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotUnicode(
                f"text {number} of {len(texts)} is not valid Unicode (lone surrogate at character {error.start}); read "
                "its file in the encoding that it has"
            ) from error


@dataclass(frozen=True)
class Chunk:
    """One consecutive piece of a document.

    Attributes:
        text: the text, with white space collapsed; never empty.
        token_count: number of tokens by the space's tokenizer, without special tokens.
    """

    text: str
    token_count: int


class Chunker:
    """Splits documents into chunks of at most ``max_tokens`` tokens.

    Args:
        tokenizer: the tokenizer of the space's encoder.
        max_tokens: the space's token limit, without special tokens.
        language: language code for sentencex.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, language: str = "en") -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())  # a copy, because truncation is turned off
        self._unknown = unknown_id(tokenizer)
        self._longest_word: int | None = getattr(tokenizer.model, "max_input_chars_per_word", None)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.max_tokens = max_tokens
        self._max_characters = MAX_CHARACTERS_PER_TOKEN * max_tokens
        self._language = language

    def split(self, text: str) -> tuple[list[Chunk], list[Skipped]]:
        """Split one document.

        Args:
            text: the whole text of the document.

        Returns:
            The chunks in reading order, and the skipped pieces: those without a letter or a digit, and those that the
            encoder cannot read.

        Raises:
            NotUnicode: if the text has a lone surrogate.
        """
        require_unicode([text])
        pieces = [block for sentence in self._sentences(text) for block in _blocks(sentence)]
        sized: list[tuple[str, int, bool]] = []
        pending = pieces
        # Every round tokenizes all new pieces in one call and halves those that are too long. The order is kept.
        measured: list[tuple[str, int, bool] | None] = [None] * len(pending)
        while True:
            todo = [i for i, known in enumerate(measured) if known is None]
            if not todo:
                break
            encodings = self._tokenizer.encode_batch([pending[i] for i in todo], add_special_tokens=False)
            next_pending: list[str] = []
            next_measured: list[tuple[str, int, bool] | None] = []
            halves = dict(zip(todo, encodings, strict=True))
            for i, piece in enumerate(pending):
                encoding = halves.get(i)
                if encoding is None:
                    next_pending.append(piece)
                    next_measured.append(measured[i])
                    continue
                small = len(encoding) <= self.max_tokens and len(piece) <= self._max_characters
                unreadable = small and is_unreadable(piece, encoding, self._unknown)
                if small and not (unreadable and self._has_long_word(piece)):
                    next_pending.append(piece)
                    next_measured.append((piece, len(encoding), unreadable))
                else:
                    cut = _middle(piece) if small else self._cut(piece, encoding)
                    for half in (piece[:cut].strip(), piece[cut:].strip()):
                        if half:
                            next_pending.append(half)
                            next_measured.append(None)
            pending, measured = next_pending, next_measured
        sized = [known for known in measured if known is not None]
        chunks: list[Chunk] = []
        skipped: list[Skipped] = []
        for number, (piece, tokens, unreadable) in enumerate(sized):
            if unreadable:
                skipped.append(Skipped(f"piece {number}", f"{UNREADABLE}: {piece[:40]!r}"))
            elif tokens and any(c.isalnum() for c in piece):
                chunks.append(Chunk(piece, tokens))
            else:
                skipped.append(Skipped(f"piece {number}", f"no letter or digit: {piece[:40]!r}"))
        return chunks, skipped

    def _has_long_word(self, piece: str) -> bool:
        """Whether a word is unknown only because it is long: WordPiece does not look into those."""
        if self._longest_word is None:
            return False
        long = next((word for word in piece.split() if len(word) > self._longest_word), "")
        beginning = long[: self._longest_word // 2]
        encoding = self._tokenizer.encode(beginning, add_special_tokens=False)
        return bool(beginning) and not is_unreadable(beginning, encoding, self._unknown)

    def _sentences(self, text: str) -> list[str]:
        sentences = (
            " ".join(sentence.split())
            for paragraph in _PARAGRAPH.split(text)
            for sentence in self._sentences_of_paragraph(paragraph)
        )
        return [s for s in sentences if s]

    def _sentences_of_paragraph(self, paragraph: str) -> Iterator[str]:
        """Sentences of one paragraph.

        A long paragraph is read in windows of ``_WINDOW`` characters. A window starts where the last complete sentence
        of the previous window ends.
        """
        start = 0
        while len(paragraph) - start > _WINDOW:
            window = paragraph[start : start + _WINDOW]
            *whole, last = self._segment(window)
            start += _WINDOW - len(last)
            if len(last) > _WINDOW // 2:  # too long to start the next window with: cut it, between words if possible
                cut = last.rfind(" ", len(last) // 2) + 1 or len(last)
                whole.append(last[:cut])
                start += cut
            yield from whole
        yield from self._segment(paragraph[start:])

    def _segment(self, text: str) -> list[str]:
        """Sentences of a text. sentencex panics on a few texts with wide spaces: retry those with plain spaces."""
        for attempt in (text, _WHITE_SPACE.sub(" ", text)):
            try:
                return list(sentencex.segment(self._language, attempt))
            except BaseException as error:
                if not is_panic(error):
                    raise
        return [text]

    def _cut(self, piece: str, encoding: Encoding) -> int:
        """Character position at which a piece that is too long is cut in two."""
        tokens = max(len(encoding), ceil(len(piece) / MAX_CHARACTERS_PER_TOKEN))
        parts = ceil(tokens / self.max_tokens)
        left = parts // 2
        starts = [start for start, _ in encoding.offsets]
        count = len(starts)
        ideal = count * left / parts
        low, high = count - (parts - left) * self.max_tokens, left * self.max_tokens
        best, best_cost, best_index = 0, float("inf"), 0
        # Positions are tried by their distance from the ideal. The search ends when distance alone costs too much.
        for index in sorted(range(1, count), key=lambda index: abs(index - ideal)):
            if abs(index - ideal) / self.max_tokens > best_cost:
                break
            position = starts[index]
            if not 0 < position < len(piece):
                continue
            before = piece[max(0, position - 4) : position].rstrip()[-3:]
            if piece[position - 1] != " ":
                cost = 1.0 if _PAUSE.search(before) else 5.0
            elif _PAUSE.search(before):
                cost = 0.0
            elif _COMMA.search(before):
                cost = 0.15
            elif _CONJUNCTION.match(piece, position):
                cost = 0.3
            else:
                cost = 0.6
            if not low <= index <= high:
                cost += 0.5  # this cut needs one part more than necessary
            cost += abs(index - ideal) / self.max_tokens
            if (cost, index) < (best_cost, best_index):
                best, best_cost, best_index = position, cost, index
        return best or len(piece) // 2


def _middle(piece: str) -> int:
    """Where a piece is cut in two: at the space that is nearest to its middle, if there is one."""
    middle = len(piece) // 2
    spaces = [at for at in (piece.rfind(" ", 0, middle), piece.find(" ", middle)) if at > 0]
    return min(spaces, key=lambda at: abs(at - middle), default=middle)


def _blocks(sentence: str) -> list[str]:
    """Cut a very long sentence at spaces, so that tokenizing it needs little memory."""
    if len(sentence) <= _BLOCK:
        return [sentence]
    blocks: list[str] = []
    start = 0
    while start < len(sentence):
        end = min(start + _BLOCK, len(sentence))
        if end < len(sentence):
            space = sentence.rfind(" ", start + 1, end)
            end = space if space > start else end
        block = sentence[start:end].strip()
        if block:
            blocks.append(block)
        start = end
    return blocks
