-- Search by vector, as in migration 0004. What it asks of a space and a filter is in functions of their own, which the search
-- by words calls too. All run with the rights of their caller.

CREATE FUNCTION named_space(name text) RETURNS space LANGUAGE plpgsql STABLE {FUNCTION} AS $$
DECLARE
    found_space lvm.space;
BEGIN
    SELECT * INTO found_space FROM ONLY lvm.space s WHERE s.name = named_space.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no space is called %; there is %', named_space.name,
            coalesce((SELECT string_agg(s.name, ', ' ORDER BY s.name) FROM ONLY lvm.space s), 'none yet')
            USING ERRCODE = 'undefined_object';
    END IF;
    RETURN found_space;
END $$;

CREATE FUNCTION filter_metadata(filter jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE {FUNCTION} AS $$
BEGIN
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'the filter is no JSON object; its keys may be source, document and metadata'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF filter - ARRAY['source', 'document', 'metadata'] <> '{}' THEN
        RAISE EXCEPTION 'the filter has the key %; its keys may be source, document and metadata',
            (SELECT min(key) FROM jsonb_object_keys(filter - ARRAY['source', 'document', 'metadata']) key)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(filter -> 'metadata') <> 'object' THEN
        RAISE EXCEPTION 'the filter''s metadata must be an object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN filter -> 'metadata';
END $$;

-- The space's number and dimension stand in the text of the query, because only so its own index can serve it. Queries
-- are planned anew for the values of the filter.
CREATE OR REPLACE FUNCTION search(query @.vector, k integer DEFAULT 10, space text DEFAULT 'minilm', filter jsonb DEFAULT NULL,
    exact boolean DEFAULT false)
RETURNS TABLE (chunk_id bigint, cosine double precision, title text, "position" integer, text text)
LANGUAGE plpgsql STABLE {FUNCTION}
SET hnsw.ef_search = 200 SET hnsw.iterative_scan = relaxed_order SET hnsw.max_scan_tuples = 20000 SET hnsw.scan_mem_multiplier = 8
SET enable_sort = on
AS $$
#variable_conflict use_column
DECLARE
    few CONSTANT bigint := 10000; -- chunks that are compared one by one sooner than found in the index
    found_space lvm.space;
    unit @.vector := @.l2_normalize(query);
    sources text[];
    documents text[];
    metadata jsonb;
    indexed name; -- type of the index, halfvec or vector; NULL without an index
    kept bigint;
    ids bigint[];
    distances double precision[];
BEGIN
    found_space := lvm.named_space(space);
    IF query IS NULL OR @.vector_dims(query) <> found_space.dim THEN
        RAISE EXCEPTION 'the query has dimension %, space % has %', @.vector_dims(query), found_space.name, found_space.dim
            USING ERRCODE = 'data_exception';
    END IF;
    IF @.vector_norm(query) = 0 THEN
        RAISE EXCEPTION 'the query is a zero vector, which has no cosine' USING ERRCODE = 'data_exception';
    END IF;
    IF k IS NULL OR k < 1 OR k > 1000 AND exact IS NOT TRUE THEN
        RAISE EXCEPTION 'k is %, it must be between 1 and 1000; with exact => true it may be larger', k USING ERRCODE = 'data_exception';
    END IF;
    IF filter IS NOT NULL THEN
        metadata := lvm.filter_metadata(filter);
        sources := lvm.filter_texts(filter, 'source');
        documents := lvm.filter_texts(filter, 'document');
        EXECUTE 'SELECT coalesce(sum(d.chunk_count), 0) FROM ONLY lvm.document d WHERE {KEPT}' INTO kept
            USING unit, k, sources, documents, metadata;
    END IF;

    IF exact IS NOT TRUE AND (filter IS NULL OR kept > few) THEN
        SELECT t.typname INTO indexed FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum = 1
            JOIN pg_type t ON t.oid = a.atttypid
            WHERE i.indexrelid = to_regclass('lvm.embedding_search_' || found_space.id) AND i.indisvalid;
    END IF;
    IF indexed IS NOT NULL THEN
        IF k > 100 THEN
            PERFORM set_config('hnsw.ef_search', least(1000, 2 * k)::text, true);
        END IF;
        PERFORM set_config('enable_sort', 'off', true); -- the index sorts, whatever the planner thinks of it
        -- The index rounds vectors. So it names more chunks than are wanted, and the vectors themselves rank them. The
        -- filter is a subquery of every candidate, so the order of the index is kept. What it keeps may lie far from the
        -- query, where the index is less exact, so it gets more candidates.
        EXECUTE format(
            'SELECT array_agg(n.id ORDER BY n.distance, n.id), array_agg(n.distance ORDER BY n.distance, n.id) FROM (
                SELECT c.id, c.vector OPERATOR(@.<=>) $1 AS distance FROM (
                    SELECT e.chunk_id AS id, e.vector FROM ONLY lvm.embedding e WHERE e.space_id = %1$s %4$s
                    ORDER BY e.vector::@.%2$I(%3$s) OPERATOR(@.<=>) $1::@.%2$I(%3$s) LIMIT %5$s
                ) c ORDER BY 2, 1 LIMIT $2
            ) n', found_space.id, indexed, found_space.dim, CASE WHEN filter IS NOT NULL THEN
                'AND (SELECT {KEPT} FROM ONLY lvm.chunk c JOIN ONLY lvm.document d ON d.id = c.document_id
                    WHERE c.id = e.chunk_id)' END, CASE WHEN filter IS NULL THEN 2 * k + 10 ELSE 5 * k + 50 END)
            INTO ids, distances USING unit, k, sources, documents, metadata;
    END IF;
    IF ids IS NULL OR cardinality(ids) < k THEN -- no index, or it does not know enough of them
        PERFORM set_config('enable_sort', 'on', true);
        EXECUTE format(
            'SELECT array_agg(n.id ORDER BY n.distance, n.id), array_agg(n.distance ORDER BY n.distance, n.id) FROM (
                SELECT e.chunk_id AS id, e.vector OPERATOR(@.<=>) $1 AS distance FROM ONLY lvm.embedding e %2$s
                WHERE e.space_id = %1$s %3$s ORDER BY 2, 1 LIMIT $2
            ) n', found_space.id,
            CASE WHEN filter IS NOT NULL THEN
                'JOIN ONLY lvm.chunk c ON c.id = e.chunk_id JOIN ONLY lvm.document d ON d.id = c.document_id' END,
            CASE WHEN filter IS NOT NULL THEN 'AND {KEPT}' END)
            INTO ids, distances USING unit, k, sources, documents, metadata;
    END IF;
    RETURN QUERY EXECUTE
        'SELECT c.id, 1 - n.distance, d.title, c.position, c.text
        FROM unnest($1, $2) WITH ORDINALITY n (id, distance, place)
        JOIN ONLY lvm.chunk c ON c.id = n.id JOIN ONLY lvm.document d ON d.id = c.document_id
        ORDER BY n.place' USING ids, distances;
END $$;
