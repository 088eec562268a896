--
-- PostgreSQL database dump
--

\restrict EhyCFYQ0UcGIT0cjr26OdEw0rsOngpzxJRx4wAWv5lXOuSBi46n8rdd25OxIorS

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: lvm; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA lvm;


ALTER SCHEMA lvm OWNER TO postgres;

--
-- Name: content_total; Type: TYPE; Schema: lvm; Owner: postgres
--

CREATE TYPE lvm.content_total AS (
	items numeric,
	a numeric,
	b numeric,
	c numeric,
	d numeric
);


ALTER TYPE lvm.content_total OWNER TO postgres;

--
-- Name: build_search_index(integer, integer); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.build_search_index(of_space integer, at_least integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
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
    EXECUTE format('CREATE INDEX %I ON lvm.embedding USING hnsw ((vector::public.vector(%s)) public.vector_cosine_ops) WHERE space_id = %s',
        name, dimension, of_space);
    ANALYZE lvm.embedding;
    RETURN true;
END $$;


ALTER FUNCTION lvm.build_search_index(of_space integer, at_least integer) OWNER TO postgres;

--
-- Name: chunk_hashed(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.chunk_hashed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    d record;
BEGIN
    SELECT source, external_id INTO d FROM ONLY document WHERE id = NEW.document_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'INSERT of chunk refused: document % is not stored', NEW.document_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    NEW.item := sha256('c' || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || int4send(NEW.position) || int4send(NEW.token_count) || convert_to(NEW.text, 'UTF8'));
    RETURN NEW;
END $$;


ALTER FUNCTION lvm.chunk_hashed() OWNER TO postgres;

--
-- Name: chunk_in(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.chunk_in() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, count(*), sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), sum(('x' || substr(hex, 49, 16))::bit(64)::bigint) FROM (SELECT part, encode(item, 'hex') AS hex FROM (SELECT 0 AS part, item FROM changed) i) h GROUP BY part;
    PERFORM merge_changes();
    UPDATE ONLY document SET chunk_count = 0 -- counted by keep_document
        WHERE id = ANY (ARRAY(SELECT DISTINCT document_id FROM changed));
    RETURN NULL;
END $$;


ALTER FUNCTION lvm.chunk_in() OWNER TO postgres;

--
-- Name: chunk_out(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.chunk_out() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    PERFORM require_fresh_snapshot('DELETE of chunk');
    INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, -count(*), -sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 49, 16))::bit(64)::bigint) FROM (SELECT part, encode(item, 'hex') AS hex FROM (SELECT 0 AS part, item FROM changed) i) h GROUP BY part;
    PERFORM merge_changes();
    DELETE FROM ONLY embedding WHERE chunk_id = ANY (ARRAY(SELECT id FROM changed));
    UPDATE ONLY document SET chunk_count = 0 WHERE id = ANY (ARRAY(SELECT DISTINCT document_id FROM changed));
    RETURN NULL;
END $$;


ALTER FUNCTION lvm.chunk_out() OWNER TO postgres;

--
-- Name: corpus_revision(integer); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.corpus_revision(of_space integer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    SELECT revision_of(corpus_total(0), corpus_total(of_space))
$$;


ALTER FUNCTION lvm.corpus_revision(of_space integer) OWNER TO postgres;

--
-- Name: corpus_revision_recomputed(integer); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.corpus_revision_recomputed(of_space integer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    SELECT revision_of(
        (SELECT ROW(count(*), coalesce(sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), 0), coalesce(sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), 0), coalesce(sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), 0), coalesce(sum(('x' || substr(hex, 49, 16))::bit(64)::bigint), 0))::content_total FROM (
            SELECT encode(sha256('d' || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || convert_to(d.sha256, 'UTF8')), 'hex') AS hex FROM ONLY document d UNION ALL
            SELECT encode(sha256('c' || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || int4send(c.position) || int4send(c.token_count) || convert_to(c.text, 'UTF8')), 'hex') FROM ONLY chunk c JOIN ONLY document d ON d.id = c.document_id) h),
        (SELECT ROW(count(*), coalesce(sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), 0), coalesce(sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), 0), coalesce(sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), 0), coalesce(sum(('x' || substr(hex, 49, 16))::bit(64)::bigint), 0))::content_total FROM (
            SELECT encode(sha256('v' || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || int4send(c.position) || float4send(e.norm) || public.vector_send(e.vector)), 'hex') AS hex FROM ONLY embedding e JOIN ONLY chunk c ON c.id = e.chunk_id
                JOIN ONLY document d ON d.id = c.document_id WHERE e.space_id = of_space) h))
$$;


ALTER FUNCTION lvm.corpus_revision_recomputed(of_space integer) OWNER TO postgres;

--
-- Name: corpus_total(integer); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.corpus_total(of_part integer) RETURNS lvm.content_total
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    SELECT ROW(coalesce(sum(items), 0), coalesce(sum(a), 0), coalesce(sum(b), 0), coalesce(sum(c), 0),
        coalesce(sum(d), 0))::content_total FROM ONLY corpus_change WHERE part = of_part
$$;


ALTER FUNCTION lvm.corpus_total(of_part integer) OWNER TO postgres;

--
-- Name: document_in(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.document_in() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, count(*), sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), sum(('x' || substr(hex, 49, 16))::bit(64)::bigint) FROM (SELECT part, encode(item, 'hex') AS hex FROM (SELECT 0 AS part, sha256('d' || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || convert_to(d.sha256, 'UTF8')) AS item FROM changed d) i) h GROUP BY part;
    PERFORM merge_changes();
    RETURN NULL;
END $$;


ALTER FUNCTION lvm.document_in() OWNER TO postgres;

--
-- Name: document_out(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.document_out() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    PERFORM require_fresh_snapshot('DELETE of document');
    INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, -count(*), -sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 49, 16))::bit(64)::bigint) FROM (SELECT part, encode(item, 'hex') AS hex FROM (SELECT 0 AS part, sha256('d' || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || convert_to(d.sha256, 'UTF8')) AS item FROM changed d) i) h GROUP BY part;
    PERFORM merge_changes();
    DELETE FROM ONLY chunk WHERE document_id = ANY (ARRAY(SELECT id FROM changed));
    RETURN NULL;
END $$;


ALTER FUNCTION lvm.document_out() OWNER TO postgres;

--
-- Name: embedding_hashed(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.embedding_hashed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
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
    NEW.item := sha256('v' || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || int4send(c.position) || float4send(NEW.norm) || public.vector_send(NEW.vector));
    RETURN NEW;
END $$;


ALTER FUNCTION lvm.embedding_hashed() OWNER TO postgres;

--
-- Name: embedding_in(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.embedding_in() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    bad record;
BEGIN
    -- NaN and infinity are refused by the type itself; NOT BETWEEN catches zero vectors too.
    SELECT n.chunk_id, public.vector_dims(n.vector) AS dims, public.vector_norm(n.vector) AS length, s.name, s.dim INTO bad
    FROM changed n LEFT JOIN ONLY space s ON s.id = n.space_id
    WHERE s.id IS NULL OR public.vector_dims(n.vector) <> s.dim OR public.vector_norm(n.vector) NOT BETWEEN 0.999 AND 1.001
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'embedding of chunk % refused: dimension % and norm %; space % stores unit vectors of dimension %',
            bad.chunk_id, bad.dims, bad.length, bad.name, bad.dim USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, count(*), sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), sum(('x' || substr(hex, 49, 16))::bit(64)::bigint) FROM (SELECT part, encode(item, 'hex') AS hex FROM (SELECT space_id AS part, item FROM changed) i) h GROUP BY part;
    PERFORM merge_changes();
    RETURN NULL;
END $$;


ALTER FUNCTION lvm.embedding_in() OWNER TO postgres;

--
-- Name: embedding_out(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.embedding_out() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, -count(*), -sum(('x' || substr(hex, 1, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 17, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 33, 16))::bit(64)::bigint), -sum(('x' || substr(hex, 49, 16))::bit(64)::bigint) FROM (SELECT part, encode(item, 'hex') AS hex FROM (SELECT space_id AS part, item FROM changed) i) h GROUP BY part;
    PERFORM merge_changes();
    RETURN NULL;
END $$;


ALTER FUNCTION lvm.embedding_out() OWNER TO postgres;

--
-- Name: gate_draw(integer, integer, bigint); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.gate_draw(of_space integer, of_inverter integer, candidates bigint) RETURNS TABLE(place bigint, chunk_id bigint)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    WITH asked AS MATERIALIZED (
        SELECT corpus_revision(of_space) || i.sha256 AS seed, i.trained_documents FROM ONLY inverter i WHERE i.id = of_inverter
    ), known AS MATERIALIZED (SELECT DISTINCT unnest(trained_documents) AS sha256 FROM asked),
    drawn AS MATERIALIZED (
        SELECT c.id, c.text, sha256(convert_to(asked.seed, 'UTF8') || int4send(octet_length(convert_to(d.source, 'UTF8'))) || convert_to(d.source, 'UTF8')
        || int4send(octet_length(convert_to(d.external_id, 'UTF8'))) || convert_to(d.external_id, 'UTF8') || int4send(c.position)) AS ticket
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


ALTER FUNCTION lvm.gate_draw(of_space integer, of_inverter integer, candidates bigint) OWNER TO postgres;

--
-- Name: gate_sample(integer, integer); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.gate_sample(of_space integer, of_inverter integer) RETURNS TABLE(place bigint, chunk_id bigint)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    WITH few AS MATERIALIZED (SELECT * FROM gate_draw(of_space, of_inverter, 4 * gate_size()))
    SELECT * FROM few WHERE (SELECT count(*) FROM few) = gate_size()
    UNION ALL SELECT * FROM gate_draw(of_space, of_inverter, NULL) WHERE (SELECT count(*) FROM few) < gate_size()
$$;


ALTER FUNCTION lvm.gate_sample(of_space integer, of_inverter integer) OWNER TO postgres;

--
-- Name: gate_size(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.gate_size() RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$SELECT 500$$;


ALTER FUNCTION lvm.gate_size() OWNER TO postgres;

--
-- Name: grant_roles(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.grant_roles() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
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


ALTER FUNCTION lvm.grant_roles() OWNER TO postgres;

--
-- Name: judge_gate(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.judge_gate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
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
    WHERE v IS NULL OR public.vector_dims(v) <> own.dim OR public.vector_norm(v) NOT BETWEEN 0.999 AND 1.001;
    IF size IS NULL OR size = 0 OR bad > 0 THEN
        RAISE EXCEPTION '% gate refused: evidence must hold the re-encoded unit vectors, of dimension %', NEW.gate, own.dim
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.gate = 'pipeline' THEN
        SELECT count(*) INTO bad FROM unnest(NEW.asked) AS t(v) WHERE v IS NULL OR public.vector_dims(v) <> own.dim;
        IF cardinality(NEW.asked) IS DISTINCT FROM size OR bad > 0 THEN
            RAISE EXCEPTION 'pipeline gate refused: evidence must hold a prediction for each re-encoded vector'
                USING ERRCODE = 'check_violation';
        END IF;
        SELECT avg(1 - (p OPERATOR(public.<=>) r)) AS mean, max(abs(public.vector_norm(p) - 1)) AS norm_error INTO found
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
        ON e.chunk_id = t.chunk_id AND e.space_id = NEW.space_id WHERE t.back OPERATOR(public.<>) e.vector) THEN
        RAISE EXCEPTION 'roundtrip gate refused: its vectors are the stored ones, nothing was decoded'
            USING ERRCODE = 'check_violation';
    END IF;
    WITH pair AS MATERIALIZED (
        SELECT t.place, t.chunk_id, t.back, e.vector AS stored,
            NOT coalesce(NEW.evidence -> 'seen', '[]') @> to_jsonb(t.chunk_id) AS fresh
        FROM unnest(NEW.sampled, NEW.returned) WITH ORDINALITY AS t(chunk_id, back, place)
        JOIN ONLY embedding e ON e.chunk_id = t.chunk_id AND e.space_id = NEW.space_id
    ), measured AS MATERIALIZED (
        SELECT p.place, p.chunk_id, p.fresh, p.stored, 1 - (p.back OPERATOR(public.<=>) p.stored) AS cosine,
            -- equal vectors come out a rounding error apart; that must not count as nearer
            (SELECT count(*) FROM pair o WHERE (p.back OPERATOR(public.<=>) o.stored) <= (p.back OPERATOR(public.<=>) p.stored) + 1e-7) AS rank
        FROM pair p
    )
    SELECT count(*) AS drawn, count(*) FILTER (WHERE fresh) AS n,
        -- texts that the inverter is said to know are left out, and yet all together must pass too
        least(avg(cosine), avg(cosine) FILTER (WHERE fresh)) AS mean,
        least(avg((rank = 1)::integer), avg((rank = 1)::integer) FILTER (WHERE fresh))::double precision AS identified,
        percentile_cont(0.1) WITHIN GROUP (ORDER BY cosine) FILTER (WHERE fresh) AS p10,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY cosine) FILTER (WHERE fresh) AS median,
        CASE WHEN count(*) > 1 THEN (count(*) * power(public.vector_norm(public.avg(stored)), 2) - 1) / (count(*) - 1) END AS chance,
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


ALTER FUNCTION lvm.judge_gate() OWNER TO postgres;

--
-- Name: keep_document(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.keep_document() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.id, NEW.source, NEW.external_id, NEW.sha256)
        IS DISTINCT FROM (OLD.id, OLD.source, OLD.external_id, OLD.sha256) THEN
        RAISE EXCEPTION 'UPDATE of document refused: its key and hash never change; ingest the changed document again'
            USING ERRCODE = 'restrict_violation';
    END IF;
    NEW.chunk_count := (SELECT count(*) FROM ONLY chunk WHERE document_id = NEW.id); -- whatever the statement says
    RETURN NEW;
END $$;


ALTER FUNCTION lvm.keep_document() OWNER TO postgres;

--
-- Name: merge_changes(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.merge_changes() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
BEGIN
    IF random() < 1.0 / 256 AND current_setting('transaction_isolation') = 'read committed' THEN
        WITH old AS (SELECT id FROM ONLY corpus_change ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED),
            gone AS (DELETE FROM ONLY corpus_change m USING old WHERE m.id = old.id RETURNING m.*)
        INSERT INTO corpus_change (part, items, a, b, c, d)
        SELECT part, sum(items), sum(a), sum(b), sum(c), sum(d) FROM gone GROUP BY part;
    END IF;
END $$;


ALTER FUNCTION lvm.merge_changes() OWNER TO postgres;

--
-- Name: neighbours(bigint, integer, text); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.neighbours(chunk bigint, k integer DEFAULT 10, space text DEFAULT 'minilm'::text) RETURNS TABLE(chunk_id bigint, cosine double precision, title text, "position" integer, text text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    SELECT n.chunk_id, n.cosine, n.title, n.position, n.text
    FROM ONLY embedding e JOIN ONLY space s ON s.id = e.space_id AND s.name = neighbours.space,
        LATERAL search(e.vector, neighbours.k + 1, s.name) n
    WHERE e.chunk_id = neighbours.chunk AND n.chunk_id <> neighbours.chunk
    LIMIT neighbours.k
$$;


ALTER FUNCTION lvm.neighbours(chunk bigint, k integer, space text) OWNER TO postgres;

--
-- Name: next(bigint, integer); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.next(chunk bigint, count integer DEFAULT 1) RETURNS TABLE(chunk_id bigint, "position" integer, text text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    SELECT c.id, c.position, c.text
    FROM ONLY chunk this JOIN ONLY chunk c ON c.document_id = this.document_id
        AND c.position > this.position AND c.position <= this.position + next.count
    WHERE this.id = next.chunk
    ORDER BY c.position
$$;


ALTER FUNCTION lvm.next(chunk bigint, count integer) OWNER TO postgres;

--
-- Name: refuse_by_hand(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.refuse_by_hand() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION '% of % refused: only its triggers write it', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;


ALTER FUNCTION lvm.refuse_by_hand() OWNER TO postgres;

--
-- Name: refuse_change(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.refuse_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: its rows never change; %', TG_OP, TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'restrict_violation';
END $$;


ALTER FUNCTION lvm.refuse_change() OWNER TO postgres;

--
-- Name: refuse_space_change(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.refuse_space_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'space % never changes: its vectors were made by this very encoder', OLD.name
        USING ERRCODE = 'restrict_violation';
END $$;


ALTER FUNCTION lvm.refuse_space_change() OWNER TO postgres;

--
-- Name: require_current(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.require_current() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
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


ALTER FUNCTION lvm.require_current() OWNER TO postgres;

--
-- Name: require_fresh_snapshot(text); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.require_fresh_snapshot(what text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION '% refused: a % transaction reads an old snapshot of the corpus; use read committed', what,
            current_setting('transaction_isolation') USING ERRCODE = 'invalid_transaction_state';
    END IF;
END $$;


ALTER FUNCTION lvm.require_fresh_snapshot(what text) OWNER TO postgres;

--
-- Name: require_gate(); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.require_gate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $_$
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
END $_$;


ALTER FUNCTION lvm.require_gate() OWNER TO postgres;

--
-- Name: revision_of(lvm.content_total, lvm.content_total); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.revision_of(corpus lvm.content_total, vectors lvm.content_total) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    AS $$
    SELECT encode(sha256(convert_to(string_agg(concat_ws(':', n, items, mod(mod(a, m) + m, m), mod(mod(b, m) + m, m),
        mod(mod(c, m) + m, m), mod(mod(d, m) + m, m)), '|' ORDER BY n), 'UTF8')), 'hex')
    FROM (SELECT 1 AS n, (corpus).* UNION ALL SELECT 2, (vectors).*) t, (SELECT 18446744073709551616::numeric AS m) w
$$;


ALTER FUNCTION lvm.revision_of(corpus lvm.content_total, vectors lvm.content_total) OWNER TO postgres;

--
-- Name: search(public.vector, integer, text); Type: FUNCTION; Schema: lvm; Owner: postgres
--

CREATE FUNCTION lvm.search(query public.vector, k integer DEFAULT 10, space text DEFAULT 'minilm'::text) RETURNS TABLE(chunk_id bigint, cosine double precision, title text, "position" integer, text text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'lvm', 'pg_temp'
    SET "hnsw.ef_search" TO '200'
    AS $_$
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
    IF query IS NULL OR public.vector_dims(query) <> found_space.dim THEN
        RAISE EXCEPTION 'the query has dimension %, space % has %', public.vector_dims(query), found_space.name, found_space.dim
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
            SELECT e.chunk_id AS id, 1 - (e.vector::public.vector(%1$s) OPERATOR(public.<=>) $1) AS cosine
            FROM ONLY lvm.embedding e WHERE e.space_id = %2$s
            ORDER BY e.vector::public.vector(%1$s) OPERATOR(public.<=>) $1 LIMIT $2
        ) n JOIN ONLY lvm.chunk c ON c.id = n.id JOIN ONLY lvm.document d ON d.id = c.document_id
        ORDER BY n.cosine DESC, n.id', found_space.dim, found_space.id) USING query, k;
END $_$;


ALTER FUNCTION lvm.search(query public.vector, k integer, space text) OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.alembic_version (
    version_num character varying(32) NOT NULL
);


ALTER TABLE lvm.alembic_version OWNER TO postgres;

--
-- Name: chunk; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.chunk (
    id bigint NOT NULL,
    document_id bigint NOT NULL,
    "position" integer NOT NULL,
    token_count integer NOT NULL,
    text text NOT NULL,
    item bytea NOT NULL,
    CONSTRAINT chunk_position_check CHECK (("position" >= 0)),
    CONSTRAINT chunk_text_check CHECK ((text <> ''::text)),
    CONSTRAINT chunk_token_count_check CHECK ((token_count > 0))
);


ALTER TABLE lvm.chunk OWNER TO postgres;

--
-- Name: chunk_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.chunk ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME lvm.chunk_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: document; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.document (
    id bigint NOT NULL,
    source text NOT NULL,
    external_id text NOT NULL,
    title text NOT NULL,
    sha256 text NOT NULL,
    chunk_count integer DEFAULT 0 NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT document_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text))
);


ALTER TABLE lvm.document OWNER TO postgres;

--
-- Name: embedding; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.embedding (
    space_id integer NOT NULL,
    chunk_id bigint NOT NULL,
    norm real NOT NULL,
    vector public.vector NOT NULL,
    item bytea NOT NULL,
    CONSTRAINT embedding_norm_check CHECK (((norm > (0)::double precision) AND (norm < 'Infinity'::real)))
);
ALTER TABLE ONLY lvm.embedding ALTER COLUMN vector SET STORAGE PLAIN;


ALTER TABLE lvm.embedding OWNER TO postgres;

--
-- Name: space; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.space (
    id integer NOT NULL,
    name text NOT NULL,
    dim integer NOT NULL,
    fingerprint text NOT NULL,
    recipe jsonb NOT NULL,
    probes bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT space_dim_check CHECK (((dim >= 1) AND (dim <= 16000))),
    CONSTRAINT space_name_check CHECK ((name <> ''::text))
);


ALTER TABLE lvm.space OWNER TO postgres;

--
-- Name: chunks; Type: VIEW; Schema: lvm; Owner: postgres
--

CREATE VIEW lvm.chunks AS
 SELECT c.id AS chunk_id,
    s.name AS space,
    d.source,
    d.external_id,
    d.title,
    d.metadata,
    d.id AS document_id,
    c."position",
    c.text,
    c.token_count,
    e.norm,
    e.vector
   FROM (((ONLY lvm.embedding e
     JOIN ONLY lvm.space s ON ((s.id = e.space_id)))
     JOIN ONLY lvm.chunk c ON ((c.id = e.chunk_id)))
     JOIN ONLY lvm.document d ON ((d.id = c.document_id)));


ALTER VIEW lvm.chunks OWNER TO postgres;

--
-- Name: corpus_change; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.corpus_change (
    id bigint NOT NULL,
    part integer NOT NULL,
    items numeric NOT NULL,
    a numeric NOT NULL,
    b numeric NOT NULL,
    c numeric NOT NULL,
    d numeric NOT NULL
);


ALTER TABLE lvm.corpus_change OWNER TO postgres;

--
-- Name: corpus_change_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.corpus_change ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME lvm.corpus_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: document_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.document ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME lvm.document_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: gate_result; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.gate_result (
    id bigint NOT NULL,
    gate text NOT NULL,
    space_id integer NOT NULL,
    corpus_revision text NOT NULL,
    value double precision NOT NULL,
    threshold double precision NOT NULL,
    passed boolean NOT NULL,
    evidence jsonb NOT NULL,
    flow_run_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    inverter_id integer,
    sampled bigint[],
    asked public.vector[],
    returned public.vector[],
    CONSTRAINT gate_result_gate_check CHECK ((gate = ANY (ARRAY['roundtrip'::text, 'pipeline'::text])))
);


ALTER TABLE lvm.gate_result OWNER TO postgres;

--
-- Name: gate_result_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.gate_result ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME lvm.gate_result_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: inverter; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.inverter (
    id integer NOT NULL,
    sha256 text NOT NULL,
    encoder text NOT NULL,
    trained_documents text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT inverter_sha256_check CHECK ((sha256 <> ''::text))
);


ALTER TABLE lvm.inverter OWNER TO postgres;

--
-- Name: gates; Type: VIEW; Schema: lvm; Owner: postgres
--

CREATE VIEW lvm.gates AS
 WITH stored AS MATERIALIZED (
         SELECT space.id,
            space.name,
            lvm.corpus_revision(space.id) AS revision
           FROM lvm.space
        )
 SELECT g.id AS gate_id,
    g.gate,
    s.name AS space,
    g.value,
    g.threshold,
    g.passed,
    ((g.inverter_id IS NOT NULL) AND (g.corpus_revision = s.revision)) AS current,
    ((g.evidence ->> 'n'::text))::integer AS samples,
    ((g.evidence ->> 'identify_r1'::text))::double precision AS identification,
    ((g.evidence ->> 'chance'::text))::double precision AS chance,
    g.corpus_revision,
    i.sha256 AS inverter,
    g.flow_run_id,
    g.created_at,
    g.evidence
   FROM ((ONLY lvm.gate_result g
     JOIN stored s ON ((s.id = g.space_id)))
     LEFT JOIN lvm.inverter i ON ((i.id = g.inverter_id)));


ALTER VIEW lvm.gates OWNER TO postgres;

--
-- Name: inverter_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.inverter ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME lvm.inverter_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: sequence_set; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.sequence_set (
    id bigint NOT NULL,
    space_id integer NOT NULL,
    corpus_revision text NOT NULL,
    gate_result_id bigint NOT NULL,
    context_length integer NOT NULL,
    counts jsonb NOT NULL,
    file text NOT NULL,
    sha256 text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    inverter_id integer,
    CONSTRAINT sequence_set_context_length_check CHECK ((context_length > 0)),
    CONSTRAINT sequence_set_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text))
);


ALTER TABLE lvm.sequence_set OWNER TO postgres;

--
-- Name: sequence_set_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.sequence_set ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME lvm.sequence_set_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: space_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.space ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME lvm.space_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: training_run; Type: TABLE; Schema: lvm; Owner: postgres
--

CREATE TABLE lvm.training_run (
    id bigint NOT NULL,
    architecture text NOT NULL,
    sequence_set_id bigint NOT NULL,
    gate_result_id bigint NOT NULL,
    hyperparameters jsonb NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    metrics jsonb,
    checkpoint text,
    sha256 text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    inverter_id integer,
    CONSTRAINT training_run_status_check CHECK ((status = ANY (ARRAY['running'::text, 'finished'::text, 'interrupted'::text, 'failed'::text])))
);


ALTER TABLE lvm.training_run OWNER TO postgres;

--
-- Name: training_run_id_seq; Type: SEQUENCE; Schema: lvm; Owner: postgres
--

ALTER TABLE lvm.training_run ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME lvm.training_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: training_runs; Type: VIEW; Schema: lvm; Owner: postgres
--

CREATE VIEW lvm.training_runs AS
 WITH stored AS MATERIALIZED (
         SELECT space.id,
            space.name,
            lvm.corpus_revision(space.id) AS revision
           FROM lvm.space
        )
 SELECT t.id AS training_run_id,
    t.architecture,
    t.status,
    t.metrics,
    t.hyperparameters,
    t.checkpoint,
    t.sha256,
    t.gate_result_id AS gate_id,
    g.value AS gate_value,
    i.sha256 AS inverter,
    t.sequence_set_id,
    q.context_length,
    q.counts AS windows,
    q.file AS sequence_file,
    q.sha256 AS sequence_sha256,
    s.name AS space,
    q.corpus_revision,
    ((t.inverter_id IS NOT NULL) AND (q.corpus_revision = s.revision) AND ( SELECT v.passed
           FROM ONLY lvm.gate_result v
          WHERE ((v.gate = 'roundtrip'::text) AND (v.space_id = q.space_id) AND (v.corpus_revision = q.corpus_revision) AND (v.inverter_id = t.inverter_id))
          ORDER BY v.id DESC
         LIMIT 1)) AS current,
    t.created_at,
    t.finished_at
   FROM ((((ONLY lvm.training_run t
     JOIN ONLY lvm.sequence_set q ON ((q.id = t.sequence_set_id)))
     JOIN ONLY lvm.gate_result g ON ((g.id = t.gate_result_id)))
     JOIN stored s ON ((s.id = q.space_id)))
     LEFT JOIN lvm.inverter i ON ((i.id = t.inverter_id)));


ALTER VIEW lvm.training_runs OWNER TO postgres;

--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.alembic_version (version_num) FROM stdin;
0003
\.


--
-- Data for Name: chunk; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.chunk (id, document_id, "position", token_count, text, item) FROM stdin;
1	1	0	11	The small horse left a loud school before the house.	\\x97f4927986a40f02cfb88ea4c647188330bc8f6e8eba8981aa6cfb32b45182b1
2	1	1	11	The green winter kept a small window under the road.	\\x7e72860f2b6724dc0c49039142ed8919564b863da3217001975bd98bd091b0ce
3	1	2	11	The red garden found a loud bridge with the child.	\\x5b1a18aa84293ab1391fe70af9fd1e42c10d5b9033a950189b2a07814299cbab
4	1	3	11	The young river painted a red summer under the window.	\\x773418b32e9ab2a0ef9b25c00dac0891e7855f4bf00a02c4d3d517f4990da947
5	1	4	11	The small doctor saw a old window near the kitchen.	\\x11e901f5c928b845886d61b4bde710b9609a02b07fd634d64cbec7e0bd93b710
6	1	5	11	The large horse crossed a young boat with the window.	\\xa5ac9e368b15933e46e24e4c750b5f0f6a0f1bbfbba0f47242d89c0151d23152
7	1	6	11	The green river kept a quiet doctor after the farmer.	\\x6f7ee12f1d26b66bda4395b700b153eca5afc98c4867edba7157b8beb1dc4d3d
8	1	7	11	The large kitchen left a small river near the table.	\\xc34672b41f7314d2889e50d1002e84168795966e30f3ed13c87a6d2ad4f0778c
9	2	0	11	The large winter sold a quiet song after the bridge.	\\x2b77035712eaafb9cce1d9d85bcb8c23053d7f0884919816dbb5043c16e41f8c
10	2	1	11	The young song painted a small winter under the kitchen.	\\x2e0b866e79e26c35cb786e8d6b6dafccdf487cb7d33732175232d1453993b3fc
11	2	2	11	The green farmer kept a quiet winter near the letter.	\\x55b1788a56db096f5a39d762f44aa7554015741420caeb0130bf1789ecfff8fc
12	2	3	11	The young child kept a large window behind the river.	\\x7c93a42ed738e9ab7cba148d97be900a012c72224965f3cf056e0bb37075ec1e
13	2	4	11	The small house sold a loud river behind the horse.	\\x5c2b397a942cc31921b4b967c4eb2d5eff5a7c50ba30d4972064e3f14b5f07b8
14	2	5	11	The loud school crossed a large child near the kitchen.	\\x3ce99ff5e89a22cb6a44238d76bab0d664182e07b31b2288e6c477ab9f4a386b
15	2	6	11	The large summer sold a quiet bridge behind the window.	\\xb7aa0e8bee71fcbfbf64403324ecfc5775a41f96e345ed51a33986fd73d4a504
16	2	7	11	The green boat kept a red child under the bridge.	\\x05072d194ab5c665edea3071d57dea24b448f064ff31fd3847a4bd0e96c2666a
17	3	0	11	The red school sold a quiet house near the bridge.	\\x2147750ede2234f7cf68d48776985afd61d545ca56083e9183c645bf316ba07b
18	3	1	11	The young song sold a large river after the boat.	\\xf57e51665a9e5ddc11f7863ac8e440c5e1f008a0b9fd2b4dc569ef331508abf3
19	3	2	11	The large bridge found a quiet horse near the river.	\\x813d53362479f1950f0e5bbb74dd24b4ee8d61792f0623289188f68a75d7b6bd
20	3	3	11	The young boat sold a green doctor with the letter.	\\xa26af7c3f16a04d076a3686c8072a5ccbc453a48ca6527f0dfbb6ba81492491c
21	3	4	11	The young house built a quiet boat near the school.	\\x1e8b58e6676418b81d9d3819952cc056180c5d4772cf9b3d79650bdd91c3f615
22	3	5	11	The large farmer kept a green river near the winter.	\\xeec82408eb2820382be255336ce0d21f9a91b6e22dad81023d2240b4bf02426c
23	3	6	11	The young table painted a large kitchen behind the house.	\\x18d0ee9c691cb3babcfb92d3ab5b4159a3eb433c1809d50176be7559a91a970b
24	3	7	11	The red child sold a large road near the window.	\\x766e180637c449ac60bd92f4024a10d328327e1e8fcdc2bbe64b2a030b43f701
25	4	0	11	The small letter left a old song with the summer.	\\x191636ca60accde9f5562aa4a046159528c448f4f157ad3a4ad079f6050226a9
26	4	1	11	The quiet letter built a small boat with the window.	\\xcf842bb1560b6cda07ca3e95cff1940a06b13b4e1c9d2eedfaa8d0495e5b6e81
27	4	2	11	The red road saw a small horse before the child.	\\x436ed27438aefdc09953d3fa2a308df53c9da09585f9d74a77e106730af6152c
28	4	3	11	The small river sold a young summer before the house.	\\x256840c001ec5fe09e23f240e176e4ec271c08632b2312962359489bc71643a3
29	4	4	11	The red road built a large winter before the song.	\\xd4916771c617f3e39ecabdbd9f5afbb1f2b553c3e0aa9a53d392794f393d1886
30	4	5	11	The green school crossed a large river behind the boat.	\\x459073a85e620d0976082c5b1354e474b9226596bedb970bf70988c6a8ebcc23
31	4	6	11	The quiet farmer painted a large song near the kitchen.	\\xf6ed441931aa235971f2aeb71e6159cb86f5ef52ef88b49d4825641615c4cf5d
32	4	7	11	The red horse found a green school under the house.	\\x081b471228d2839d66de163f20d4e8c61884606d203e2acea3b0e016a05dcc06
33	5	0	11	The old letter left a loud kitchen under the window.	\\x5affcfa6893be0f9f0fbf9008570e41baf724cb5a4ceef6f26ab03e50f9d035f
34	5	1	11	The quiet winter found a young kitchen with the house.	\\xa6c424ab12822df0d0b567b79ea6c6bda225821b489595f0cea7a5a6f8b2d790
35	5	2	11	The quiet garden saw a red boat behind the horse.	\\xc3e604fdfa93066b7cd2b60d644c7ecd7b2f0549a2e7bd8b689e1174d0921659
36	5	3	11	The green boat sold a old song under the bridge.	\\x03bd769cd13f0c9bd4124bb199d44208ddaec35ad804446de64a09b72cd897bf
37	5	4	11	The loud child painted a quiet letter with the bridge.	\\xe85a88916654dfda239be8da16a3241db254b40b98bfca2bc813f3dbd41d8159
38	5	5	11	The loud river found a quiet boat under the child.	\\xf3696d5cbba10fb39334a5e2acb930598bf327ed8ebb6e9b7cea9ca16d1a1730
39	5	6	11	The young garden kept a quiet table under the road.	\\xd0ea156351d2e279dce590ef78b8698191a147523044166cc63440be85103f60
40	5	7	11	The green boat built a large house after the table.	\\xc2525ba3f8267ebca800e47bf934a209e41f66f24a90e9e69ced723ecc4153dd
41	6	0	11	The loud summer left a large road with the house.	\\x94cba687a44ea0a3f543e6691f328a056aece2061a6c22cf59a972acd3bbc890
42	6	1	11	The green school built a loud road near the letter.	\\x780b4293ab93384351acb739d9f7f6da6ef68f8a16167825d52a2cdd3ae623c9
43	6	2	11	The large garden crossed a red song with the child.	\\x3b258d6b17da66e3843da2923e3c7ba8d823542b9304a9885f5ad82cf286f2e6
44	6	3	11	The old river kept a red summer behind the house.	\\x5cb5cf941e42c99bd02ac3dfc3e234056b9e638c7f0c3fb41c1a4f5ea4be9e75
45	6	4	11	The red winter found a loud road before the horse.	\\x9c10921bc4192a7e625da3205ec6cf1ef26f005e2dfe21d64f52baff545437b1
46	6	5	11	The red farmer found a quiet house under the winter.	\\xe6a573a1c0bb7d4086d23ff767c56cc16914e70e7a3dd405901d08866e8e39fe
47	6	6	11	The quiet horse found a old summer after the winter.	\\xa64bd2e6d1c9cd9ed94454f688a99dbdff9ce8caa9dfd47012e7b8b025e76367
48	6	7	11	The large window left a old song near the summer.	\\x18e766b09647c35ebc7a1a31d933b5e56b5abf7f626509b53fa7c65be7a9151c
49	7	0	11	The small window kept a red school behind the house.	\\x2567b07b3e9fe4c0eb559eb009c7da26f9ba14d643fc04d7c54272514445d374
50	7	1	11	The young horse sold a loud river near the table.	\\x8c8cfa833041451fc01ca69b685eb33f2b2c478f873c7c74bd26cd39a84830d3
51	7	2	11	The quiet horse built a small boat before the bridge.	\\xbab713a680218b209f66f68625fd40dbdc557296d97c4e6b30ec6d3c0323e08f
52	7	3	11	The young window sold a red doctor under the school.	\\xcd29fc193e8cb67d73cfd95fbe999bc3d4ae0f22f30accfa8d96dfe7c4223144
53	7	4	11	The large letter found a old school with the doctor.	\\x09b2fb7142977862b14647da4334c5b13d8d54d22bd89a441d688f080a1b2333
54	7	5	11	The green boat left a old table before the kitchen.	\\x8ea5bdd6a5a1b544493335edcced59ed2960fa49edb9e865ccbc4e5e087347ee
55	7	6	11	The green child kept a small doctor near the house.	\\xd6215abdfb644b696485d08a666edf6482be8206952f1737c29a9c66cf54a957
56	7	7	11	The large doctor kept a small kitchen near the horse.	\\x5299e5d9cfe47392b76a1e12a52563a3a7d05e464b8d260fbed3b05040c79ff0
57	8	0	11	The quiet window left a small garden with the horse.	\\x302500389a9a770cd9d949b5d49e1a5cb579608338235dc8328ffa583fe2cdac
58	8	1	11	The green summer sold a small window near the table.	\\x8dc8051e0ec794ae4612f70ad1224a5713fe5e7190d1a1ab5d3aacd9f7f774e3
59	8	2	11	The old summer kept a small song under the table.	\\x809bdfe17e92fc3332f3c6eaba4c0be6e5d23c5a2b0b60c41e99fc9a17fabdb0
60	8	3	11	The loud garden found a old horse after the winter.	\\x39f05ce1a075af640f8be164cd9309c130bed75eaea40fba64695440186149ab
61	8	4	11	The red house built a old river near the farmer.	\\xe03a493ced66ba7738922f3e3b1515840bfcbb20df6a1d28818eab0c7d99218f
62	8	5	11	The red kitchen left a quiet summer under the letter.	\\x5b26d8ec22f2f4b90653851a0b46fe27beaf3a4d7d221d74902aadb2640eade0
63	8	6	11	The young table found a large horse with the house.	\\xf386343a0054e64d153cb1e0e038442ace2d0515c1588e188a435676af2a0376
64	8	7	11	The quiet school left a loud doctor before the winter.	\\x19d05634db7b42f1b7276c3892c3dde70fca5525262133b7d787a06ab7f570b3
65	9	0	11	The red farmer built a loud boat under the table.	\\xa0dc9896d83c5390060aeae94dff166caf28fb3608a1388e21f0024dfefa2450
66	9	1	11	The small river painted a quiet window before the child.	\\x9b7c7557fb0e12d99fa273035a91902d49553ab4cd73fd8849661702d15b4ae9
67	9	2	11	The red horse built a young house with the letter.	\\x1ec087280f1e32c7873c0448440a16c652bfcd021fdc9e02b44ecdb32752a4a4
68	9	3	11	The loud summer kept a green house before the table.	\\xa2a660b1acc9507e0f76f6a26e476e3242ba347feb563d98249a151ac8597937
69	9	4	11	The quiet river left a old garden before the road.	\\x7228536b144cf89a7a55048c572f13ad0fb57d7c31013b404a51c839c57d414e
70	9	5	11	The loud kitchen kept a quiet house near the bridge.	\\xf060f6058ec781b21bc468856d7b11fa3e7a048c52474b502a2f4b77282c078a
71	9	6	11	The young house crossed a large garden behind the summer.	\\xdbf6419514dfe7ee2dc9cbb3c7a41b73b3c338883ee84072a5dbd5dd24e05845
72	9	7	11	The old horse left a small window after the bridge.	\\xc584077dc140fc389bf17dc8a7faca65a8b18ac776cb629d899ff2460716c626
73	10	0	11	The red summer built a green bridge with the winter.	\\x4234455f82b00283a28a55b1174dd5ab20592890288446c7113fda992d9bbbfa
74	10	1	11	The old bridge painted a quiet table before the doctor.	\\xcb8db402042bfc77dbbadf54d8585150d0c2b0a3ab74eb5d4326cf14451a6e65
75	10	2	11	The large road found a quiet doctor near the kitchen.	\\xd4d34e944c9a23b8fdec1a411995041a860bb693b3b772b6355daac1035cc7be
76	10	3	11	The old house sold a small window behind the child.	\\xf57e43cce253925a0f097c7626d4d35a3f48b13b68ac0e41709884a7cc83457e
77	10	4	11	The small river kept a old table before the school.	\\x573357c7eeae49fa920cd9123e04e11de389214e22e3edf0f4555629ef3273bc
78	10	5	11	The quiet school found a old river before the bridge.	\\xb2db7c4eb7e9f6bc3e4e1510c3424b9d7202581c7d24b4366647ed0967f97bcc
79	10	6	11	The quiet garden painted a large boat near the kitchen.	\\x4a8c753c5ea54c6ba5560b1f22022837ebf17e9865d2216da2ae61a35d83216f
80	10	7	11	The young window found a red summer near the child.	\\x7b0cada2fad3b860e6528dbd5481596d4f94b15c4ee3a9cdf0f6792a19fe3d26
81	11	0	11	The large road saw a young boat behind the song.	\\x92588a4a18f470e9ff0e9ded1f3eadb08c28465578f6bc56c6385d038b74ad92
82	11	1	11	The green road sold a old river with the garden.	\\xe521f01278c97c5106b1ccec4590151015cf12c94b1044adf72b6a3132664d38
83	11	2	11	The large bridge saw a loud boat after the winter.	\\x407d9975a81d596f09d731d9623f9afa4300ccf57c2bf9e4e538d1117ddc9089
84	11	3	11	The loud farmer left a old garden under the letter.	\\x7382b3ec6d6b0e86c9815cc54bbfde2dd6e3efccd1fce98b6ca43e720be306a0
85	11	4	11	The green child crossed a red garden before the boat.	\\x22d0008a03864e998a1d368ecf578ee35a04c3c4e22cf871a72c7cc9eb08d008
86	11	5	11	The red winter found a small song near the summer.	\\x1fe8c214c77cd56389e6da311079ee33ee6754435ae3603d2e35e738045ef5d9
87	11	6	11	The quiet song kept a young winter behind the letter.	\\xa03706cd12c2277d69e72d228aa0217eb90f724320034d40e21b0dcbd92b10b6
88	11	7	11	The green summer kept a quiet table under the farmer.	\\x648df48b2a0df33b10a4c3485da0594e09978d3fed06060ead6379c02de12141
89	12	0	11	The red road saw a small school before the house.	\\x2285be6b02d5bb10a5a284b8cf49c57da222f4b6d4cb0245c969d21f64f67c94
90	12	1	11	The quiet river painted a red song with the garden.	\\xd47764a10d0467007b09093643c00c2b5c7a5ef6779783d754fb44891b2c65e6
91	12	2	11	The large garden sold a old school before the winter.	\\x11936aa43dde824e130afe5dc10dd9dbcf11d07501b6b7691afd3ff5c2a7cfa8
92	12	3	11	The quiet road saw a green table before the house.	\\xdc01a2c59d459d1f7139fc0a1fe673281fda4ab274dccff4d0495461ea2c3a10
93	12	4	11	The large summer left a red kitchen near the doctor.	\\xfa15e4e45bbba4c5604a838dc8f73721e315fd8f768f6d47ea2fb8085425648d
94	12	5	11	The young letter kept a small bridge with the child.	\\x96a65b3be6f3805bf4abf34ce43085135121270de956ced608026852bb84a0ac
95	12	6	11	The quiet kitchen kept a green horse behind the letter.	\\x5013faf28e8374e903a4dc69e033a26b202db3b660b8421bc694eddf26d7ce4e
96	12	7	11	The large kitchen found a green summer before the garden.	\\x224fb36f1ebf54a8b560633acd49370d7864d2fba903dbcd3d719b20b8e20381
97	13	0	11	The loud doctor left a small winter near the boat.	\\x5ad4cb082586290fe0f336b2d2fb077c6ba94992ec1fbfebc5723603ca8cadf9
98	13	1	11	The small doctor kept a loud winter before the bridge.	\\x85d414d4c9b7203f9e63810d96ac87876570df907f4d6867707ad1d7a603221a
99	13	2	11	The green window painted a small river under the song.	\\x5aa55666a17803a678d315949ef57ddaae35612abf1c7bd31d13c4cfac867d88
100	13	3	11	The old boat built a loud bridge before the child.	\\x65a20a24027cb229a5dde4b7f544e2333689d712bb4dbbb24b46e79b7977f0ac
101	13	4	11	The young table built a large horse under the kitchen.	\\xc21c7fd30bf9b18cf69ae9d6c0f4337ef55a1106f175cb0a70cc61ca827f721c
102	13	5	11	The old winter built a loud doctor under the river.	\\x22baadb3119512339cf82062d748fcd4ab663edab9c41a69e83d5a84473e6e00
103	13	6	11	The green song kept a quiet summer near the bridge.	\\xcc7bd37e5066a3f630e169311c05f2982ef30ab035e0661c348620f09a0bddaf
104	13	7	11	The red school sold a small winter after the table.	\\x2a9a58cf7dd3456f2c872d1fd40b8b7da716f9ee555a0d919bac8f8aacd6ef19
105	14	0	11	The small bridge left a red school under the horse.	\\xa0b22793a83a883e541b0b2e27b2f6d4f2f5aa4e9b16a38eb2825aeb3914be5f
106	14	1	11	The young garden painted a green letter after the bridge.	\\xb5bf76baf49c033280b8aaefa996ead63b370a80748109bfc68f97ca964eb4b5
107	14	2	11	The large kitchen left a loud garden with the winter.	\\x79f83b6ff03af1e0dd102c6f064d91c063fbad79572da589b75b92c897a1e617
108	14	3	11	The loud school crossed a large doctor before the window.	\\x16863886f7b0c606758734006ed5b83eb14030bc74abfd637677c29bba21f839
109	14	4	11	The red house left a large kitchen near the winter.	\\xa4caf3302c33374752376dd4f07dee0e2a5852af1deda2a06d49712fedabb7e5
110	14	5	11	The loud doctor saw a green boat after the road.	\\x98ec0b63a9a8cc83be4240925ffddf4ca4588e9f037e75bc7e0983cfec684f28
111	14	6	11	The old river saw a red song near the horse.	\\xa155963b885f45280c8135dc8a2383fd89fe47424c4460df2e8a938d9435b22c
112	14	7	11	The green boat built a young child behind the winter.	\\x2208ed68e8b2886dd8c4468ec1001c0152d5740eac3b482131b7f77b3fb151b1
113	15	0	11	The large bridge kept a green school under the kitchen.	\\x3bd69420920b1b8795be1505ef5737e33ca9bc651359ed9d14fe12d695e1094e
114	15	1	11	The loud school kept a large song after the garden.	\\x8d9f03e0ec281a379c77146637510280e8132e06e5793ae7b928374fed8a4ac8
115	15	2	11	The red summer crossed a green garden before the doctor.	\\xc7ccd8d594b492ef36710c2428a055a63e482aace172c054b87e08a7f287bb9e
116	15	3	11	The green school sold a quiet window before the horse.	\\x3ef686d9d0d92f56200b650cfb4ff1c7402559e87ec8e626cfb08ac27fe494b7
117	15	4	11	The old doctor found a young house behind the horse.	\\xff308ae7da8814a2a3b01289bae5fbbb94b49bb5f79422d867cbf345381cd086
118	15	5	11	The green road built a small house after the letter.	\\xdd45c4872ba33ec5d1b00a0c1dd863784137b44f64bed5b004b01f4bf55b7644
119	15	6	11	The large river left a green table near the winter.	\\x916622eb09179cd5a39cbb148e350e1d21a0926e1a9a42ebf1b43e3a6d9b8f30
120	15	7	11	The loud table left a red school behind the kitchen.	\\xe36004d927c201c236b3602c608dacde8ae40a928e377cca79d96af7aebbffb2
121	16	0	11	The old summer kept a loud child under the house.	\\x745e387c2e6fce16eb7c8a78c9d57709385043bbebe0ad1d3aba70e7f6c4bca9
122	16	1	11	The red boat painted a old winter with the song.	\\x85139ac41ec518dc8320e03f97cfdc943c129493867a99b60689b3ef7c604114
123	16	2	11	The loud farmer crossed a young horse after the song.	\\x41d47c172dbea269b3da14c78ee4a563c86c107a8a99f776b66ae4dba918fa0c
124	16	3	11	The large bridge left a small river under the summer.	\\x81c9d936422ce85d8924f04ce55e63477fe36bb908dda089eb6ba315f320f371
125	16	4	11	The green child found a red boat behind the house.	\\x4810a928bfd27a7d1a053a875c231b6a792b803353a3743b1c25e9a6bca0d4b8
126	16	5	11	The green table built a red road under the doctor.	\\xe1d4c046ddc1c3d46537c3e33609efed5ec7207530e3ea4742ca4298574dfb23
127	16	6	11	The loud table sold a red horse near the child.	\\xb889341ff4b1f914ee5e09bb80ebcfdcfb6e06b6c510350957b5861921686db0
128	16	7	11	The loud winter left a green river near the boat.	\\x1714a41d8ccf53e648407ad442d645583097c26cb532cf816250b1b5210a216e
\.


--
-- Data for Name: corpus_change; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.corpus_change (id, part, items, a, b, c, d) FROM stdin;
1	0	16	-310781053352386934	17053037848686464925	-5984970221370198725	10245512890244087908
2	0	128	-24036237136484091083	-73825442876713142773	43554200304390824910	43396125705973932598
3	1	128	78359354011966395190	11117490490813238533	-61999781219136277206	-9252839219933411068
\.


--
-- Data for Name: document; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.document (id, source, external_id, title, sha256, chunk_count, metadata, created_at) FROM stdin;
1	toy	story 0	Märchen 0	d000e7fc622259619b58158c163463789f2bd2ad3056f2aeebdce43a1d932ff4	8	{"year": 1900}	2026-11-25 22:39:17.436045+00
2	toy	story 1	Märchen 1	5e3092962b00d212844a20e591a380aa7667cb65713f79fe16dbd2d295a5acb9	8	{"year": 1901}	2026-11-25 22:39:17.436045+00
3	toy	story 2	Märchen 2	76a4fa0c9c0fb20558168136edfb3ae034049e917b7b9377b8259412abfd5f69	8	{"year": 1902}	2026-11-25 22:39:17.436045+00
4	toy	story 3	Märchen 3	6a9acb75ff589738b899460427d6687f6f4befe8063b13baa1015bcc36b5b333	8	{"year": 1903}	2026-11-25 22:39:17.436045+00
5	toy	story 4	Märchen 4	cf4556218315ae042b764f60aa823d7a507ddceb3f5248c6aad81261c5f01d96	8	{"year": 1904}	2026-11-25 22:39:17.436045+00
6	toy	story 5	Märchen 5	46181f3f75809aecf940d08d5c1752ff63e1700de4a288b138be723d33e71e3f	8	{"year": 1905}	2026-11-25 22:39:17.436045+00
7	toy	story 6	Märchen 6	4ae88ad7be7616ccd24b6913a83d9e204f7fe993976433beb286dba6631dd6d4	8	{"year": 1906}	2026-11-25 22:39:17.436045+00
8	toy	story 7	Märchen 7	4f3ff907092920e6fa7e689c559571dfe16adbe2b3036bee80c63dd1bb65ae61	8	{"year": 1907}	2026-11-25 22:39:17.436045+00
9	toy	story 8	Märchen 8	ef7798483075fe88e88c6f16d8fa3dbb3004a89641b7f1fb62aaaf3206214c2a	8	{"year": 1908}	2026-11-25 22:39:17.436045+00
10	toy	story 9	Märchen 9	bb1e6c904de652f7c182893a6003a172c995bb5d25f79f88a5cb0d303ada1d4a	8	{"year": 1909}	2026-11-25 22:39:17.436045+00
11	toy	story 10	Märchen 10	7339f8acca1fc7af3b0fc40e04cef6100946fa3ce024c4129f8e8c5200a62e48	8	{"year": 1910}	2026-11-25 22:39:17.436045+00
12	toy	story 11	Märchen 11	225b539035cc8b2f5a968db1c20195a96eed040cde4216298c54fcd5311ddc9b	8	{"year": 1911}	2026-11-25 22:39:17.436045+00
13	toy	story 12	Märchen 12	09a9818ce17aa3f0bd8551e5cae2be9d0d1801662cc6b56bcc868d17e3aa69c8	8	{"year": 1912}	2026-11-25 22:39:17.436045+00
14	toy	story 13	Märchen 13	8d163a073f97eb5f8ca779ffdb758926ca9524b18eea009a64c7e185bf0359d7	8	{"year": 1913}	2026-11-25 22:39:17.436045+00
15	toy	story 14	Märchen 14	88b83bc5bf16dd3cfe4a0566a3a25393951c906d57699991abae6f52e5b949ba	8	{"year": 1914}	2026-11-25 22:39:17.436045+00
16	toy	story 15	Märchen 15	ca05b4099f95f4a428a9d32aa24c5ea8400be8588cad906bca16b5dd4b342057	8	{"year": 1915}	2026-11-25 22:39:17.436045+00
\.


--
-- Data for Name: embedding; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.embedding (space_id, chunk_id, norm, vector, item) FROM stdin;
1	1	0.99999994	[-0.3934394,0.6218483,-0.012733373,0.12669101,0.4525669,-0.14535373,0.33593556,-0.32171458]	\\xdb9798693d16a6dad4ca8bf8af95c973a769c20f599290824ed502d5aa434ccd
1	2	1	[-0.3260537,0.91203463,-0.056241944,-0.10861692,0.18895726,-0.082083575,0.05199489,0.042130515]	\\xf4a583a287fd8fc3eb85a6e9cb91785139f1fb2f028da28ad6e165a06f54ebe5
1	3	1	[-0.38877684,0.776926,0.19802359,-0.20252226,-0.23234043,-0.18610884,0.2743974,-0.033127945]	\\x596536084b57d73159dd77209fcf69dd70cbf03478615613bb1cc4977277a29b
1	4	1	[0.8331896,0.35423586,0.39036635,0.012212596,0.050250553,0.10759095,0.05722068,0.10198991]	\\x3c53bca8aa3bd81b095a839ce163d9e958b95d526331898cf143dbad15d9105b
1	5	1	[0.67522764,0.3264859,-0.024573252,0.3034004,0.46662816,-0.23257715,-0.2594964,0.07514456]	\\x3f45562575c278155615b506fe65ecfe34a8af81ff7559c6376d2dbc4be37592
1	6	1	[0.3752626,0.66764534,0.43626338,0.19126618,-0.014986142,-0.43038404,-0.002295762,0.03254081]	\\x97ea451a63492d9dcdf520b727a85f1d21e0caa0ba09317fb8c6532fb7a225f0
1	7	0.99999994	[-0.07781665,0.39894173,-0.8443076,-0.29124165,-0.15867838,0.10765441,-0.007954922,0.016778316]	\\x58c72a2c55aaccb7dfc23c872b4ed13311c43db47add37f76fc57c34e4219aba
1	8	0.99999994	[-0.5956888,0.28199658,0.13980839,0.18568373,0.12386317,-0.4899542,0.5061525,0.004523201]	\\x669611083a49e8db4996d38c18e6d9c9dc27ce5ac90b680693ee0d907b60e36e
1	9	1	[0.023024593,0.49096772,0.61157304,-0.43078238,-0.29505238,-0.30156553,0.11937405,-0.08110274]	\\xa86bd85dc631c984e36cc72e9d43690150daced80f55b5c6396e9b43f4fc2533
1	10	1	[0.48243856,0.7001879,0.39434764,-0.19104156,0.2632269,0.024736894,-0.002433686,-0.12278739]	\\xca9efd94829df8710ec4ca2eb1801551b53c923e7ce7d99a00cfd9cfc3fb96ee
1	11	1	[0.31615213,-0.052814458,-0.5007645,-0.72544676,-0.09165602,0.23227446,0.21097593,-0.11557433]	\\x9982ce710a9cbc9866ec87bbe59aabcdb6ec7b964302e77af958b92bb79eed0c
1	12	0.99999994	[-0.27011308,0.6959224,-0.3420716,-0.5091386,0.037345815,-0.0027291193,0.2417655,0.08150681]	\\x3e9360694a9725aeafd597b31eadbc31df5f9a4f4ba8882be3e690ceb7de48b5
1	13	0.99999994	[-0.5078956,0.71648765,-0.036653817,-0.09225697,0.4212094,-0.13445374,0.08335467,-0.12802169]	\\x19f9f5e5246f77ab3da840e1e188f283a5ed2fd71a270bf3898109fbe6517cae
1	14	0.9999998	[-0.513173,0.66936976,0.33714163,-0.32054085,0.15370476,-0.16108479,0.14066264,-0.05317308]	\\x2095094259e442d7714e9e2f0f8cdf06d8e801b53488d08cf6d339f75e7264d3
1	15	1	[-0.28404856,0.77403694,0.06849033,0.30480665,-0.34676054,-0.1523543,0.24112985,0.1448687]	\\x6155d8b67db6f21ad9f523736213515e6f4eeea45ca8c19840bc49a84d75a243
1	16	0.99999994	[0.024095178,0.73180705,-0.15469904,-0.603788,0.24888071,-0.094201796,0.06132513,-0.028458586]	\\x927e3a94f8e8387cfd5b68b92e28591ca7ef0517e7e1b72816232f65a9ea18b2
1	17	0.99999994	[-0.8147913,0.24928916,-0.2569999,-0.29915425,0.2719101,-0.095726594,0.18233235,-0.04565213]	\\x2ed69971163a57f0b891996e138b375a21d19cfabab8beea668e904aec11683b
1	18	1	[0.006097205,0.79112047,0.45848486,-0.19692822,0.11202726,-0.26032153,0.16641505,-0.13073152]	\\x54930dcac80e326431269a5f384167122de34735d8f302012090956ca178caf5
1	19	1	[-0.26540592,0.056563422,0.76949424,0.19920976,0.109379634,-0.46454427,0.22262427,0.13125373]	\\x91dd22f898e07b0c6335cc0eb8c862bf95d08fb7c26cb148444e351fcf384262
1	20	1	[0.051156994,0.70792836,-0.063880436,0.2795871,0.56620646,-0.06125059,0.13130113,-0.26905265]	\\xfaaad63020229affdb3cbb7aa206f6f2365fb6cd5d564a110b6c701d8559fa4d
1	21	1	[-0.73514503,0.13487428,-0.4346593,-0.031201093,0.46329075,-0.119626105,0.1334007,0.06873095]	\\xdaf0f9d86e66ff2e382e0692134c5ed950b99d11b0c5cd57ad4abb8c8960ec2e
1	22	1	[0.6169235,0.05380286,0.0676045,-0.35432914,-0.10387305,-0.66603476,0.17888162,-0.0008198526]	\\xc320843f02ef7d33e7c616bc1cfc6df865ffd6be30627e699401bab7834d8026
1	23	0.9999999	[-0.18017386,0.73676926,0.4924558,-0.21078575,0.24541536,-0.18542323,0.20645499,0.023043932]	\\x11a1fa85c79addd561d839e082b2043e385076a15cc873e2e58f3b7b3e9a1cf1
1	24	1	[0.36862588,0.63612694,-0.14281175,-0.4451182,-0.4240538,-0.22762467,-0.023521658,-0.09351082]	\\x37e86000dda385ef0db1832da41d467ac874f2f0f27b1406188538e70105e4ea
1	25	0.99999994	[0.8247289,0.304143,-0.1537159,0.3049194,-0.05189207,-0.15947567,0.21128102,-0.19480756]	\\x851f440c987f244533ec7b527a3e42716c35f78008506ef01e91a30d5a8d3eae
1	26	0.99999994	[-0.11458487,0.67974854,-0.004772686,0.4449355,-0.07120089,-0.389043,-0.38038892,0.16031921]	\\x0e2514083540010689523c8dc7ab6df5638049fd4276091e3b4adc758a28a9f5
1	27	1	[0.054368794,0.6915207,0.67451304,-0.12882537,0.19698183,-0.071481384,0.007033963,-0.05760609]	\\x47199bb62bac656886fa10dfd681fa9458fdbb8b02b09395d518eac04146d6b3
1	28	1	[0.19116208,0.747966,0.44099918,0.2700899,0.27734783,0.19583653,0.10909383,-0.09695283]	\\x3103f65c3cfb2092d08913baa62bea2412392dc241b064c6b8118d0671897eb9
1	29	0.99999994	[0.88037694,-0.03471207,0.28605348,-0.33160168,-0.075804085,0.032271724,0.1166723,-0.10744849]	\\x6d5ea9b05955b1d91d47c105c3fc16c61bf86fabfd1970e7b2c716bc1baf09d1
1	30	1	[-0.34301713,0.3905321,0.078285195,-0.4134414,0.45451134,-0.3578008,0.4629389,-0.06202577]	\\x25e50ee6dd6c7e086bc7aa0eab635dddb26940a4a4978d477e552ed1e72c2db5
1	31	1	[-0.24619035,0.67593557,0.46232134,-0.34608933,-0.31845158,-0.124992155,0.059308447,-0.1686138]	\\x0762f8603eeddc492875bd465974de632dd4af2ed23a9e35563614795639a23b
1	32	1.0000001	[0.5021764,0.451185,0.27571532,-0.019640757,0.5861158,-0.3391041,0.094869964,0.017961944]	\\xc20c1293d792d4b3d0c87a41e9b14a9b887fec263d1a3d7b333daa81de45bf6e
1	33	1	[0.6689426,0.38072234,-0.49617764,0.14506525,-0.07602568,-0.35450074,0.00047302042,0.09422973]	\\x741cca14921be306ce50c49cfa73ff431b5f03e267e4fc3bf242b48b3588a9f1
1	34	1	[-0.353189,0.7722315,0.46572495,0.059470255,0.10292203,-0.1850105,0.11683312,-0.002799755]	\\xb7aaaadba374bfec1a6561949ca1a77f23d6e215bfee86bc9b563a1a4bb75a9c
1	35	0.99999994	[0.8747942,0.03982396,0.16107194,-0.31632867,0.28534752,-0.14268285,-0.07210336,-0.012677945]	\\x85ec6daef2cf15a5bc3ac38c93d1e1ffb28979f5f569f98a1d850478fcdce48c
1	36	0.99999994	[0.16575839,0.81054974,0.042794637,-0.25472632,0.47678918,-0.10674659,0.051412433,-0.08631608]	\\x0bba5476c0bbe06cfe597bb8ec8caaea33d9e966aa731b8d67cf0568e9f98837
1	37	0.99999994	[-0.6745361,0.5798715,0.34057182,-0.11473234,-0.06233638,-0.10992597,0.2457738,0.05677347]	\\x1c22dff7289662670435cfe07794ed49cac7bc7116cd21cd30c624aed51268b2
1	38	1	[-0.29330644,0.81020826,0.3143443,-0.21851958,0.3180218,-0.052337438,-0.016742725,-0.082543604]	\\x5f656061eb9532b67665df081ed090399e58bcfd79e365465017f23b2636669c
1	39	1	[-0.42327127,0.86446196,0.013569705,-0.24382554,0.07640739,-0.009837314,0.08700536,0.020176658]	\\x038b64514decbeabd958c2040ef11f98d86dae9a98d6549a79da48e3ffb65e89
1	40	0.99999994	[-0.6770617,0.19073313,-0.3687459,-0.31020606,0.38797328,-0.14292157,0.29006535,-0.1338631]	\\x95551069840edffaef378165f4f3e3413b4c0a71b53710d3b8306e58f601f40f
1	41	1	[-0.6593528,0.4567423,0.004100931,0.26819173,-0.21994762,-0.05651767,0.47213593,-0.10106039]	\\xbad0ab1e4697a38721b29e28b81c7a0e66e29698774a78d6344df12aa64025d2
1	42	1	[-0.8371104,0.12170836,-0.3731086,0.033789016,0.28497678,-0.23858455,0.073315196,-0.023917131]	\\xbf29a4f93f34d10196aaf4747a0ff14737c58251b5e4fafe84e23570c4008b55
1	43	0.99999994	[0.7593243,0.14611416,0.08025904,-0.30565828,-0.4139614,-0.2812874,0.21724153,-0.06729191]	\\xca070a13b66d53406994759d81c21d689d81ee4099a955c260475db5000e9f0f
1	44	0.99999994	[0.88893586,0.15739243,-0.02986012,-0.18563809,0.19617425,0.22800195,0.20884237,0.12483294]	\\x50bb06db9108de5a66ad875364469f6a946c8fdcd8d5fdb211e075e043abf809
1	45	1	[0.42942855,0.7219452,0.4576711,-0.049974218,-0.1502099,-0.13760698,-0.009913183,-0.20206212]	\\xbb0f36120e1d8026ee89523270f8b4ad62cc2774291e0eeda689c0bfa82065a9
1	46	1	[0.7167126,0.40411234,0.095373765,-0.51951283,-0.07499444,-0.05916306,-0.030519495,-0.18431138]	\\x1ac00aef9a9405d9874737ae6b05393fa058400dac87a91a6c1fe64644e87e52
1	47	0.99999994	[0.95419,0.024225902,0.16368757,-0.0068126535,0.121255904,0.13016875,0.11162091,0.13412073]	\\x4f42b968ffd1934725fe1a63d3ac00ba9199d9a74a3a65d17df7a9bfc844451e
1	48	1	[0.9466084,-0.005673837,-0.14683264,0.18590795,-0.009794211,-0.10677359,0.100110434,-0.16204973]	\\x56cd7e1ee33e6d17866ab9ed6fa8962dbf411000fb2708c5eeb82a40d1d53b21
1	49	1	[0.32919163,0.16801196,-0.6492978,-0.5053747,0.3553863,-0.11815509,0.2060837,0.060689114]	\\xde2c1d552f2c9e9c0b13e910ca84eb5b6465785a9f2366d672aca169a3dc29a3
1	50	1	[-0.5732265,0.61871135,0.3702444,0.14665045,0.3123289,-0.16026166,0.030128738,-0.07667742]	\\x97568ecf94eaea9538015f2923490a5ddf8b278b303f0668ca1ac4cf6bf441f1
1	51	1	[-0.21692415,0.73090816,0.44896182,-0.14073238,0.43991497,-0.05994586,0.0013950855,-0.014976379]	\\x877dafff303e528844b01694f938f3c6eabba1c0aa3697abe8243928a5c4ab61
1	52	0.99999994	[0.748798,0.58243847,-0.041727364,-0.013290432,0.30498013,-0.05265508,-0.040807914,-0.026430586]	\\xf7970e8301364352b7e995df680f659273fe39fde6c59386549d01e48fb0037d
1	53	1	[0.8150489,0.33203578,-0.1828955,0.22715083,0.18088515,-0.25671902,0.15459883,0.13369572]	\\x7eeb86ee0eab8a0e96b44d0e45bbfe3a923a7f77563d5bf74b98a29664575ab5
1	54	1	[0.73055845,0.39964944,0.15473728,-0.07391274,0.48066238,-0.18274419,-0.034740746,-0.107328266]	\\x3f4f9903ca1753419f07d4798bf7f1cefcc5926884e034de1b4a7cb7734a38cd
1	55	1	[-0.48627636,0.6066802,-0.5695886,-0.15176277,0.17441453,0.0035087264,0.1268727,-0.038495947]	\\x694cda286313bd4b4b20bb221d6fa1246eef0809c8fab5885112e9097f90cc16
1	56	1	[-0.6045644,0.365861,0.46850178,0.15776214,0.043601926,-0.42494464,0.26213154,0.071223274]	\\x1b2f8d9d99b2b98a9212285a0c60a1817adbb3e402651ed4bee3162ea6e48240
1	57	1.0000001	[-0.16382308,0.50671405,-0.6436274,0.2873038,0.2127466,-0.1888151,0.060962815,-0.36738864]	\\x9a304589b899479d369d87e429cb99898f2d7613a553da57bed41cd5784cbc94
1	58	0.99999994	[-0.5548212,0.6630846,0.21627091,0.38614154,0.23149614,0.04132765,0.011181682,0.034502845]	\\x56f1bb4e3561fa7961f1d6d14fce9cefc966a4bc673d5a1034a8904952e68281
1	59	0.9999999	[-0.1793683,0.96232134,0.026649132,0.19940828,0.025971865,0.020705236,0.012802192,0.0048755016]	\\xa273abfb542c4700d206b2a479369f008ea6a1b661c25808cfa7501042508d4b
1	60	1	[0.99008,0.007715027,0.009963711,-0.042167526,0.12231649,-0.013187141,-0.029379379,0.04250059]	\\x602e833b38b14560685cbcb7dd903f41a88724569d0a819e805ca936082e8766
1	61	1	[0.26956093,-0.030536275,-0.8235437,-0.3703932,-0.18849547,-0.11663407,0.1477992,0.20002598]	\\x50621e93349fdc2c7169fc50a4e5b4f5188f55b3ed61b5edc8814fd4b467598b
1	62	1.0000001	[0.64307886,0.31559005,0.6207588,0.10065842,0.18064356,0.13468097,0.20144276,0.005356572]	\\xf38d10c7db0cea2a3ee3e7b18bfc13b1e45c0fe31d88e4da853adf667d1581bd
1	63	0.99999994	[-0.22382182,0.7106543,0.5635381,0.064001426,0.26981604,-0.18891822,0.11981504,-0.018882057]	\\x2ead9cd4e5ace2d9d354f210cfccb3a781383262074a437673892e32416ec88c
1	64	1.0000001	[0.6811666,0.4970036,-0.35442832,0.192779,0.2972868,0.04264302,0.084753394,-0.16981]	\\x4ba3ac6b4ddfb605dc1119beef37972d56db37f0261b1b0d9bd38e8c4aed62b4
1	65	1.0000001	[0.4852745,0.45320132,0.58398676,-0.30311307,0.23913017,-0.20996985,-0.096629806,-0.12486479]	\\x2649ce6b731b5aa38f071594b36f3d131dbe6c3ada43e5dd81c4490237d89175
1	66	0.99999994	[-0.5537884,0.74571574,0.177892,-0.11317428,0.264848,-0.07779083,-0.09615477,0.08562098]	\\x6f5c49131d9a0f398eeef7db933a49c44211ad6c47c2dbe908ec17d952b93ca8
1	67	1.0000001	[-0.67082757,0.63529325,-0.10732023,-0.0101596685,0.143713,-0.24505185,0.2267639,0.051442508]	\\x04bf7662fcd83db404c35f528ebe1998ad1087801d0f8eeb013e1b70514b4dd9
1	68	0.99999994	[-0.654301,0.68333197,0.0831202,0.21996006,-0.038378846,0.07541711,0.18831934,-0.08385372]	\\x1649daf7e11fe662037fe8dc22162fe69e69bec7fe4d86915c660b56023f3b9b
1	69	1	[0.3735285,0.77493817,-0.32296717,0.25480106,0.24239329,-0.111278035,0.062809266,-0.125035]	\\xf08ba6259d0101ad3ec4ddb5b048bd7379f5d53395da1344306c8dee333e913a
1	70	0.9999999	[-0.79809517,0.48240486,-0.12844844,-0.22878756,0.057279453,-0.009983683,0.24083206,0.010312095]	\\x017483e1dcb7184787c7a4bcfb40a22fbe20e16eee4273e944dcbec7bcfc8bd9
1	71	0.99999994	[0.799291,0.41987565,0.12423909,-0.21573757,0.1919132,0.06986975,0.26650083,-0.10062402]	\\x325bdd1895e793487e7b9b8c5f6d79a8787787aac40f0b03bdc3cccd38bf0a4f
1	72	1	[0.13863654,0.6901451,-0.17674166,-0.24772851,0.5385101,-0.2566003,0.19412129,0.13547245]	\\x742110e688afd4224a9fe8d56766caefc9be4b81063619e1a5b9cae1b688f532
1	73	1	[0.38848898,0.5914873,0.43444407,0.18803544,-0.42641157,-0.21214618,0.21251552,0.055896696]	\\xcf7756cd65702f61c1c84598c3ac1428ff9011b0f925203a659997593e261a37
1	74	1	[0.7326394,0.6609501,0.01942329,-0.06488219,-0.0031122696,-0.12896378,-0.058662165,0.04141273]	\\x053642ae5f02e29cb7dde431c1dbf129a61e627e7539128ae5f8309bc39c8ba6
1	75	1	[0.18476988,0.6616143,0.503446,0.23291619,0.101618454,-0.3887973,0.21562421,-0.1115139]	\\x8e724193b15c7ed0ae80397655ec69c3515270e61952f4c099364f8dde198ace
1	76	1	[-0.118460715,0.61771995,-0.47096792,-0.088128254,0.5802234,-0.092188925,0.00251148,0.17218444]	\\xe8967944a1819a442361043e0ee734a41a3f5e72708d90380231d7c54de921bc
1	77	0.99999994	[0.72080326,0.5994759,0.09060292,-0.13426638,0.20183152,-0.1671109,-0.15834141,0.033181343]	\\xdcbca2900f68c84de48e6f6d48322d9883e55dde775065da8f0f6f8a9f126147
1	78	1	[0.14944342,0.7840634,-0.022203881,-0.1223504,0.46209508,-0.31172243,0.10190199,0.16236348]	\\x6c3e065f71205cd95905d59a2b177710fa61b77fda17973ff6ea18c8cbf19081
1	79	1	[-0.7191764,0.33034897,0.46066022,-0.024681652,0.35779575,-0.102390274,0.14168233,-0.04756478]	\\xad9a6e4dbc7e69b1860f5014776cda0c89cedcd814c6bac11f166ef77d925145
1	80	1	[0.6659801,0.47303703,0.4888137,-0.038964797,0.049918827,0.23121238,0.17352614,0.07865779]	\\xe3298958776b632a6adf8a16ea7f637a7836719aa5a18007d7eea53d33f33b1b
1	81	0.99999994	[-0.11181393,0.47861797,0.5239241,0.00283539,0.565344,-0.28973812,0.25411922,-0.12561654]	\\xf1fc412d4a238a9bd4ce323cc757b7f640d0b140634824a318968cd1e4ab7484
1	82	1	[0.7592719,0.10807033,-0.51743567,0.16165932,0.32753062,-0.09274811,0.03528494,0.02880949]	\\xd1a70a35eccd849ca847b9ba0a294960f075bbb175745eac6267cafa43a232dd
1	83	1	[0.85449743,-0.2998604,0.29780385,-0.16924328,0.12643048,-0.16705579,0.13629605,-0.01089048]	\\xde68066beb3da9df19450ef9b59ccfb198ccc91245bdb2e1f1ebd173ce3824d7
1	84	0.99999994	[0.8144782,0.34776324,-0.34018013,0.1883781,0.09389488,0.0010942068,0.10580504,-0.21086738]	\\x44f9737fe90291d8a56710cfa153ce6ff74dc84c08d41a47f5d88366ae2b1ed3
1	85	1	[0.901909,0.25003627,0.043203183,-0.2656723,0.19654654,0.046823137,-0.027532408,-0.10006412]	\\x5a10a54858f07717624d502d060aec97950bb545c0eb02718b1896ee8e2cd078
1	86	1	[0.67701805,0.35672212,0.38656327,-0.14416909,-0.41319224,0.053965222,0.018820386,-0.2649259]	\\xd848bc6a1bbf14b3bd2665e2824cf50bb40610e4c543da773378758758c74e79
1	87	1	[0.514423,0.7216439,0.028075853,-0.40172943,0.14346509,0.124865755,0.0049061812,-0.12738301]	\\x9a1e1de9eb282688122ebed4b9b2d46078443f1e27a595095d0109948e6e1ef9
1	88	1	[-0.5239062,0.63760525,-0.22192678,-0.34535068,-0.3292545,0.12310611,0.031677622,0.16092303]	\\x754d8cbfe6182a9f7c6cd6d1d04d12a5e215c2ed18b7f7643177a9b4c9c8b052
1	89	1	[0.040715672,0.42488027,0.16714025,0.13072552,0.65602505,-0.49341315,0.2787212,-0.14588729]	\\x78b2411de0b0d4e0855b391805137db59d9dbe5de78b61822478ca64310f544f
1	90	0.99999994	[0.95857686,0.15771444,-0.09255847,-0.11831055,-0.14987871,-0.04286625,-0.07725635,-0.058501363]	\\xf1e9fc43cab4e96abada917e7297912c0f0fe1c0da36c12eeb19ab0d09c9ba6e
1	91	1	[0.9265395,-0.11631001,-0.17041235,0.07097384,0.24748437,-0.14863409,0.066927604,0.078096665]	\\x6da00a06ac74b8e40487faf7cda9aaf46328af22756854c899304b1a9322b78c
1	92	1	[-0.11983496,0.7347488,0.59121436,-0.11845217,0.24858846,-0.055964857,-0.108256906,-0.07463758]	\\x7b4b2f1e6845bdb12feaf7e996608b1bced57b1c7386093a92c8a1785b271d53
1	93	1	[0.74739814,0.526077,0.0927471,0.12213904,-0.24629293,-0.20360123,0.19680229,0.0165639]	\\x07e5416194037403b84f2dc43cd540871bf2f249399ab02b7377fb92ec2a9c88
1	94	1	[-0.6361135,0.75385326,0.09396672,-0.006459259,0.038515847,-0.07480231,0.105354436,-0.0038635575]	\\xb4b0ac1d70eee2b8c22939f04754dd249aa737acdcc93f5b572b371c67ba42b8
1	95	1	[-0.19698356,0.60909903,0.51121163,-0.18533815,0.4981768,-0.14136812,0.077655226,0.14252321]	\\x443e0bfbab5f35c52397abc384ef68bc564f553f4f8421767d2604dd88f6e9fa
1	96	0.99999994	[0.9232724,-0.08889279,0.056616083,0.11276706,0.09101911,0.19182582,0.27235898,0.06695869]	\\xbbd08c6d639ef43f476f2e4089d953a3028140868a43f70a5b934787d6f46c25
1	97	0.9999999	[0.6093041,0.3847212,-0.042601574,0.26132968,0.2736541,0.141457,0.3031043,-0.47313982]	\\x37a467c9e846b3a6ed5e94f5f38cd7bab239a549da9181e3f5223021d389b07e
1	98	0.99999994	[0.27261984,0.80615526,0.32204023,-0.3235115,0.13586405,0.069213144,0.13438885,-0.16159426]	\\xe7ea8822759619939fc7e2b506962dc2d848b00647f67e95fce7ca608c99d4b2
1	99	0.99999994	[-0.70003146,0.59239507,-0.051691677,-0.1535745,0.34369424,-0.114706255,0.034026913,0.018053085]	\\xc9121e0acdf13f47e7126d7bac4e7151ba5d3be9d16fb654c2c29530e7a7d4ab
1	100	1	[-0.49004847,0.70398825,-0.25534958,-0.022918373,0.3944848,-0.057339624,0.19134986,0.054803994]	\\x1d467d7245db3823a72e07fc523453caedc5074034b2f7238e3e48bd48ce23ef
1	101	1	[0.11799714,0.69722104,0.638305,-0.10101285,0.2401292,-0.15496142,0.023479939,-0.009810825]	\\xdf5556ee1d3f3b647aac41ccb1d96675ee8d9d0942b1b8f9a78a9c553ddf6b00
1	102	1	[0.376564,0.7789889,-0.33879054,0.27790412,0.2294039,0.021121884,0.0736415,0.029509695]	\\x6760bd7a729477819312fc680241e016f0b787cb7fd25b8476bd42c895945b12
1	103	1	[-0.41727433,0.7594098,0.3559126,-0.13771105,0.1437234,0.1287927,0.24873005,0.06655958]	\\x20251a0b6ced2f44b1dde4f9137b44cc6ab84e6397ae9637a726aeb34bdb01eb
1	104	0.99999994	[0.90208244,-0.110746026,0.117943816,-0.12064563,0.37793338,-0.0053211,-0.04956285,-0.014075071]	\\x9a74ee8f12261475f50ccc41f402549b0a15eb590dea652718634eb7aef01b31
1	105	1	[0.67289877,0.39246252,0.049054347,-0.26294783,0.35298795,-0.38295415,0.19951251,-0.102824986]	\\x1a6310797259c3aa8321ab61ee767688981daa0812a80e44816f9d82db6091e0
1	106	0.99999994	[-0.5049904,0.68929535,0.3626322,0.13370445,0.25899482,-0.07463092,0.21414924,-0.044382047]	\\x72bb10b9b314289e2aba38c6ce06f4cc906c8000bde4bf2fbd0dc74862973a8e
1	107	0.99999994	[0.74891126,-0.34227985,-0.17923564,0.055190418,-0.13942611,-0.21982151,0.45904037,-0.09124663]	\\x6bb6eb6535699709d8a6698aab2cb63c355766df3256e014eed49b5bc897ffec
1	108	1	[0.70796925,0.65254515,-0.13520153,0.14165771,-0.12594908,-0.09206445,0.09384692,-0.038364507]	\\x7ae8caf030d9c7e5ab6df1070949b4a0dd6bf1ae6a44ccbedf1dd3b57c0c1c0f
1	109	1	[0.81443477,0.027921552,0.2896015,-0.33782986,-0.012710941,-0.27495673,0.20406525,-0.14322358]	\\x8f13aae906fe6ebd54ed9753c875725ebf1bc476553956e4a3cd5c816a71288a
1	110	1	[-0.46647665,0.7777595,0.18336652,0.15643778,0.21525404,-0.1122434,0.19023551,-0.15579247]	\\x900908402b489faf5347179be2b0d510352705c9713ff3ea8e02ffcb09f849df
1	111	0.99999994	[0.88823843,-0.18473645,-0.2639297,-0.3198081,0.011385493,-0.068127565,-0.004125098,0.013448018]	\\x1206cd20945987913bc216cb8a18764c5b00f3c2b01adcebab1180c53abd4a9b
1	112	1	[0.4046563,0.6143006,-0.15855837,-0.48942363,0.42191708,-0.09527401,0.06468818,-0.054185815]	\\xa6fe23037f0d563d0d8bd1eda40ea57d1bb9ead9c78532100351de22cd1f1fc6
1	113	1	[0.2639611,0.37516013,0.3178012,-0.024072856,0.5196838,-0.5539251,0.31295484,0.1147055]	\\xbfa2f8b119254b0977c5e5dead1001e5b0315db7d56a747afbfedac4f56b7d11
1	114	1	[0.8855575,0.09555291,-0.41754237,-0.0072856406,-0.14305204,-0.07167321,-0.0008371463,-0.08161683]	\\xf12bd979485a3a117481e069c4ae78c8c7d95f5ff161c4bc7f4943eeccdb6c7a
1	115	1	[0.74917734,0.62817514,0.14174357,0.113884285,-0.04168192,-0.037600003,0.08427528,0.028549006]	\\x46e22369699a37a6f954cda973516de9f9cf1ef6230c90fc1a92e64aadc1376a
1	116	0.99999994	[-0.500738,-0.14385045,-0.24911681,0.14044061,0.7168414,-0.22518045,-0.25779024,0.12554783]	\\x58332f2ccb41ed512d77b0215c8a70a853c06c9ac86145d141790b25082aacae
1	117	0.99999994	[-0.33264,0.68619627,-0.41485912,0.042112667,0.4512128,-0.11610814,0.15853645,-0.048948713]	\\xd3e501955ef8c61f60bb25b9e6fd36fac27183c0ce3e010955f5f555d085e481
1	118	1	[-0.7238399,0.30751124,-0.44774944,-0.18174225,0.3552198,-0.0036514555,0.11429548,-0.09340805]	\\x344541572221866b7d4cea7a8fd7af80b259e8e7d8bc23b715f2d05a7da789a6
1	119	1	[0.752082,0.10387762,0.4493684,-0.12887515,0.18928152,-0.40162235,0.04986894,-0.073665015]	\\xc1765b3b038afdd1ab56327a4dfef1fbd6c85a1ddee698b8aef81c3ed589ab39
1	120	1	[0.62217623,0.24302998,-0.16388792,-0.4335829,0.13754107,-0.36006746,0.39860228,-0.17756662]	\\x1a95107148e27f52e68701a58adb7a4e1ad6e04011fef48f85c9cafd24c4830b
1	121	1	[-0.4929596,0.84364635,-0.013673465,0.043785032,0.0052472646,-0.051502515,0.14987813,0.13417925]	\\x24aae1e38bd4645d7a24affbfc2cfdbff708dfa4b7a4e7b5be42e85792c42242
1	122	1	[0.9654322,-0.07738962,0.039503448,-0.05384807,0.20007882,-0.024598613,0.12565167,0.03265692]	\\x08c04653da5b91bdf3e83248d2e1c3a27ce6ea89a0990e1c39ced65c72886b11
1	123	1	[0.12925453,0.8360837,0.47657734,-0.20947655,0.049554665,-0.02174321,0.03209755,-0.096396565]	\\x2a42654a69b3dafe2acb10415f6ec9f6865c35504257c4f3d2c5aeebae244539
1	124	1	[0.44844422,0.48328787,0.43111423,0.11293293,0.1959335,-0.44242886,0.35797372,-0.066625446]	\\x04c06c07fa6a332311ea2a169945c561868f8cb73dca66dddaaff494c393b5a7
1	125	1	[0.25734314,0.21387273,-0.35415903,-0.6619754,0.52668834,0.0069123595,0.20770709,-0.061664138]	\\x50c54715bcfeab054d4f55b025c1f991cb24d5ea4cb23faadd48b469cba97f0f
1	126	1	[0.7333064,0.62213767,-0.07798516,-0.18004173,0.061468355,-0.1774904,-0.032603264,0.01912095]	\\xc1861745408afc9f9b8ee383d46c371e932496c91f82113248222447560f113c
1	127	1	[0.47789294,0.65374935,0.4399863,-0.35838506,0.07942114,-0.124512255,-0.014793052,-0.013134435]	\\x8a6b564a7777a235f6c07a0daf66a36c6c50518442907de945ea70919d5a45de
1	128	1	[-0.72104585,0.19969791,-0.1706003,-0.06743367,-0.090254456,-0.22355588,0.53109086,-0.25764558]	\\x7617ecb761a9a391c012bc4558bf6a6df8fc3f2980aa97a0c76f8edfa2e2043c
\.


--
-- Data for Name: gate_result; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.gate_result (id, gate, space_id, corpus_revision, value, threshold, passed, evidence, flow_run_id, created_at, inverter_id, sampled, asked, returned) FROM stdin;
1	roundtrip	1	9fa6f59ec100dbe16e30ba69fe51f1ca1c8e0f69824bb132fb6111eeef0b9c30	0.9979999950336593	0.63	t	{"n": 56, "p10": 0.9979999069571698, "mean": 0.9979999950336593, "seen": [], "drawn": 56, "ranks": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "chance": 0.31605071499709875, "median": 0.9980000108182432, "cosines": [0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000, 0.998000], "inverter": "ac86c98124c98d55330f447ca623d1f48a229b7edf0e47151922ef7b009b634a", "chunk_ids": [97, 112, 123, 113, 83, 117, 122, 124, 91, 93, 100, 87, 121, 111, 96, 98, 125, 115, 105, 107, 77, 126, 79, 106, 81, 99, 80, 104, 74, 108, 119, 78, 120, 85, 118, 110, 84, 88, 101, 109, 86, 82, 92, 103, 114, 76, 90, 128, 75, 94, 102, 116, 89, 73, 95, 127], "identify_r1": 1, "inverter_encoder": "9cf0220084c46cb4"}	first	2026-11-25 22:39:17.49265+00	1	{97,112,123,113,83,117,122,124,91,93,100,87,121,111,96,98,125,115,105,107,77,126,79,106,81,99,80,104,74,108,119,78,120,85,118,110,84,88,101,109,86,82,92,103,114,76,90,128,75,94,102,116,89,73,95,127}	\N	{"[0.6301464,0.40880108,-0.054102164,0.23761159,0.26633212,0.10994392,0.31565422,-0.44017383]","[0.3947716,0.60525054,-0.14072917,-0.48867282,0.44068167,-0.14211856,0.06543101,-0.023284813]","[0.10628504,0.84735817,0.4511714,-0.23955052,0.015009221,-0.026829448,0.008275706,-0.09345626]","[0.27606103,0.38270706,0.26864484,-0.037527885,0.53509474,-0.5689002,0.28688282,0.10710628]","[0.8328303,-0.32702842,0.33255962,-0.19517015,0.12661237,-0.14190397,0.119938366,-0.014361605]","[-0.31426954,0.65705246,-0.43284458,0.04249148,0.47156703,-0.15728076,0.1771499,-0.0431516]","[0.96386796,-0.030052684,0.058539864,-0.08367851,0.20477994,-0.010985219,0.12289748,0.049672112]","[0.42609546,0.48530355,0.4627,0.08403042,0.19437084,-0.43906304,0.34650463,-0.10558879]","[0.93037784,-0.122642845,-0.15388153,0.097150706,0.22307943,-0.16856134,0.08219042,0.0361322]","[0.7340647,0.52322245,0.12862374,0.14180501,-0.25559956,-0.21409506,0.18963002,0.060061157]","[-0.5118154,0.6928403,-0.24011067,-0.028588925,0.38698584,-0.109019265,0.19159938,0.034544125]","[0.54012465,0.7226394,0.02634687,-0.3654703,0.12690687,0.15853995,0.0045619323,-0.10263482]","[-0.5038437,0.8298993,-0.042696733,0.0073814904,-0.0001680225,-0.06593764,0.14921688,0.17005196]","[0.88115036,-0.22395755,-0.26395467,-0.30737218,0.0028308125,-0.08135742,0.031582087,0.040533002]","[0.9150728,-0.094505586,0.059648342,0.07851058,0.10317059,0.16707912,0.31568992,0.075955085]","[0.27585495,0.7993227,0.32156402,-0.36363006,0.11492514,0.076558046,0.094318606,-0.14626077]","[0.22472897,0.22907001,-0.371515,-0.649212,0.5309173,-0.02251026,0.23231862,-0.034242935]","[0.75638336,0.626265,0.13774762,0.0798917,-0.0022768194,-0.05781856,0.08349398,7.44835e-05]","[0.66493917,0.3614976,0.08604985,-0.27133876,0.38614702,-0.3883173,0.18247727,-0.11379121]","[0.7161086,-0.33390746,-0.18497573,0.045871966,-0.17288616,-0.23610967,0.49223137,-0.10698155]","[0.6956505,0.60360533,0.119211435,-0.16363336,0.19657606,-0.17936301,-0.19392896,0.04818845]","[0.7308619,0.62302667,-0.10221241,-0.16487427,0.043831423,-0.18171884,-0.06848236,-0.02037552]","[-0.69055045,0.32186434,0.49263167,-0.02719116,0.35334653,-0.12892985,0.17521347,-0.062783495]","[-0.5023692,0.68048924,0.39100826,0.15115866,0.26629165,-0.08957992,0.17205518,-0.016866494]","[-0.086418,0.47390473,0.5368747,0.023164997,0.58573216,-0.265124,0.24170418,-0.08591574]","[-0.7006925,0.58919376,-0.040333804,-0.13139018,0.3686815,-0.08194229,0.01058762,-0.015427189]","[0.6883313,0.45598665,0.49258748,-0.021953817,0.016401928,0.18956794,0.1803087,0.08022239]","[0.89717346,-0.10994374,0.09751738,-0.15692186,0.37435597,-0.028534632,-0.08886786,-0.0020126125]","[0.7217027,0.6658442,-0.012427534,-0.08511565,-0.034998536,-0.15571661,-0.05169931,0.0158855]","[0.7146706,0.6589631,-0.09280991,0.11245317,-0.10729458,-0.093836896,0.09345775,-0.06857483]","[0.75173086,0.123706,0.45390105,-0.12876086,0.18488404,-0.3790434,0.05006843,-0.12895486]","[0.14143063,0.766891,-0.07119428,-0.13219757,0.48928377,-0.31590027,0.08595649,0.15083353]","[0.6542694,0.24248001,-0.15640767,-0.42210755,0.1348888,-0.31138188,0.41124853,-0.16191936]","[0.90270525,0.27328825,0.024985773,-0.24326622,0.16667885,0.04446184,-0.028684752,-0.14160715]","[-0.69887877,0.3358734,-0.45948574,-0.16944207,0.36472443,-0.050141197,0.11963901,-0.09522772]","[-0.47702593,0.7663496,0.18019861,0.15532805,0.25803453,-0.10506314,0.19541498,-0.11291232]","[0.7922765,0.33492786,-0.37603167,0.22063337,0.11398599,0.021275582,0.119243026,-0.20585956]","[-0.5304163,0.6459386,-0.23649155,-0.3531553,-0.27823457,0.14891306,0.0302522,0.14237402]","[0.08969206,0.7167677,0.622691,-0.09338834,0.21552968,-0.1855679,0.019923007,0.021177437]","[0.8169765,0.021216292,0.28791735,-0.34057546,-0.06355855,-0.28750443,0.1806811,-0.117758684]","[0.633465,0.36473766,0.42356867,-0.14994037,-0.42037207,0.05845777,0.018220467,-0.28867638]","[0.7641852,0.15153448,-0.51955587,0.15610373,0.30237234,-0.08511532,0.007695223,0.0043355078]","[-0.09514551,0.72280926,0.6179694,-0.08883502,0.25591347,-0.04532316,-0.06995647,-0.07922496]","[-0.44531086,0.7461957,0.36756998,-0.10273282,0.17332794,0.10773295,0.23351756,0.05521905]","[0.89589906,0.07179503,-0.3854242,0.024045391,-0.17114155,-0.07424504,0.02087844,-0.08855956]","[-0.11022805,0.6546328,-0.46327186,-0.08766406,0.5537521,-0.08585123,-0.0320398,0.14819412]","[0.9534846,0.1686813,-0.09347377,-0.15116903,-0.15404381,-0.056006372,-0.062117346,-0.009982521]","[-0.70179844,0.17281319,-0.20266378,-0.06792265,-0.09395714,-0.25411287,0.5251894,-0.2875818]","[0.21957412,0.6658638,0.5180653,0.19944197,0.11675594,-0.37099242,0.18669856,-0.11882871]","[-0.66815954,0.7286829,0.111446336,-0.010552139,0.043370686,-0.054139186,0.06943178,-0.02048421]","[0.37219515,0.7708996,-0.3419395,0.30372372,0.2300858,-0.01860706,0.041636445,0.054723393]","[-0.48150262,-0.18186599,-0.21561687,0.15064533,0.73231125,-0.22921981,-0.25933883,0.09908268]","[0.0852624,0.41414008,0.1924793,0.1168324,0.64720076,-0.5144051,0.26689687,-0.1257179]","[0.34630644,0.61565167,0.4388275,0.15461598,-0.43577722,-0.22302411,0.20829384,0.03926009]","[-0.22031051,0.609041,0.49171427,-0.22017565,0.50319654,-0.12087386,0.040060878,0.14439534]","[0.46152613,0.62896496,0.46442062,-0.3734721,0.12040727,-0.14607416,-0.004317553,-0.01935477]"}
2	pipeline	1	9fa6f59ec100dbe16e30ba69fe51f1ca1c8e0f69824bb132fb6111eeef0b9c30	0.8999999728053828	0.6	t	{"n": 8, "seen": [], "model": "gru", "inverter": "ac86c98124c98d55330f447ca623d1f48a229b7edf0e47151922ef7b009b634a", "norm_error": 0.00000010352381307754399, "inverter_encoder": "9cf0220084c46cb4"}	\N	2026-11-25 22:39:17.803842+00	1	\N	{"[0.8595199,-0.016711943,0.10899592,-0.05102005,0.38387063,-0.25406495,0.18259843,-0.034863453]","[0.9177432,0.14605188,-0.21788692,0.08247509,0.19276892,-0.10705359,0.1388867,-0.11928757]","[0.934052,0.22401537,-0.04635089,-0.12050233,0.19675899,-0.040973876,0.06888126,-0.124728605]","[0.8641069,0.38441584,0.14394146,-0.14009611,-0.121427946,0.01912673,0.042593673,-0.21971084]","[0.6887626,0.6075138,0.12825818,-0.32740015,0.020716682,0.06262467,0.033382803,-0.1656099]","[0.9138032,0.103608906,-0.11806214,0.025692265,0.26808354,-0.24409065,0.089961074,-0.009390864]","[0.61092895,0.6167591,0.33365914,-0.10160191,0.30845323,-0.15904501,-0.05009612,-0.04212186]","[0.684904,0.64432216,0.22305012,0.038818542,0.026758878,-0.21995711,0.12408706,0.0015222852]"}	{"[0.76378566,0.05072042,0.03665653,-0.24077965,0.24120748,-0.44332388,0.17540278,0.2631678]","[0.8401808,-0.03291212,-0.08484073,0.1987836,0.24064921,-0.40161848,0.14105155,0.08482352]","[0.85997117,0.18751241,-0.3153292,-0.3136362,-0.034785286,-0.07846558,-0.09845115,-0.10212232]","[0.8219077,0.3288332,-0.22777236,-0.20686606,-0.119294636,0.03394521,-0.18003805,-0.2717819]","[0.5136408,0.46484473,0.3659084,-0.52084285,0.014777629,0.25831646,-0.091672435,-0.19893876]","[0.6588336,0.08434505,-0.31295532,0.0322666,0.44287643,-0.4615605,0.224525,0.015902003]","[0.3127485,0.7871203,0.36886784,-0.28449553,0.22882386,-0.0084868595,-0.06861525,0.09213241]","[0.4827265,0.6128577,0.474792,-0.11877416,0.06360694,-0.26044142,0.11775913,-0.25710487]"}
\.


--
-- Data for Name: inverter; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.inverter (id, sha256, encoder, trained_documents, created_at) FROM stdin;
1	ac86c98124c98d55330f447ca623d1f48a229b7edf0e47151922ef7b009b634a	9cf0220084c46cb4	{46181f3f75809aecf940d08d5c1752ff63e1700de4a288b138be723d33e71e3f,4ae88ad7be7616ccd24b6913a83d9e204f7fe993976433beb286dba6631dd6d4,4f3ff907092920e6fa7e689c559571dfe16adbe2b3036bee80c63dd1bb65ae61,5e3092962b00d212844a20e591a380aa7667cb65713f79fe16dbd2d295a5acb9,6a9acb75ff589738b899460427d6687f6f4befe8063b13baa1015bcc36b5b333,76a4fa0c9c0fb20558168136edfb3ae034049e917b7b9377b8259412abfd5f69,cf4556218315ae042b764f60aa823d7a507ddceb3f5248c6aad81261c5f01d96,d000e7fc622259619b58158c163463789f2bd2ad3056f2aeebdce43a1d932ff4,ef7798483075fe88e88c6f16d8fa3dbb3004a89641b7f1fb62aaaf3206214c2a}	2026-11-25 22:39:17.467132+00
\.


--
-- Data for Name: sequence_set; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.sequence_set (id, space_id, corpus_revision, gate_result_id, context_length, counts, file, sha256, created_at, inverter_id) FROM stdin;
1	1	9fa6f59ec100dbe16e30ba69fe51f1ca1c8e0f69824bb132fb6111eeef0b9c30	1	3	{"test": 35, "train": 40, "vectors": 128, "documents": 16, "validation": 5, "documents_without_window": 0}	sequences/ctx3.safetensors	156674336b8a3c52dbfe1168dbdd4dd53aa6bf1228e64ef771d844d234d639ad	2026-11-25 22:39:17.537991+00	1
\.


--
-- Data for Name: space; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.space (id, name, dim, fingerprint, recipe, probes, created_at) FROM stdin;
1	toy	8	9cf0220084c46cb4	{"layer": -1, "pooling": "mean", "weights": "", "normalize": true, "max_tokens": 16, "projection": "dense.safetensors"}	\\x43ba193cae0d9a3d760550bf6af82dbee6ed54be9b7e853e817ede3e045c91bde0ef073fcc62343fa182ce3d329153bea072aa3ebad5a8bdc104673efbf04a3cbd2700be601ffebe0dd2a1beaec4c53e822da03e1d5250beec43173f9fceb63cecf7adbe034eefbe172331bf0e78883e36a2f5bcf02f44be06708d3e658046bdcca2323dc3e8fe3e164920bf1314d4bd367b593e698c323ddd450a3f9266bf3d9d22e6beb07086becbda36bfd312143e72b0ab3d9e25ec3d5176d73e0a54b7bc	2026-11-25 22:39:17.379913+00
\.


--
-- Data for Name: training_run; Type: TABLE DATA; Schema: lvm; Owner: postgres
--

COPY lvm.training_run (id, architecture, sequence_set_id, gate_result_id, hyperparameters, status, metrics, checkpoint, sha256, created_at, finished_at, inverter_id) FROM stdin;
1	gru	1	1	{"dim": 8, "run": 8, "clip": 1.0, "loss": "mix", "seed": 0, "decay": 5.0, "hyper": {"hidden": 8, "dropout": 0.1}, "model": "gru", "space": "9cf0220084c46cb4", "epochs": 4, "warmup": 0.2, "context": 3, "patience": 5, "replicas": 1, "negatives": 16, "batch_size": 32, "space_name": "toy", "temperature": 0.05, "weight_decay": 0.05, "cosine_weight": 4.0, "learning_rate": 0.005, "sequences_sha256": "156674336b8a3c52dbfe1168dbdd4dd53aa6bf1228e64ef771d844d234d639ad", "validation_windows": 2048}	interrupted	\N	\N	\N	2026-11-25 22:39:17.55627+00	2026-11-25 22:39:17.660903+00	1
2	gru	1	1	{"dim": 8, "run": 8, "clip": 1.0, "loss": "mix", "seed": 0, "decay": 5.0, "hyper": {"hidden": 8, "dropout": 0.1}, "model": "gru", "space": "9cf0220084c46cb4", "epochs": 3, "warmup": 0.2, "context": 3, "patience": 5, "replicas": 1, "negatives": 16, "batch_size": 32, "space_name": "toy", "temperature": 0.05, "weight_decay": 0.05, "cosine_weight": 4.0, "learning_rate": 0.005, "sequences_sha256": "156674336b8a3c52dbfe1168dbdd4dd53aa6bf1228e64ef771d844d234d639ad", "validation_windows": 2048}	finished	{"history": [{"mrr": 0.27999999999999997, "r10": 1.0, "best": true, "loss": 11.812731424967447, "epoch": 1, "cosine": 0.06334708631038666, "seconds": 0.01667454200105567, "learning_rate": 0.004077550014553897}, {"mrr": 0.27999999999999997, "r10": 1.0, "best": false, "loss": 10.44043223063151, "epoch": 2, "cosine": 0.0749211460351944, "seconds": 0.016411370001151226, "learning_rate": 0.0014869848391619827}, {"mrr": 0.27999999999999997, "r10": 1.0, "best": false, "loss": 10.541381200154623, "epoch": 3, "cosine": 0.07699917256832123, "seconds": 0.014181481999912648, "learning_rate": 0.0001}], "seconds": 0.047267394002119545, "parameters": 710}	gru/model.safetensors	2ee6fc462923f3ddfd2b2cb40e25b2895ce195ef4ec7bf6c99fc6b6b1873d811	2026-11-25 22:39:17.66838+00	2026-11-25 22:39:17.785844+00	1
\.


--
-- Name: chunk_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.chunk_id_seq', 128, true);


--
-- Name: corpus_change_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.corpus_change_id_seq', 3, true);


--
-- Name: document_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.document_id_seq', 16, true);


--
-- Name: gate_result_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.gate_result_id_seq', 2, true);


--
-- Name: inverter_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.inverter_id_seq', 1, true);


--
-- Name: sequence_set_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.sequence_set_id_seq', 1, true);


--
-- Name: space_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.space_id_seq', 1, true);


--
-- Name: training_run_id_seq; Type: SEQUENCE SET; Schema: lvm; Owner: postgres
--

SELECT pg_catalog.setval('lvm.training_run_id_seq', 2, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: chunk chunk_document_id_position_key; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.chunk
    ADD CONSTRAINT chunk_document_id_position_key UNIQUE (document_id, "position");


--
-- Name: chunk chunk_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.chunk
    ADD CONSTRAINT chunk_pkey PRIMARY KEY (id);


--
-- Name: corpus_change corpus_change_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.corpus_change
    ADD CONSTRAINT corpus_change_pkey PRIMARY KEY (id);


--
-- Name: document document_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.document
    ADD CONSTRAINT document_pkey PRIMARY KEY (id);


--
-- Name: document document_source_external_id_key; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.document
    ADD CONSTRAINT document_source_external_id_key UNIQUE (source, external_id);


--
-- Name: embedding embedding_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.embedding
    ADD CONSTRAINT embedding_pkey PRIMARY KEY (chunk_id, space_id);


--
-- Name: gate_result gate_result_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.gate_result
    ADD CONSTRAINT gate_result_pkey PRIMARY KEY (id);


--
-- Name: inverter inverter_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.inverter
    ADD CONSTRAINT inverter_pkey PRIMARY KEY (id);


--
-- Name: inverter inverter_sha256_key; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.inverter
    ADD CONSTRAINT inverter_sha256_key UNIQUE (sha256);


--
-- Name: sequence_set sequence_set_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.sequence_set
    ADD CONSTRAINT sequence_set_pkey PRIMARY KEY (id);


--
-- Name: sequence_set sequence_set_sha256_gate_result_id_key; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.sequence_set
    ADD CONSTRAINT sequence_set_sha256_gate_result_id_key UNIQUE (sha256, gate_result_id);


--
-- Name: space space_name_key; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.space
    ADD CONSTRAINT space_name_key UNIQUE (name);


--
-- Name: space space_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.space
    ADD CONSTRAINT space_pkey PRIMARY KEY (id);


--
-- Name: training_run training_run_pkey; Type: CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.training_run
    ADD CONSTRAINT training_run_pkey PRIMARY KEY (id);


--
-- Name: corpus_change_part; Type: INDEX; Schema: lvm; Owner: postgres
--

CREATE INDEX corpus_change_part ON lvm.corpus_change USING btree (part);


--
-- Name: gate_result_about; Type: INDEX; Schema: lvm; Owner: postgres
--

CREATE INDEX gate_result_about ON lvm.gate_result USING btree (space_id, corpus_revision, inverter_id, gate, id);


--
-- Name: chunk chunk_hashed; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER chunk_hashed BEFORE INSERT ON lvm.chunk FOR EACH ROW EXECUTE FUNCTION lvm.chunk_hashed();

ALTER TABLE lvm.chunk ENABLE ALWAYS TRIGGER chunk_hashed;


--
-- Name: chunk chunk_immutable; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER chunk_immutable BEFORE UPDATE ON lvm.chunk FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('ingest the changed document again');

ALTER TABLE lvm.chunk ENABLE ALWAYS TRIGGER chunk_immutable;


--
-- Name: chunk chunk_in; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER chunk_in AFTER INSERT ON lvm.chunk REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION lvm.chunk_in();

ALTER TABLE lvm.chunk ENABLE ALWAYS TRIGGER chunk_in;


--
-- Name: chunk chunk_no_truncate; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER chunk_no_truncate BEFORE TRUNCATE ON lvm.chunk FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('`lvm clear` empties everything together');

ALTER TABLE lvm.chunk ENABLE ALWAYS TRIGGER chunk_no_truncate;


--
-- Name: chunk chunk_out; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER chunk_out AFTER DELETE ON lvm.chunk REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION lvm.chunk_out();

ALTER TABLE lvm.chunk ENABLE ALWAYS TRIGGER chunk_out;


--
-- Name: corpus_change corpus_change_by_hand; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER corpus_change_by_hand BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON lvm.corpus_change FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_by_hand();

ALTER TABLE lvm.corpus_change ENABLE ALWAYS TRIGGER corpus_change_by_hand;


--
-- Name: document document_in; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER document_in AFTER INSERT ON lvm.document REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION lvm.document_in();

ALTER TABLE lvm.document ENABLE ALWAYS TRIGGER document_in;


--
-- Name: document document_kept; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER document_kept BEFORE INSERT OR UPDATE ON lvm.document FOR EACH ROW EXECUTE FUNCTION lvm.keep_document();

ALTER TABLE lvm.document ENABLE ALWAYS TRIGGER document_kept;


--
-- Name: document document_no_truncate; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER document_no_truncate BEFORE TRUNCATE ON lvm.document FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('`lvm clear` empties everything together');

ALTER TABLE lvm.document ENABLE ALWAYS TRIGGER document_no_truncate;


--
-- Name: document document_out; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER document_out AFTER DELETE ON lvm.document REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION lvm.document_out();

ALTER TABLE lvm.document ENABLE ALWAYS TRIGGER document_out;


--
-- Name: embedding embedding_hashed; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER embedding_hashed BEFORE INSERT ON lvm.embedding FOR EACH ROW EXECUTE FUNCTION lvm.embedding_hashed();

ALTER TABLE lvm.embedding ENABLE ALWAYS TRIGGER embedding_hashed;


--
-- Name: embedding embedding_immutable; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER embedding_immutable BEFORE UPDATE ON lvm.embedding FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('ingest the changed document again');

ALTER TABLE lvm.embedding ENABLE ALWAYS TRIGGER embedding_immutable;


--
-- Name: embedding embedding_in; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER embedding_in AFTER INSERT ON lvm.embedding REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION lvm.embedding_in();

ALTER TABLE lvm.embedding ENABLE ALWAYS TRIGGER embedding_in;


--
-- Name: embedding embedding_no_truncate; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER embedding_no_truncate BEFORE TRUNCATE ON lvm.embedding FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('`lvm clear` empties everything together');

ALTER TABLE lvm.embedding ENABLE ALWAYS TRIGGER embedding_no_truncate;


--
-- Name: embedding embedding_out; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER embedding_out AFTER DELETE ON lvm.embedding REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION lvm.embedding_out();

ALTER TABLE lvm.embedding ENABLE ALWAYS TRIGGER embedding_out;


--
-- Name: gate_result gate_judged; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER gate_judged BEFORE INSERT ON lvm.gate_result FOR EACH ROW EXECUTE FUNCTION lvm.judge_gate();

ALTER TABLE lvm.gate_result ENABLE ALWAYS TRIGGER gate_judged;


--
-- Name: gate_result gate_result_current; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE CONSTRAINT TRIGGER gate_result_current AFTER INSERT ON lvm.gate_result DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lvm.require_current();

ALTER TABLE lvm.gate_result ENABLE ALWAYS TRIGGER gate_result_current;


--
-- Name: gate_result gate_result_immutable; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER gate_result_immutable BEFORE DELETE OR UPDATE OR TRUNCATE ON lvm.gate_result FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('run `lvm validate` for a new one, `lvm clear` to empty all');

ALTER TABLE lvm.gate_result ENABLE ALWAYS TRIGGER gate_result_immutable;


--
-- Name: inverter inverter_immutable; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER inverter_immutable BEFORE DELETE OR UPDATE OR TRUNCATE ON lvm.inverter FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('`lvm clear` empties everything together');

ALTER TABLE lvm.inverter ENABLE ALWAYS TRIGGER inverter_immutable;


--
-- Name: sequence_set sequence_set_current; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE CONSTRAINT TRIGGER sequence_set_current AFTER INSERT ON lvm.sequence_set DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lvm.require_current();

ALTER TABLE lvm.sequence_set ENABLE ALWAYS TRIGGER sequence_set_current;


--
-- Name: sequence_set sequence_set_gated; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER sequence_set_gated BEFORE INSERT ON lvm.sequence_set FOR EACH ROW EXECUTE FUNCTION lvm.require_gate();

ALTER TABLE lvm.sequence_set ENABLE ALWAYS TRIGGER sequence_set_gated;


--
-- Name: sequence_set sequence_set_immutable; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER sequence_set_immutable BEFORE UPDATE ON lvm.sequence_set FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('run `lvm extract` for a new one');

ALTER TABLE lvm.sequence_set ENABLE ALWAYS TRIGGER sequence_set_immutable;


--
-- Name: sequence_set sequence_set_no_delete; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER sequence_set_no_delete BEFORE DELETE OR TRUNCATE ON lvm.sequence_set FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('`lvm clear` empties everything together');

ALTER TABLE lvm.sequence_set ENABLE ALWAYS TRIGGER sequence_set_no_delete;


--
-- Name: space space_immutable; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER space_immutable BEFORE UPDATE ON lvm.space FOR EACH ROW EXECUTE FUNCTION lvm.refuse_space_change();

ALTER TABLE lvm.space ENABLE ALWAYS TRIGGER space_immutable;


--
-- Name: space space_no_delete; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER space_no_delete BEFORE DELETE OR TRUNCATE ON lvm.space FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('`lvm clear` empties everything together');

ALTER TABLE lvm.space ENABLE ALWAYS TRIGGER space_no_delete;


--
-- Name: training_run training_run_current; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE CONSTRAINT TRIGGER training_run_current AFTER INSERT ON lvm.training_run DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lvm.require_current();

ALTER TABLE lvm.training_run ENABLE ALWAYS TRIGGER training_run_current;


--
-- Name: training_run training_run_gated; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER training_run_gated BEFORE INSERT OR UPDATE ON lvm.training_run FOR EACH ROW EXECUTE FUNCTION lvm.require_gate();

ALTER TABLE lvm.training_run ENABLE ALWAYS TRIGGER training_run_gated;


--
-- Name: training_run training_run_no_delete; Type: TRIGGER; Schema: lvm; Owner: postgres
--

CREATE TRIGGER training_run_no_delete BEFORE DELETE OR TRUNCATE ON lvm.training_run FOR EACH STATEMENT EXECUTE FUNCTION lvm.refuse_change('`lvm clear` empties everything together');

ALTER TABLE lvm.training_run ENABLE ALWAYS TRIGGER training_run_no_delete;


--
-- Name: chunk chunk_document_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.chunk
    ADD CONSTRAINT chunk_document_id_fkey FOREIGN KEY (document_id) REFERENCES lvm.document(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: embedding embedding_chunk_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.embedding
    ADD CONSTRAINT embedding_chunk_id_fkey FOREIGN KEY (chunk_id) REFERENCES lvm.chunk(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: embedding embedding_space_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.embedding
    ADD CONSTRAINT embedding_space_id_fkey FOREIGN KEY (space_id) REFERENCES lvm.space(id);


--
-- Name: gate_result gate_result_inverter_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.gate_result
    ADD CONSTRAINT gate_result_inverter_id_fkey FOREIGN KEY (inverter_id) REFERENCES lvm.inverter(id);


--
-- Name: gate_result gate_result_space_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.gate_result
    ADD CONSTRAINT gate_result_space_id_fkey FOREIGN KEY (space_id) REFERENCES lvm.space(id);


--
-- Name: sequence_set sequence_set_gate_result_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.sequence_set
    ADD CONSTRAINT sequence_set_gate_result_id_fkey FOREIGN KEY (gate_result_id) REFERENCES lvm.gate_result(id);


--
-- Name: sequence_set sequence_set_inverter_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.sequence_set
    ADD CONSTRAINT sequence_set_inverter_id_fkey FOREIGN KEY (inverter_id) REFERENCES lvm.inverter(id);


--
-- Name: sequence_set sequence_set_space_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.sequence_set
    ADD CONSTRAINT sequence_set_space_id_fkey FOREIGN KEY (space_id) REFERENCES lvm.space(id);


--
-- Name: training_run training_run_gate_result_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.training_run
    ADD CONSTRAINT training_run_gate_result_id_fkey FOREIGN KEY (gate_result_id) REFERENCES lvm.gate_result(id);


--
-- Name: training_run training_run_inverter_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.training_run
    ADD CONSTRAINT training_run_inverter_id_fkey FOREIGN KEY (inverter_id) REFERENCES lvm.inverter(id);


--
-- Name: training_run training_run_sequence_set_id_fkey; Type: FK CONSTRAINT; Schema: lvm; Owner: postgres
--

ALTER TABLE ONLY lvm.training_run
    ADD CONSTRAINT training_run_sequence_set_id_fkey FOREIGN KEY (sequence_set_id) REFERENCES lvm.sequence_set(id);


--
-- Name: SCHEMA lvm; Type: ACL; Schema: -; Owner: postgres
--

GRANT USAGE ON SCHEMA lvm TO lvm_reader;
GRANT USAGE ON SCHEMA lvm TO lvm_worker;
GRANT USAGE ON SCHEMA lvm TO lvm_gatekeeper;


--
-- Name: FUNCTION build_search_index(of_space integer, at_least integer); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.build_search_index(of_space integer, at_least integer) FROM PUBLIC;
GRANT ALL ON FUNCTION lvm.build_search_index(of_space integer, at_least integer) TO lvm_worker;


--
-- Name: FUNCTION chunk_hashed(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.chunk_hashed() FROM PUBLIC;


--
-- Name: FUNCTION chunk_in(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.chunk_in() FROM PUBLIC;


--
-- Name: FUNCTION chunk_out(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.chunk_out() FROM PUBLIC;


--
-- Name: FUNCTION document_in(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.document_in() FROM PUBLIC;


--
-- Name: FUNCTION document_out(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.document_out() FROM PUBLIC;


--
-- Name: FUNCTION embedding_hashed(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.embedding_hashed() FROM PUBLIC;


--
-- Name: FUNCTION embedding_in(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.embedding_in() FROM PUBLIC;


--
-- Name: FUNCTION embedding_out(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.embedding_out() FROM PUBLIC;


--
-- Name: FUNCTION grant_roles(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.grant_roles() FROM PUBLIC;


--
-- Name: FUNCTION judge_gate(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.judge_gate() FROM PUBLIC;


--
-- Name: FUNCTION keep_document(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.keep_document() FROM PUBLIC;


--
-- Name: FUNCTION refuse_by_hand(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.refuse_by_hand() FROM PUBLIC;


--
-- Name: FUNCTION refuse_change(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.refuse_change() FROM PUBLIC;


--
-- Name: FUNCTION refuse_space_change(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.refuse_space_change() FROM PUBLIC;


--
-- Name: FUNCTION require_current(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.require_current() FROM PUBLIC;


--
-- Name: FUNCTION require_gate(); Type: ACL; Schema: lvm; Owner: postgres
--

REVOKE ALL ON FUNCTION lvm.require_gate() FROM PUBLIC;


--
-- Name: TABLE alembic_version; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.alembic_version TO lvm_reader;
GRANT SELECT ON TABLE lvm.alembic_version TO lvm_worker;
GRANT SELECT ON TABLE lvm.alembic_version TO lvm_gatekeeper;


--
-- Name: TABLE chunk; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.chunk TO lvm_reader;
GRANT SELECT,INSERT,DELETE ON TABLE lvm.chunk TO lvm_worker;
GRANT SELECT ON TABLE lvm.chunk TO lvm_gatekeeper;


--
-- Name: SEQUENCE chunk_id_seq; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT USAGE ON SEQUENCE lvm.chunk_id_seq TO lvm_worker;


--
-- Name: TABLE document; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.document TO lvm_reader;
GRANT SELECT,INSERT,DELETE ON TABLE lvm.document TO lvm_worker;
GRANT SELECT ON TABLE lvm.document TO lvm_gatekeeper;


--
-- Name: COLUMN document.title; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT UPDATE(title) ON TABLE lvm.document TO lvm_worker;


--
-- Name: COLUMN document.metadata; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT UPDATE(metadata) ON TABLE lvm.document TO lvm_worker;


--
-- Name: TABLE embedding; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.embedding TO lvm_reader;
GRANT SELECT,INSERT,DELETE ON TABLE lvm.embedding TO lvm_worker;
GRANT SELECT ON TABLE lvm.embedding TO lvm_gatekeeper;


--
-- Name: TABLE space; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.space TO lvm_reader;
GRANT SELECT ON TABLE lvm.space TO lvm_worker;
GRANT SELECT ON TABLE lvm.space TO lvm_gatekeeper;


--
-- Name: COLUMN space.name; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(name) ON TABLE lvm.space TO lvm_worker;


--
-- Name: COLUMN space.dim; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(dim) ON TABLE lvm.space TO lvm_worker;


--
-- Name: COLUMN space.fingerprint; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(fingerprint) ON TABLE lvm.space TO lvm_worker;


--
-- Name: COLUMN space.recipe; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(recipe) ON TABLE lvm.space TO lvm_worker;


--
-- Name: COLUMN space.probes; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(probes) ON TABLE lvm.space TO lvm_worker;


--
-- Name: TABLE chunks; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.chunks TO lvm_reader;
GRANT SELECT ON TABLE lvm.chunks TO lvm_worker;
GRANT SELECT ON TABLE lvm.chunks TO lvm_gatekeeper;


--
-- Name: TABLE corpus_change; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.corpus_change TO lvm_reader;
GRANT SELECT ON TABLE lvm.corpus_change TO lvm_worker;
GRANT SELECT ON TABLE lvm.corpus_change TO lvm_gatekeeper;


--
-- Name: SEQUENCE document_id_seq; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT USAGE ON SEQUENCE lvm.document_id_seq TO lvm_worker;


--
-- Name: TABLE gate_result; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.gate_result TO lvm_reader;
GRANT SELECT ON TABLE lvm.gate_result TO lvm_worker;
GRANT SELECT ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.gate; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(gate) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.space_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(space_id) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.corpus_revision; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(corpus_revision) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.value; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(value) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.threshold; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(threshold) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.passed; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(passed) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.evidence; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(evidence) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.flow_run_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(flow_run_id) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.inverter_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(inverter_id) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.sampled; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(sampled) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.asked; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(asked) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: COLUMN gate_result.returned; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(returned) ON TABLE lvm.gate_result TO lvm_gatekeeper;


--
-- Name: TABLE inverter; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.inverter TO lvm_reader;
GRANT SELECT ON TABLE lvm.inverter TO lvm_worker;
GRANT SELECT ON TABLE lvm.inverter TO lvm_gatekeeper;


--
-- Name: COLUMN inverter.sha256; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(sha256) ON TABLE lvm.inverter TO lvm_gatekeeper;


--
-- Name: COLUMN inverter.encoder; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(encoder) ON TABLE lvm.inverter TO lvm_gatekeeper;


--
-- Name: COLUMN inverter.trained_documents; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(trained_documents) ON TABLE lvm.inverter TO lvm_gatekeeper;


--
-- Name: TABLE gates; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.gates TO lvm_reader;
GRANT SELECT ON TABLE lvm.gates TO lvm_worker;
GRANT SELECT ON TABLE lvm.gates TO lvm_gatekeeper;


--
-- Name: TABLE sequence_set; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.sequence_set TO lvm_reader;
GRANT SELECT ON TABLE lvm.sequence_set TO lvm_worker;
GRANT SELECT ON TABLE lvm.sequence_set TO lvm_gatekeeper;


--
-- Name: COLUMN sequence_set.space_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(space_id) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: COLUMN sequence_set.corpus_revision; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(corpus_revision) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: COLUMN sequence_set.gate_result_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(gate_result_id) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: COLUMN sequence_set.context_length; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(context_length) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: COLUMN sequence_set.counts; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(counts) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: COLUMN sequence_set.file; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(file) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: COLUMN sequence_set.sha256; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(sha256) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: COLUMN sequence_set.inverter_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(inverter_id) ON TABLE lvm.sequence_set TO lvm_worker;


--
-- Name: TABLE training_run; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.training_run TO lvm_reader;
GRANT SELECT ON TABLE lvm.training_run TO lvm_worker;
GRANT SELECT ON TABLE lvm.training_run TO lvm_gatekeeper;


--
-- Name: COLUMN training_run.architecture; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(architecture) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.sequence_set_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(sequence_set_id) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.gate_result_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(gate_result_id) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.hyperparameters; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(hyperparameters) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.status; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(status),UPDATE(status) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.metrics; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(metrics),UPDATE(metrics) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.checkpoint; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(checkpoint),UPDATE(checkpoint) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.sha256; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(sha256),UPDATE(sha256) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.finished_at; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(finished_at),UPDATE(finished_at) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: COLUMN training_run.inverter_id; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT INSERT(inverter_id) ON TABLE lvm.training_run TO lvm_worker;


--
-- Name: TABLE training_runs; Type: ACL; Schema: lvm; Owner: postgres
--

GRANT SELECT ON TABLE lvm.training_runs TO lvm_reader;
GRANT SELECT ON TABLE lvm.training_runs TO lvm_worker;
GRANT SELECT ON TABLE lvm.training_runs TO lvm_gatekeeper;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: lvm; Owner: postgres
--

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA lvm GRANT SELECT ON TABLES TO lvm_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA lvm GRANT SELECT ON TABLES TO lvm_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA lvm GRANT SELECT ON TABLES TO lvm_gatekeeper;


--
-- PostgreSQL database dump complete
--

\unrestrict EhyCFYQ0UcGIT0cjr26OdEw0rsOngpzxJRx4wAWv5lXOuSBi46n8rdd25OxIorS

