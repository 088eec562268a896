-- What verdicts, sequence sets and runs are about: an inverter too.
-- Verdicts of before name none: they are about revisions that said less, so none of them is current.

CREATE TABLE inverter (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 text NOT NULL UNIQUE CHECK (sha256 <> ''),
    encoder text NOT NULL,
    trained_documents text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE gate_result ADD COLUMN inverter_id integer REFERENCES inverter;
ALTER TABLE gate_result ADD COLUMN sampled bigint[];
ALTER TABLE gate_result ADD COLUMN asked @.vector[];
ALTER TABLE gate_result ADD COLUMN returned @.vector[];
ALTER TABLE sequence_set ADD COLUMN inverter_id integer REFERENCES inverter;
ALTER TABLE training_run ADD COLUMN inverter_id integer REFERENCES inverter;
CREATE INDEX gate_result_about ON gate_result (space_id, corpus_revision, inverter_id, gate, id);
