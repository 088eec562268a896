-- Rights of the roles, as migration 0003 grants them. The function that builds the index has a new signature.

DO $$
DECLARE
    known text := pg_get_functiondef('lvm.grant_roles()'::regprocedure);
BEGIN
    EXECUTE replace(known, 'build_search_index(integer, integer)', 'build_search_index(integer, integer, bigint)');
END $$;
SELECT grant_roles();
