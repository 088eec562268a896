"""A workspace: an open database, and a space whose encoder matches it.

Contract: every stage works on a ``Workspace``. What it gives out is about the corpus as it is now, this encoder and
this inverter: the verdict, the sequence set, the models. Their files are those that the database recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from lvm.calls import require_types, typed
from lvm.errors import UsageError
from lvm.files import CorruptedFile
from lvm.models import MODELS
from lvm.pipeline.alone import settings_alone, store_alone
from lvm.pipeline.errors import AmbiguousVersion, GateMissing, ModelGone
from lvm.progress import Bars, bar
from lvm.report.html import table
from lvm.sequences import SequenceSet, load
from lvm.settings import Settings
from lvm.spaces import Space, Vectors, open_space
from lvm.store import Gate, Hit, SequenceSetRecord, Store, TrainingRun, named_errors, open_store, server
from lvm.training import TrainedModel, load_model
from lvm.training.checkpoints import MODEL, version_file

Stage = TypeVar("Stage", bound=Callable[..., Any])

MOST_RESULTS = 1_000_000_000
"""The most results that a search gives or leaves out. The sum fits into Postgres' integer."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Names of models: each is a folder."""


def reads_corpus(stage: Stage) -> Stage:
    """Let no document be removed while a function of a workspace goes on."""

    @wraps(stage)
    def reading(work: Workspace, *args: Any, **kwargs: Any) -> Any:
        with work.store.reading():
            return stage(work, *args, **kwargs)

    return cast(Stage, reading)


def named_stage(stage: Stage) -> Stage:
    """Make a function of a workspace raise DatabaseUnavailable or LockTimeout where the database driver raises.

    A function that also takes a space alone, without a database, stays as it is for it. Arguments of a wrong type are a
    WrongType.
    """

    @wraps(stage)
    def named(work: Workspace | Space, *args: Any, **kwargs: Any) -> Any:
        require_types(stage, (work, *args), kwargs)
        with nullcontext() if isinstance(work, Space) else named_errors(work.store.engine):
            return stage(work, *args, **kwargs)

    return cast(Stage, named)


class Hits(list[Hit]):
    """Stored chunks, the nearest first. A notebook shows them as a table."""

    def _repr_html_(self) -> str:
        rows = [(f"{hit.cosine:.3f}", hit.text, f"{hit.title}, {hit.position}") for hit in self]
        return table(("cosine", "text", "document, position"), rows)


@dataclass(frozen=True)
class Workspace:
    """An open database, a space, and the space's id in that database. ``lvm.open_workspace`` opens one."""

    settings: Settings
    store: Store
    space: Space
    space_id: int

    def __repr__(self) -> str:
        return f"Workspace(database={self.store.database_name!r}, space={self.space.name!r})"

    def _repr_html_(self) -> str:
        counts = self.counts()
        rows = [(self.store.database_name, self.space.name, str(counts["documents"]), str(counts["chunks"]))]
        return table(("database", "space", "documents", "chunks"), rows)

    @property
    def bars(self) -> Bars:
        """Progress bars in the terminal, unless ``settings.quiet``."""
        return partial(bar, quiet=self.settings.quiet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close. A database that went away inside the block is raised as DatabaseUnavailable."""
        try:
            if error is not None:
                with named_errors(self.store.engine):
                    raise error
        except BaseException as named:
            if named is not error:
                raise
        finally:
            self.close()

    def close(self) -> None:
        """Give back all connections of the database."""
        self.store.close()

    @named_stage
    def counts(self) -> dict[str, int]:
        """Number of documents, chunks and embeddings in this space."""
        return self.store.counts(self.space_id)

    @named_stage
    def search(
        self,
        query: str | Vectors,
        k: int = 5,
        *,
        hybrid: bool = False,
        skip: int = 0,
        filter: Mapping[str, Any] | None = None,
        exact: bool = False,
    ) -> Hits:
        """The stored chunks nearest to a text or a vector by cosine, by the space's index if it has one.

        Args:
            query: one text, or one vector of this space.
            k: how many chunks.
            hybrid: also search for the words of the text, and order by both: reciprocal rank fusion.
            skip: leave out so many of the first, which earlier pages had.
            filter: what the chunks' documents must be, e.g. ``{"source": "sotu"}``; all unless given. ``source`` and
                ``document`` (external id): a string or a list of strings. ``metadata``: a dict that the document's
                metadata contains.
            exact: compare with every chunk, also where there is an index.

        Raises:
            SpaceMismatch: if the vector is of another space.
            InvalidVectors: if it is a bare array, or not exactly one vector.
            InvalidFilter: if the filter has another key, or a value of a wrong type.
            UsageError: if a hybrid search gets a vector, which has no words, if the text has no letter and no digit,
                or if ``skip`` or ``k`` is negative or too large.
            UnreadableText: if the text is in a writing system that the encoder does not know.
        """
        if hybrid and not isinstance(query, str):
            raise UsageError("a hybrid search needs the words of a text, and a vector has none; pass the text")
        for name, number in (("skip", skip), ("k", k)):
            if not 0 <= number <= MOST_RESULTS:
                raise UsageError(f"{name} is {number}; it must be between 0 and {MOST_RESULTS}")
        if isinstance(query, str):
            if not any(map(str.isalnum, query)):
                raise UsageError("the text to search for has no letter and no digit; give a word or more")
            self.space.require_readable([query])
        vectors = self.space.encode([query]) if isinstance(query, str) else query
        words = query if hybrid and isinstance(query, str) else None
        return Hits(self.store.search(self.space_id, vectors, k, words=words, skip=skip, filter=filter, exact=exact))

    # -- gates ----------------------------------------------------------------------------------------------

    @property
    def inverter_id(self) -> int | None:
        """Id of the space's inverter in the database; None if no gate has measured it there."""
        return self.store.inverter_id(self.space.inverter.sha256)

    def verdict(self) -> Gate | None:
        """The last roundtrip verdict about the corpus as it is now and this inverter, passing or not."""
        inverter = self.inverter_id
        revision = self.store.corpus_revision(self.space_id)
        return None if inverter is None else self.store.verdict(self.space_id, revision, inverter)

    def passing_gate(self) -> Gate:
        """The passing roundtrip verdict about the corpus as it is now and this inverter.

        Raises:
            GateMissing: if the last verdict did not pass, or there is none.
        """
        gate = self.verdict()
        if gate is None or not gate.passed:
            raise GateMissing(
                f"no passing roundtrip gate stands for the current corpus in space {self.space.name!r} with "
                f"inverter {self.space.inverter.sha256[:12]}; run `lvm validate` first"
            )
        return gate

    # -- sequence sets --------------------------------------------------------------------------------------

    def sequences_path(self, context: int) -> Path:
        """Path of the sequence set of a context length."""
        return self.settings.artifacts / "sequences" / f"ctx{context}.safetensors"

    def sequences(self, context: int) -> tuple[SequenceSet, SequenceSetRecord]:
        """The sequence set of a context length, and its record in the database.

        Raises:
            GateMissing: if no verdict passes, or the file is missing, damaged, of another space, inverter or revision
                of the corpus, or not the file that the database recorded.
        """
        gate, path = self.passing_gate(), self.sequences_path(context)
        try:
            found = load(path)
        except CorruptedFile as error:
            raise GateMissing(f"no usable sequence set of context {context} ({error}); run `lvm extract`") from error
        for what, has, now in (
            ("space", found.space, self.space.fingerprint),
            ("inverter", found.inverter, self.space.inverter.sha256),
            ("corpus revision", found.corpus_revision, gate.corpus_revision),
            ("context", found.context, context),
        ):
            if has != now:
                raise GateMissing(f"{path} is of {what} {has}, now it is {now}; run `lvm extract` again")
        record = self.store.sequence_set(found.sha256, gate)
        if record is None:
            raise GateMissing(f"{path} is not what the database recorded for this corpus; run `lvm extract` again")
        return found, record

    def reopened(self, sequences: SequenceSet) -> tuple[SequenceSet, SequenceSetRecord]:
        """The same sequence set, read from its file, and its record: arrays in memory may have been changed.

        Raises:
            GateMissing: if it is not the sequence set of the corpus as it is now.
        """
        found, record = self.sequences(sequences.context)
        if found.sha256 != sequences.sha256:
            raise GateMissing(f"{found.path} is another sequence set than the given one; run `lvm extract` again")
        return found, record

    def differing_vectors(self, sequences: SequenceSet) -> int:
        """Number of vectors in a sequence set that are missing from the database, or differ there in any bit."""
        row = wrong = 0
        for batch in self.store.read_vectors(self.space_id):
            part = sequences.unit[row : row + len(batch.unit)]
            wrong += len(batch.unit) - int((part == batch.unit[: len(part)]).all(axis=1).sum())
            row += len(batch.unit)
        return wrong + max(0, len(sequences.unit) - row)

    # -- models ---------------------------------------------------------------------------------------------

    def finished_run(self, name: str, sha256: str = "") -> TrainingRun | None:
        """The last finished run of a model in this space; None if there is none.

        Args:
            name: of the model.
            sha256: of the version, or its first digits; the last version unless given.

        Raises:
            AmbiguousVersion: if the digits are those of several versions.
        """
        runs = self.store.finished_runs(self.space_id, name, sha256)
        versions = sorted({run.version for run in runs})
        if sha256 and len(versions) > 1:
            raise AmbiguousVersion(f"{name}@{sha256} can be {' or '.join(versions)}; give more digits")
        return runs[-1] if runs else None

    def model_of(self, run: TrainingRun) -> TrainedModel:
        """The model that a finished run left.

        Raises:
            ModelGone: if its file is gone.
            CorruptedFile: if its file is damaged, or not the one that the run recorded.
        """
        folder = self.settings.artifacts / run.architecture
        gone = ModelGone(
            f"the file of {run.version} is gone from {folder} (training run {run.id}); restore it from a backup, or "
            f"train again with `lvm train --model {run.architecture}`"
        )
        if run.sha256 is None or not MODEL_NAME.fullmatch(run.architecture):
            raise gone
        file = version_file(folder, run.sha256)
        kept = file.is_file()
        if not kept and not (folder / MODEL).is_file():
            raise gone
        model = load_model(file if kept else folder, self.settings.device)  # version 0.1.0 kept the latest only
        if run.sha256 not in (model.sha256, model.digest) or model.name != run.architecture:
            if not kept and self.store.finished_run(model.sha256, model.digest):
                raise gone  # another run's model has taken its place
            raise not_recorded(file if kept else folder, run.architecture)
        return replace(model, sha256=run.sha256)

    def require_readable(self) -> None:
        """Check that predictions can be decoded: the last gate about this space and inverter passed.

        It is the one about the corpus as it is now, or if there is none, about whatever corpus.

        Raises:
            GateMissing: if it did not.
        """
        inverter = self.inverter_id
        gate = None if inverter is None else self.verdict() or self.store.verdict(self.space_id, None, inverter)
        if gate is None or not gate.passed:
            raise GateMissing(
                f"inverter {self.space.inverter.sha256[:12]} has not passed a roundtrip gate of space "
                f"{self.space.name!r} in this database; run `lvm validate` first"
            )

    def models(self, record: SequenceSetRecord, names: Iterable[str] = MODELS) -> dict[str, TrainedModel]:
        """The models that the last finished runs on a sequence set left, by name; without those whose file is gone.

        Args:
            record: of the sequence set.
            names: models to look for.

        Raises:
            CorruptedFile: if a file is damaged, or not the one that its run recorded.
        """
        last = {run.architecture: run for run in self.store.training_runs(record.id) if run.status == "finished"}
        found = {}
        for name in names:
            with suppress(ModelGone):
                if name in last:
                    found[name] = self.model_of(last[name])
        return found


def not_recorded(path: Path, name: str) -> CorruptedFile:
    """The error about a checkpoint, in a folder or a file, that no finished training run left."""
    return CorruptedFile(
        f"the checkpoint in {path} is not one that a finished training run recorded in the database; "
        f"delete that {'file' if path.suffix else 'folder'} and run `lvm train --model {name}`"
    )


def register(store: Store, space: Space) -> int:
    """The space's id in the database. A known space is compared by its fingerprint and probe vectors.

    Raises:
        SpaceMismatch: if the database knows another encoder by that name.
    """
    return store.register_space(space.name, space.dim, space.fingerprint, space.recipe, space.probe().unit)


@typed
def open_workspace(space: str | Space | None = None, settings: Settings | None = None) -> Workspace:
    """Open the database and a space, and compare the two. Use the result in a ``with`` block, or close it.

    The database is ``LVM_DATABASE_URL``, or an embedded Postgres below ``LVM_HOME``, which is started if needed and
    stopped when the last process that uses it ends. With ``settings.source_only`` it is one beside that, of this source
    alone (``lvm.pipeline.alone``).

    Args:
        space: a space, or its name; ``settings.space`` unless given.
        settings: where things are; from the environment unless given.

    Raises:
        UnknownSpace: if there is no such space.
        WeightsUnusable: if the space's encoder cannot be opened.
        SpaceMismatch: if the database knows another encoder by that name.
        DatabaseUnavailable: if the database cannot be reached.
        ServerUnavailable: if the embedded Postgres cannot be started.
        InvalidDatabaseUrl: if ``LVM_DATABASE_URL`` cannot be read.
        SchemaUnusable: if the database cannot hold this project's tables.
        NotAllowed: if ``settings.source_only`` needs a database that this user may not create.
    """
    settings = settings_alone(settings or Settings())
    space = _open_space(space, settings)
    store = open_store(settings)
    if settings.source_only is not None:
        with store as whole:
            store = store_alone(whole, settings.source_only)
    try:
        with named_errors(store.engine):
            return Workspace(settings, store, space, register(store, space))
    except BaseException:
        store.close()
        raise


def open_existing(space: str | Space | None = None, settings: Settings | None = None) -> Workspace | Space:
    """``open_workspace``, or the space alone if there is no database. No database is created, no server started.

    Args:
        space: a space, or its name; ``settings.space`` unless given.
        settings: where things are; from the environment unless given.

    Raises:
        LvmError: what ``open_workspace`` raises.
    """
    settings = settings or Settings()
    return open_workspace(space, settings) if server.exists(settings) else _open_space(space, settings)


def _open_space(space: str | Space | None, settings: Settings) -> Space:
    """A space with the number of threads of the settings."""
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    return space if isinstance(space, Space) else open_space(space, settings)
