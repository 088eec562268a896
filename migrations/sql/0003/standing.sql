-- The rows of these tables never change; the function is that of migration 0001 with another path.

CREATE OR REPLACE FUNCTION refuse_change() {TRIGGER} AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: its rows never change; %', TG_OP, TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE FUNCTION refuse_space_change() {TRIGGER} AS $$
BEGIN
    RAISE EXCEPTION 'space % never changes: its vectors were made by this very encoder', OLD.name
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER inverter_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON inverter
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER space_no_delete BEFORE DELETE OR TRUNCATE ON space
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER document_no_truncate BEFORE TRUNCATE ON document
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER sequence_set_no_delete BEFORE DELETE OR TRUNCATE ON sequence_set
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');
CREATE TRIGGER training_run_no_delete BEFORE DELETE OR TRUNCATE ON training_run
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('`lvm clear` empties everything together');

-- Who may execute a trigger function may attach it to a table of their own, and what it does there is the owner's right.
DO $$
DECLARE
    rule record;
BEGIN
    FOR rule IN SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'lvm'::regnamespace AND p.prorettype = 'trigger'::regtype LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', rule.name);
    END LOOP;
    FOR rule IN SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'lvm'::regnamespace AND NOT t.tgisinternal LOOP
        EXECUTE format('ALTER TABLE lvm.%I ENABLE ALWAYS TRIGGER %I', rule.relname, rule.tgname);
    END LOOP;
END $$;
