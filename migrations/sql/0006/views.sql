-- The space's id stands beside its name: the search index of a space is for queries that name the id.

CREATE OR REPLACE VIEW chunks AS
    SELECT c.id AS chunk_id, s.name AS space, d.source, d.external_id, d.title, d.metadata, d.id AS document_id,
        c.position, c.text, c.token_count, e.norm, e.vector, e.space_id
    FROM ONLY embedding e
    JOIN ONLY space s ON s.id = e.space_id
    JOIN ONLY chunk c ON c.id = e.chunk_id
    JOIN ONLY document d ON d.id = c.document_id;
