"""Where work begins: the database and a space, opened together and proven to belong together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import Store, named_errors, open_store


@dataclass(frozen=True)
class Workspace:
    """An open database, a space, and the space's id in that database."""

    settings: Settings
    store: Store
    space: Space
    space_id: int


def register(store: Store, space: Space) -> int:
    """The space's id in the database; a known space is compared by its probe vectors.

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
