"""The sources of a corpus: what is stored of each, what the gate measured of it, removing one, and syncing with one.

Contract: a removal takes the name of the source, typed out. It is one transaction; the revision of the corpus is then
that of the rest, so an earlier verdict about the rest stands again. Files of sequence sets and models stay. Nothing is
removed while a stage reads the corpus or a model is trained on it, nor for a source that cannot be read whole.
"""

from __future__ import annotations

import logging
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from lvm.corpus.documents import Document, DocumentInfo, Skipped
from lvm.corpus.sources import Source, is_table, source_name
from lvm.errors import UsageError, did_you_mean
from lvm.evaluation.roundtrip import RoundtripFigures, SourceFigures
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.store import Key, NotConfirmed, Store, StoredSource

LISTED = 10
"""Documents that a message lists by name."""


class SourceNotStored(UsageError):
    """Nothing of that source is stored."""


class NotSyncable(UsageError):
    """The source cannot be compared with what is stored of it."""


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceState:
    """A source, and what the last roundtrip gate with this inverter measured of it.

    Attributes:
        stored: what is stored.
        gate_id: of that verdict; None if there is none.
        figures: its chunks in that verdict; None if it has none.
        current: whether the verdict is about the corpus as it is now.
    """

    stored: StoredSource
    gate_id: int | None
    figures: SourceFigures | None
    current: bool


@dataclass(frozen=True)
class Removed:
    """What a removal deleted.

    Attributes:
        source: name of the source.
        rows: number of deleted rows by table.
        corpus_revision: of the space afterwards.
    """

    source: str
    rows: dict[str, int]
    corpus_revision: str

    def __str__(self) -> str:
        return f"removed source {self.source}: {in_words(self.rows)}"


@dataclass(frozen=True)
class Changes:
    """What a sync changes besides ingesting.

    Attributes:
        moves: keys of stored documents that the source has under another name, and what they are called now.
        vanished: keys of stored documents whose text the source does not have any more.
        before: name of the source before it was renamed; empty if it was not.
        left: number of documents that stay stored under that name. Only ``remove`` takes them out.
    """

    moves: tuple[tuple[Key, DocumentInfo], ...] = ()
    vanished: tuple[Key, ...] = ()
    before: str = ""
    left: int = 0


@named_stage
def sources(work: Workspace) -> list[SourceState]:
    """The stored sources by name, each with what the gate measured of it.

    The verdict is the one about the corpus as it is now, or if there is none, the last one with this inverter.

    Args:
        work: the database and the space.
    """
    inverter, current = work.inverter_id, work.verdict()
    gate = current or (None if inverter is None else work.store.verdict(work.space_id, None, inverter))
    figures = [] if gate is None else RoundtripFigures.from_evidence(gate.evidence).sources
    measured = {each.source: each for each in figures}
    return [
        SourceState(each, None if gate is None else gate.id, measured.get(each.name), current is not None)
        for each in work.store.sources()
    ]


@named_stage
def remove(work: Workspace, source: str | Path, *, confirm: str = "") -> Removed:
    """Remove a source: its documents with their chunks and vectors of every space.

    Args:
        work: the database.
        source: its stored name, or what was given to ``ingest``. A folder need not exist any more.
        confirm: its stored name, typed out.

    Raises:
        SourceNotStored: if nothing of it is stored; the message says which sources there are.
        NotConfirmed: if ``confirm`` is not its stored name; the message says what would go.
        TrainingActive: while a training run is active.
        Busy: while another process ingests, or a stage reads the corpus.
        NotAllowed: if this database user may not delete documents.
    """
    store = work.store
    stored = {each.name: each for each in store.sources()}[stored_name(store, str(source))]
    if confirm != stored.name:
        name = shlex.quote(stored.name)
        raise NotConfirmed(
            f"this would remove source {stored.name!r} from database {store.database_name!r}: {stored.documents} "
            f"documents and {stored.chunks} chunks, with their vectors of every space; nothing was touched, to do it: "
            f"lvm remove {name} --confirm {name}"
        )
    with store.lock("ingest"):
        rows = store.remove_source(stored.name)
    return Removed(stored.name, rows, store.corpus_revision(work.space_id))


def changes(store: Store, source: Source) -> Changes:
    """Compare a source with what is stored of it, by content. It is read to its end, and nothing is changed.

    A stored document with the text of a new one has moved: its file was renamed, or the whole source was. A source was
    renamed if its folder or file is gone, and most of its documents are in this one. It may be gone for another reason,
    such as a disk that is not mounted, so none of its documents vanishes.

    Args:
        store: the database.
        source: a folder or file, without a limit.

    Raises:
        NotSyncable: if it is no folder or file, has a limit, or has damaged lines, so that what vanished is not known.
        NothingUsable: if it has no usable document.
        SourceUnreadable: if it cannot be read.
    """
    if not Path(source.name).is_absolute():
        raise NotSyncable(f"source {source.name!r} is no folder or file, so nothing vanishes from it; leave --sync out")
    if source.limit is not None:
        raise NotSyncable("a sync needs the whole source: what a limit leaves out would be removed; leave --limit out")
    now: dict[str, DocumentInfo] = {}
    skipped: list[Skipped] = []
    for item in source:
        if isinstance(item, Document):
            now[item.external_id] = item.info
        elif not item.kept:
            skipped.append(item)
    kept = {each.where for each in skipped}  # a file that is damaged or empty now is still there
    stored = store.source_documents(source.name)
    left = {(source.name, name): sha256 for name, sha256 in stored.items() if name not in now and name not in kept}
    before = _renamed(store, source.name, {info.sha256 for info in now.values()})
    others = {(before, name): sha256 for name, sha256 in store.source_documents(before).items()} if before else {}
    new: dict[str, list[DocumentInfo]] = {}
    for name, info in now.items():
        if name not in stored:
            new.setdefault(info.sha256, []).append(info)
    moves = tuple((key, new[sha256].pop(0)) for key, sha256 in sorted({**left, **others}.items()) if new.get(sha256))
    moved = {key for key, _ in moves}
    vanished = tuple(sorted(left.keys() - moved))
    if vanished and skipped and is_table(source.name):
        raise NotSyncable(
            f"{len(skipped)} rows of {source.name} cannot be used (first: {skipped[0].where}: {skipped[0].reason}), "
            "so what vanished from it is not known; nothing was touched: correct them, or leave --sync out"
        )
    return Changes(moves, vanished, before, len(others.keys() - moved))


def sync(store: Store, source: Source, confirm: str) -> Changes:
    """Remove documents that vanished from a source, and give those that moved their new names. See ``changes``.

    The caller holds lock ``ingest``, and ingests the source afterwards.

    Args:
        store: the database.
        source: a folder or file, without a limit.
        confirm: name of the source, typed out; needed if documents vanished.

    Raises:
        NotConfirmed: if documents vanished and ``confirm`` is another name; the message lists them.
        TrainingActive: if something changes while a training run is active.
        Busy: if something changes while a stage reads the corpus.
        NotAllowed: if this database user may not delete documents.
        LvmError: what ``changes`` raises.
    """
    found = changes(store, source)
    if found.vanished and confirm != source.name:
        listed = ", ".join(name for _, name in found.vanished[:LISTED])
        more = f" and {len(found.vanished) - LISTED} more" if len(found.vanished) > LISTED else ""
        name = shlex.quote(source.name)
        raise NotConfirmed(
            f"{len(found.vanished)} stored documents are not in {source.name!r} any more: {listed}{more}; nothing was "
            f"touched, to remove them and ingest the rest: lvm ingest {name} --sync --confirm {name}"
        )
    if found.moves or found.vanished:
        store.move_documents(found.moves, found.vanished)
    if found.left:
        log.warning(
            "%d documents stay stored under %r, which is not there any more; `lvm remove %s` takes them out",
            found.left,
            found.before,
            shlex.quote(found.before),
        )
    return found


def in_words(rows: dict[str, int]) -> str:
    """Numbers of rows by table, in words."""
    return ", ".join(f"{count} {table}" for table, count in rows.items())


def stored_name(store: Store, source: str) -> str:
    """Name that a source is stored under, by that name or by what was given to ``ingest``.

    Raises:
        SourceNotStored: if nothing of it is stored; the message says which sources there are.
    """
    name = source if store.has_source(source) else source_name(source)
    if not store.has_source(name):
        found = [each.name for each in store.sources()]
        there = did_you_mean(source, found, f"there is {', '.join(map(repr, found)) or 'none'}")
        raise SourceNotStored(f"no source {source!r} is stored in database {store.database_name!r}; {there}")
    return name


def _renamed(store: Store, name: str, contents: set[str]) -> str:
    """Stored name of the source that has this name now; empty if there is none.

    Args:
        store: the database.
        name: the name of now.
        contents: sha256 of the documents of now.
    """
    common: dict[str, int] = {}
    for each in store.sources():
        escaped = "\\" in each.name  # perhaps a byte that is not UTF-8, so whether it is there is not known
        if each.name == name or escaped or not Path(each.name).is_absolute() or os.path.lexists(each.name):
            continue
        same = sum(sha256 in contents for sha256 in store.source_documents(each.name).values())
        if 2 * same > each.documents:
            common[each.name] = same
    return max(common, key=lambda path: common[path], default="")
