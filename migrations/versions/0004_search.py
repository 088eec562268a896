"""Search with a filter, and a search index of half the size.

An index was of ``vector``. New ones are of ``halfvec``: half the memory and disk. ``search`` takes more candidates from it
than it returns and ranks them by the full vectors, so cosines stay exact. An index of the old form stays and serves
``search`` as before. To replace it, drop it and run `lvm db index`.

The statements are in ``../sql/0004``. There ``{NAME}`` stands for SQL that is named here, and ``@.`` for pgvector's schema.
"""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FOLDER = Path(__file__).parents[1] / "sql" / revision  # beside this file, in a checkout and in an installed wheel
PARTS = ("index", "search", "grants")

NAMED = {
    "FUNCTION": "SET search_path = pg_catalog, lvm, pg_temp",
    # Which documents a filter keeps: $3 are sources, $4 external ids, $5 metadata; NULL for any. Planning folds NULLs.
    "KEPT": """($3::text[] IS NULL OR d.source = ANY ($3)) AND ($4::text[] IS NULL OR d.external_id = ANY ($4))
        AND ($5::jsonb IS NULL OR d.metadata @> $5)""",
}


def statements(part: str) -> str:
    """The SQL of a part, complete but for pgvector's schema."""
    sql = (FOLDER / f"{part}.sql").read_text(encoding="utf-8")
    for name, meaning in NAMED.items():
        sql = sql.replace(f"{{{name}}}", meaning)
    return sql


def upgrade() -> None:
    # The driver itself, without parameters: the percent signs of RAISE are not placeholders.
    driver = op.get_bind().connection.driver_connection
    found = driver.execute(
        "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE extname = 'vector'"
    ).fetchone()
    driver.execute(f"SET LOCAL search_path = lvm, {found[0]}")
    for part in PARTS:
        driver.execute(statements(part).replace("@.", f"{found[0]}."))
