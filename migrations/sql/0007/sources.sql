-- What is stored of each source, and what a roundtrip gate measured of it.

CREATE VIEW sources AS
    SELECT source, count(*) AS documents, sum(chunk_count)::bigint AS chunks,
        min(created_at) AS first_stored, max(created_at) AS last_stored
    FROM ONLY document GROUP BY source ORDER BY source COLLATE "C";
COMMENT ON VIEW sources IS 'one row for each source: what is stored of it, in all spaces';
COMMENT ON COLUMN sources.source IS 'name of the source: sotu, hf:NAME, or an absolute path';
COMMENT ON COLUMN sources.documents IS 'number of its documents';
COMMENT ON COLUMN sources.chunks IS 'number of their chunks';
COMMENT ON COLUMN sources.first_stored IS 'when the oldest of its documents was stored';
COMMENT ON COLUMN sources.last_stored IS 'when the newest of its documents was stored';

CREATE FUNCTION gate_by_source(evidence jsonb) RETURNS jsonb LANGUAGE sql STABLE {LOOKUPS} AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('source', s.source, 'n', s.n, 'mean', s.mean, 'identify_r1', s.identified)
        ORDER BY s.source COLLATE "C"), '[]')
    FROM (
        SELECT d.source, count(*) AS n, avg(m.cosine::double precision) AS mean,
            avg((m.rank = '1')::integer)::double precision AS identified
        FROM ROWS FROM (
            jsonb_array_elements_text(evidence -> 'chunk_ids'),
            jsonb_array_elements_text(evidence -> 'cosines'),
            jsonb_array_elements_text(evidence -> 'ranks')) AS m(chunk, cosine, rank)
        JOIN ONLY chunk c ON c.id = m.chunk::bigint JOIN ONLY document d ON d.id = c.document_id
        GROUP BY d.source
    ) s
$$;
COMMENT ON FUNCTION gate_by_source(jsonb) IS
    'the chunks of a roundtrip gate''s evidence by source: n, mean cosine, identification; chunks that are gone are left out';

-- After gate_judged, which comes first in the alphabet and computes the evidence.
CREATE FUNCTION add_sources() {TRIGGER} AS $$
BEGIN
    NEW.evidence := NEW.evidence || jsonb_build_object('sources', gate_by_source(NEW.evidence));
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION add_sources() FROM PUBLIC;
COMMENT ON FUNCTION add_sources() IS 'adds the breakdown by source to the evidence of a roundtrip gate';
CREATE TRIGGER gate_sourced BEFORE INSERT ON gate_result
    FOR EACH ROW WHEN (NEW.gate = 'roundtrip') EXECUTE FUNCTION add_sources();
ALTER TABLE gate_result ENABLE ALWAYS TRIGGER gate_sourced;

-- Verdicts about what is stored now.
ALTER TABLE gate_result DISABLE TRIGGER gate_result_immutable;
UPDATE gate_result SET evidence = evidence || jsonb_build_object('sources', gate_by_source(evidence))
    WHERE gate = 'roundtrip' AND inverter_id IS NOT NULL AND corpus_revision = corpus_revision(space_id);
ALTER TABLE gate_result ENABLE ALWAYS TRIGGER gate_result_immutable;

CREATE VIEW gate_sources AS
    SELECT g.id AS gate_id, s.name AS space, i.sha256 AS inverter, m.source, m.n, m.mean, m.identify_r1 AS identification
    FROM ONLY gate_result g JOIN ONLY space s ON s.id = g.space_id LEFT JOIN ONLY inverter i ON i.id = g.inverter_id,
        jsonb_to_recordset(CASE WHEN g.gate = 'roundtrip' THEN g.evidence -> 'sources' END)
            AS m(source text, n integer, mean double precision, identify_r1 double precision);
COMMENT ON VIEW gate_sources IS 'one row for each roundtrip gate and source; verdicts from before migration 7 may have none';
COMMENT ON COLUMN gate_sources.gate_id IS 'id of the verdict, as in lvm.gates';
COMMENT ON COLUMN gate_sources.space IS 'space that the verdict is about';
COMMENT ON COLUMN gate_sources.inverter IS 'sha256 of the inverter that the verdict is about';
COMMENT ON COLUMN gate_sources.source IS 'name of the source';
COMMENT ON COLUMN gate_sources.n IS 'number of its measured chunks that were new to the inverter';
COMMENT ON COLUMN gate_sources.mean IS 'their mean roundtrip cosine';
COMMENT ON COLUMN gate_sources.identification IS 'share of them identified';

SELECT grant_roles();
