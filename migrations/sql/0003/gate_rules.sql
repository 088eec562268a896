-- The sample of a gate, its verdict, and what needs a passing one.

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
        FROM (SELECT id, ticket, lower(regexp_replace(btrim(text), '\s+', ' ', 'g')) AS words FROM drawn) w
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
        IF NEW.status = 'finished' AND NOT coalesce(NEW.sha256 ~ '^[0-9a-f]{64}$' AND NEW.checkpoint <> '', false) THEN
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
