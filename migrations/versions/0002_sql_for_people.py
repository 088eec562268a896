"""SQL for people: views that join what belongs together, search by vector, and a role that may read and nothing else.

``docs/sql.md`` shows them. The tables stay as they are; nothing here is written to.
"""

from alembic import op

from lvm.store.migrate import prepared

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

VIEWS = """
CREATE VIEW chunks AS
    SELECT c.id AS chunk_id, s.name AS space, d.source, d.external_id, d.title, d.metadata, d.id AS document_id,
        c.position, c.text, c.token_count, e.norm, e.vector
    FROM embedding e
    JOIN space s ON s.id = e.space_id
    JOIN chunk c ON c.id = e.chunk_id
    JOIN document d ON d.id = c.document_id;

CREATE VIEW gates AS
    WITH stored AS MATERIALIZED (SELECT id, name, corpus_revision(id) AS revision FROM space)
    SELECT g.id AS gate_id, g.gate, s.name AS space, g.value, g.threshold, g.passed,
        g.corpus_revision = s.revision AS current,
        (g.evidence ->> 'n')::integer AS samples,
        (g.evidence ->> 'identify_r1')::double precision AS identification,
        (g.evidence ->> 'chance')::double precision AS chance,
        g.corpus_revision, g.flow_run_id, g.created_at, g.evidence
    FROM gate_result g JOIN stored s ON s.id = g.space_id;

CREATE VIEW training_runs AS
    WITH stored AS MATERIALIZED (SELECT id, name, corpus_revision(id) AS revision FROM space)
    SELECT t.id AS training_run_id, t.architecture, t.status, t.metrics, t.hyperparameters, t.checkpoint, t.sha256,
        t.gate_result_id AS gate_id, g.value AS gate_value,
        t.sequence_set_id, q.context_length, q.counts AS windows, q.file AS sequence_file, q.sha256 AS sequence_sha256,
        s.name AS space, q.corpus_revision, q.corpus_revision = s.revision AS current,
        t.created_at, t.finished_at
    FROM training_run t
    JOIN sequence_set q ON q.id = t.sequence_set_id
    JOIN gate_result g ON g.id = t.gate_result_id
    JOIN stored s ON s.id = q.space_id;
"""

# The space's number and dimension stand in the text of the query, because only so its own index can serve it.
FUNCTIONS = """
CREATE FUNCTION search(query vector, k integer DEFAULT 10, space text DEFAULT 'minilm')
RETURNS TABLE (chunk_id bigint, cosine double precision, title text, "position" integer, text text)
LANGUAGE plpgsql STABLE SET search_path = lvm, public, pg_temp SET hnsw.ef_search = 200 AS $$
#variable_conflict use_column
DECLARE
    found_space lvm.space;
BEGIN
    SELECT * INTO found_space FROM lvm.space s WHERE s.name = search.space;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no space is called %; there is %', search.space,
            coalesce((SELECT string_agg(s.name, ', ' ORDER BY s.name) FROM lvm.space s), 'none yet')
            USING ERRCODE = 'undefined_object';
    END IF;
    IF query IS NULL OR vector_dims(query) <> found_space.dim THEN
        RAISE EXCEPTION 'the query has dimension %, space % has %', vector_dims(query), found_space.name, found_space.dim
            USING ERRCODE = 'data_exception';
    END IF;
    IF k IS NULL OR k NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'k is %, it must be between 1 and 1000', k USING ERRCODE = 'data_exception';
    END IF;
    IF k > 100 THEN
        PERFORM set_config('hnsw.ef_search', least(1000, 2 * k)::text, true);
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT n.id, n.cosine, d.title, c.position, c.text
        FROM (
            SELECT e.chunk_id AS id, 1 - (e.vector::vector(%1$s) <=> $1) AS cosine
            FROM lvm.embedding e WHERE e.space_id = %2$s
            ORDER BY e.vector::vector(%1$s) <=> $1 LIMIT $2
        ) n JOIN lvm.chunk c ON c.id = n.id JOIN lvm.document d ON d.id = c.document_id
        ORDER BY n.cosine DESC, n.id', found_space.dim, found_space.id) USING query, k;
END $$;

CREATE FUNCTION neighbours(chunk bigint, k integer DEFAULT 10, space text DEFAULT 'minilm')
RETURNS TABLE (chunk_id bigint, cosine double precision, title text, "position" integer, text text)
LANGUAGE sql STABLE SET search_path = lvm, public, pg_temp AS $$
    SELECT n.chunk_id, n.cosine, n.title, n.position, n.text
    FROM embedding e JOIN space s ON s.id = e.space_id AND s.name = neighbours.space,
        LATERAL search(e.vector, neighbours.k + 1, s.name) n
    WHERE e.chunk_id = neighbours.chunk AND n.chunk_id <> neighbours.chunk
    LIMIT neighbours.k
$$;

CREATE FUNCTION next(chunk bigint, count integer DEFAULT 1)
RETURNS TABLE (chunk_id bigint, "position" integer, text text)
LANGUAGE sql STABLE SET search_path = lvm, public, pg_temp AS $$
    SELECT c.id, c.position, c.text
    FROM chunk this JOIN chunk c ON c.document_id = this.document_id
        AND c.position > this.position AND c.position <= this.position + next.count
    WHERE this.id = next.chunk
    ORDER BY c.position
$$;
"""

# Roles belong to the whole server: another database may have made it already, or this user may not make any.
READER = """
DO $$ BEGIN
    CREATE ROLE lvm_reader NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'role lvm_reader was not made: this user may not make roles';
END $$;
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'lvm_reader') THEN
        GRANT USAGE ON SCHEMA lvm TO lvm_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA lvm TO lvm_reader;
        ALTER DEFAULT PRIVILEGES IN SCHEMA lvm GRANT SELECT ON TABLES TO lvm_reader;
    END IF;
END $$;
"""


def upgrade() -> None:
    driver, schema = prepared(op.get_bind())
    for part in (VIEWS, FUNCTIONS, READER):
        driver.execute(part.replace("= lvm, public,", f"= lvm, {schema},"))  # pgvector may be elsewhere
