"""Postgres and pgvector: schema, bulk writing, bulk reading, search, gates, clearing."""

from lvm.store.migrate import SchemaUnusable
from lvm.store.server import InvalidDatabaseUrl, ServerUnavailable
from lvm.store.store import (
    BulkWriter,
    Busy,
    Candidate,
    ChunkingDiffers,
    DatabaseUnavailable,
    GateRecord,
    GateRequired,
    Hit,
    IngestedDocument,
    InvalidText,
    LockTimeout,
    NotConfirmed,
    NoVerdicts,
    Store,
    TrainingActive,
    VectorBatch,
    named_errors,
    open_store,
)
from lvm.store.tables import DocumentRow, GateRow, SequenceSetRow, SpaceRow, TrainingRunRow

__all__ = [
    "BulkWriter",
    "Busy",
    "Candidate",
    "ChunkingDiffers",
    "DatabaseUnavailable",
    "DocumentRow",
    "GateRecord",
    "GateRequired",
    "GateRow",
    "Hit",
    "IngestedDocument",
    "InvalidDatabaseUrl",
    "InvalidText",
    "LockTimeout",
    "NoVerdicts",
    "NotConfirmed",
    "SchemaUnusable",
    "SequenceSetRow",
    "ServerUnavailable",
    "SpaceRow",
    "Store",
    "TrainingActive",
    "TrainingRunRow",
    "VectorBatch",
    "named_errors",
    "open_store",
]
