"""Sources: what is stored of each, and which of them a roundtrip gate understood.

- View ``sources``: a row for each source.
- A verdict's evidence has a breakdown by source (``sources``), computed by the database from its own cosines and ranks.
  View ``gate_sources`` shows it. Verdicts about what is stored now get it too; older ones have none, because their
  chunks may be gone.

The statements are in ``../sql/0007``, written as those of migration 0003.
"""

from alembic import op

from lvm.store.migrate import run_statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PARTS = ("sources",)

FUNCTION = "SET search_path = pg_catalog, lvm, pg_temp"
NAMED = {
    # Lookups by index, whatever Postgres knows of the tables, and whatever their size was when the plan was made.
    "LOOKUPS": f"{FUNCTION} SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off",
    "TRIGGER": f"RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {FUNCTION}",
}


def upgrade() -> None:
    run_statements(op.get_bind(), revision, PARTS, NAMED)
