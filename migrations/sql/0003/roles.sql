-- Roles belong to the whole server: another database may have made them already, or this user may not make any.

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
