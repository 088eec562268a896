"""Search by words, and a comment on everything in the schema.

- ``find`` searches texts by their words, ``hybrid`` joins it with the search by vector. The index of words is built here:
  14 seconds for 567,000 chunks.
- ``chunks`` has the id of the space, by which a query written by hand reaches the search index.
- Tables, views, columns and functions have comments, which psql and other clients show.

The statements are in ``../sql/0006``, written as those of migration 0004.
"""

from alembic import op

from lvm.store.migrate import run_statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PARTS = ("views", "search", "words", "comments")

NAMED = {
    "FUNCTION": "SET search_path = pg_catalog, lvm, pg_temp",
    # Which documents a filter keeps: $3 are sources, $4 external ids, $5 metadata; NULL for any. Planning folds NULLs.
    "KEPT": """($3::text[] IS NULL OR d.source = ANY ($3)) AND ($4::text[] IS NULL OR d.external_id = ANY ($4))
        AND ($5::jsonb IS NULL OR d.metadata @> $5)""",
    "WORDS_QUOTED": "to_tsvector(''lvm.words'', c.text)",  # as the index has it, inside a quoted statement
}


def upgrade() -> None:
    run_statements(op.get_bind(), revision, PARTS, NAMED)
