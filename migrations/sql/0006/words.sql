-- Search by words, and by words and vector together. Both run with the rights of their caller.

-- What a word is, for the index and for queries. Its owner can choose another language (docs/sql.md).
CREATE TEXT SEARCH CONFIGURATION words (COPY = pg_catalog.english);

-- Kept while rows are written: it takes 30 microseconds a chunk, and as long to build it after loading. New words wait in a
-- list, which searches read too (fastupdate), until it is long or the table is vacuumed.
CREATE INDEX chunk_words ON chunk USING gin (to_tsvector('lvm.words', text));

-- Queries are planned anew: the planner knows how frequent the words are, and what the filter keeps.
CREATE FUNCTION find(query text, k integer DEFAULT 10, space text DEFAULT NULL, filter jsonb DEFAULT NULL)
RETURNS TABLE (chunk_id bigint, rank real, title text, "position" integer, text text, highlights text)
LANGUAGE plpgsql STABLE {FUNCTION} AS $$
DECLARE
    wanted tsquery := websearch_to_tsquery('lvm.words', query);
    of_space integer;
    conditions text := '';
    metadata jsonb;
    sources text[];
    documents text[];
BEGIN
    IF k IS NULL OR k < 1 THEN
        RAISE EXCEPTION 'k is %, it must be 1 or more', k USING ERRCODE = 'data_exception';
    END IF;
    IF space IS NOT NULL THEN
        of_space := (lvm.named_space(space)).id;
        conditions := 'AND EXISTS (SELECT FROM ONLY lvm.embedding e WHERE e.chunk_id = c.id AND e.space_id = $6)';
    END IF;
    IF filter IS NOT NULL THEN
        metadata := lvm.filter_metadata(filter);
        sources := lvm.filter_texts(filter, 'source');
        documents := lvm.filter_texts(filter, 'document');
        conditions := conditions || ' AND {KEPT}';
    END IF;
    RETURN QUERY EXECUTE
        'SELECT n.id, n.rank, n.title, n.position, n.text,
            ts_headline(''lvm.words'', n.text, $1, ''StartSel=**, StopSel=**, HighlightAll=true'')
        FROM (
            SELECT c.id, ts_rank_cd({WORDS_QUOTED}, $1, 1) AS rank, d.title, c.position, c.text
            FROM ONLY lvm.chunk c JOIN ONLY lvm.document d ON d.id = c.document_id
            WHERE {WORDS_QUOTED} @@ $1 ' || conditions || '
            ORDER BY 2 DESC, 1 LIMIT $2
        ) n ORDER BY n.rank DESC, n.id' USING wanted, k, sources, documents, metadata, of_space;
END $$;

-- Reciprocal rank fusion (Cormack et al., SIGIR 2009): 1 / (60 + place) in each of the two lists, added. Lists are longer
-- than the answer, because a chunk that is somewhere in both may be ahead of the first of one.
CREATE FUNCTION hybrid(words text, query @.vector, k integer DEFAULT 10, space text DEFAULT 'minilm', filter jsonb DEFAULT NULL,
    exact boolean DEFAULT false)
RETURNS TABLE (chunk_id bigint, score double precision, cosine double precision, title text, "position" integer, text text,
    highlights text)
LANGUAGE plpgsql STABLE {FUNCTION} AS $$
#variable_conflict use_column
DECLARE
    list integer := CASE WHEN hybrid.k BETWEEN 1 AND 1000 THEN least(1000, greatest(100, 2 * hybrid.k)) ELSE hybrid.k END;
    wanted tsquery := websearch_to_tsquery('lvm.words', hybrid.words);
BEGIN
    RETURN QUERY
    WITH near AS MATERIALIZED (
        SELECT s.chunk_id, s.place FROM lvm.search(hybrid.query, list, hybrid.space, hybrid.filter, hybrid.exact)
            WITH ORDINALITY s (chunk_id, cosine, title, "position", text, place)
    ), found AS MATERIALIZED (
        SELECT f.chunk_id, f.place FROM lvm.find(hybrid.words, list, hybrid.space, hybrid.filter)
            WITH ORDINALITY f (chunk_id, rank, title, "position", text, highlights, place)
    ), fused AS MATERIALIZED (
        SELECT chunk_id, coalesce(1.0 / (60 + near.place), 0) + coalesce(1.0 / (60 + found.place), 0) AS score
        FROM near FULL JOIN found USING (chunk_id) ORDER BY 2 DESC, 1 LIMIT hybrid.k
    )
    SELECT u.chunk_id, u.score::double precision, 1 - (e.vector OPERATOR(@.<=>) hybrid.query), d.title, c.position, c.text,
        ts_headline('lvm.words', c.text, wanted, 'StartSel=**, StopSel=**, HighlightAll=true')
    FROM fused u JOIN ONLY lvm.space s ON s.name = hybrid.space
        JOIN ONLY lvm.embedding e ON e.chunk_id = u.chunk_id AND e.space_id = s.id
        JOIN ONLY lvm.chunk c ON c.id = u.chunk_id JOIN ONLY lvm.document d ON d.id = c.document_id
    ORDER BY u.score DESC, u.chunk_id;
END $$;
