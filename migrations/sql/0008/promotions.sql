-- Which model answers where none is named: the champion of a space is its last promotion.

CREATE TABLE promotion (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id integer NOT NULL REFERENCES space,
    training_run_id bigint NOT NULL REFERENCES training_run,
    evaluation_id bigint NOT NULL REFERENCES evaluation,
    gate_result_id bigint NOT NULL REFERENCES gate_result,
    metric text NOT NULL,
    value double precision NOT NULL,
    champion_value double precision,
    replaces bigint REFERENCES promotion,
    restores bigint REFERENCES promotion,
    reason text CHECK (btrim(reason) <> ''),
    flow_run_id text,
    promoted_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX promotion_space ON promotion (space_id, id);

-- The promotion that a way back from this one restores; NULL if there is none. A way back stands where its goal stood.
CREATE FUNCTION promotion_before(of_promotion bigint) RETURNS bigint LANGUAGE sql STABLE {FUNCTION} AS $$
    SELECT coalesce(before.restores, before.id)
    FROM ONLY promotion this JOIN ONLY promotion base ON base.id = coalesce(this.restores, this.id)
        JOIN ONLY promotion before ON before.id = base.replaces
    WHERE this.id = of_promotion
$$;

CREATE FUNCTION require_promotable() {TRIGGER} AS $$
DECLARE
    metric CONSTANT text := 'text_nll';
    champion promotion;
    champion_sha256 text;
    run training_run;
    measured evaluation;
    earlier promotion;
    verdict gate_result;
BEGIN
    PERFORM require_fresh_snapshot('promotion');
    PERFORM pg_advisory_xact_lock(hashtextextended('lvm promotion', NEW.space_id));
    NEW.created_at := clock_timestamp();
    NEW.promoted_by := session_user;
    NEW.metric := metric;
    SELECT * INTO champion FROM ONLY promotion WHERE space_id = NEW.space_id ORDER BY id DESC LIMIT 1;
    SELECT t.sha256 INTO champion_sha256 FROM ONLY training_run t WHERE t.id = champion.training_run_id;
    IF NEW.replaces IS DISTINCT FROM champion.id THEN
        RAISE EXCEPTION 'promotion refused: another model was promoted meanwhile (promotion %); look at it with `lvm models`, then promote again',
            champion.id USING ERRCODE = 'check_violation';
    END IF;
    SELECT t.* INTO run FROM ONLY training_run t JOIN ONLY sequence_set q ON q.id = t.sequence_set_id
    WHERE t.id = NEW.training_run_id AND t.status = 'finished' AND q.space_id = NEW.space_id;
    IF run.id IS NULL THEN
        RAISE EXCEPTION 'promotion refused: training run % is no finished run of this space', NEW.training_run_id
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.restores IS NOT NULL THEN -- what is restored was judged when it was promoted
        IF NEW.restores IS DISTINCT FROM promotion_before(champion.id) THEN
            RAISE EXCEPTION 'promotion refused: % is not the promotion before the champion', NEW.restores
                USING ERRCODE = 'check_violation';
        END IF;
        SELECT * INTO earlier FROM ONLY promotion WHERE id = NEW.restores;
        NEW.training_run_id := earlier.training_run_id;
        NEW.evaluation_id := earlier.evaluation_id;
        NEW.gate_result_id := earlier.gate_result_id;
        NEW.value := earlier.value;
        NEW.champion_value := NULL;
        RETURN NEW;
    END IF;
    SELECT * INTO measured FROM ONLY evaluation WHERE id = NEW.evaluation_id;
    IF measured.id IS NULL OR measured.space_id <> NEW.space_id OR measured.measured_on IS NOT NULL
        OR measured.corpus_revision IS DISTINCT FROM corpus_revision(NEW.space_id) THEN
        RAISE EXCEPTION 'promotion refused: its evaluation is not of the held-out documents of the corpus as it is now; run `lvm evaluate`'
            USING ERRCODE = 'check_violation';
    END IF;
    IF (SELECT passed FROM ONLY gate_result WHERE gate = 'roundtrip' AND space_id = NEW.space_id
        AND corpus_revision = measured.corpus_revision AND inverter_id = measured.inverter_id ORDER BY id DESC LIMIT 1)
        IS NOT TRUE THEN
        RAISE EXCEPTION 'promotion refused: no passing roundtrip gate stands behind it; run `lvm validate`'
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO verdict FROM ONLY gate_result WHERE gate = 'pipeline' AND space_id = NEW.space_id
        AND corpus_revision = measured.corpus_revision AND inverter_id = measured.inverter_id
        AND evidence ->> 'checkpoint' = run.sha256 ORDER BY id DESC LIMIT 1;
    IF verdict.id IS NULL OR NOT verdict.passed THEN
        RAISE EXCEPTION 'promotion refused: the model did not pass the pipeline gate of the corpus as it is now; no reason overrides that'
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.gate_result_id := verdict.id;
    -- two runs may have left the same file
    SELECT f.value INTO NEW.value FROM ONLY evaluation_figure f JOIN ONLY training_run t ON t.id = f.training_run_id
    WHERE f.evaluation_id = measured.id AND f.metric = NEW.metric AND t.sha256 = run.sha256 LIMIT 1;
    IF NEW.value IS NULL THEN
        RAISE EXCEPTION 'promotion refused: evaluation % did not measure the model; run `lvm evaluate`', measured.id
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.champion_value := NULL;
    IF champion.id IS NULL THEN
        RETURN NEW;
    END IF;
    IF champion_sha256 = run.sha256 THEN
        RAISE EXCEPTION 'promotion refused: the model is the champion already' USING ERRCODE = 'check_violation';
    END IF;
    SELECT f.value INTO NEW.champion_value FROM ONLY evaluation_figure f JOIN ONLY training_run t ON t.id = f.training_run_id
    WHERE f.evaluation_id = measured.id AND f.metric = NEW.metric AND t.sha256 = champion_sha256 LIMIT 1;
    IF NEW.reason IS NULL AND NEW.champion_value IS NULL THEN
        RAISE EXCEPTION 'promotion refused: evaluation % did not measure the champion beside it; run `lvm evaluate`, or give a reason',
            measured.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.reason IS NULL AND NEW.value > NEW.champion_value THEN
        RAISE EXCEPTION 'promotion refused: its text NLL is % on the held-out documents, the champion has % on the same (lower is better); give a reason to promote it all the same',
            round(NEW.value::numeric, 3), round(NEW.champion_value::numeric, 3) USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER promotion_gated BEFORE INSERT ON promotion FOR EACH ROW EXECUTE FUNCTION require_promotable();
CREATE TRIGGER promotion_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON promotion
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm promote --back` goes back to the champion before');
