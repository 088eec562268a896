"""The tables, as SQLAlchemy maps them. Private to the store: its methods return the dataclasses of ``records``.

The triggers that guard the tables are in ``migrations/``.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    Select,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from lvm.store.records import Gate, SequenceSetRecord, TrainingRun

Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])
Record = TypeVar("Record", Gate, SequenceSetRecord, TrainingRun)


class Base(DeclarativeBase):
    """Root of all tables."""


class SpaceRow(Base):
    """A space: recipe and fingerprint of its encoder, and the vectors of the probe sentences."""

    __tablename__ = "space"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    dim: Mapped[int] = mapped_column(Integer)
    fingerprint: Mapped[str] = mapped_column(Text)
    recipe: Mapped[dict[str, Any]] = mapped_column(JSONB)
    probes: Mapped[bytes] = mapped_column(LargeBinary)  # float32 (k, dim), row by row
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class DocumentRow(Base):
    """An ordered source text."""

    __tablename__ = "document"
    __table_args__ = (UniqueConstraint("source", "external_id"),)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(Text)
    chunk_count: Mapped[int] = mapped_column(Integer, server_default="0")  # kept by a trigger
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ChunkRow(Base):
    """A consecutive piece of a document."""

    __tablename__ = "chunk"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("document.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    token_count: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)


class EmbeddingRow(Base):
    """The unit vector of a chunk in a space, and its original norm."""

    __tablename__ = "embedding"
    space_id: Mapped[int] = mapped_column(ForeignKey("space.id"), primary_key=True)
    chunk_id: Mapped[int] = mapped_column(ForeignKey("chunk.id", ondelete="CASCADE"), primary_key=True)
    norm: Mapped[float] = mapped_column(Float(24))
    vector: Mapped[Any] = mapped_column(Vector())


class InverterRow(Base):
    """An inverter: its digest, the fingerprint of its encoder, and the sha256 of the documents it was trained on."""

    __tablename__ = "inverter"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(Text, unique=True)
    encoder: Mapped[str] = mapped_column(Text)
    trained_documents: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class GateRow(Base):
    """A gate's evidence, and the verdict that the database computed from its vectors.

    Only the database reads the columns ``sampled``, ``asked`` and ``returned``, so they are not mapped.
    """

    __tablename__ = "gate_result"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    gate: Mapped[str] = mapped_column(Text)
    space_id: Mapped[int] = mapped_column(ForeignKey("space.id"))
    corpus_revision: Mapped[str] = mapped_column(Text)
    inverter_id: Mapped[int | None] = mapped_column(ForeignKey("inverter.id"))  # None before migration 3
    value: Mapped[float] = mapped_column(Float(53))
    threshold: Mapped[float] = mapped_column(Float(53))
    passed: Mapped[bool] = mapped_column()
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    flow_run_id: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class SequenceSetRow(Base):
    """The record of a sequence set's file."""

    __tablename__ = "sequence_set"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    space_id: Mapped[int] = mapped_column(ForeignKey("space.id"))
    corpus_revision: Mapped[str] = mapped_column(Text)
    gate_result_id: Mapped[int] = mapped_column(ForeignKey("gate_result.id"))
    inverter_id: Mapped[int | None] = mapped_column(ForeignKey("inverter.id"))
    context_length: Mapped[int] = mapped_column(Integer)
    counts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    file: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class TrainingRunRow(Base):
    """The training of one model on a sequence set behind a passing gate."""

    __tablename__ = "training_run"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    architecture: Mapped[str] = mapped_column(Text)
    sequence_set_id: Mapped[int] = mapped_column(ForeignKey("sequence_set.id"))
    gate_result_id: Mapped[int] = mapped_column(ForeignKey("gate_result.id"))
    inverter_id: Mapped[int | None] = mapped_column(ForeignKey("inverter.id"))
    hyperparameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default="running")  # running | finished | interrupted | failed
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    checkpoint: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


def to_record(row: Base, kind: type[Record]) -> Record:
    """The row as a frozen dataclass whose fields have the names of the columns."""
    return kind(**{column.name: getattr(row, column.name) for column in fields(kind)})


def only(statement: Query) -> Query:
    """The same query without rows of tables that inherit from ours: our triggers do not guard those tables."""
    for table in (DocumentRow, ChunkRow, EmbeddingRow, GateRow, SequenceSetRow, TrainingRunRow):
        statement = statement.with_hint(table, "ONLY", "postgresql")
    return statement
