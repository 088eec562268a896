-- Triggers of documents, chunks and vectors: they hash what is stored and tell the revision of it.

-- Deleting a document or chunk takes what hangs on it, by triggers: in bulk, and under session_replication_role = replica.
ALTER TABLE chunk DROP CONSTRAINT chunk_document_id_fkey;
ALTER TABLE chunk ADD CONSTRAINT chunk_document_id_fkey FOREIGN KEY (document_id) REFERENCES document
    DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE embedding DROP CONSTRAINT embedding_chunk_id_fkey;
ALTER TABLE embedding ADD CONSTRAINT embedding_chunk_id_fkey FOREIGN KEY (chunk_id) REFERENCES chunk
    DEFERRABLE INITIALLY DEFERRED;

DROP TRIGGER chunk_counted_in ON chunk;
DROP TRIGGER chunk_counted_out ON chunk;
DROP FUNCTION count_chunks_in();
DROP FUNCTION count_chunks_out();

CREATE FUNCTION keep_document() {INDEXED} AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.id, NEW.source, NEW.external_id, NEW.sha256)
        IS DISTINCT FROM (OLD.id, OLD.source, OLD.external_id, OLD.sha256) THEN
        RAISE EXCEPTION 'UPDATE of document refused: its key and hash never change; ingest the changed document again'
            USING ERRCODE = 'restrict_violation';
    END IF;
    NEW.chunk_count := (SELECT count(*) FROM ONLY chunk WHERE document_id = NEW.id); -- whatever the statement says
    RETURN NEW;
END $$;
CREATE TRIGGER document_kept BEFORE INSERT OR UPDATE ON document FOR EACH ROW EXECUTE FUNCTION keep_document();

CREATE FUNCTION document_in() {INDEXED} AS $$
BEGIN
    {ADD_DOCUMENTS};
    PERFORM merge_changes();
    RETURN NULL;
END $$;
CREATE TRIGGER document_in AFTER INSERT ON document REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION document_in();

CREATE FUNCTION document_out() {INDEXED} AS $$
BEGIN
    PERFORM require_fresh_snapshot('DELETE of document');
    {TAKE_DOCUMENTS};
    PERFORM merge_changes();
    DELETE FROM ONLY chunk WHERE document_id = ANY (ARRAY(SELECT id FROM changed));
    RETURN NULL;
END $$;
CREATE TRIGGER document_out AFTER DELETE ON document REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION document_out();

-- The lock keeps the document, whose key is hashed, until this transaction ends.
ALTER TABLE chunk ADD COLUMN item bytea;
CREATE FUNCTION chunk_hashed() {INDEXED} AS $$
DECLARE
    d record;
BEGIN
    SELECT source, external_id INTO d FROM ONLY document WHERE id = NEW.document_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'INSERT of chunk refused: document % is not stored', NEW.document_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    NEW.item := {CHUNK_NEW};
    RETURN NEW;
END $$;
CREATE TRIGGER chunk_hashed BEFORE INSERT ON chunk FOR EACH ROW EXECUTE FUNCTION chunk_hashed();

CREATE FUNCTION chunk_in() {INDEXED} AS $$
BEGIN
    {ADD_CHUNKS};
    PERFORM merge_changes();
    UPDATE ONLY document SET chunk_count = 0 -- counted by keep_document
        WHERE id = ANY (ARRAY(SELECT DISTINCT document_id FROM changed));
    RETURN NULL;
END $$;
CREATE TRIGGER chunk_in AFTER INSERT ON chunk REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION chunk_in();

CREATE FUNCTION chunk_out() {INDEXED} AS $$
BEGIN
    PERFORM require_fresh_snapshot('DELETE of chunk');
    {TAKE_CHUNKS};
    PERFORM merge_changes();
    DELETE FROM ONLY embedding WHERE chunk_id = ANY (ARRAY(SELECT id FROM changed));
    UPDATE ONLY document SET chunk_count = 0 WHERE id = ANY (ARRAY(SELECT DISTINCT document_id FROM changed));
    RETURN NULL;
END $$;
CREATE TRIGGER chunk_out AFTER DELETE ON chunk REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION chunk_out();

ALTER TABLE embedding ADD COLUMN item bytea;
CREATE FUNCTION embedding_hashed() {INDEXED} AS $$
DECLARE
    c record;
    d record;
BEGIN
    SELECT document_id, position INTO c FROM ONLY chunk WHERE id = NEW.chunk_id FOR KEY SHARE;
    SELECT source, external_id INTO d FROM ONLY document WHERE id = c.document_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'INSERT of embedding refused: chunk % is not stored', NEW.chunk_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    NEW.item := {VECTOR_NEW};
    RETURN NEW;
END $$;
CREATE TRIGGER embedding_hashed BEFORE INSERT ON embedding FOR EACH ROW EXECUTE FUNCTION embedding_hashed();

CREATE FUNCTION embedding_in() {INDEXED} AS $$
DECLARE
    bad record;
BEGIN
    -- NaN and infinity are refused by the type itself; NOT BETWEEN catches zero vectors too.
    SELECT n.chunk_id, @.vector_dims(n.vector) AS dims, @.vector_norm(n.vector) AS length, s.name, s.dim INTO bad
    FROM changed n LEFT JOIN ONLY space s ON s.id = n.space_id
    WHERE s.id IS NULL OR @.vector_dims(n.vector) <> s.dim OR @.vector_norm(n.vector) NOT BETWEEN 0.999 AND 1.001
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'embedding of chunk % refused: dimension % and norm %; space % stores unit vectors of dimension %',
            bad.chunk_id, bad.dims, bad.length, bad.name, bad.dim USING ERRCODE = 'check_violation';
    END IF;
    {ADD_VECTORS};
    PERFORM merge_changes();
    RETURN NULL;
END $$;
DROP TRIGGER embedding_checked ON embedding;
DROP FUNCTION check_embeddings();
CREATE TRIGGER embedding_in AFTER INSERT ON embedding REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION embedding_in();

CREATE FUNCTION embedding_out() {INDEXED} AS $$
BEGIN
    {TAKE_VECTORS};
    PERFORM merge_changes();
    RETURN NULL;
END $$;
CREATE TRIGGER embedding_out AFTER DELETE ON embedding REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION embedding_out();

-- What is stored already.
ALTER TABLE chunk DISABLE TRIGGER chunk_immutable;
ALTER TABLE embedding DISABLE TRIGGER embedding_immutable;
UPDATE chunk c SET item = {CHUNK_C} FROM document d WHERE d.id = c.document_id;
UPDATE embedding e SET item = {VECTOR_E} FROM chunk c, document d WHERE c.id = e.chunk_id AND d.id = c.document_id;
UPDATE document SET chunk_count = 0; -- counted by keep_document
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE chunk ALTER COLUMN item SET NOT NULL, ENABLE TRIGGER chunk_immutable;
ALTER TABLE embedding ALTER COLUMN item SET NOT NULL, ENABLE TRIGGER embedding_immutable;
{ADD_ALL};

CREATE TRIGGER corpus_change_by_hand BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON corpus_change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_by_hand();
