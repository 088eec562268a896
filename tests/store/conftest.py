"""A registered space in a fresh database."""

from __future__ import annotations

import pytest

from lvm.store import Store
from tests.store.toy import register


@pytest.fixture
def space(database: Store) -> int:
    return register(database)
