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
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

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


REVISION = f"""
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
            SELECT encode({chunk("c")}, 'hex') FROM ONLY chunk c JOIN ONLY document d ON d.id = c.document_id) h),
        (SELECT ROW({SUMS})::content_total FROM (
            SELECT encode({vector("e")}, 'hex') AS hex FROM ONLY embedding e JOIN ONLY chunk c ON c.id = e.chunk_id
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
"""

CORPUS_RULES = f"""
-- Deleting a document or chunk takes what hangs on it, by triggers: in bulk, and under session_replication_role = replica.
ALTER TABLE chunk DROP CONSTRAINT chunk_document_id_fkey;
ALTER TABLE chunk ADD CONSTRAINT chunk_document_id_fkey FOREIGN KEY (document_id) REFERENCES document
    DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE embedding DROP CONSTRAINT embedding_chunk_id_fkey;
ALTER TABLE embedding ADD CONSTRAINT embedding_chunk_id_fkey FOREIGN KEY (chunk_id) REFERENCES chunk
    DEFERRABLE INITIALLY DEFERRED;

DROP TRIGGER chunk_counted_in ON chunk;
DROP TRIGGER chunk_counted_out ON chunk;
DROP FUNCTION count_chunks_in();
DROP FUNCTION count_chunks_out();

CREATE FUNCTION keep_document() {INDEXED} AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.id, NEW.source, NEW.external_id, NEW.sha256)
        IS DISTINCT FROM (OLD.id, OLD.source, OLD.external_id, OLD.sha256) THEN
        RAISE EXCEPTION 'UPDATE of document refused: its key and hash never change; ingest the changed document again'
            USING ERRCODE = 'restrict_violation';
    END IF;
    NEW.chunk_count := (SELECT count(*) FROM ONLY chunk WHERE document_id = NEW.id); -- whatever the statement says
    RETURN NEW;
END $$;
CREATE TRIGGER document_kept BEFORE INSERT OR UPDATE ON document FOR EACH ROW EXECUTE FUNCTION keep_document();

CREATE FUNCTION document_in() {INDEXED} AS $$
BEGIN
    {change("", f"SELECT 0 AS part, {DOCUMENT} AS item FROM changed d")};
    PERFORM merge_changes();
    RETURN NULL;
END $$;
CREATE TRIGGER document_in AFTER INSERT ON document REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION document_in();

CREATE FUNCTION document_out() {INDEXED} AS $$
BEGIN
    PERFORM require_fresh_snapshot('DELETE of document');
    {change("-", f"SELECT 0 AS part, {DOCUMENT} AS item FROM changed d")};
    PERFORM merge_changes();
    DELETE FROM ONLY chunk WHERE document_id = ANY (ARRAY(SELECT id FROM changed));
    RETURN NULL;
END $$;
CREATE TRIGGER document_out AFTER DELETE ON document REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION document_out();

-- The lock keeps the document, whose key is hashed, until this transaction ends.
ALTER TABLE chunk ADD COLUMN item bytea;
CREATE FUNCTION chunk_hashed() {INDEXED} AS $$
DECLARE
    d record;
BEGIN
    SELECT source, external_id INTO d FROM ONLY document WHERE id = NEW.document_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'INSERT of chunk refused: document % is not stored', NEW.document_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    NEW.item := {chunk("NEW")};
    RETURN NEW;
END $$;
CREATE TRIGGER chunk_hashed BEFORE INSERT ON chunk FOR EACH ROW EXECUTE FUNCTION chunk_hashed();

CREATE FUNCTION chunk_in() {INDEXED} AS $$
BEGIN
    {change("", "SELECT 0 AS part, item FROM changed")};
    PERFORM merge_changes();
    UPDATE ONLY document SET chunk_count = 0 -- counted by keep_document
        WHERE id = ANY (ARRAY(SELECT DISTINCT document_id FROM changed));
    RETURN NULL;
END $$;
CREATE TRIGGER chunk_in AFTER INSERT ON chunk REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION chunk_in();

CREATE FUNCTION chunk_out() {INDEXED} AS $$
BEGIN
    PERFORM require_fresh_snapshot('DELETE of chunk');
    {change("-", "SELECT 0 AS part, item FROM changed")};
    PERFORM merge_changes();
    DELETE FROM ONLY embedding WHERE chunk_id = ANY (ARRAY(SELECT id FROM changed));
    UPDATE ONLY document SET chunk_count = 0 WHERE id = ANY (ARRAY(SELECT DISTINCT document_id FROM changed));
    RETURN NULL;
END $$;
CREATE TRIGGER chunk_out AFTER DELETE ON chunk REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION chunk_out();

ALTER TABLE embedding ADD COLUMN item bytea;
CREATE FUNCTION embedding_hashed() {INDEXED} AS $$
DECLARE
    c record;
    d record;
BEGIN
    SELECT document_id, position INTO c FROM ONLY chunk WHERE id = NEW.chunk_id FOR KEY SHARE;
    SELECT source, external_id INTO d FROM ONLY document WHERE id = c.document_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'INSERT of embedding refused: chunk % is not stored', NEW.chunk_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    NEW.item := {vector("NEW")};
    RETURN NEW;
END $$;
CREATE TRIGGER embedding_hashed BEFORE INSERT ON embedding FOR EACH ROW EXECUTE FUNCTION embedding_hashed();

CREATE FUNCTION embedding_in() {INDEXED} AS $$
DECLARE
    bad record;
BEGIN
    -- NaN and infinity are refused by the type itself; NOT BETWEEN catches zero vectors too.
    SELECT n.chunk_id, @.vector_dims(n.vector) AS dims, @.vector_norm(n.vector) AS length, s.name, s.dim INTO bad
    FROM changed n LEFT JOIN ONLY space s ON s.id = n.space_id
    WHERE s.id IS NULL OR @.vector_dims(n.vector) <> s.dim OR @.vector_norm(n.vector) NOT BETWEEN 0.999 AND 1.001
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'embedding of chunk % refused: dimension % and norm %; space % stores unit vectors of dimension %',
            bad.chunk_id, bad.dims, bad.length, bad.name, bad.dim USING ERRCODE = 'check_violation';
    END IF;
    {change("", "SELECT space_id AS part, item FROM changed")};
    PERFORM merge_changes();
    RETURN NULL;
END $$;
DROP TRIGGER embedding_checked ON embedding;
DROP FUNCTION check_embeddings();
CREATE TRIGGER embedding_in AFTER INSERT ON embedding REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION embedding_in();

CREATE FUNCTION embedding_out() {INDEXED} AS $$
BEGIN
    {change("-", "SELECT space_id AS part, item FROM changed")};
    PERFORM merge_changes();
    RETURN NULL;
END $$;
CREATE TRIGGER embedding_out AFTER DELETE ON embedding REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION embedding_out();

-- What is stored already.
ALTER TABLE chunk DISABLE TRIGGER chunk_immutable;
ALTER TABLE embedding DISABLE TRIGGER embedding_immutable;
UPDATE chunk c SET item = {chunk("c")} FROM document d WHERE d.id = c.document_id;
UPDATE embedding e SET item = {vector("e")} FROM chunk c, document d WHERE c.id = e.chunk_id AND d.id = c.document_id;
UPDATE document SET chunk_count = 0; -- counted by keep_document
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE chunk ALTER COLUMN item SET NOT NULL, ENABLE TRIGGER chunk_immutable;
ALTER TABLE embedding ALTER COLUMN item SET NOT NULL, ENABLE TRIGGER embedding_immutable;
{
    change(
        "",
        f'''SELECT 0 AS part, {DOCUMENT} AS item FROM document d UNION ALL SELECT 0, item FROM chunk
            UNION ALL SELECT space_id, item FROM embedding''',
    )
};

CREATE TRIGGER corpus_change_by_hand BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON corpus_change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_by_hand();
"""

# -- verdicts ------------------------------------------------------------------------------------------------------

# Verdicts of before name no inverter: they are about revisions that said less, so none of them is current.
GATE_TABLES = """
CREATE TABLE inverter (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 text NOT NULL UNIQUE CHECK (sha256 <> ''),
    encoder text NOT NULL,
    trained_documents text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE gate_result ADD COLUMN inverter_id integer REFERENCES inverter;
ALTER TABLE gate_result ADD COLUMN sampled bigint[];
ALTER TABLE gate_result ADD COLUMN asked @.vector[];
ALTER TABLE gate_result ADD COLUMN returned @.vector[];
ALTER TABLE sequence_set ADD COLUMN inverter_id integer REFERENCES inverter;
ALTER TABLE training_run ADD COLUMN inverter_id integer REFERENCES inverter;
CREATE INDEX gate_result_about ON gate_result (space_id, corpus_revision, inverter_id, gate, id);
"""

GATE_RULES = f"""
-- How many chunks a gate measures: a mean cosine good to about +-0.01. Nobody but the owner of the tables changes it.
CREATE FUNCTION gate_size() RETURNS integer LANGUAGE sql STABLE {FUNCTION} AS 'SELECT 500';

-- The chunks that a gate measures, in the order in which they are drawn: of documents that the inverter was not trained
-- on, no text twice. The draw depends on the corpus and the inverter alone. Nobody chooses it.
CREATE FUNCTION gate_draw(of_space integer, of_inverter integer, candidates bigint)
RETURNS TABLE (place bigint, chunk_id bigint) LANGUAGE sql STABLE {FUNCTION} AS $$
    WITH asked AS MATERIALIZED (
        SELECT corpus_revision(of_space) || i.sha256 AS seed, i.trained_documents FROM ONLY inverter i WHERE i.id = of_inverter
    ), known AS MATERIALIZED (SELECT DISTINCT unnest(trained_documents) AS sha256 FROM asked),
    drawn AS MATERIALIZED (
        SELECT c.id, c.text, sha256(convert_to(asked.seed, 'UTF8') || {KEY} || int4send(c.position)) AS ticket
        FROM asked, ONLY document d JOIN ONLY chunk c ON c.document_id = d.id
            JOIN ONLY embedding e ON e.chunk_id = c.id AND e.space_id = of_space
        WHERE NOT EXISTS (SELECT FROM known WHERE known.sha256 = d.sha256)
        ORDER BY ticket LIMIT candidates
    ), different AS (
        SELECT DISTINCT ON (words) id, ticket
        FROM (SELECT id, ticket, lower(regexp_replace(btrim(text), '\\s+', ' ', 'g')) AS words FROM drawn) w
        ORDER BY words, ticket
    )
    SELECT row_number() OVER (ORDER BY ticket), id FROM different ORDER BY ticket LIMIT gate_size()
$$;

-- A few candidates are enough, unless most texts occurred before.
CREATE FUNCTION gate_sample(of_space integer, of_inverter integer) RETURNS TABLE (place bigint, chunk_id bigint)
LANGUAGE sql STABLE {FUNCTION} AS $$
    WITH few AS MATERIALIZED (SELECT * FROM gate_draw(of_space, of_inverter, 4 * gate_size()))
    SELECT * FROM few WHERE (SELECT count(*) FROM few) = gate_size()
    UNION ALL SELECT * FROM gate_draw(of_space, of_inverter, NULL) WHERE (SELECT count(*) FROM few) < gate_size()
$$;

CREATE OR REPLACE FUNCTION judge_gate() {TRIGGER} AS $$
DECLARE
    floor CONSTANT double precision := CASE NEW.gate WHEN 'roundtrip' THEN 0.63 ELSE 0.60 END;
    own space;
    maker inverter;
    size integer := cardinality(NEW.returned);
    bad integer;
    found record;
BEGIN
    PERFORM require_fresh_snapshot('gate_result');
    IF NEW.threshold IS NULL OR NEW.threshold < floor OR NEW.threshold = 'NaN' THEN
        RAISE EXCEPTION '% gate refused: threshold % is below %', NEW.gate, NEW.threshold, floor
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO own FROM ONLY space WHERE id = NEW.space_id;
    SELECT * INTO maker FROM ONLY inverter WHERE id = NEW.inverter_id;
    IF own.id IS NULL OR maker.id IS NULL THEN
        RAISE EXCEPTION '% gate refused: it names no space and inverter that are stored', NEW.gate
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.corpus_revision IS DISTINCT FROM corpus_revision(NEW.space_id) THEN
        RAISE EXCEPTION 'gate refused: it is about another revision of the corpus than the one that is stored; measure again'
            USING ERRCODE = 'check_violation';
    END IF;
    IF coalesce(jsonb_typeof(NEW.evidence), 'null') <> 'object' THEN
        RAISE EXCEPTION '% gate refused: its evidence is no JSON object', NEW.gate USING ERRCODE = 'check_violation';
    END IF;
    NEW.created_at := now();
    NEW.evidence := NEW.evidence || jsonb_build_object('inverter', maker.sha256, 'inverter_encoder', maker.encoder);
    SELECT count(*) INTO bad FROM unnest(NEW.returned) AS t(v)
    WHERE v IS NULL OR @.vector_dims(v) <> own.dim OR @.vector_norm(v) NOT BETWEEN 0.999 AND 1.001;
    IF size IS NULL OR size = 0 OR bad > 0 THEN
        RAISE EXCEPTION '% gate refused: evidence must hold the re-encoded unit vectors, of dimension %', NEW.gate, own.dim
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.gate = 'pipeline' THEN
        SELECT count(*) INTO bad FROM unnest(NEW.asked) AS t(v) WHERE v IS NULL OR @.vector_dims(v) <> own.dim;
        IF cardinality(NEW.asked) IS DISTINCT FROM size OR bad > 0 THEN
            RAISE EXCEPTION 'pipeline gate refused: evidence must hold a prediction for each re-encoded vector'
                USING ERRCODE = 'check_violation';
        END IF;
        SELECT avg(1 - (p OPERATOR(@.<=>) r)) AS mean, max(abs(@.vector_norm(p) - 1)) AS norm_error INTO found
        FROM unnest(NEW.asked, NEW.returned) AS t(p, r);
        NEW.value := found.mean;
        NEW.evidence := NEW.evidence || jsonb_build_object('n', size, 'norm_error', found.norm_error);
        NEW.passed := NEW.value >= NEW.threshold AND NEW.value <= 1.001 AND found.norm_error <= 0.00001;
        RETURN NEW;
    END IF;
    IF cardinality(NEW.sampled) IS DISTINCT FROM size OR NEW.sampled IS DISTINCT FROM
        ARRAY(SELECT chunk_id FROM gate_sample(NEW.space_id, NEW.inverter_id) ORDER BY place) THEN
        RAISE EXCEPTION 'roundtrip gate refused: the sample is not the one that the database draws (lvm.gate_sample)'
            USING ERRCODE = 'check_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM unnest(NEW.sampled, NEW.returned) AS t(chunk_id, back) JOIN ONLY embedding e
        ON e.chunk_id = t.chunk_id AND e.space_id = NEW.space_id WHERE t.back OPERATOR(@.<>) e.vector) THEN
        RAISE EXCEPTION 'roundtrip gate refused: its vectors are the stored ones, nothing was decoded'
            USING ERRCODE = 'check_violation';
    END IF;
    WITH pair AS MATERIALIZED (
        SELECT t.place, t.chunk_id, t.back, e.vector AS stored,
            NOT coalesce(NEW.evidence -> 'seen', '[]') @> to_jsonb(t.chunk_id) AS fresh
        FROM unnest(NEW.sampled, NEW.returned) WITH ORDINALITY AS t(chunk_id, back, place)
        JOIN ONLY embedding e ON e.chunk_id = t.chunk_id AND e.space_id = NEW.space_id
    ), measured AS MATERIALIZED (
        SELECT p.place, p.chunk_id, p.fresh, p.stored, 1 - (p.back OPERATOR(@.<=>) p.stored) AS cosine,
            -- equal vectors come out a rounding error apart; that must not count as nearer
            (SELECT count(*) FROM pair o WHERE (p.back OPERATOR(@.<=>) o.stored) <= (p.back OPERATOR(@.<=>) p.stored) + 1e-7) AS rank
        FROM pair p
    )
    SELECT count(*) AS drawn, count(*) FILTER (WHERE fresh) AS n,
        -- texts that the inverter is said to know are left out, and yet all together must pass too
        least(avg(cosine), avg(cosine) FILTER (WHERE fresh)) AS mean,
        least(avg((rank = 1)::integer), avg((rank = 1)::integer) FILTER (WHERE fresh))::double precision AS identified,
        percentile_cont(0.1) WITHIN GROUP (ORDER BY cosine) FILTER (WHERE fresh) AS p10,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY cosine) FILTER (WHERE fresh) AS median,
        CASE WHEN count(*) > 1 THEN (count(*) * power(@.vector_norm(@.avg(stored)), 2) - 1) / (count(*) - 1) END AS chance,
        jsonb_agg(chunk_id ORDER BY place) FILTER (WHERE fresh) AS chunk_ids,
        jsonb_agg(round(cosine::numeric, 6) ORDER BY place) FILTER (WHERE fresh) AS cosines,
        jsonb_agg(rank ORDER BY place) FILTER (WHERE fresh) AS ranks
    INTO found FROM measured;
    NEW.value := coalesce(found.mean, 0);
    NEW.evidence := NEW.evidence || jsonb_build_object('drawn', found.drawn, 'n', found.n, 'mean', found.mean,
        'identify_r1', found.identified, 'p10', found.p10, 'median', found.median, 'chance', found.chance,
        'chunk_ids', coalesce(found.chunk_ids, '[]'), 'cosines', coalesce(found.cosines, '[]'),
        'ranks', coalesce(found.ranks, '[]'));
    NEW.passed := found.drawn = size AND found.n >= 20 AND NEW.value >= NEW.threshold AND NEW.value <= 1.001
        AND found.identified >= 0.90 AND maker.encoder = own.fingerprint;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION require_gate() {TRIGGER} AS $$
DECLARE
    verdict gate_result;
    sequences sequence_set;
BEGIN
    IF TG_TABLE_NAME = 'training_run' AND TG_OP = 'UPDATE' THEN
        IF OLD.status = 'finished' THEN
            RAISE EXCEPTION 'UPDATE of training_run refused: a finished run never changes; train again for a new one'
                USING ERRCODE = 'restrict_violation';
        END IF;
        IF (NEW.id, NEW.architecture, NEW.sequence_set_id, NEW.gate_result_id, NEW.inverter_id, NEW.hyperparameters, NEW.created_at)
            IS DISTINCT FROM
            (OLD.id, OLD.architecture, OLD.sequence_set_id, OLD.gate_result_id, OLD.inverter_id, OLD.hyperparameters, OLD.created_at)
        THEN
            RAISE EXCEPTION 'UPDATE of training_run refused: what it was started on never changes; start a new run'
                USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.status = 'finished' AND NOT coalesce(NEW.sha256 ~ '^[0-9a-f]{{64}}$' AND NEW.checkpoint <> '', false) THEN
            RAISE EXCEPTION 'UPDATE of training_run refused: a finished run names its checkpoint and the sha256 of that'
                USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.status <> 'running' OR OLD.status = 'running' THEN
            RETURN NEW;
        END IF; -- a run that goes on is asked what a new one is
    END IF;
    PERFORM require_fresh_snapshot(TG_TABLE_NAME);
    IF TG_TABLE_NAME = 'training_run' THEN
        IF NEW.status <> 'running' THEN
            RAISE EXCEPTION 'training_run refused: a run begins as running' USING ERRCODE = 'check_violation';
        END IF;
        SELECT * INTO sequences FROM ONLY sequence_set WHERE id = NEW.sequence_set_id;
    ELSE
        sequences := NEW;
    END IF;
    SELECT * INTO verdict FROM ONLY gate_result WHERE id = NEW.gate_result_id;
    IF verdict.id IS NULL OR verdict.gate <> 'roundtrip' OR NOT verdict.passed THEN
        RAISE EXCEPTION '% refused: no passing roundtrip gate stands behind it; run `lvm validate`', TG_TABLE_NAME
            USING ERRCODE = 'check_violation';
    END IF;
    IF verdict.space_id IS DISTINCT FROM sequences.space_id
        OR verdict.corpus_revision IS DISTINCT FROM sequences.corpus_revision
        OR sequences.corpus_revision IS DISTINCT FROM corpus_revision(sequences.space_id) THEN
        RAISE EXCEPTION '% refused: its gate is about another space or another revision of the corpus; run `lvm validate` and `lvm extract`', TG_TABLE_NAME
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.inverter_id IS NULL OR NEW.inverter_id IS DISTINCT FROM verdict.inverter_id
        OR NEW.inverter_id IS DISTINCT FROM sequences.inverter_id THEN
        RAISE EXCEPTION '% refused: its gate is about another inverter; run `lvm validate` and `lvm extract`', TG_TABLE_NAME
            USING ERRCODE = 'check_violation';
    END IF;
    IF NOT (SELECT passed FROM ONLY gate_result WHERE gate = 'roundtrip' AND space_id = verdict.space_id
        AND corpus_revision = verdict.corpus_revision AND inverter_id = verdict.inverter_id ORDER BY id DESC LIMIT 1) THEN
        RAISE EXCEPTION '% refused: a later roundtrip gate did not pass; run `lvm validate`', TG_TABLE_NAME
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

-- At commit: a transaction that lasted long may find another corpus than it began with.
CREATE FUNCTION require_current() {TRIGGER} AS $$
DECLARE
    about record;
BEGIN
    IF TG_TABLE_NAME = 'training_run' THEN
        SELECT space_id, corpus_revision INTO about FROM ONLY sequence_set WHERE id = NEW.sequence_set_id;
    ELSE
        SELECT NEW.space_id, NEW.corpus_revision INTO about;
    END IF;
    IF about.corpus_revision IS DISTINCT FROM corpus_revision(about.space_id) THEN
        RAISE EXCEPTION '% refused: the corpus changed before this was committed and is another revision now; run `lvm validate` again', TG_TABLE_NAME
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER gate_result_current AFTER INSERT ON gate_result DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_current();
CREATE CONSTRAINT TRIGGER sequence_set_current AFTER INSERT ON sequence_set DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_current();
CREATE CONSTRAINT TRIGGER training_run_current AFTER INSERT ON training_run DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_current();
"""

# The rows of these tables never change; the function is that of migration 0001 with another path.
STANDING = f"""
CREATE OR REPLACE FUNCTION refuse_change() {TRIGGER} AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: its rows never change; %', TG_OP, TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE FUNCTION refuse_space_change() {TRIGGER} AS $$
BEGIN
    RAISE EXCEPTION 'space % never changes: its vectors were made by this very encoder', OLD.name
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER inverter_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON inverter
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER space_no_delete BEFORE DELETE OR TRUNCATE ON space
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER document_no_truncate BEFORE TRUNCATE ON document
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER sequence_set_no_delete BEFORE DELETE OR TRUNCATE ON sequence_set
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER training_run_no_delete BEFORE DELETE OR TRUNCATE ON training_run
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');

-- Who may execute a trigger function may attach it to a table of their own, and what it does there is the owner's right.
DO $$
DECLARE
    rule record;
BEGIN
    FOR rule IN SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'lvm'::regnamespace AND p.prorettype = 'trigger'::regtype LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', rule.name);
    END LOOP;
    FOR rule IN SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'lvm'::regnamespace AND NOT t.tgisinternal LOOP
        EXECUTE format('ALTER TABLE lvm.%I ENABLE ALWAYS TRIGGER %I', rule.relname, rule.tgname);
    END LOOP;
END $$;
"""

# -- SQL for people ------------------------------------------------------------------------------------------------

VIEWS = """
CREATE OR REPLACE VIEW chunks AS
    SELECT c.id AS chunk_id, s.name AS space, d.source, d.external_id, d.title, d.metadata, d.id AS document_id,
        c.position, c.text, c.token_count, e.norm, e.vector
    FROM ONLY embedding e
    JOIN ONLY space s ON s.id = e.space_id
    JOIN ONLY chunk c ON c.id = e.chunk_id
    JOIN ONLY document d ON d.id = c.document_id;

DROP VIEW gates, training_runs;
CREATE VIEW gates AS
    WITH stored AS MATERIALIZED (SELECT id, name, corpus_revision(id) AS revision FROM space)
    SELECT g.id AS gate_id, g.gate, s.name AS space, g.value, g.threshold, g.passed,
        g.inverter_id IS NOT NULL AND g.corpus_revision = s.revision AS current,
        (g.evidence ->> 'n')::integer AS samples,
        (g.evidence ->> 'identify_r1')::double precision AS identification,
        (g.evidence ->> 'chance')::double precision AS chance,
        g.corpus_revision, i.sha256 AS inverter, g.flow_run_id, g.created_at, g.evidence
    FROM ONLY gate_result g JOIN stored s ON s.id = g.space_id LEFT JOIN inverter i ON i.id = g.inverter_id;

CREATE VIEW training_runs AS
    WITH stored AS MATERIALIZED (SELECT id, name, corpus_revision(id) AS revision FROM space)
    SELECT t.id AS training_run_id, t.architecture, t.status, t.metrics, t.hyperparameters, t.checkpoint, t.sha256,
        t.gate_result_id AS gate_id, g.value AS gate_value, i.sha256 AS inverter,
        t.sequence_set_id, q.context_length, q.counts AS windows, q.file AS sequence_file, q.sha256 AS sequence_sha256,
        s.name AS space, q.corpus_revision,
        t.inverter_id IS NOT NULL AND q.corpus_revision = s.revision AND (
            SELECT v.passed FROM ONLY gate_result v WHERE v.gate = 'roundtrip' AND v.space_id = q.space_id
                AND v.corpus_revision = q.corpus_revision AND v.inverter_id = t.inverter_id ORDER BY v.id DESC LIMIT 1
        ) AS current,
        t.created_at, t.finished_at
    FROM ONLY training_run t
    JOIN ONLY sequence_set q ON q.id = t.sequence_set_id
    JOIN ONLY gate_result g ON g.id = t.gate_result_id
    JOIN stored s ON s.id = q.space_id
    LEFT JOIN inverter i ON i.id = t.inverter_id;
"""

# The space's number and dimension stand in the text of the query, because only so its own index can serve it.
FUNCTIONS = f"""
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
"""

# Roles belong to the whole server: another database may have made them already, or this user may not make any.
ROLES = f"""
CREATE FUNCTION grant_roles() RETURNS void LANGUAGE plpgsql {FUNCTION} AS $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('lvm_reader', 'lvm_worker', 'lvm_gatekeeper') LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA lvm TO %I', role);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA lvm TO %I', role);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA lvm GRANT SELECT ON TABLES TO %I', role);
        IF role = 'lvm_worker' THEN
            GRANT INSERT, DELETE ON document, chunk, embedding TO lvm_worker;
            GRANT UPDATE (title, metadata) ON document TO lvm_worker;
            GRANT USAGE ON SEQUENCE document_id_seq, chunk_id_seq TO lvm_worker;
            GRANT INSERT (name, dim, fingerprint, recipe, probes) ON space TO lvm_worker;
            GRANT INSERT (space_id, corpus_revision, gate_result_id, inverter_id, context_length, counts, file, sha256)
                ON sequence_set TO lvm_worker;
            GRANT INSERT (architecture, sequence_set_id, gate_result_id, inverter_id, hyperparameters, status, metrics,
                checkpoint, sha256, finished_at) ON training_run TO lvm_worker;
            GRANT UPDATE (status, metrics, checkpoint, sha256, finished_at) ON training_run TO lvm_worker;
            GRANT EXECUTE ON FUNCTION build_search_index(integer, integer) TO lvm_worker;
        ELSIF role = 'lvm_gatekeeper' THEN
            GRANT INSERT (gate, space_id, corpus_revision, inverter_id, value, threshold, passed, sampled, asked, returned,
                evidence, flow_run_id) ON gate_result TO lvm_gatekeeper; -- no id: the last verdict is the one that counts
            GRANT INSERT (sha256, encoder, trained_documents) ON inverter TO lvm_gatekeeper;
        END IF;
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION grant_roles() FROM PUBLIC;

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['lvm_reader', 'lvm_worker', 'lvm_gatekeeper'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % was not made: this user may not make roles', role;
        END;
    END LOOP;
END $$;
SELECT grant_roles();
"""


def upgrade() -> None:
    # The driver itself, without parameters: the percent signs of RAISE are not placeholders.
    driver = op.get_bind().connection.driver_connection
    found = driver.execute(
        "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE extname = 'vector'"
    ).fetchone()
    driver.execute(f"SET LOCAL search_path = lvm, {found[0]}")
    for part in (REVISION, CORPUS_RULES, GATE_TABLES, GATE_RULES, STANDING, VIEWS, FUNCTIONS, ROLES):
        driver.execute(part.replace("@.", f"{found[0]}."))
