-- Views for people.

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
