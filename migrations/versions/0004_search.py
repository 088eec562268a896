"""Search with a filter, and a search index of half the size.

An index was of ``vector``. New ones are of ``halfvec``: half the memory and disk. ``search`` takes more candidates from it
than it returns and ranks them by the full vectors, so cosines stay exact. An index of the old form stays and serves
``search`` as before. To replace it, drop it and run `lvm db index`.

The statements are in ``../sql/0004``. There ``{NAME}`` stands for SQL that is named here, and ``@.`` for pgvector's schema.
"""

from alembic import op

from lvm.store.migrate import run_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PARTS = ("index", "search", "grants")

NAMED = {
    "FUNCTION": "SET search_path = pg_catalog, lvm, pg_temp",
    # Which documents a filter keeps: $3 are sources, $4 external ids, $5 metadata; NULL for any. Planning folds NULLs.
    "KEPT": """($3::text[] IS NULL OR d.source = ANY ($3)) AND ($4::text[] IS NULL OR d.external_id = ANY ($4))
        AND ($5::jsonb IS NULL OR d.metadata @> $5)""",
}


def upgrade() -> None:
    run_statements(op.get_bind(), revision, PARTS, NAMED)
