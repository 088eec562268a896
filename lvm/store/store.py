"""Documents, chunks, vectors, gates, sequence sets and training runs in Postgres: the one place with SQL in it.

Contract: it takes and gives NumPy arrays, strings and dataclasses, and knows neither models nor Prefect.
Vectors move by binary COPY in blocks of thousands. A document is stored whole or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg
from pgvector import Vector
from psycopg.types.json import Jsonb
from sqlalchemy import (
    ARRAY,
    URL,
    Connection,
    Engine,
    Select,
    Text,
    any_,
    create_engine,
    event,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from lvm.errors import LvmError, UsageError, first_line
from lvm.gates import PIPELINE_MIN_COSINE, PROBE_MIN_COSINE, ROUNDTRIP_MIN_COSINE
from lvm.settings import Settings
from lvm.spaces.vectors import InvalidVectors, SpaceMismatch, Vectors, require
from lvm.store import copying, server
from lvm.store.migrate import SCHEMA, migrate, upgrade
from lvm.store.tables import (
    ChunkRow,
    DocumentRow,
    EmbeddingRow,
    GateRow,
    InverterRow,
    SequenceSetRow,
    SpaceRow,
    TrainingRunRow,
)

log = logging.getLogger(__name__)

READ_ROWS = 16_384
"""Rows read at once: about 25 MB at 384 dimensions."""

INDEX_FROM = 10_000
"""Vectors from which a space gets a search index."""

CONNECT_SECONDS = 10
"""How long a database may take to answer."""

LOCK_SECONDS = 60
"""How long to wait for a lock that another session holds."""

Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])

_TRAINING_LOCK = 0x6C766D  # first key of the advisory lock that a running training holds


class DatabaseUnavailable(LvmError):
    """The database cannot be reached."""


class LockTimeout(LvmError):
    """Another session held a lock for too long."""


class InvalidText(LvmError):
    """Text that Postgres cannot store."""


class ChunkingDiffers(LvmError):
    """A document is stored with other chunks than those handed in."""


class GateRequired(LvmError):
    """The database refused: no passing gate of this space and corpus revision."""


class NoVerdicts(LvmError):
    """The database user may not write verdicts."""


class Busy(LvmError):
    """Another process is doing the same thing."""


class NotAllowed(UsageError):
    """Only the owner of the tables may do this."""


class NotConfirmed(UsageError):
    """Destroying data needs the database's name typed out."""


class TrainingActive(LvmError):
    """A training run is active, so its data stays."""


class DocumentLike(Protocol):
    """What the store asks of a document (``lvm.corpus.documents.Document``)."""

    @property
    def source(self) -> str: ...
    @property
    def external_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class IngestedDocument:
    """A document with its chunks and their vectors, ready to be stored.

    Attributes:
        document: where it comes from.
        chunk_texts, token_counts: its n chunks in order.
        vectors: theirs, of the space that they are written into.
    """

    document: DocumentLike
    chunk_texts: Sequence[str]
    token_counts: Sequence[int]
    vectors: Vectors


@dataclass(frozen=True)
class VectorBatch:
    """Consecutive rows of a space, ordered by document and position.

    Attributes:
        space: fingerprint of the space.
        document_ids, chunk_ids: (n,) int64; positions: (n,) int32.
        unit: (n, dim) float32; norms: (n,) float32.
    """

    space: str
    document_ids: npt.NDArray[np.int64]
    chunk_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32]
    unit: npt.NDArray[np.float32]
    norms: npt.NDArray[np.float32]


@dataclass(frozen=True)
class GateRecord:
    """What a gate measured. The database computes every figure of the verdict from the vectors.

    Attributes:
        gate: ``roundtrip`` or ``pipeline``.
        space_id, corpus_revision, inverter_id: what the verdict is about.
        returned: (n, dim) vectors of the decoded texts.
        sampled: of a roundtrip, the n chunks that were decoded: those of ``Store.gate_sample``.
        seen: those of them whose text the inverter was trained on.
        asked: of a pipeline, the (n, dim) predictions that were decoded.
        evidence: what else people should see; the database adds its figures.
        flow_run_id: the Prefect run that measured.
    """

    gate: str
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
class Hit:
    """A stored chunk found by its vector."""

    chunk_id: int
    text: str
    title: str
    position: int
    cosine: float


@dataclass(frozen=True)
class Candidate:
    """A stored chunk that a gate may sample."""

    chunk_id: int
    text: str


def connect(url: URL) -> Engine:
    """A pool of connections that never wait without end; the URL may set other limits."""
    # a host that swallows packets is given up on
    defaults = {"connect_timeout": CONNECT_SECONDS, "application_name": "lvm"}
    unset = {name: value for name, value in defaults.items() if name not in url.query}
    engine = create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=5, connect_args=unset)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.execute(f"SET search_path TO {SCHEMA}, public")
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false) WHERE current_setting('lock_timeout') = '0'",
            (f"{LOCK_SECONDS}s",),
        )
        connection.commit()

    return engine


def open_store(settings: Settings) -> Store:
    """Open the database, starting the embedded server and applying migrations as needed.

    Raises:
        DatabaseUnavailable, ServerUnavailable, InvalidDatabaseUrl, SchemaUnusable
    """
    url = server.database_url(settings)
    if settings.database_url is None:
        _create_database(url.set(database="postgres"), str(url.database))
    engine = connect(url)
    try:
        with named_errors(engine):
            migrate(engine)
        gatekeeper = server.gatekeeper_url(settings)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, connect(gatekeeper) if gatekeeper is not None else None)


_MEANINGS = {
    "28P01": "the password is wrong; put the right one into LVM_DATABASE_URL",
    "28000": "the user may not log in; check the user in LVM_DATABASE_URL",
    "3D000": "there is no such database; create it: CREATE DATABASE name",
    "53300": "it has no free connection; raise max_connections or the user's limit, or end other clients",
    "53100": "the server's disk is full; make room there and run the same command again",
    "25006": "it is read-only, perhaps a standby; name the primary in LVM_DATABASE_URL",
}
"""What Postgres' error codes mean for whoever runs this."""


@contextmanager
def named_errors(engine: Engine) -> Iterator[None]:
    """A database that cannot be reached, or went away, as a named error.

    Raises:
        DatabaseUnavailable: what was committed stays, and the same command goes on from there.
        LockTimeout: if another session held a lock for too long.
    """
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable(
            f"all connections of this process to database {engine.url.database!r} are in use; "
            "lower LVM_WORKERS, then run the same command again"
        ) from error
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "sqlstate", None) == "55P03":
            raise LockTimeout(
                f"another session holds a lock in database {engine.url.database!r}{_holders(engine)}; nothing that was "
                "stored is lost: run the same command again when it has ended, or let an administrator end it "
                "(SELECT pg_terminate_backend(PID))"
            ) from error
        code = getattr(cause, "sqlstate", None) or next((c for c, t in _SAID.items() if t in str(cause)), None)
        lost = isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError))
        if code not in _MEANINGS and not lost:
            raise
        meaning = _MEANINGS.get(code or "", "check LVM_DATABASE_URL and that the server is up")
        where = f"database {engine.url.database!r} on {engine.url.host or 'the local socket'}"
        raise DatabaseUnavailable(
            f"{where} cannot be used ({first_line(cause)}): {meaning}; nothing that was stored is lost"
        ) from error


def _holders(engine: Engine) -> str:
    """Who holds locks that others can wait for, as far as this role may see."""
    holders = text(
        "SELECT DISTINCT a.pid, a.usename, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.granted AND a.pid <> pg_backend_pid() AND a.datname = current_database() "
        "AND l.locktype <> 'virtualxid' AND l.mode <> 'AccessShareLock' ORDER BY a.pid LIMIT 4"
    )
    try:
        with engine.connect() as connection:
            found = [f"pid {pid}, user {user}, application {name!r}" for pid, user, name in connection.execute(holders)]
    except (DBAPIError, PoolTimeout):
        return ""
    return f" (locks are held by {'; '.join(found)})" if found else ""


_SAID = {  # while a connection is being made, libpq gives no code
    "53300": "too many c",
    "28P01": "password authentication failed",
    "28000": 'role "',
    "3D000": "does not exist",
}


def _create_database(url: Any, name: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            if connection.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}):
                return
            try:
                connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
                # for people in psql; the project sets it on its own connections
                connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET search_path TO {SCHEMA}, public')
            except DBAPIError:  # another process was faster
                if not connection.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}):
                    raise
    finally:
        engine.dispose()


@dataclass
class Store:
    """A database. Close it, or use it as a context manager."""

    engine: Engine
    gatekeeper: Engine | None = None
    _locks: dict[int, Connection] = field(default_factory=dict)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        for connection in self._locks.values():
            connection.close()
        self._locks.clear()
        self.engine.dispose()
        if self.gatekeeper is not None:
            self.gatekeeper.dispose()

    def _judge(self) -> Engine:
        """The connections that write verdicts: of a user of their own, where there is one."""
        return self.gatekeeper or self.engine

    @property
    def database_name(self) -> str:
        """Name of the database, to be typed out before it is cleared."""
        return str(self.engine.url.database)

    # -- spaces ---------------------------------------------------------------------------------------------

    def register_space(
        self, name: str, dim: int, fingerprint: str, recipe: dict[str, Any], probes: npt.NDArray[np.float32]
    ) -> int:
        """Id of a space; a new one is stored, a known one compared by its probe vectors.

        Args:
            probes: (k, dim) float32 unit vectors of the probe sentences.

        Raises:
            SpaceMismatch: if the encoder is not the one the space was registered with.
        """
        probes = np.ascontiguousarray(probes, dtype=np.float32)
        with Session(self.engine) as session, session.begin():
            session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('lvm space', 0))"))
            known = session.scalar(select(SpaceRow).where(SpaceRow.name == name))
            if known is None:
                row = SpaceRow(name=name, dim=dim, fingerprint=fingerprint, recipe=recipe, probes=probes.tobytes())
                session.add(row)
                session.flush()
                return row.id
            stored = np.frombuffer(known.probes, np.float32).reshape(-1, known.dim)
            if stored.shape != probes.shape:
                cosine = float("nan")
            else:
                cosine = float(np.einsum("kd,kd->k", stored, probes).min())
            # Probes are short: encoders that part at the token limit only are told apart by the fingerprint.
            if known.fingerprint != fingerprint or not cosine >= PROBE_MIN_COSINE:
                raise SpaceMismatch(
                    f"encoder {fingerprint} is not space {name!r} ({known.fingerprint}) of database "
                    f"{self.database_name!r}: probe sentences agree at cosine {cosine:.3f}; open the encoder the "
                    "space was made with, compare the two with `lvm diagnose`, or use another space name"
                )
            return known.id

    def space_id(self, name: str) -> int | None:
        """Id of a registered space."""
        with Session(self.engine) as session:
            return session.scalar(select(SpaceRow.id).where(SpaceRow.name == name))

    def spaces(self) -> dict[str, int]:
        """Ids of all registered spaces by name."""
        with Session(self.engine) as session:
            return {name: number for name, number in session.execute(select(SpaceRow.name, SpaceRow.id))}

    def register_inverter(self, sha256: str, encoder: str, trained_documents: Iterable[str]) -> int:
        """Id of an inverter; a new one is stored.

        Args:
            sha256: digest of the inverter.
            encoder: fingerprint of the encoder it was trained for.
            trained_documents: sha256 of the documents it was trained on; a gate never samples these.

        Raises:
            NoVerdicts: if this user may not write verdicts, which the inverter belongs to.
            SpaceMismatch: if it is registered with another encoder or other documents.
        """
        facts = (encoder, sorted(trained_documents))
        if (known := self._inverter(sha256, facts)) is not None:
            return known
        statement = text(
            "INSERT INTO inverter (sha256, encoder, trained_documents) VALUES (:sha256, :encoder, :documents) "
            "ON CONFLICT (sha256) DO NOTHING"
        )
        values = {"sha256": sha256, "encoder": facts[0], "documents": facts[1]}
        with _unless_denied(_no_verdicts), self._judge().begin() as connection:
            connection.execute(statement, values)
        known = self._inverter(sha256, facts)
        assert known is not None  # stored above, here or by another process
        return known

    def _inverter(self, sha256: str, facts: tuple[str, list[str]]) -> int | None:
        with Session(self.engine) as session:
            row = session.scalar(select(InverterRow).where(InverterRow.sha256 == sha256))
        if row is not None and (row.encoder, row.trained_documents) != facts:
            raise SpaceMismatch(
                f"inverter {sha256[:12]} is registered in database {self.database_name!r} with another encoder or "
                "other training documents than it has; clear the database, and see who may write verdicts"
            )
        return None if row is None else row.id

    def inverter_id(self, sha256: str) -> int | None:
        """Id of a registered inverter."""
        with Session(self.engine) as session:
            return session.scalar(select(InverterRow.id).where(InverterRow.sha256 == sha256))

    # -- writing --------------------------------------------------------------------------------------------

    def known_documents(self, space_id: int, external_ids: Sequence[str] | None = None) -> set[tuple[str, str, str]]:
        """(source, external id, sha256) of the documents that are complete in this space.

        Args:
            external_ids: ask about documents of these ids only.
        """
        embedded = select(ChunkRow.document_id).join(EmbeddingRow, EmbeddingRow.chunk_id == ChunkRow.id)
        statement = select(DocumentRow.source, DocumentRow.external_id, DocumentRow.sha256).where(
            DocumentRow.id.in_(embedded.where(EmbeddingRow.space_id == space_id, ChunkRow.position == 0))
        )
        if external_ids is not None:
            statement = statement.where(DocumentRow.external_id == any_(literal(list(external_ids), ARRAY(Text))))
        with Session(self.engine) as session:
            return {(a, b, c) for a, b, c in session.execute(_only(statement))}

    @contextmanager
    def writer(self, space_id: int) -> Iterator[BulkWriter]:
        """A writer of whole documents; each call of it is one transaction."""
        with self.engine.connect() as connection:
            statement = select(SpaceRow.name, SpaceRow.fingerprint, SpaceRow.dim).where(SpaceRow.id == space_id)
            name, fingerprint, dim = connection.execute(statement).one()
            connection.rollback()
            yield BulkWriter(connection, space_id, name, fingerprint, dim)

    # -- reading --------------------------------------------------------------------------------------------

    def corpus_revision(self, space_id: int) -> str:
        """Digest of all documents and chunks, and of a space's vectors and norms: equal content, equal revision."""
        with self.engine.connect() as connection:
            return str(connection.scalar(text("SELECT corpus_revision(:space)"), {"space": space_id}))

    def recomputed_revision(self, space_id: int) -> str:
        """The same, computed from every row instead of from what triggers kept."""
        with self.engine.connect() as connection:
            return str(connection.scalar(text("SELECT corpus_revision_recomputed(:space)"), {"space": space_id}))

    def counts(self, space_id: int) -> dict[str, int]:
        """Number of documents, chunks and embeddings of a space."""
        statement = (
            select(func.count(ChunkRow.document_id.distinct()), func.count())
            .select_from(EmbeddingRow)
            .join(ChunkRow, ChunkRow.id == EmbeddingRow.chunk_id)
            .where(EmbeddingRow.space_id == space_id)
        )
        with Session(self.engine) as session:
            documents, chunks = session.execute(_only(statement)).one()
        return {"documents": documents, "chunks": chunks, "embeddings": chunks}

    def documents(self, space_id: int) -> list[DocumentRow]:
        """Documents of a space, ordered by (source, external id)."""
        embedded = select(ChunkRow.document_id).join(EmbeddingRow, EmbeddingRow.chunk_id == ChunkRow.id)
        statement = (
            select(DocumentRow)
            .where(DocumentRow.id.in_(embedded.where(EmbeddingRow.space_id == space_id, ChunkRow.position == 0)))
            .order_by(DocumentRow.source.collate("C"), DocumentRow.external_id.collate("C"))
        )
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(_only(statement)))

    def read_vectors(self, space_id: int, document_ids: Sequence[int] | None = None) -> Iterator[VectorBatch]:
        """Vectors of a space in document order, then position; whole documents a batch, flat memory.

        Args:
            document_ids: only these, in the order of ``documents``; all unless given.
        """
        rows = self.documents(space_id)
        if document_ids is not None:
            wanted = set(document_ids)
            rows = [row for row in rows if row.id in wanted]
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, space_id)
            dim, fingerprint = space.dim, space.fingerprint
        dtype = copying.vector_dtype(dim)
        # Whole documents at a time need no sort on the server: a few thousand rows are put in order by NumPy.
        statement = (
            "COPY (SELECT c.document_id, c.id, c.position, e.norm, e.vector FROM ONLY chunk c "
            "JOIN ONLY embedding e ON e.chunk_id = c.id WHERE c.document_id = ANY(%s) AND e.space_id = %s) "
            "TO STDOUT (FORMAT binary)"
        )
        with self.engine.connect() as connection:
            cursor = connection.connection.cursor()
            for group in document_groups(rows, READ_ROWS):
                with cursor.copy(statement, ([row.id for row in group], space_id)) as copy:
                    data = b"".join(copy)
                table = copying.parse(data, dtype)
                place = {row.id: number for number, row in enumerate(group)}
                documents = table["document"].astype(np.int64)
                ranks = np.fromiter((place[i] for i in documents.tolist()), np.int64, len(documents))
                order = np.lexsort((table["position"], ranks))
                yield VectorBatch(
                    space=fingerprint,
                    document_ids=documents[order],
                    chunk_ids=table["chunk"].astype(np.int64)[order],
                    positions=table["position"].astype(np.int32)[order],
                    unit=np.ascontiguousarray(table["vector"][order], dtype=np.float32),
                    norms=table["norm"].astype(np.float32)[order],
                )

    def document_chunks(self, document_ids: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
        """(text, token count) of every chunk of these documents, in order."""
        statement = (
            select(ChunkRow.document_id, ChunkRow.text, ChunkRow.token_count)
            .where(ChunkRow.document_id.in_([int(i) for i in document_ids]))
            .order_by(ChunkRow.document_id, ChunkRow.position)
        )
        found: dict[int, list[tuple[str, int]]] = {}
        with Session(self.engine) as session:
            for document_id, chunk, tokens in session.execute(_only(statement)):
                found.setdefault(document_id, []).append((chunk, tokens))
        return found

    def chunk_texts(self, chunk_ids: Sequence[int]) -> list[str]:
        """Texts of chunks, in the order asked for."""
        ids = [int(i) for i in chunk_ids]
        with Session(self.engine) as session:
            rows = session.execute(_only(select(ChunkRow.id, ChunkRow.text).where(ChunkRow.id.in_(ids))))
            found = {chunk_id: text for chunk_id, text in rows}
        return [found[i] for i in ids]

    def chunk_ids(self, space_id: int) -> npt.NDArray[np.int64]:
        """(N,) ids of a space's chunks, in the order of ``read_vectors``."""
        statement = text(
            "SELECT c.id FROM ONLY chunk c JOIN ONLY document d ON d.id = c.document_id "
            "JOIN ONLY embedding e ON e.chunk_id = c.id AND e.space_id = :space "
            'ORDER BY d.source COLLATE "C", d.external_id COLLATE "C", c.position'
        )
        with self.engine.connect() as connection:
            return np.fromiter(connection.scalars(statement, {"space": space_id}), np.int64)

    def vectors(self, space_id: int, chunk_ids: Sequence[int]) -> Vectors:
        """Stored vectors of a few chunks, in the order asked for."""
        ids = [int(i) for i in chunk_ids]
        statement = select(EmbeddingRow.chunk_id, EmbeddingRow.norm, EmbeddingRow.vector).where(
            EmbeddingRow.space_id == space_id, EmbeddingRow.chunk_id.in_(ids)
        )
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, space_id)
            found = {row[0]: (row[1], row[2]) for row in session.execute(_only(statement))}
            unit = np.array([np.asarray(found[i][1]) for i in ids], np.float32).reshape(len(ids), space.dim)
            return Vectors(space.fingerprint, unit, np.array([found[i][0] for i in ids], np.float32))

    def gate_sample(self, space_id: int, inverter_id: int) -> list[Candidate]:
        """The chunks that a gate measures, in the order in which the database draws them: at most 500.

        The draw depends on the corpus revision and the inverter. It leaves out documents that the inverter was trained
        on, and texts that occurred before.
        """
        statement = text(
            "SELECT c.id, c.text FROM gate_sample(:space, :inverter) s JOIN ONLY chunk c ON c.id = s.chunk_id "
            "ORDER BY s.place"
        )
        with self.engine.connect() as connection:
            rows = connection.execute(statement, {"space": space_id, "inverter": inverter_id})
            return [Candidate(*row) for row in rows]

    def search(self, space_id: int, query: Vectors, k: int) -> list[Hit]:
        """The k chunks nearest to one vector by cosine, exactly.

        Raises:
            SpaceMismatch: if the vector is of another space.
            InvalidVectors: if it is a bare array, or not exactly one.
        """
        with Session(self.engine) as session:
            space = session.get_one(SpaceRow, space_id)
            require(query, space.name, space.fingerprint, space.dim)
        if len(query) != 1:
            raise InvalidVectors(f"{len(query)} vectors to search by; a search takes one")
        distance = EmbeddingRow.vector.cosine_distance(query.unit[0])
        statement = (
            select(ChunkRow.id, ChunkRow.text, DocumentRow.title, ChunkRow.position, 1 - distance)
            .join(EmbeddingRow, EmbeddingRow.chunk_id == ChunkRow.id)
            .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
            .where(EmbeddingRow.space_id == space_id)
            .order_by(distance)
            .limit(k)
        )
        with Session(self.engine) as session:
            return [Hit(*row) for row in session.execute(_only(statement))]

    def build_search_index(self, space_id: int) -> bool:
        """Build the HNSW index that ``lvm.search`` uses, if the space is large enough and has none.

        To be called after bulk loading: rows written later are added to the index one by one.

        Returns:
            whether one was built.
        """
        with self.engine.begin() as connection:
            build = text("SELECT build_search_index(:space, :at_least)")
            return bool(connection.scalar(build, {"space": space_id, "at_least": INDEX_FROM}))

    # -- gates, sequence sets, training runs ----------------------------------------------------------------

    def record_gate(self, record: GateRecord) -> GateRow:
        """Store what a gate measured; every figure in the answer is the database's own.

        What a flow run measured before it was interrupted, and measures again, is one row.

        Raises:
            GateRequired: if it is not about what is stored: another revision, or another sample than the database's.
            SpaceMismatch: if vectors are of another space.
            NoVerdicts: if this user may not write verdicts.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            space = session.get_one(SpaceRow, record.space_id)
            for vectors in (record.returned, record.asked):
                if vectors is not None and vectors.fingerprint != space.fingerprint:
                    raise SpaceMismatch(
                        f"evidence of space {vectors.fingerprint} was handed to a gate of {space.name!r} "
                        f"({space.fingerprint}); measure with the space itself"
                    )
            same = select(GateRow).where(
                GateRow.flow_run_id == record.flow_run_id,
                GateRow.gate == record.gate,
                GateRow.space_id == record.space_id,
                GateRow.corpus_revision == record.corpus_revision,
                GateRow.inverter_id == record.inverter_id,
                GateRow.evidence["model"].astext.is_not_distinct_from(record.evidence.get("model")),
            )
            known = session.scalar(same.limit(1)) if record.flow_run_id is not None else None
            if known is not None:
                return known
        floor = ROUNDTRIP_MIN_COSINE if record.gate == "roundtrip" else PIPELINE_MIN_COSINE
        insert = text(
            "INSERT INTO gate_result (gate, space_id, corpus_revision, inverter_id, value, threshold, passed, "
            "sampled, asked, returned, evidence, flow_run_id) "
            "VALUES (:gate, :space, :revision, :inverter, 0, :threshold, false, CAST(:sampled AS bigint[]), "
            "CAST(CAST(:asked AS text[]) AS vector[]), CAST(CAST(:returned AS text[]) AS vector[]), :evidence, :run) "
            "RETURNING id"
        )
        values = {
            "gate": record.gate,
            "space": record.space_id,
            "revision": record.corpus_revision,
            "inverter": record.inverter_id,
            "threshold": floor,
            "sampled": None if record.sampled is None else [int(i) for i in record.sampled],
            "asked": None if record.asked is None else _vector_texts(record.asked),
            "returned": _vector_texts(record.returned),
            "evidence": Jsonb({**record.evidence, "seen": [int(i) for i in record.seen]}),
            "run": record.flow_run_id,
        }
        with _gated(), _unless_denied(_no_verdicts), self._judge().begin() as connection:
            number = connection.scalar(insert, values)
        with Session(self.engine, expire_on_commit=False) as session:
            return session.get_one(GateRow, number)

    def latest_gate(self, space_id: int, gate: str = "roundtrip") -> GateRow | None:
        """The last verdict, passing or not, stale or not."""
        statement = select(GateRow).where(GateRow.space_id == space_id, GateRow.gate == gate)
        with Session(self.engine, expire_on_commit=False) as session:
            return session.scalar(_only(statement.order_by(GateRow.id.desc()).limit(1)))

    def verdict(self, space_id: int, corpus_revision: str | None, inverter_id: int | None) -> GateRow | None:
        """The last roundtrip verdict about this space, revision (any unless given) and inverter, passing or not."""
        statement = select(GateRow).where(
            GateRow.space_id == space_id, GateRow.gate == "roundtrip", GateRow.inverter_id == inverter_id
        )
        if corpus_revision is not None:
            statement = statement.where(GateRow.corpus_revision == corpus_revision)
        with Session(self.engine, expire_on_commit=False) as session:
            return session.scalar(_only(statement.order_by(GateRow.id.desc()).limit(1)))

    def record_sequence_set(
        self,
        gate: GateRow,
        inverter_id: int | None,
        context_length: int,
        counts: dict[str, Any],
        file: str,
        sha256: str,
    ) -> int:
        """Id of a sequence set; the same content behind the same gate is stored once.

        Args:
            gate: the verdict behind it; the set is of its space and corpus revision.
            inverter_id: the inverter that decodes this space now.

        Raises:
            GateRequired: if that gate did not pass, or is about another inverter or revision than the present ones.
        """
        with _gated(), Session(self.engine) as session, session.begin():
            known = self._sequence_set(session, sha256, gate)
            if known is not None:
                return known.id
            row = SequenceSetRow(
                space_id=gate.space_id,
                corpus_revision=gate.corpus_revision,
                gate_result_id=gate.id,
                inverter_id=inverter_id,
                context_length=context_length,
                counts=counts,
                file=file,
                sha256=sha256,
            )
            session.add(row)
            session.flush()
            number = row.id
        return number

    def sequence_set(self, sha256: str, gate: GateRow) -> SequenceSetRow | None:
        """The record of a file's content behind a verdict, or behind an earlier one about the same."""
        with Session(self.engine, expire_on_commit=False) as session:
            return self._sequence_set(session, sha256, gate)

    @staticmethod
    def _sequence_set(session: Session, sha256: str, gate: GateRow) -> SequenceSetRow | None:
        return session.scalar(
            select(SequenceSetRow)
            .where(
                SequenceSetRow.sha256 == sha256,
                SequenceSetRow.space_id == gate.space_id,
                SequenceSetRow.corpus_revision == gate.corpus_revision,
                SequenceSetRow.inverter_id == gate.inverter_id,
            )
            .order_by(SequenceSetRow.id.desc())
            .limit(1)
        )

    def start_training_run(
        self,
        architecture: str,
        sequence_set_id: int,
        gate: GateRow,
        inverter_id: int | None,
        hyperparameters: dict[str, Any],
    ) -> int:
        """Id of a training run that is now running; one that was interrupted goes on under its old id.

        It counts as active while this process lives: a session lock says so, and a crash drops it.

        Args:
            gate: the verdict behind it.
            inverter_id: the inverter that decodes this space now.

        Raises:
            GateRequired: if no passing gate of the current corpus revision and inverter stands behind it.
            Busy: if the same run is active in another process.
        """
        self.mark_interrupted()
        same = select(TrainingRunRow).where(
            TrainingRunRow.architecture == architecture,
            TrainingRunRow.sequence_set_id == sequence_set_id,
            TrainingRunRow.gate_result_id == gate.id,
            TrainingRunRow.hyperparameters == hyperparameters,
            TrainingRunRow.status != "finished",
        )
        lock: Connection | None = None
        try:
            with _gated(), Session(self.engine) as session, session.begin():
                session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('lvm training', 0))"))
                row = session.scalar(same.order_by(TrainingRunRow.id.desc()).limit(1))
                if row is None:
                    row = TrainingRunRow(
                        architecture=architecture,
                        sequence_set_id=sequence_set_id,
                        gate_result_id=gate.id,
                        inverter_id=inverter_id,
                        hyperparameters=hyperparameters,
                    )
                    session.add(row)
                    session.flush()
                number = row.id
                lock = self.engine.connect()
                taken = lock.scalar(text("SELECT pg_try_advisory_lock(:a, :b)"), {"a": _TRAINING_LOCK, "b": number})
                lock.commit()
                if not taken:
                    raise Busy(
                        f"training run {number} ({architecture}) is active in another process; wait for it to end"
                    )
                row.status = "running"
        except BaseException:  # the database may refuse at commit as well
            if lock is not None:
                with _or_gone():
                    lock.execute(text("SELECT pg_advisory_unlock_all()"))
                lock.close()
            raise
        self._locks[number] = lock
        return number

    def finish_training_run(self, run_id: int, metrics: dict[str, Any], checkpoint: str, sha256: str) -> None:
        """A run ended with this result; from now on its row never changes."""
        self._end_run(run_id, status="finished", metrics=metrics, checkpoint=checkpoint, sha256=sha256)

    def fail_training_run(self, run_id: int, interrupted: bool = False) -> None:
        """A run ended without a result; starting it again goes on from its checkpoint."""
        self._end_run(run_id, status="interrupted" if interrupted else "failed")

    def finished_run(self, checkpoint_sha256: str) -> TrainingRunRow | None:
        """The finished run that left a checkpoint of this content."""
        statement = select(TrainingRunRow).where(
            TrainingRunRow.sha256 == checkpoint_sha256, TrainingRunRow.status == "finished"
        )
        with Session(self.engine, expire_on_commit=False) as session:
            return session.scalar(statement.order_by(TrainingRunRow.id.desc()).limit(1))

    def _end_run(self, run_id: int, **values: Any) -> None:
        lock = self._locks.pop(run_id, None)
        try:
            with self.engine.begin() as connection:
                connection.execute(
                    update(TrainingRunRow).where(TrainingRunRow.id == run_id).values(finished_at=func.now(), **values)
                )
        finally:
            if lock is not None:
                with _or_gone():
                    lock.execute(text("SELECT pg_advisory_unlock_all()"))
                lock.close()

    def mark_interrupted(self) -> None:
        """Runs whose process is gone are interrupted, not running."""
        active = text(  # of this database, by users who may train: whoever else holds such a lock keeps no run alive
            "SELECT l.objid::bigint FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.locktype = 'advisory' AND l.classid = :key AND l.objsubid = 2 "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND has_any_column_privilege(a.usesysid, 'training_run', 'INSERT')"
        )
        with self.engine.begin() as connection:
            alive = set(connection.scalars(active, {"key": _TRAINING_LOCK}))
            connection.execute(
                update(TrainingRunRow)
                .where(TrainingRunRow.status == "running", TrainingRunRow.id.not_in(alive))
                .values(status="interrupted")
            )

    def active_training_runs(self) -> list[TrainingRunRow]:
        """Runs that a living process is working on."""
        self.mark_interrupted()
        return self._runs(TrainingRunRow.status == "running")

    def training_runs(self, sequence_set_id: int | None = None) -> list[TrainingRunRow]:
        """All runs, or those on one sequence set, oldest first."""
        return (
            self._runs() if sequence_set_id is None else self._runs(TrainingRunRow.sequence_set_id == sequence_set_id)
        )

    def _runs(self, *conditions: Any) -> list[TrainingRunRow]:
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(select(TrainingRunRow).where(*conditions).order_by(TrainingRunRow.id)))

    # -- locks and clearing ---------------------------------------------------------------------------------

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Only one process at a time does what ``name`` says; it is free again when that process ends, however.

        Raises:
            Busy: if another one is at it.
        """
        with self.engine.connect() as connection:
            key = {"name": f"lvm lock {name}"}
            if not connection.scalar(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), key):
                raise Busy(
                    f"another process is doing {name!r} on database {self.database_name!r}{_holders(self.engine)}; "
                    "wait for it to end, then run this again"
                )
            connection.commit()
            try:
                yield
            finally:
                with _or_gone():
                    connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), key)
                    connection.commit()

    def contents(self) -> dict[str, int]:
        """Rows in each table: what ``clear`` would take."""
        with self.engine.connect() as connection:
            return {
                table: connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0  # noqa: S608  names from below
                for table in (
                    "space",
                    "document",
                    "chunk",
                    "embedding",
                    "inverter",
                    "gate_result",
                    "sequence_set",
                    "training_run",
                )
            }

    def clear(self, confirm: str) -> dict[str, int]:
        """Empty the database, and say what went.

        Args:
            confirm: the database's name.

        Raises:
            NotConfirmed: if the name is another.
            TrainingActive: while a training run is active.
            NotAllowed: if this user does not own the tables.
        """
        if confirm != self.database_name:
            raise NotConfirmed(
                f"this would empty database {self.database_name!r}; nothing was touched, "
                f"type its name to do it: --confirm {self.database_name}"
            )
        active = self.active_training_runs()
        if active:
            names = ", ".join(f"{run.id} ({run.architecture})" for run in active)
            raise TrainingActive(f"training run {names} is active; nothing was touched, wait for it or stop it first")
        gone = self.contents()
        with _unless_denied(partial(_not_owner, self)), self.engine.begin() as connection:
            # Single rows of a gate cannot be deleted, not even from here: the whole schema goes and is made anew.
            connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            upgrade(connection)
        return gone


class BulkWriter:
    """Writes whole documents into one space, a transaction a call."""

    def __init__(self, connection: Connection, space_id: int, name: str, fingerprint: str, dim: int) -> None:
        self._connection, self.space_id, self.dim = connection, space_id, dim
        self.space_name, self.fingerprint = name, fingerprint

    def write_documents(self, documents: Sequence[IngestedDocument]) -> int:
        """Store documents with their chunks and vectors, all of them or none.

        A document that is stored already with the same text is left alone; with another text it is replaced.

        Returns:
            Number of chunks written.

        Raises:
            InvalidText: for NUL bytes or lone surrogates.
            SpaceMismatch: for vectors of another space.
            InvalidVectors: for bare arrays, and NaN, infinite, zero or wrongly shaped vectors.
            ChunkingDiffers: if the document is stored with other chunks, from another space's token limit.
        """
        for item in documents:
            require(item.vectors, self.space_name, self.fingerprint, self.dim)
            _check(item)
        try:
            with self._connection.begin():
                return self._write(documents)
        except psycopg.errors.CheckViolation as error:
            raise InvalidVectors(first_line(error)) from error

    def _write(self, documents: Sequence[IngestedDocument]) -> int:
        connection = self._connection
        cursor = connection.connection.cursor()
        keys = [(item.document.source, item.document.external_id) for item in documents]
        cursor.execute(
            "SELECT d.source, d.external_id, d.id, d.sha256, EXISTS (SELECT FROM chunk c JOIN embedding e "
            "ON e.chunk_id = c.id WHERE c.document_id = d.id AND c.position = 0 AND e.space_id = %s) FROM document d "
            "JOIN unnest(%s::text[], %s::text[]) AS k(source, external_id) USING (source, external_id) FOR UPDATE OF d",
            (self.space_id, [source for source, _ in keys], [external for _, external in keys]),
        )
        stored = {(row[0], row[1]): (row[2], row[3], row[4]) for row in cursor.fetchall()}
        new: list[IngestedDocument] = []
        embed_only: list[tuple[int, IngestedDocument]] = []
        outdated: list[int] = []
        for item, key in zip(documents, keys, strict=True):
            known = stored.get(key)
            if known is None:
                new.append(item)
            elif known[1] != item.document.sha256:
                outdated.append(known[0])
                new.append(item)
            elif not known[2]:
                embed_only.append((known[0], item))
        if outdated:
            cursor.execute("DELETE FROM document WHERE id = ANY(%s)", (outdated,))
        written = self._write_new(cursor, new) if new else 0
        for document_id, item in embed_only:
            cursor.execute("SELECT id, text FROM chunk WHERE document_id = %s ORDER BY position", (document_id,))
            rows = cursor.fetchall()
            if [row[1] for row in rows] != list(item.chunk_texts):
                raise ChunkingDiffers(
                    f"document {item.document.external_id!r} is stored with other chunks than this space makes; "
                    "use a database for each chunking"
                )
            vectors = item.vectors
            self._copy_embeddings(cursor, np.array([row[0] for row in rows], np.int64), vectors.norms, vectors.unit)
            written += len(rows)
        return written

    def _write_new(self, cursor: Any, documents: Sequence[IngestedDocument]) -> int:
        document_ids = _next_ids(cursor, "document", len(documents))
        with cursor.copy("COPY document (id, source, external_id, title, sha256, metadata) FROM STDIN") as copy:
            for number, item in zip(document_ids.tolist(), documents, strict=True):
                about = item.document
                copy.write_row(
                    (number, about.source, about.external_id, about.title, about.sha256, Jsonb(about.metadata))
                )
        sizes = np.array([len(item.chunk_texts) for item in documents])
        chunk_ids = _next_ids(cursor, "chunk", int(sizes.sum()))
        positions = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        tokens = np.concatenate([np.asarray(item.token_counts, np.int32) for item in documents])
        texts = [chunk for item in documents for chunk in item.chunk_texts]
        with cursor.copy(
            "COPY chunk (id, document_id, position, token_count, text) FROM STDIN (FORMAT binary)"
        ) as copy:
            copy.write(copying.chunk_rows(chunk_ids, np.repeat(document_ids, sizes), positions, tokens, texts))
        norms = np.concatenate([item.vectors.norms for item in documents])
        unit = np.concatenate([item.vectors.unit for item in documents])
        self._copy_embeddings(cursor, chunk_ids, norms, unit)
        return len(chunk_ids)

    def _copy_embeddings(
        self,
        cursor: Any,
        chunk_ids: npt.NDArray[np.int64],
        norms: npt.NDArray[np.float32],
        unit: npt.NDArray[np.float32],
    ) -> None:
        with cursor.copy("COPY embedding (space_id, chunk_id, norm, vector) FROM STDIN (FORMAT binary)") as copy:
            copy.write(copying.embedding_rows(self.space_id, chunk_ids, norms, unit))


def _next_ids(cursor: Any, table: str, count: int) -> npt.NDArray[np.int64]:
    """Reserve ids of a table, all at once."""
    cursor.execute(
        "SELECT array_agg(nextval(pg_get_serial_sequence(%s, 'id'))) FROM generate_series(1, %s)",
        (f"{SCHEMA}.{table}", count),
    )
    return np.array(cursor.fetchone()[0], dtype=np.int64)


def _check(item: IngestedDocument) -> None:
    about, count, vectors = item.document, len(item.chunk_texts), item.vectors
    if count == 0 or len(item.token_counts) != count or len(vectors) != count:
        raise InvalidVectors(
            f"document {about.external_id!r}: {count} chunks, {len(item.token_counts)} token counts, "
            f"{len(vectors)} vectors; they must be as many, and at least one"
        )
    for value in (about.source, about.external_id, about.title, *item.chunk_texts):
        if "\0" in value:
            raise InvalidText(f"document {about.external_id!r} has a NUL byte, which Postgres cannot store; remove it")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidText(
                f"document {about.external_id!r} is not valid Unicode ({error.reason}); save it as UTF-8"
            ) from error
    if not (np.isfinite(vectors.unit).all() and np.isfinite(vectors.norms).all() and (vectors.norms > 0).all()):
        raise InvalidVectors(
            f"document {about.external_id!r} has NaN, infinite or zero vectors; nothing of it was stored, "
            "check the encoder"
        )


def document_groups(rows: Sequence[DocumentRow], size: int) -> Iterator[list[DocumentRow]]:
    """Consecutive documents of about ``size`` chunks together."""
    group: list[DocumentRow] = []
    chunks = 0
    for row in rows:
        if group and chunks + row.chunk_count > size:
            yield group
            group, chunks = [], 0
        group.append(row)
        chunks += row.chunk_count
    if group:
        yield group


@contextmanager
def _or_gone() -> Iterator[None]:
    """Giving back a lock of a session that is gone: the server did it, and why it went is the error to be told."""
    try:
        yield
    except (DBAPIError, PendingRollbackError):
        log.debug("the session ended before its lock was given back", exc_info=True)


def _only(statement: Query) -> Query:
    """The same without rows of tables that inherit from ours, whose triggers do not watch them."""
    for table in (DocumentRow, ChunkRow, EmbeddingRow, GateRow, SequenceSetRow, TrainingRunRow):
        statement = statement.with_hint(table, "ONLY", "postgresql")
    return statement


def _vector_texts(vectors: Vectors) -> list[str]:
    """Unit vectors as pgvector writes them, each number in full."""
    return [Vector(row).to_text() for row in vectors.unit]


@contextmanager
def _unless_denied(denied: Callable[[str], LvmError]) -> Iterator[None]:
    """A lack of privilege, as the named error that ``denied`` makes of the server's message."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":  # insufficient privilege
            raise
        raise denied(first_line(error.orig)) from error


def _no_verdicts(reason: str) -> NoVerdicts:
    return NoVerdicts(
        f"this database user may not write verdicts ({reason}); nothing was stored, name a user in role "
        "lvm_gatekeeper in LVM_GATEKEEPER_URL"
    )


def _not_owner(store: Store, reason: str) -> NotAllowed:
    return NotAllowed(
        f"user {store.engine.url.username!r} does not own the tables of database {store.database_name!r} ({reason}); "
        "nothing was touched, name their owner in LVM_DATABASE_URL"
    )


@contextmanager
def _gated() -> Iterator[None]:
    """The database's refusal, as a named error."""
    try:
        yield
    except DBAPIError as error:
        reason = first_line(error.orig)
        if " refused: " in reason:
            raise GateRequired(reason) from error
        raise
