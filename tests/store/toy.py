"""Documents of random vectors, and gate records whose re-encoded vectors lie at a wanted cosine to the stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lvm.corpus.documents import Document, DocumentInfo
from lvm.encoding.vectors import Vectors
from lvm.store import Gate, GateMeasurement, IngestedDocument, Store

DIM = 256  # random vectors of many dimensions are nearly orthogonal: a decoded one is nearest to its own
FINGERPRINT, INVERTER = "f" * 16, "1" * 64


def document(external_id: str, text: str = "text", source: str = "test", **values: Any) -> DocumentInfo:
    return Document(**{"source": source, "external_id": external_id, "title": "A title", "text": text, **values}).info


def unit_rows(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ingested(
    name: str, chunks: int, seed: int = 0, body: str | None = None, dim: int = DIM, fingerprint: str = FINGERPRINT
) -> IngestedDocument:
    texts = [f"{name} chunk {i}" for i in range(chunks)]
    norms = np.linspace(1, 2, chunks).astype(np.float32)
    vectors = Vectors(fingerprint, unit_rows(chunks, dim, seed), norms)
    return IngestedDocument(document(name, body or name), texts, [3] * chunks, vectors)


def register(store: Store, name: str = "toy", dim: int = DIM, fingerprint: str = FINGERPRINT) -> int:
    return store.register_space(name, dim, fingerprint, {"weights": "none"}, unit_rows(3, dim, seed=99))


def set_gate_size(store: Store, chunks: int) -> None:
    """How many chunks a gate of this database measures; the owner of the tables may say so."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION lvm.gate_size() RETURNS integer LANGUAGE sql STABLE AS 'SELECT {int(chunks)}'"
        )


def fill(store: Store, space: int, documents: int = 5, chunks: int = 6) -> list[int]:
    with store.writer(space) as writer:
        writer.write_documents([ingested(f"doc{i}", chunks, seed=i) for i in range(documents)])
    return [int(i) for batch in store.read_vectors(space) for i in batch.chunk_ids]


def at_cosine(unit: np.ndarray, cosine: float, seed: int = 7) -> np.ndarray:
    """(n, dim) unit rows at exactly this cosine to the rows of ``unit``."""
    aside = unit_rows(len(unit), unit.shape[1], seed).astype(np.float64)
    aside -= np.einsum("nd,nd->n", aside, unit)[:, None] * unit
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return (cosine * unit + np.sqrt(max(0.0, 1 - cosine**2)) * aside).astype(np.float32)


def measured(
    store: Store,
    space: int,
    cosine: float = 0.8,
    missed: int = 0,
    *,
    inverter: str = INVERTER,
    encoder: str = FINGERPRINT,
    trained: Sequence[str] = (),
    **changes: Any,
) -> GateMeasurement:
    """What an honest client hands in: re-encoded vectors of the sample that the database draws.

    Args:
        cosine: of each re-encoded vector to the stored one.
        missed: how many of them are at 0.5 instead, and nearer to another chunk's.
    """
    inverter_id = store.register_inverter(inverter, encoder, trained)
    ids = [each.chunk_id for each in store.gate_sample(space, inverter_id)]
    stored = store.vectors(space, ids)
    returned = at_cosine(stored.unit, cosine)
    if missed:
        others = np.roll(stored.unit, 1, axis=0)[:missed]
        aside = others - np.einsum("nd,nd->n", others, stored.unit[:missed])[:, None] * stored.unit[:missed]
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        near = 0.5  # to the own one; the other is nearer
        returned[:missed] = near * stored.unit[:missed] + np.sqrt(1 - near**2) * aside
    values = {
        "gate": "roundtrip",
        "space_id": space,
        "corpus_revision": store.corpus_revision(space),
        "inverter_id": inverter_id,
        "returned": Vectors(stored.fingerprint, returned, np.ones(len(returned), np.float32)),
        "sampled": ids,
    }
    return GateMeasurement(**{**values, **changes})


def gate(store: Store, space: int, cosine: float = 0.8, **asked: Any) -> Gate:
    """The verdict about such a measurement."""
    return store.record_gate(measured(store, space, cosine, **asked))


def sequence_set(store: Store, verdict: Gate, sha256: str = "a" * 64, inverter: str = INVERTER) -> int:
    number = store.inverter_id(inverter)
    assert number is not None
    return store.record_sequence_set(verdict, number, 5, {"train": 3}, "sequences/x", sha256)


def start(store: Store, sequences: int, verdict: Gate, **hyperparameters: Any) -> int:
    number = store.inverter_id(INVERTER)
    assert number is not None
    return store.start_training_run("gru", sequences, verdict, number, hyperparameters)
