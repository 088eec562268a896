-- The digest of all that training reads, and what keeps it.

CREATE TYPE content_total AS (items numeric, a numeric, b numeric, c numeric, d numeric);

-- What statements added and removed. Part 0: documents and chunks; another part: the vectors of the space of that id.
CREATE TABLE corpus_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    part integer NOT NULL,
    items numeric NOT NULL, a numeric NOT NULL, b numeric NOT NULL, c numeric NOT NULL, d numeric NOT NULL
);
CREATE INDEX corpus_change_part ON corpus_change (part);

CREATE FUNCTION revision_of(corpus content_total, vectors content_total) RETURNS text
LANGUAGE sql IMMUTABLE {FUNCTION} AS $$
    SELECT encode(sha256(convert_to(string_agg(concat_ws(':', n, items, mod(mod(a, m) + m, m), mod(mod(b, m) + m, m),
        mod(mod(c, m) + m, m), mod(mod(d, m) + m, m)), '|' ORDER BY n), 'UTF8')), 'hex')
    FROM (SELECT 1 AS n, (corpus).* UNION ALL SELECT 2, (vectors).*) t, (SELECT 18446744073709551616::numeric AS m) w
$$;

CREATE FUNCTION corpus_total(of_part integer) RETURNS content_total LANGUAGE sql STABLE {FUNCTION} AS $$
    SELECT ROW(coalesce(sum(items), 0), coalesce(sum(a), 0), coalesce(sum(b), 0), coalesce(sum(c), 0),
        coalesce(sum(d), 0))::content_total FROM ONLY corpus_change WHERE part = of_part
$$;

CREATE OR REPLACE FUNCTION corpus_revision(of_space integer) RETURNS text LANGUAGE sql STABLE {FUNCTION} AS $$
    SELECT revision_of(corpus_total(0), corpus_total(of_space))
$$;

-- The same from scratch: reads every row.
CREATE FUNCTION corpus_revision_recomputed(of_space integer) RETURNS text LANGUAGE sql STABLE {FUNCTION} AS $$
    SELECT revision_of(
        (SELECT ROW({SUMS})::content_total FROM (
            SELECT encode({DOCUMENT}, 'hex') AS hex FROM ONLY document d UNION ALL
            SELECT encode({CHUNK_C}, 'hex') FROM ONLY chunk c JOIN ONLY document d ON d.id = c.document_id) h),
        (SELECT ROW({SUMS})::content_total FROM (
            SELECT encode({VECTOR_E}, 'hex') AS hex FROM ONLY embedding e JOIN ONLY chunk c ON c.id = e.chunk_id
                JOIN ONLY document d ON d.id = c.document_id WHERE e.space_id = of_space) h))
$$;

-- Many rows become one now and then, so that reading stays fast. Rows that another transaction merges are left to it.
-- Not at each statement: a transaction of many small ones would read all rows that it merged before.
CREATE FUNCTION merge_changes() RETURNS void LANGUAGE plpgsql {FUNCTION} AS $$
BEGIN
    IF random() < 1.0 / 256 AND current_setting('transaction_isolation') = 'read committed' THEN
        WITH old AS (SELECT id FROM ONLY corpus_change ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED),
            gone AS (DELETE FROM ONLY corpus_change m USING old WHERE m.id = old.id RETURNING m.*)
        INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, sum(items), sum(a), sum(b), sum(c), sum(d) FROM gone GROUP BY part;
    END IF;
END $$;

CREATE FUNCTION require_fresh_snapshot(what text) RETURNS void LANGUAGE plpgsql {FUNCTION} AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION '% refused: a % transaction reads an old snapshot of the corpus; use read committed', what,
            current_setting('transaction_isolation') USING ERRCODE = 'invalid_transaction_state';
    END IF;
END $$;

-- Only triggers of the corpus write here; a hand that does is one level deep.
CREATE FUNCTION refuse_by_hand() {TRIGGER} AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION '% of % refused: only its triggers write it', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
