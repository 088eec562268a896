"""``lvm encode``, ``lvm decode`` and ``lvm check``: read and write files and pipes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lvm.encoding import vector_files
from lvm.encoding.vector_files import WRITTEN, VectorFile
from lvm.encoding.vectors import require
from lvm.errors import UsageError, visible
from lvm.progress import bar
from lvm.settings import Settings
from lvm.spaces import Decoded, Space, SpaceMismatch, open_space
from lvm.spaces.check import demand
from lvm.spaces.registry import open_statistics

VECTORS_AT_ONCE = 64
"""Vectors that are decoded before their texts are printed."""


class UnusableFile(UsageError):
    """A file does not exist, cannot be read, or has a wrong suffix or encoding."""


def encode(source: Path | None, output: Path | None, space_name: str | None, settings: Settings) -> None:
    """Encode lines of text. An empty line is an error, so that row i is always line i.

    Args:
        source: file with one text per line; None for standard input.
        output: .safetensors or .jsonl file; None prints .jsonl.
        space_name: name of the space; ``settings.space`` unless given.
        settings: the settings.

    Raises:
        UnusableFile: if the source cannot be read, or the output has another suffix.
        UsageError: if a line is empty, or there is no line.
        UnreadableText: if a line is in a writing system that the encoder does not know.
        CannotWrite: if the disk is full or the folder cannot be written.
    """
    if output is not None and output.suffix not in WRITTEN:
        raise UnusableFile(f"--out {output} has a wrong suffix; use {' or '.join(WRITTEN)}, which name the space")
    texts = _lines(source)
    space = open_space(space_name or settings.space, settings)
    space.require_readable(texts)
    with bar("encode", len(texts)) as advance:
        vectors = space.encode(texts, advance)
    cut = space.over_limit(texts)
    if cut:
        sys.stderr.write(f"{len(cut)} texts are longer than {space.max_tokens} tokens and were cut there: ")
        sys.stderr.write(f"line {', '.join(str(row + 1) for row in cut[:10])}{' ...' if len(cut) > 10 else ''}\n")
    if output is not None:
        vector_files.write(output, vectors, space.name, texts)
        return
    shown = visible if sys.stdout.isatty() else str  # a pipe gets the text as it is
    for line in vector_files.lines(vectors, texts):
        sys.stdout.write(shown(line) + "\n")


def decode(
    source: Path | None,
    space_name: str | None,
    settings: Settings,
    vectors_of: str | None = None,
    *,
    n_best: int = 1,
    steps: bool = False,
) -> Iterator[str]:
    """Decode the vectors in a file and yield the lines to print.

    A line is the text of a vector. With candidates, a line is the number of the vector (from 1), the cosine and the
    text of a candidate, separated by tabs. With steps, it is number, step (0 for the hypothesis), cosine and text.

    Args:
        source: file of vectors; None for .jsonl lines on standard input.
        space_name: name of the space; ``settings.space`` unless given.
        settings: the settings.
        vectors_of: fingerprint of the space of the vectors, for a file that names no space.
        n_best: largest number of candidates per vector; 1 for texts only.
        steps: whether to yield the texts of all steps.

    Raises:
        UsageError: if both candidates and steps are requested.
        InvalidDecoding: if the inverter does not make so many candidates, or has no steps.
        UnusableFile: if the file cannot be opened.
        UnreadableVectors: if the file holds no vectors.
        CorruptedFile: if the file is damaged.
        SpaceMismatch: if the file or ``vectors_of`` names another space, or neither names one.
        ForeignVectors: if vectors of another program cannot be of the space.
        InvalidVectors: if vectors have another dimension, are NaN or zero.
    """
    if steps and n_best != 1:
        raise UsageError("--n-best and --steps-shown print different lines; give one of them")
    space = open_space(space_name or settings.space, settings)
    space.check_decoding(n_best, steps)
    held = _vectors(source)
    _same(held, vectors_of, space)
    if held.fingerprint is None and vectors_of is None:
        raise SpaceMismatch(
            f"{source} does not say which space its vectors are of; if you know the space, name it with "
            f"--vectors-of FINGERPRINT (`lvm spaces` lists fingerprints, `lvm check {source}` tests the vectors)"
        )
    vectors = require(held.vectors(space.fingerprint), space.name, space.fingerprint, space.dim)
    if held.foreign:
        demand(vectors, open_statistics(space, settings), space.name)
    with bar("decode", len(vectors)) as advance:
        for start in range(0, len(vectors), VECTORS_AT_ONCE):
            part = vectors[start : start + VECTORS_AT_ONCE]
            decoded = space.decode(part, n_best, steps=steps, seed=settings.seed + start, progress=advance)
            yield from _printed(decoded, start)


def _printed(decoded: Decoded, start: int) -> Iterator[str]:
    """Lines of decoded vectors; ``start`` vectors came before."""
    for row, candidates in enumerate(decoded.candidates or [], start=start + 1):
        yield from (f"{row}\t{each.cosine:.3f}\t{each.text}" for each in candidates)
    for row, path in enumerate(decoded.steps or [], start=start + 1):
        yield from (f"{row}\t{step}\t{each.cosine:.3f}\t{each.text}" for step, each in enumerate(path))
    if decoded.candidates is None and decoded.steps is None:
        yield from decoded.texts


def check(source: Path, space_name: str | None, settings: Settings) -> str:
    """Check whether the vectors in a file can be of a space, from their numbers alone.

    Args:
        source: file of vectors.
        space_name: name of the space; ``settings.space`` unless given.
        settings: the settings.

    Returns:
        The result in one line.

    Raises:
        UnusableFile: if the file cannot be opened.
        UnreadableVectors: if the file holds no vectors.
        CorruptedFile: if the file is damaged.
        SpaceMismatch: if the file names another space.
        ForeignVectors: if the vectors cannot be of the space.
        InvalidVectors: if there are no vectors, or some are NaN or zero.
    """
    space = open_space(space_name or settings.space, settings)
    held = _vectors(source)
    _same(held, None, space)
    return demand(held.vectors(space.fingerprint), open_statistics(space, settings), space.name).message


def _same(held: VectorFile, vectors_of: str | None, space: Space) -> None:
    """Check that the file and ``vectors_of`` name this space, if they name one.

    Raises:
        SpaceMismatch: if one of them names another space.
    """
    for fingerprint, origin in ((held.fingerprint, "the file says"), (vectors_of, "--vectors-of says")):
        if fingerprint is not None and fingerprint != space.fingerprint:
            raise SpaceMismatch(
                f"{origin} that these vectors are of space {fingerprint[:40]!r}, this is {space.name!r} "
                f"({space.fingerprint}); vectors of one space mean nothing in another: encode the texts again, or name "
                "their space with --space"
            )


def _open(source: Path | None) -> IO[bytes]:
    if source is None:
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        return source.open("rb")
    except OSError as error:
        raise UnusableFile(f"{source} cannot be read ({error.strerror}); name an existing file") from error


def _lines(source: Path | None) -> list[str]:
    with _open(source) as file:
        try:
            texts = [line.rstrip("\r\n") for line in io.TextIOWrapper(file, encoding="utf-8")]
        except UnicodeDecodeError as error:
            raise UnusableFile(f"the texts are not UTF-8 (byte {error.start}); save them as UTF-8") from error
    if empty := next((row for row, text in enumerate(texts, start=1) if not text.strip()), None):
        raise UsageError(f"line {empty} is empty; write one text per line, so that row i is line i")
    if not texts:
        raise UsageError("there is no text to encode; write one text per line")
    return texts


def _vectors(source: Path | None) -> VectorFile:
    if source is not None and source.suffix != ".jsonl" and source.is_fifo():
        raise UnusableFile(f"{source} is a pipe, from which only .jsonl can be read; name a file")
    with _open(source) as file:
        return vector_files.read(source, file)
