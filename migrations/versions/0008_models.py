"""Evaluations as rows, promotions of models, and which run is the latest.

- ``evaluation`` and ``evaluation_figure`` hold every figure of a ``summary.json``. The view ``evaluations`` joins them.
- ``promotion`` says which model answers where none is named: the champion of a space, which is its last promotion. The
  database refuses a promotion without a finished run and passing gates, and of a model that is worse than the champion
  in the same evaluation, unless a reason is given.
- The view ``training_runs`` says which run is the latest of its name, and which one is the champion.

The statements are in ``../sql/0008``, written as those of migration 0003. Rows of these tables never change.
"""

from alembic import op

from lvm.store.migrate import run_statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PARTS = ("evaluations", "promotions", "views", "comments", "grants")

FUNCTION = "SET search_path = pg_catalog, lvm, pg_temp"
NAMED = {"FUNCTION": FUNCTION, "TRIGGER": f"RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {FUNCTION}"}


def upgrade() -> None:
    run_statements(op.get_bind(), revision, PARTS, NAMED)
