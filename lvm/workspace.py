"""Where work begins: the database and a space, opened together and proven to belong together.

Contract: what a stage builds on is opened here and nowhere else. The verdict, the sequence set and the models that come
out are about the corpus as it is, this encoder and this inverter, and their files are those that the database recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lvm.errors import LvmError
from lvm.files import CorruptedFile
from lvm.models import MODELS
from lvm.sequences import SequenceSet, load
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import GateRow, SequenceSetRow, Store, named_errors, open_store
from lvm.training import TrainedModel, load_model


class GateMissing(LvmError):
    """No passing verdict, sequence set or model stands for the corpus, encoder and inverter as they are."""


@dataclass(frozen=True)
class Workspace:
    """An open database, a space, and the space's id in that database."""

    settings: Settings
    store: Store
    space: Space
    space_id: int

    @property
    def inverter_id(self) -> int | None:
        """Id of the space's inverter in the database; None if no gate ever measured it there."""
        return self.store.inverter_id(self.space.inverter.sha256)

    def verdict(self) -> GateRow | None:
        """The last roundtrip verdict about the corpus as it is and this inverter, passing or not."""
        inverter = self.inverter_id
        revision = self.store.corpus_revision(self.space_id)
        return None if inverter is None else self.store.verdict(self.space_id, revision, inverter)

    def passing_gate(self) -> GateRow:
        """The passing roundtrip verdict about the corpus as it is and this inverter.

        Raises:
            GateMissing: if the last verdict did not pass, or there is none.
        """
        gate = self.verdict()
        if gate is None or not gate.passed:
            raise GateMissing(
                f"no passing roundtrip gate stands for the corpus as it is now in space {self.space.name!r} with "
                f"inverter {self.space.inverter.sha256[:12]}; run `lvm validate` first"
            )
        return gate

    def sequences_path(self, context: int) -> Path:
        """Where the sequence set of a context length is."""
        return self.settings.artifacts / "sequences" / f"ctx{context}.safetensors"

    def sequences(self, context: int) -> tuple[SequenceSet, SequenceSetRow]:
        """The sequence set of a context length, and its record.

        Raises:
            GateMissing: if no verdict passes, the file is not there or damaged, is of another space, inverter or
                revision of the corpus, or is not what the database recorded.
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
        row = self.store.sequence_set(found.sha256, gate)
        if row is None:
            raise GateMissing(f"{path} is not what the database recorded for this corpus; run `lvm extract` again")
        return found, row

    def differing_vectors(self, sequences: SequenceSet) -> int:
        """How many vectors of a sequence set are not bit for bit those that are stored, missing ones included."""
        row = wrong = 0
        for batch in self.store.read_vectors(self.space_id):
            part = sequences.unit[row : row + len(batch.unit)]
            wrong += len(batch.unit) - int((part == batch.unit[: len(part)]).all(axis=1).sum())
            row += len(batch.unit)
        return wrong + max(0, len(sequences.unit) - row)

    def require_recorded(self, model: TrainedModel, folder: Path) -> None:
        """Compare a model that will predict, and the inverter that will decode it, with the database.

        Raises:
            CorruptedFile: if no finished training run left this checkpoint.
            GateMissing: if the last gate about this space and inverter, on whatever corpus, did not pass.
        """
        run = self.store.finished_run(model.sha256)
        if run is None or run.architecture != model.name:
            raise not_recorded(folder, model.name)
        inverter = self.inverter_id
        gate = None if inverter is None else self.store.verdict(self.space_id, None, inverter)
        if gate is None or not gate.passed:
            raise GateMissing(
                f"inverter {self.space.inverter.sha256[:12]} has not passed a roundtrip gate of space "
                f"{self.space.name!r} in this database; run `lvm validate` first"
            )

    def models(self, sequences: SequenceSet, row: SequenceSetRow) -> dict[str, TrainedModel]:
        """The finished models of a sequence set by name; those still in training are left out.

        Raises:
            CorruptedFile: if a checkpoint is damaged, or not the one that its finished run recorded.
        """
        last = {run.architecture: run for run in self.store.training_runs(row.id)}
        found = {}
        for name in MODELS:
            folder = self.settings.artifacts / name
            if not (folder / "model.safetensors").is_file():
                continue
            model = load_model(folder, self.settings.device)
            if model.config["sequences_sha256"] != sequences.sha256:
                continue
            if name in last and last[name].status != "finished":
                continue
            if name not in last or last[name].sha256 != model.sha256:
                raise not_recorded(folder, name)
            found[name] = model
        return found


def not_recorded(folder: Path, name: str) -> CorruptedFile:
    """The error about a checkpoint that no finished training run left."""
    return CorruptedFile(
        f"the checkpoint in {folder} is not one that a finished training run recorded in the database; "
        f"delete that folder and run `lvm train --model {name}`"
    )


def register(store: Store, space: Space) -> int:
    """The space's id in the database; a known space is compared by its fingerprint and probe vectors.

    Raises:
        SpaceMismatch: if the database knows another encoder by that name.
    """
    return store.register_space(space.name, space.dim, space.fingerprint, space.recipe, space.probe().unit)


@contextmanager
def open_workspace(
    settings: Settings, space_name: str | None = None, space: Space | None = None
) -> Iterator[Workspace]:
    """Open the database and a space, and compare the two.

    Args:
        settings: which database, device and inverter.
        space_name: the space; ``settings.space`` unless given.
        space: the same, opened already.

    Raises:
        UnknownSpace, WeightsUnusable, SpaceMismatch, and what ``open_store`` raises; DatabaseUnavailable also later,
            if the database goes away in the block.
    """
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    space = space or open_space(space_name or settings.space, settings)
    with open_store(settings) as store, named_errors(store.engine):
        yield Workspace(settings, store, space, register(store, space))
