-- The sample of a roundtrip gate, drawn by lookups.

-- A document of which some chunks have a vector in this space and some have none, or whose positions have gaps.
CREATE FUNCTION broken_document(of_space integer) RETURNS text
LANGUAGE sql STABLE {FUNCTION} SET enable_seqscan = on SET enable_hashjoin = on AS $$
    SELECT format('%s of source %s', d.external_id, d.source)
    FROM ONLY document d JOIN ONLY chunk c ON c.document_id = d.id
        LEFT JOIN ONLY embedding e ON e.chunk_id = c.id AND e.space_id = of_space
    GROUP BY d.id HAVING count(e.chunk_id) > 0 AND (count(e.chunk_id) < count(*) OR max(c.position) <> count(*) - 1)
    ORDER BY d.source COLLATE "C", d.external_id COLLATE "C" LIMIT 1
$$;

-- The chunks that a gate measures, in the order in which they are drawn; fewer than gate_size() if few texts differ.
-- Documents that the inverter was not trained on stand in a row, ordered by their keys. Draw i is a hash of seed and i,
-- taken as a place in that row: each chunk is as likely as another. No chunk is drawn twice, and no text.
-- The seed is the digest of all that is stored, and of the inverter. Ids, time, order of writing and who asks are not in
-- it: another sample takes another corpus or inverter, and each change of these draws all chunks anew.
-- A place without a chunk or vector is refused. If it were skipped, chunks that decode badly could hide behind gaps.
CREATE FUNCTION gate_places(of_space integer, of_inverter integer) RETURNS TABLE (place bigint, chunk_id bigint)
LANGUAGE plpgsql STABLE {LOOKUPS} AS $$
DECLARE
    seed bytea;
    known text[];
    chunks numeric;     -- of all documents that have their vectors in this space
    total bigint;       -- of those that may be drawn
    ids bigint[];       -- of the documents that may be drawn, in order
    starts bigint[];    -- how many chunks are before each of these
    incomplete bigint;  -- draws that found nothing
    chosen bigint[];    -- chunk of each draw
    many integer;
    drawn bigint[];
BEGIN
    SELECT convert_to(corpus_revision(of_space) || i.sha256, 'UTF8'), i.trained_documents INTO seed, known
    FROM ONLY inverter i WHERE i.id = of_inverter;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH whole AS MATERIALIZED ( -- subqueries are not joined: a plan cannot begin at the chunks
        SELECT d.id, d.source, d.external_id, d.chunk_count,
            d.sha256 NOT IN (SELECT k FROM unnest(known) k WHERE k IS NOT NULL) AS fresh
        FROM ONLY document d
        WHERE (SELECT (SELECT true FROM ONLY embedding e WHERE e.chunk_id = c.id AND e.space_id = of_space)
            FROM ONLY chunk c WHERE c.document_id = d.id AND c.position = 0)
    ), lined AS (
        SELECT w.*, sum(w.chunk_count) FILTER (WHERE w.fresh) OVER (ORDER BY w.source COLLATE "C", w.external_id COLLATE "C") AS ends
        FROM whole w
    )
    SELECT coalesce(sum(r.chunk_count), 0), sum(r.chunk_count) FILTER (WHERE r.fresh),
        array_agg(r.id ORDER BY r.ends) FILTER (WHERE r.fresh), array_agg(r.ends - r.chunk_count ORDER BY r.ends) FILTER (WHERE r.fresh)
    INTO chunks, total, ids, starts FROM lined r;
    IF chunks IS DISTINCT FROM (corpus_total(of_space)).items THEN
        RAISE EXCEPTION 'gate sample refused: space % has % vectors, but its documents have % chunks (document %), so a sample says nothing about the corpus; delete that document (DELETE FROM lvm.document) and run `lvm ingest` again',
            of_space, (corpus_total(of_space)).items, chunks, coalesce(broken_document(of_space), 'unknown')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF total IS NULL THEN
        RETURN;
    END IF;
    WITH word AS MATERIALIZED (
        SELECT i, ('x' || encode(substring(sha256(seed || int4send(i)) FOR 8), 'hex'))::bit(64)::bigint::numeric AS signed
        FROM generate_series(1, 4 * gate_size()) i
    ), number AS MATERIALIZED (
        SELECT w.i, mod(w.signed + CASE WHEN w.signed < 0 THEN 18446744073709551616 ELSE 0 END, total)::bigint AS r FROM word w
    ), located AS MATERIALIZED (
        SELECT n.i, n.r, width_bucket(n.r, (SELECT starts)) AS document FROM number n -- by binary search
    )
    SELECT count(*) FILTER (WHERE e.chunk_id IS NULL), array_agg(c.id ORDER BY l.i) INTO incomplete, chosen
    FROM located l
        LEFT JOIN ONLY chunk c ON c.document_id = ids[l.document] AND c.position = l.r - starts[l.document]
        LEFT JOIN ONLY embedding e ON e.chunk_id = c.id AND e.space_id = of_space;
    IF incomplete > 0 THEN
        RAISE EXCEPTION 'gate sample refused: chunks or vectors of space % are missing (document %), so a sample says nothing about the corpus; delete that document (DELETE FROM lvm.document) and run `lvm ingest` again',
            of_space, coalesce(broken_document(of_space), 'unknown')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    FOREACH many IN ARRAY ARRAY[5 * gate_size() / 4, 4 * gate_size()] LOOP -- most texts differ, so the first are enough
        SELECT array_agg(t.id ORDER BY t.i) FILTER (WHERE t.before = 0) INTO drawn FROM (
            SELECT p.id, p.i, row_number() OVER (PARTITION BY lower(regexp_replace(btrim(c.text), '\s+', ' ', 'g')) ORDER BY p.i) - 1 AS before
            FROM unnest(chosen[:many]) WITH ORDINALITY AS p(id, i) LEFT JOIN ONLY chunk c ON c.id = p.id) t;
        EXIT WHEN cardinality(drawn) >= gate_size();
    END LOOP;
    RETURN QUERY SELECT t.n, t.id FROM unnest(drawn) WITH ORDINALITY AS t(id, n) ORDER BY t.n LIMIT gate_size();
END $$;

-- Lookups are enough, unless most texts occurred before: then all chunks are drawn in an order of their own.
CREATE OR REPLACE FUNCTION gate_sample(of_space integer, of_inverter integer) RETURNS TABLE (place bigint, chunk_id bigint)
LANGUAGE sql STABLE {FUNCTION} SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on AS $$
    WITH few AS MATERIALIZED (SELECT * FROM gate_places(of_space, of_inverter))
    SELECT * FROM few WHERE (SELECT count(*) FROM few) = gate_size()
    UNION ALL SELECT * FROM gate_draw(of_space, of_inverter, NULL) WHERE (SELECT count(*) FROM few) < gate_size()
$$;
