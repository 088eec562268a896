-- Making an index takes the table's owner. Workers load in bulk and may ask for it.

DROP FUNCTION build_search_index(integer, integer);
CREATE FUNCTION build_search_index(of_space integer, at_least integer, memory bigint DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER {FUNCTION} AS $$
DECLARE
    name text := 'embedding_search_' || of_space;
    dimension integer := (SELECT dim FROM ONLY space WHERE id = of_space);
    own bigint := pg_size_bytes(current_setting('maintenance_work_mem'));
    allowed bigint := greatest(own, coalesce(memory, pg_size_bytes('512MB')));
    vectors bigint;
    needed bigint;
    statement text;
BEGIN
    IF to_regclass('lvm.' || name) IS NOT NULL OR dimension IS NULL OR dimension > 4000 THEN
        RETURN false;
    END IF;
    vectors := (SELECT count(*) FROM ONLY embedding WHERE space_id = of_space);
    IF vectors < at_least THEN
        RETURN false;
    END IF;
    -- An index that fits in memory is built several times as fast. A vector takes two bytes a dimension and its place in
    -- the graph. A parallel build reserves all memory at once, so it gets what it needs, and 32 MB a process at least.
    needed := greatest(vectors * (2 * dimension + 800) + pg_size_bytes('8MB'),
        pg_size_bytes('32MB') * (1 + current_setting('max_parallel_maintenance_workers')::integer));
    PERFORM set_config('maintenance_work_mem', least(allowed, needed) / 1024 || 'kB', true);
    statement := format('CREATE INDEX %I ON lvm.embedding USING hnsw ((vector::@.halfvec(%s)) @.halfvec_cosine_ops) '
        'WITH (ef_construction = 128) WHERE space_id = %s', name, dimension, of_space);
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN disk_full OR out_of_memory THEN
        -- A container may have little shared memory, and only a parallel build needs it.
        IF SQLERRM NOT LIKE '%"/PostgreSQL.%' THEN -- the name of a segment
            RAISE;
        END IF;
        PERFORM set_config('max_parallel_maintenance_workers', '0', true);
        EXECUTE statement;
    END;
    ANALYZE lvm.embedding;
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION build_search_index(integer, integer, bigint) FROM PUBLIC;
