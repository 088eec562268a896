-- Views for people.

CREATE OR REPLACE VIEW training_runs AS
    WITH stored AS MATERIALIZED (SELECT id, name, corpus_revision(id) AS revision FROM space)
    SELECT t.id AS training_run_id, t.architecture, t.status, t.metrics, t.hyperparameters, t.checkpoint, t.sha256,
        t.gate_result_id AS gate_id, g.value AS gate_value, i.sha256 AS inverter,
        t.sequence_set_id, q.context_length, q.counts AS windows, q.file AS sequence_file, q.sha256 AS sequence_sha256,
        s.name AS space, q.corpus_revision,
        t.inverter_id IS NOT NULL AND q.corpus_revision = s.revision AND (
            SELECT v.passed FROM ONLY gate_result v WHERE v.gate = 'roundtrip' AND v.space_id = q.space_id
                AND v.corpus_revision = q.corpus_revision AND v.inverter_id = t.inverter_id ORDER BY v.id DESC LIMIT 1
        ) AS current,
        t.created_at, t.finished_at,
        t.status = 'finished' AND NOT EXISTS (
            SELECT FROM ONLY training_run o JOIN ONLY sequence_set p ON p.id = o.sequence_set_id
            WHERE o.architecture = t.architecture AND o.status = 'finished' AND p.space_id = q.space_id
                AND (o.finished_at, o.id) > (t.finished_at, t.id)
        ) AS latest,
        coalesce(t.sha256 = (
            SELECT c.sha256 FROM ONLY promotion p JOIN ONLY training_run c ON c.id = p.training_run_id
            WHERE p.space_id = q.space_id ORDER BY p.id DESC LIMIT 1
        ), false) AS champion
    FROM ONLY training_run t
    JOIN ONLY sequence_set q ON q.id = t.sequence_set_id
    JOIN ONLY gate_result g ON g.id = t.gate_result_id
    JOIN stored s ON s.id = q.space_id
    LEFT JOIN inverter i ON i.id = t.inverter_id;

CREATE VIEW evaluations AS
    SELECT e.id AS evaluation_id, s.name AS space, i.sha256 AS inverter, e.corpus_revision, e.measured_on, f.name AS model,
        t.sha256, f.training_run_id, f.kind, f.metric, f.value, f.low, f.high, f.n, e.created_at, e.flow_run_id
    FROM ONLY evaluation e
    JOIN ONLY evaluation_figure f ON f.evaluation_id = e.id
    JOIN ONLY space s ON s.id = e.space_id
    JOIN ONLY inverter i ON i.id = e.inverter_id
    LEFT JOIN ONLY training_run t ON t.id = f.training_run_id;

CREATE VIEW promotions AS
    SELECT p.id AS promotion_id, s.name AS space, t.architecture AS model, t.sha256, p.training_run_id, p.evaluation_id,
        p.gate_result_id AS gate_id, p.metric, p.value, p.champion_value, p.replaces, p.restores, p.reason,
        p.id = (SELECT max(o.id) FROM ONLY promotion o WHERE o.space_id = p.space_id) AS champion,
        p.promoted_by, p.created_at, p.flow_run_id
    FROM ONLY promotion p
    JOIN ONLY space s ON s.id = p.space_id
    JOIN ONLY training_run t ON t.id = p.training_run_id;
