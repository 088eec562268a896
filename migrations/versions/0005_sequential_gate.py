"""The roundtrip gate draws its sample by lookups, and takes a part of it whose verdict is certain.

- ``gate_sample`` hashed and sorted every chunk. It now draws numbers, and looks the chunks up. Where too few texts
  differ, it sorts all chunks as before, so the samples of small corpora stay as they were.
- A corpus with gaps in the positions of a document, or with vectors missing, is refused: no chunk hides from the draw.
- ``judge_gate`` takes the first 200, 300 or 400 chunks of the sample if ``roundtrip_certain`` says that more would not
  change the verdict. Re-encoded vectors are ranked among the stored vectors of the whole sample.

Verdicts of before stand. The statements are in ``../sql/0005``, written as those of migration 0003. The numbers are those
of ``lvm/gates.py``; a test compares them.
"""

from alembic import op

from lvm.store.migrate import run_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PARTS = ("gate_sample", "judge_gate")

FUNCTION = "SET search_path = pg_catalog, lvm, pg_temp"
# Lookups by index, whatever Postgres knows of the tables, and whatever their size was when the plan was made.
LOOKUPS = f"{FUNCTION} SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off"
NAMED = {
    "FUNCTION": FUNCTION,
    "LOOKUPS": LOOKUPS,
    "TRIGGER": f"RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {LOOKUPS}",
}


def upgrade() -> None:
    run_statements(op.get_bind(), revision, PARTS, NAMED)
