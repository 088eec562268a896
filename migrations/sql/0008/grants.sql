-- Rights of the roles, as migration 0003 grants them.

DO $$
DECLARE
    known text := pg_get_functiondef('lvm.grant_roles()'::regprocedure);
    before CONSTANT text := 'GRANT EXECUTE ON FUNCTION build_search_index';
    rule record;
BEGIN
    EXECUTE replace(known, before, 'GRANT INSERT (space_id, inverter_id, corpus_revision, measured_on, seed, flow_run_id)
                ON evaluation TO lvm_worker;
            GRANT INSERT ON evaluation_figure TO lvm_worker;
            GRANT INSERT (space_id, training_run_id, evaluation_id, replaces, restores, reason, flow_run_id)
                ON promotion TO lvm_worker;
            ' || before);
    FOR rule IN SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'lvm'::regnamespace
            AND p.proname IN ('stamp_evaluation', 'require_evaluation', 'require_promotable') LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', rule.name);
    END LOOP;
    FOR rule IN SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'lvm'::regnamespace AND NOT t.tgisinternal
            AND c.relname IN ('evaluation', 'evaluation_figure', 'promotion') LOOP
        EXECUTE format('ALTER TABLE lvm.%I ENABLE ALWAYS TRIGGER %I', rule.relname, rule.tgname);
    END LOOP;
END $$;
SELECT grant_roles();
