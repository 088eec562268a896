-- The verdict of a roundtrip gate, on the whole sample or on a beginning that makes it certain.

-- Whether n measured chunks make a verdict certain: true, it passes; false, it does not; NULL, more chunks may change it.
-- Both figures must lie 4.5 standard errors away from what they must reach: the mean cosine by its deviation (taken as
-- 0.05 at least), identification by Wilson's interval. Normal errors are larger once in 290,000 times.
CREATE FUNCTION roundtrip_certain(
    n bigint, mean double precision, sd double precision, identified double precision, threshold double precision
) RETURNS boolean LANGUAGE sql IMMUTABLE {FUNCTION} AS $$
    SELECT CASE
        WHEN n < 20 OR mean + sd + identified + threshold = 'NaN' THEN NULL
        WHEN mean - margin >= threshold AND centre - half >= 0.90 THEN true
        WHEN mean + margin < threshold OR centre + half < 0.90 THEN false
    END
    FROM (SELECT 4.5 * greatest(sd, 0.05) / sqrt(size) AS margin,
        (identified + 4.5 ^ 2 / (2 * size)) / (1 + 4.5 ^ 2 / size) AS centre,
        4.5 * sqrt(identified * (1 - identified) / size + 4.5 ^ 2 / (4 * size ^ 2)) / (1 + 4.5 ^ 2 / size) AS half
        FROM (SELECT greatest(n, 1)::double precision AS size) s) bounds
$$;

CREATE OR REPLACE FUNCTION judge_gate() {TRIGGER} AS $$
DECLARE
    floor CONSTANT double precision := CASE NEW.gate WHEN 'roundtrip' THEN 0.63 ELSE 0.60 END;
    own space;
    maker inverter;
    size integer := cardinality(NEW.returned);
    bad integer;
    drawn bigint[]; -- the whole sample
    certain boolean;
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
    drawn := ARRAY(SELECT chunk_id FROM gate_sample(NEW.space_id, NEW.inverter_id) ORDER BY place);
    IF cardinality(NEW.sampled) IS DISTINCT FROM size OR NEW.sampled IS DISTINCT FROM drawn[:size]
        OR NOT (size = cardinality(drawn) OR size IN (200, 300, 400)) THEN
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
    ), pool AS MATERIALIZED ( -- of the whole sample: among fewer, identification is easier
        SELECT e.vector AS stored FROM unnest(drawn) AS t(chunk_id)
            JOIN ONLY embedding e ON e.chunk_id = t.chunk_id AND e.space_id = NEW.space_id
    ), measured AS MATERIALIZED (
        SELECT p.place, p.chunk_id, p.fresh, p.stored, 1 - (p.back OPERATOR(@.<=>) p.stored) AS cosine,
            -- equal vectors come out a rounding error apart; that must not count as nearer
            (SELECT count(*) FROM pool o WHERE (p.back OPERATOR(@.<=>) o.stored) <= (p.back OPERATOR(@.<=>) p.stored) + 1e-7) AS rank
        FROM pair p
    )
    SELECT count(*) AS measured, count(*) FILTER (WHERE fresh) AS n,
        -- texts that the inverter is said to know are left out, and yet all together must pass too
        least(avg(cosine), avg(cosine) FILTER (WHERE fresh)) AS mean,
        least(avg((rank = 1)::integer), avg((rank = 1)::integer) FILTER (WHERE fresh))::double precision AS identified,
        percentile_cont(0.1) WITHIN GROUP (ORDER BY cosine) FILTER (WHERE fresh) AS p10,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY cosine) FILTER (WHERE fresh) AS median,
        avg(cosine) AS mean_all, stddev_samp(cosine) AS sd_all, avg((rank = 1)::integer)::double precision AS identified_all,
        avg(cosine) FILTER (WHERE fresh) AS mean_new, stddev_samp(cosine) FILTER (WHERE fresh) AS sd_new,
        (avg((rank = 1)::integer) FILTER (WHERE fresh))::double precision AS identified_new,
        (SELECT CASE WHEN count(*) > 1 THEN (count(*) * power(@.vector_norm(@.avg(p.stored)), 2) - 1) / (count(*) - 1) END
            FROM pool p) AS chance,
        jsonb_agg(chunk_id ORDER BY place) FILTER (WHERE fresh) AS chunk_ids,
        jsonb_agg(round(cosine::numeric, 6) ORDER BY place) FILTER (WHERE fresh) AS cosines,
        jsonb_agg(rank ORDER BY place) FILTER (WHERE fresh) AS ranks
    INTO found FROM measured;
    certain := roundtrip_certain(found.n, found.mean_new, found.sd_new, found.identified_new, NEW.threshold)
        AND roundtrip_certain(found.measured, found.mean_all, found.sd_all, found.identified_all, NEW.threshold);
    IF size < cardinality(drawn) AND certain IS NULL THEN
        RAISE EXCEPTION 'roundtrip gate refused: after % of % chunks its verdict is not certain; measure them all: `lvm validate --full`',
            size, cardinality(drawn) USING ERRCODE = 'check_violation';
    END IF;
    NEW.value := coalesce(found.mean, 0);
    NEW.evidence := NEW.evidence || jsonb_build_object('drawn', cardinality(drawn), 'measured', found.measured, 'stopped', CASE
            WHEN size = cardinality(drawn) THEN NULL
            WHEN certain THEN format('certain after %s of %s: mean cosine and identification are 4.5 standard errors above what they must reach', size, cardinality(drawn))
            ELSE format('certain after %s of %s: mean cosine or identification is 4.5 standard errors below what it must reach', size, cardinality(drawn)) END,
        'n', found.n, 'mean', found.mean,
        'identify_r1', found.identified, 'p10', found.p10, 'median', found.median, 'chance', found.chance,
        'chunk_ids', coalesce(found.chunk_ids, '[]'), 'cosines', coalesce(found.cosines, '[]'),
        'ranks', coalesce(found.ranks, '[]'));
    NEW.passed := found.measured = size AND found.n >= 20 AND NEW.value >= NEW.threshold AND NEW.value <= 1.001
        AND found.identified >= 0.90 AND maker.encoder = own.fingerprint;
    RETURN NEW;
END $$;
