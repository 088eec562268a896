"""No way around the gate: revisions that cover vectors, verdicts that the database computes, and roles.

A revision was a hash of document ids and counts. It is now a digest of all that training reads, kept by triggers:

- Each document, chunk and vector is hashed with SHA-256, with its key, its fields length-prefixed. A chunk and a vector
  keep their hash (``item``) from the moment they are stored: what is subtracted is what was added, in whatever way and
  order rows are deleted.
- Hashes are added as four numbers of 64 bits. A sum does not depend on the order in which rows came.
- Each statement appends what it added or removed to ``corpus_change``, so no writer waits for another.

The verdict of a roundtrip gate was computed from cosines that the client sent. The client now sends the re-encoded
vectors of a sample that the database draws, and the database compares them with the vectors that it stores.

Functions have ``pg_catalog`` and ``lvm`` on their path and name pgvector's schema, so nothing in ``public`` stands in
for what they call. Triggers fire under every ``session_replication_role``. The numbers are those of ``lvm/gates.py``.

The statements are in ``../sql/0003``. There ``{NAME}`` stands for SQL that is named here, and ``@.`` for pgvector's schema.
"""

from pathlib import Path

from alembic import op

from lvm.store.migrate import prepared

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FOLDER = Path(__file__).parents[1] / "sql" / revision  # beside this file, in a checkout and in an installed wheel
PARTS = ("revision", "corpus_rules", "gate_tables", "gate_rules", "standing", "views", "functions", "roles")

FUNCTION = "SET search_path = pg_catalog, lvm, pg_temp"
TRIGGER = f"RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {FUNCTION}"
# A plan that was made while a table was small is kept. These read by an index whatever the size was then.
INDEXED = f"{TRIGGER} SET enable_seqscan = off"

# -- what a revision covers ----------------------------------------------------------------------------------------

KEY = """int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8')"""
DOCUMENT = f"sha256('d' || {KEY} || convert_to(d.sha256, 'UTF8'))"


def chunk(c: str) -> str:
    """SQL of the hash of a chunk ``c`` of a document ``d``."""
    fields = f"int4send({c}.position) || int4send({c}.token_count) || convert_to({c}.text, 'UTF8')"
    return f"sha256('c' || {KEY} || {fields})"


def vector(e: str) -> str:
    """SQL of the hash of a vector ``e`` of a chunk ``c`` of a document ``d``."""
    return f"sha256('v' || {KEY} || int4send(c.position) || float4send({e}.norm) || @.vector_send({e}.vector))"


WORDS = [f"('x' || substr(hex, {1 + 16 * i}, 16))::bit(64)::bigint" for i in range(4)]
SUMS = f"count(*), {', '.join(f'coalesce(sum({word}), 0)' for word in WORDS)}"


def change(sign: str, items: str) -> str:
    """SQL that appends the sum of a query's items (columns ``part``, ``item``), one row for each part."""
    sums = ", ".join(f"{sign}sum({word})" for word in WORDS)
    return f"""INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, {sign}count(*), {sums} FROM (SELECT part, encode(item, 'hex') AS hex FROM ({items}) i) h GROUP BY part"""


NAMED = {
    "FUNCTION": FUNCTION,
    "TRIGGER": TRIGGER,
    "INDEXED": INDEXED,
    "KEY": KEY,
    "DOCUMENT": DOCUMENT,
    "CHUNK_C": chunk("c"),
    "CHUNK_NEW": chunk("NEW"),
    "VECTOR_E": vector("e"),
    "VECTOR_NEW": vector("NEW"),
    "SUMS": SUMS,
    "ADD_DOCUMENTS": change("", f"SELECT 0 AS part, {DOCUMENT} AS item FROM changed d"),
    "TAKE_DOCUMENTS": change("-", f"SELECT 0 AS part, {DOCUMENT} AS item FROM changed d"),
    "ADD_CHUNKS": change("", "SELECT 0 AS part, item FROM changed"),
    "TAKE_CHUNKS": change("-", "SELECT 0 AS part, item FROM changed"),
    "ADD_VECTORS": change("", "SELECT space_id AS part, item FROM changed"),
    "TAKE_VECTORS": change("-", "SELECT space_id AS part, item FROM changed"),
    "ADD_ALL": change(
        "",
        f"""SELECT 0 AS part, {DOCUMENT} AS item FROM document d UNION ALL SELECT 0, item FROM chunk
            UNION ALL SELECT space_id, item FROM embedding""",
    ),
}


def statements(part: str) -> str:
    """The SQL of a part, complete but for pgvector's schema."""
    sql = (FOLDER / f"{part}.sql").read_text(encoding="utf-8")
    for name, meaning in NAMED.items():
        sql = sql.replace(f"{{{name}}}", meaning)
    return sql


def upgrade() -> None:
    driver, schema = prepared(op.get_bind())
    for part in PARTS:
        driver.execute(statements(part).replace("@.", f"{schema}."))
