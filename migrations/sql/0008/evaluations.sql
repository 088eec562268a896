-- Every figure of an evaluation.

CREATE TABLE evaluation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id integer NOT NULL REFERENCES space,
    inverter_id integer NOT NULL REFERENCES inverter,
    corpus_revision text NOT NULL CHECK (corpus_revision <> ''),
    measured_on text CHECK (measured_on <> ''),
    seed bigint NOT NULL,
    flow_run_id text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX evaluation_space ON evaluation (space_id, id);

CREATE TABLE evaluation_figure (
    evaluation_id bigint NOT NULL REFERENCES evaluation,
    name text NOT NULL CHECK (name <> ''),
    kind text NOT NULL CHECK (kind IN ('model', 'baseline', 'floor', 'ceiling', 'gate', 'run')),
    training_run_id bigint REFERENCES training_run,
    metric text NOT NULL CHECK (metric <> ''),
    value double precision NOT NULL CHECK (value > '-Infinity' AND value < 'Infinity'), -- NaN is above all
    low double precision,
    high double precision,
    n bigint,
    PRIMARY KEY (evaluation_id, name, metric),
    CHECK ((kind = 'model') = (training_run_id IS NOT NULL))
);

CREATE FUNCTION stamp_evaluation() {TRIGGER} AS $$
BEGIN
    NEW.created_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER evaluation_stamped BEFORE INSERT ON evaluation FOR EACH ROW EXECUTE FUNCTION stamp_evaluation();

-- Figures come in the transaction of their evaluation, which has its time: nobody adds one later.
CREATE FUNCTION require_evaluation() {TRIGGER} AS $$
DECLARE
    bad record;
BEGIN
    SELECT f.evaluation_id, f.name INTO bad
    FROM changed f JOIN ONLY evaluation e ON e.id = f.evaluation_id
        LEFT JOIN ONLY training_run t ON t.id = f.training_run_id LEFT JOIN ONLY sequence_set q ON q.id = t.sequence_set_id
    WHERE e.created_at <> now() OR (f.training_run_id IS NOT NULL
        AND (t.status IS DISTINCT FROM 'finished' OR q.space_id IS DISTINCT FROM e.space_id))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'evaluation_figure refused: % of evaluation % is no model of a finished run of its space, or comes after the evaluation was recorded',
            bad.name, bad.evaluation_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER evaluation_figure_in AFTER INSERT ON evaluation_figure REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION require_evaluation();

CREATE TRIGGER evaluation_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON evaluation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('run `lvm evaluate` for a new one, `lvm clear` to empty all');
CREATE TRIGGER evaluation_figure_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON evaluation_figure
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('run `lvm evaluate` for a new one, `lvm clear` to empty all');
