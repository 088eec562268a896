-- Functions for people.
-- The space's number and dimension stand in the text of the query, because only so its own index can serve it.

CREATE OR REPLACE FUNCTION search(query @.vector, k integer DEFAULT 10, space text DEFAULT 'minilm')
RETURNS TABLE (chunk_id bigint, cosine double precision, title text, "position" integer, text text)
LANGUAGE plpgsql STABLE {FUNCTION} SET hnsw.ef_search = 200 AS $$
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
    IF query IS NULL OR @.vector_dims(query) <> found_space.dim THEN
        RAISE EXCEPTION 'the query has dimension %, space % has %', @.vector_dims(query), found_space.name, found_space.dim
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
            SELECT e.chunk_id AS id, 1 - (e.vector::@.vector(%1$s) OPERATOR(@.<=>) $1) AS cosine
            FROM ONLY lvm.embedding e WHERE e.space_id = %2$s
            ORDER BY e.vector::@.vector(%1$s) OPERATOR(@.<=>) $1 LIMIT $2
        ) n JOIN ONLY lvm.chunk c ON c.id = n.id JOIN ONLY lvm.document d ON d.id = c.document_id
        ORDER BY n.cosine DESC, n.id', found_space.dim, found_space.id) USING query, k;
END $$;

CREATE OR REPLACE FUNCTION neighbours(chunk bigint, k integer DEFAULT 10, space text DEFAULT 'minilm')
RETURNS TABLE (chunk_id bigint, cosine double precision, title text, "position" integer, text text)
LANGUAGE sql STABLE {FUNCTION} AS $$
    SELECT n.chunk_id, n.cosine, n.title, n.position, n.text
    FROM ONLY embedding e JOIN ONLY space s ON s.id = e.space_id AND s.name = neighbours.space,
        LATERAL search(e.vector, neighbours.k + 1, s.name) n
    WHERE e.chunk_id = neighbours.chunk AND n.chunk_id <> neighbours.chunk
    LIMIT neighbours.k
$$;

CREATE OR REPLACE FUNCTION next(chunk bigint, count integer DEFAULT 1)
RETURNS TABLE (chunk_id bigint, "position" integer, text text) LANGUAGE sql STABLE {FUNCTION} AS $$
    SELECT c.id, c.position, c.text
    FROM ONLY chunk this JOIN ONLY chunk c ON c.document_id = this.document_id
        AND c.position > this.position AND c.position <= this.position + next.count
    WHERE this.id = next.chunk
    ORDER BY c.position
$$;

-- Making an index takes the table's owner. Workers load in bulk and may ask for it.
CREATE FUNCTION build_search_index(of_space integer, at_least integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER {FUNCTION} AS $$
DECLARE
    name text := 'embedding_search_' || of_space;
    dimension integer := (SELECT dim FROM ONLY space WHERE id = of_space);
BEGIN
    IF to_regclass('lvm.' || name) IS NOT NULL OR dimension IS NULL OR dimension > 2000
        OR (SELECT count(*) FROM ONLY embedding WHERE space_id = of_space) < at_least THEN
        RETURN false;
    END IF;
    -- An index that fits in memory is built several times as fast: the server's own setting, or 512 MB if that is more.
    PERFORM set_config('maintenance_work_mem', greatest(
        pg_size_bytes(current_setting('maintenance_work_mem')), pg_size_bytes('512MB')) / 1024 || 'kB', true);
    EXECUTE format('CREATE INDEX %I ON lvm.embedding USING hnsw ((vector::@.vector(%s)) @.vector_cosine_ops) WHERE space_id = %s',
        name, dimension, of_space);
    ANALYZE lvm.embedding;
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION build_search_index(integer, integer) FROM PUBLIC;
