"""The roundtrip gate draws its sample by lookups, and takes a part of it whose verdict is certain.

- ``gate_sample`` hashed and sorted every chunk. It now draws numbers, and looks the chunks up. Where too few texts
  differ, it sorts all chunks as before, so the samples of small corpora stay as they were.
- A corpus with gaps in the positions of a document, or with vectors missing, is refused: no chunk hides from the draw.
- ``judge_gate`` takes the first 200, 300 or 400 chunks of the sample if ``roundtrip_certain`` says that more would not
  change the verdict. Re-encoded vectors are ranked among the stored vectors of the whole sample.

Verdicts of before stand. The statements are in ``../sql/0005``, written as those of migration 0003. The numbers are those
of ``lvm/gates.py``; a test compares them.
"""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FOLDER = Path(__file__).parents[1] / "sql" / revision  # beside this file, in a checkout and in an installed wheel
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
    # The driver itself, without parameters: the percent signs of RAISE are not placeholders.
    driver = op.get_bind().connection.driver_connection
    found = driver.execute(
        "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE extname = 'vector'"
    ).fetchone()
    driver.execute(f"SET LOCAL search_path = lvm, {found[0]}")
    for part in PARTS:
        sql = (FOLDER / f"{part}.sql").read_text(encoding="utf-8")
        for name, meaning in NAMED.items():
            sql = sql.replace(f"{{{name}}}", meaning)
        driver.execute(sql.replace("@.", f"{found[0]}."))
