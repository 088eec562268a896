"""The files of a folder: which are texts, and which are left out and counted.

Contract: hidden files and folders are left out, and so are folders that tools fill: version control, packages,
environments. The folder itself may be hidden. Links to folders are not followed, because they could loop.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lvm.corpus.documents import Document, Skipped
from lvm.corpus.errors import SourceUnreadable
from lvm.corpus.packed import kind
from lvm.corpus.texts import SUFFIXES, document, is_text

TOOL_FOLDERS = frozenset(
    {"node_modules", "bower_components", "__pycache__", "site-packages", "dist-packages", "__MACOSX", "CVS", "RCS"}
)
TOOL_SUFFIXES = (".egg-info", ".dist-info")
ENVIRONMENT = "pyvenv.cfg"
"""A folder with this file is a Python environment."""

HIDDEN = "files", "are hidden, or in hidden folders"
MANY = "hold many documents each; name such a file alone"
OTHER = f"are not of a kind that is read ({', '.join(SUFFIXES)})"


def texts_of(folder: Path, source: str, tables: tuple[str, ...]) -> Iterator[Document | Skipped]:
    """Every text below a folder, sorted by path, then what was left out.

    Args:
        folder: the folder.
        source: name of the source.
        tables: suffixes of files of many documents, which are sources of their own.
    """
    paths, left_out = text_files(folder, tables)
    for path in paths:
        name = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
        yield from document(path, source, name)
    for (what, reason), count in sorted((+left_out).items()):
        yield Skipped(f"{count} {what}", reason, count)


def text_files(folder: Path, tables: tuple[str, ...]) -> tuple[list[Path], Counter[tuple[str, str]]]:
    """The texts below a folder, sorted, and how many others there are: which, and why they are left out.

    Raises:
        SourceUnreadable: if a folder cannot be read.
    """
    paths = []
    left_out: Counter[tuple[str, str]] = Counter()
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in list(folders):
            if why := _left_out(Path(parent), name):
                folders.remove(name)
                count = sum(len(inside) for _, _, inside in os.walk(Path(parent) / name))
                left_out[why] += count
        for file in files:
            if file.startswith((".", "~$")):
                left_out[HIDDEN] += 1
            elif is_text(Path(file)):
                paths.append(Path(parent) / file)
            elif kind(Path(file)) in tables:
                left_out[_with(file), MANY] += 1
            else:
                left_out[_with(file), OTHER] += 1
    return sorted(paths), left_out


def _left_out(parent: Path, name: str) -> tuple[str, str] | None:
    if name.startswith("."):
        return HIDDEN
    if name in TOOL_FOLDERS or name.endswith(TOOL_SUFFIXES) or (parent / name / ENVIRONMENT).is_file():
        return "files", f"are in folders that tools fill ({name})"
    return None


def _with(file: str) -> str:
    return f"files with {Path(file).suffix or 'no suffix'!r}"


def _raise(error: OSError) -> None:
    raise SourceUnreadable(f"{error.filename!r} cannot be read ({error.strerror}); check its permissions") from error
