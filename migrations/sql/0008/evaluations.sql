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
COMMENT ON TABLE evaluation IS 'One evaluation: models and baselines, measured on the same windows. Its figures are in evaluation_figure; lvm.evaluations shows both.';
COMMENT ON COLUMN evaluation.corpus_revision IS 'revision of the corpus that was measured on';
COMMENT ON COLUMN evaluation.measured_on IS 'source of another corpus that was measured on; NULL for the held-out documents of this one';
COMMENT ON COLUMN evaluation.seed IS 'seed of all random numbers';
COMMENT ON COLUMN evaluation.flow_run_id IS 'Prefect run that measured; NULL for none';

CREATE TABLE evaluation_figure (
    evaluation_id bigint NOT NULL REFERENCES evaluation,
    name text NOT NULL CHECK (name <> ''),
    kind text NOT NULL CHECK (kind IN ('model', 'baseline', 'floor', 'ceiling', 'gate', 'run')),
    training_run_id bigint REFERENCES training_run,
    metric text NOT NULL CHECK (metric <> ''),
    value double precision NOT NULL CHECK (value <> 'NaN'),
    low double precision,
    high double precision,
    n bigint,
    PRIMARY KEY (evaluation_id, name, metric),
    CHECK ((kind = 'model') = (training_run_id IS NOT NULL))
);
COMMENT ON TABLE evaluation_figure IS 'A figure of an evaluation. A figure that does not exist has no row.';
COMMENT ON COLUMN evaluation_figure.name IS 'the model or baseline; roundtrip for figures of the gate, run for those of the run';
COMMENT ON COLUMN evaluation_figure.kind IS 'model; baseline; floor: the best constant vector; ceiling: the true vector; gate; run';
COMMENT ON COLUMN evaluation_figure.training_run_id IS 'run that left the model; NULL for what is no model';
COMMENT ON COLUMN evaluation_figure.metric IS 'cosine, r10, text_nll, ...: its place in summary.json; docs/sql.md';
COMMENT ON COLUMN evaluation_figure.low IS 'lower end of the 95 % interval; NULL if there is none';
COMMENT ON COLUMN evaluation_figure.high IS 'upper end of the 95 % interval; NULL if there is none';
COMMENT ON COLUMN evaluation_figure.n IS 'windows or chunks that were measured; NULL if it counts nothing';

CREATE FUNCTION stamp_evaluation() {TRIGGER} AS $$
BEGIN
    NEW.created_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER evaluation_stamped BEFORE INSERT ON evaluation FOR EACH ROW EXECUTE FUNCTION stamp_evaluation();
COMMENT ON FUNCTION stamp_evaluation() IS 'The database dates evaluations.';

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
COMMENT ON FUNCTION require_evaluation() IS 'Refuses figures that come after their evaluation, and figures of models that no finished run of the space left.';

CREATE TRIGGER evaluation_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON evaluation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('run `lvm evaluate` for a new one, `lvm clear` to empty all');
CREATE TRIGGER evaluation_figure_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON evaluation_figure
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('run `lvm evaluate` for a new one, `lvm clear` to empty all');
