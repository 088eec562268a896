"""docs/notifications.md: every table and column that it names exists, and its event is the one that is sent."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import text

from flows.notifications import TRIGGERS
from flows.runs import BLOCKED, BLOCKED_EVENT
from lvm.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()


def test_names_in_the_database_exist(database: Store) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with database.engine.connect() as connection:
        assert list(connection.execute(text(query)).keys()) == ["architecture", "created_at", "value", "flow_run_id"]


def test_event_and_tag_are_the_ones_of_the_code() -> None:
    assert f"`{BLOCKED_EVENT}`" in PAGE and f"`{BLOCKED}`" in PAGE
    assert all(f"| `{name}` | `{event}` |" in PAGE for name, (_, event, _) in TRIGGERS.items())
    assert TRIGGERS["lvm-blocked"][1] == BLOCKED_EVENT
