"""Claim: what a run asks of the store grows in proportion to the corpus at most, and in flat memory.

Synthetic documents (``benchmarks.synthetic``: about 300 chunks, mixtures of real vectors) are written into a fresh
database of each size. Then every piece of work that a run does with the store is timed. Growth is the slope of log
seconds over log chunks, from the smallest size to the largest. Claimed are:

- growth of at most 1.1 for pieces that read or write everything,
- growth of at most 0.3 for pieces that look up a few rows, and of 0.5 for a search by index,
- at most 192 MB and 64 bytes a chunk of this process's memory for any piece but peers (a vector has 1,536 bytes),
- an epoch of training from disk in 2 GB, at the largest size at 0.9 or more of the speed of one from memory,
- recall@10 of the index, beside exact search, of 0.99 or more.

The index is built in n log n; its growth is printed and nothing is claimed. A small corpus fits into the caches of the
processor and of Postgres and a large one does not, which adds to growth; so does other work on the machine.

A piece is counted by its fastest run, of three or more if they are short. Memory is anonymous resident memory of this
process (psutil's rss - shared, sampled in a thread) above what it held before the piece. Pages of mapped files are not
counted, since the kernel can drop them. Nor is the server's memory. Peers are NumPy on the file of the sequence set:
reading its bytes, and a product with all its vectors.

A piece that takes longer than ``--patience`` seconds is reported and left out at larger sizes. The server stops a
statement after that time. The exit code is 1 if a claim does not hold.

    python -m benchmarks.scale [--chunks 10000 100000 1000000] [--patience 600]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import psycopg
import torch
from pgvector import Vector
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from benchmarks.common import DIM, FINGERPRINT, databases, register
from benchmarks.synthetic import LENGTHS, Synthetic, near, vectors_of_speeches
from lvm.models import build
from lvm.pipeline.ingest import GROUP_CHUNKS
from lvm.sequences import SequenceSet, extract, load
from lvm.spaces import Vectors
from lvm.store import GateMeasurement, IndexNotBuilt, Store
from lvm.training import TrainConfig
from lvm.training.data import TrainingData, batches, windows_of
from lvm.training.optimizer import groups_of, optimizer_of
from lvm.training.parallel import Replica
from lvm.training.trainer import train_epoch

EVERYTHING, LOOKUP, INDEX = 1.1, 0.3, 0.5  # growth that is claimed
MEGABYTES, EPOCH_MEGABYTES, BYTES_A_CHUNK = 192, 1900, 64  # memory that is claimed
CONTEXT, FEW, K, QUERIES, RECALL = 16, 500, 10, 100, 0.99
SHARD = 14  # documents of a shard of an ingestion
RUNS, SHORT, LONG = 3, 0.5, 20.0  # runs of a piece; more until they took so many seconds; no further one after so many
INVERTER = "1" * 64

T = TypeVar("T")


class LeftOut(Exception):
    """A piece needs what an earlier one did not finish."""


# -- the corpus --------------------------------------------------------------------------------------------------------


@dataclass
class Corpus:
    """A stored corpus, and what the pieces hand to each other."""

    store: Store
    space: int
    chunks: int
    folder: Path
    synthetic: Synthetic
    inverter: int
    indexed: bool = False
    recall: float = math.nan
    _ids: np.ndarray | None = None
    _sequences: SequenceSet | None = None
    _data: TrainingData | None = None

    @property
    def path(self) -> Path:
        return self.folder / "sequences.safetensors"

    @property
    def ids(self) -> np.ndarray:
        return present(self._ids)

    @property
    def sequences(self) -> SequenceSet:
        return present(self._sequences)

    @property
    def data(self) -> TrainingData:
        return present(self._data)

    def few(self) -> list[int]:
        chosen = np.random.default_rng(2).choice(self.ids, min(FEW, len(self.ids)), replace=False)
        return [int(each) for each in chosen]

    def queries(self, count: int) -> Vectors:
        """Vectors that are not stored, as the stored ones are."""
        return Vectors(FINGERPRINT, self.synthetic.queries(count), np.ones(count, np.float32))


def present(value: T | None) -> T:
    if value is None:
        raise LeftOut
    return value


# -- pieces of work -------------------------------------------------------------------------------------------------


def write(corpus: Corpus) -> float:
    """Groups of documents, as ingestion writes them. The time in which they are made is not counted."""
    documents, seconds = corpus.synthetic.documents(corpus.chunks), 0.0
    with corpus.store.writer(corpus.space) as writer:
        while group := list(islice(documents, GROUP_CHUNKS * 2 // sum(LENGTHS))):
            began = time.perf_counter()
            writer.write_documents(group)
            seconds += time.perf_counter() - began
    return seconds


def build_index(corpus: Corpus) -> None:
    """Also prints the number of its reports of progress, and the server's peak memory above that at the start."""
    reports: list[int] = []
    if not corpus.store.vectors_to_index(corpus.space):  # a small space has none
        raise LeftOut
    with corpus.store.engine.connect() as connection:
        backend = psutil.Process(connection.scalar(text("SELECT pg_backend_pid()")))
    with peak_megabytes(partial(server_memory, backend.parent()), pause=0.5) as megabytes:  # it reads all processes
        corpus.indexed = corpus.store.build_search_index(corpus.space, reports.append)
    print(f"  {len(reports)} reports of progress, {megabytes[0]:.0f} MB in the server", file=sys.stderr, flush=True)


def chunk_ids(corpus: Corpus) -> None:
    corpus._ids = corpus.store.chunk_ids(corpus.space)


def record_verdict(corpus: Corpus) -> None:
    """A verdict about the sample that the database draws. It draws it once more and judges."""
    store, space = corpus.store, corpus.space
    ids = [each.chunk_id for each in store.gate_sample(space, corpus.inverter)]
    stored = store.vectors(space, ids)
    unit = near(stored.unit, 0.3, np.random.default_rng(4))  # the database refuses the stored ones
    measured = Vectors(FINGERPRINT, unit, stored.norms)
    revision = store.corpus_revision(space)
    store.record_gate(GateMeasurement("roundtrip", space, revision, corpus.inverter, returned=measured, sampled=ids))


def shard_known(corpus: Corpus) -> None:
    names = [item.document.external_id for item in islice(corpus.synthetic.documents(corpus.chunks), SHARD)]
    corpus.store.known_documents(corpus.space, names)


def read_vectors(corpus: Corpus) -> None:
    count = sum(len(batch.unit) for batch in corpus.store.read_vectors(corpus.space))
    assert count == corpus.chunks, "vectors are missing"


def extract_set(corpus: Corpus) -> None:
    extract(
        corpus.path, corpus.store.read_vectors(corpus.space), corpus.store.documents(corpus.space),
        trained_documents=(), context=CONTEXT, dim=DIM, space_name="bench", space=FINGERPRINT, inverter=INVERTER,
        corpus_revision=corpus.store.corpus_revision(corpus.space),
    )  # fmt: skip


def open_set(corpus: Corpus) -> None:
    if not corpus.path.exists():
        raise LeftOut
    corpus._sequences = load(corpus.path)


def numpy_read(corpus: Corpus) -> None:
    """The bytes of the set, in blocks of 16 MB."""
    with corpus.sequences.path.open("rb") as file:
        while np.fromfile(file, np.float32, 4 << 20).size:
            pass


def hash_vectors(corpus: Corpus) -> None:
    corpus._data = TrainingData.on(corpus.sequences, torch.device("cpu"))


def read_epoch(data: TrainingData) -> float:
    """All steps of an epoch, without a model. Returns its seconds, and so does ``one_epoch``."""
    config, began = TrainConfig(), time.perf_counter()
    for _, begins, sizes in batches(data, config, 0, Replica()):
        _, rows, _ = windows_of(data, config, begins, sizes)
        data.vectors(rows)
    return time.perf_counter() - began


def one_epoch(data: TrainingData) -> float:
    """An epoch of a narrow GRU."""
    config, model = TrainConfig(head="point"), build("gru", DIM, CONTEXT, "point", hidden=16)
    optimizer, began = optimizer_of(groups_of(model, config), config), time.perf_counter()
    train_epoch(model, optimizer, data, config, 0)
    return time.perf_counter() - began


def in_memory(data: TrainingData) -> TrainingData:
    """The same data with a copy of the vectors in memory."""
    return replace(data, unit=data.unit.clone())


def search_exactly(corpus: Corpus) -> None:
    corpus.store.search(corpus.space, corpus.queries(1), K, exact=True)


def numpy_search(corpus: Corpus) -> None:
    """One vector against all of the set, in memory that does not grow with it."""
    query, unit = corpus.queries(1).unit[0], corpus.sequences.unit
    cosines = np.concatenate([unit[at : at + 16_384] @ query for at in range(0, len(unit), 16_384)])
    np.argpartition(-cosines, K)[:K]


def search_index(corpus: Corpus) -> float:
    """Median of the queries. Also sets ``recall``, beside exact search."""
    if not corpus.indexed:
        raise LeftOut
    queries = corpus.queries(QUERIES)
    statement = text("SELECT chunk_id FROM lvm.search(CAST(:query AS vector), :k, 'bench')")
    seconds, found = [], []
    with corpus.store.engine.connect() as connection:
        for row in queries.unit:
            began = time.perf_counter()
            found.append(set(connection.scalars(statement, {"query": Vector(row).to_text(), "k": K})))
            seconds.append(time.perf_counter() - began)
    shares = []
    for row in range(QUERIES):
        exact = corpus.store.search(corpus.space, queries[row : row + 1], K, exact=True)
        shares.append(len(found[row] & {hit.chunk_id for hit in exact}) / K)
    corpus.recall = statistics.mean(shares)
    return statistics.median(seconds)


def filtered(corpus: Corpus, key: str, value: str) -> float:
    """Median of the queries with a filter."""
    queries, seconds = corpus.queries(QUERIES), []
    for row in range(len(queries)):
        began = time.perf_counter()
        assert len(corpus.store.search(corpus.space, queries[row : row + 1], K, filter={key: value})) == K
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


@dataclass(frozen=True)
class Piece:
    """A piece of work.

    Attributes:
        run: does it. A float that it returns is its own seconds; otherwise the call is timed.
        growth: largest growth that is claimed; None for no claim.
        each: count the work in chunks a second.
        peer: name of the piece that it is compared with.
        share: smallest speed, as a share of the peer's, that is claimed; None for no claim.
        megabytes: memory that is claimed, besides some bytes a chunk.
        once: it cannot be repeated.
    """

    name: str
    run: Callable[[Corpus], object]
    growth: float | None
    each: bool = False
    peer: str | None = None
    share: float | None = None
    megabytes: int = MEGABYTES
    once: bool = False


PIECES = (  # in the order of a run
    Piece("write", write, EVERYTHING, each=True, once=True),
    Piece("vacuum", lambda c: c.store.vacuum(c.chunks), EVERYTHING, each=True, once=True),
    Piece("build the index", build_index, None, each=True, once=True),
    Piece("corpus revision", lambda c: c.store.corpus_revision(c.space), LOOKUP),
    Piece("counts", lambda c: c.store.counts(c.space), EVERYTHING),
    Piece("documents", lambda c: c.store.documents(c.space), EVERYTHING),
    Piece("known documents", lambda c: c.store.known_documents(c.space), EVERYTHING),
    Piece("... of one shard", shard_known, LOOKUP),
    Piece("chunk ids", chunk_ids, EVERYTHING),
    Piece("gate sample", lambda c: c.store.gate_sample(c.space, c.inverter), LOOKUP),
    Piece("sample and verdict", record_verdict, LOOKUP),
    Piece("500 vectors", lambda c: c.store.vectors(c.space, c.few()), LOOKUP),
    Piece("500 texts", lambda c: c.store.chunk_texts(c.few()), LOOKUP),
    Piece("500 token counts", lambda c: c.store.token_counts(c.few()), LOOKUP),
    Piece("read all vectors", read_vectors, EVERYTHING, each=True, peer="NumPy reads"),
    Piece("extract a set", extract_set, EVERYTHING, each=True),
    Piece("open a set", open_set, EVERYTHING, each=True, peer="NumPy reads"),
    Piece("NumPy reads", numpy_read, None, each=True),
    Piece("hashes of a training", hash_vectors, EVERYTHING, each=True),
    Piece("read an epoch", lambda c: read_epoch(c.data), EVERYTHING, each=True),
    Piece("train an epoch", lambda c: one_epoch(c.data), EVERYTHING, True, "... in memory", 0.9, EPOCH_MEGABYTES),
    Piece("... in memory", lambda c: one_epoch(in_memory(c.data)), None, each=True),
    Piece("exact search", search_exactly, EVERYTHING, peer="NumPy product"),
    Piece("NumPy product", numpy_search, None),
    Piece("search by index", search_index, INDEX, once=True),
    Piece("... in one document", lambda c: filtered(c, "document", "000000003"), INDEX, once=True),
    Piece(
        "... in one source", lambda c: filtered(c, "source", "bench"), None, once=True
    ),  # it has everything: sums all documents
)


# -- measuring ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Fastest run in seconds, infinite if it was stopped, and the most memory of all runs in MB."""

    seconds: float
    megabytes: float


def anonymous() -> int:
    """Resident bytes of this process that are not pages of files."""
    info = psutil.Process().memory_info()
    return int(info.rss - getattr(info, "shared", 0))


def server_memory(postmaster: psutil.Process) -> int:
    """Resident bytes of a server. What its processes share counts once."""
    infos = []
    for process in postmaster.children():
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            infos.append(process.memory_info())
    return sum(info.rss - info.shared for info in infos) + max(info.shared for info in infos)


@contextmanager
def peak_megabytes(taken: Callable[[], int] = anonymous, pause: float = 0.005) -> Iterator[list[float]]:
    """A list that gets the peak above the memory at the start. ``taken`` reads it in bytes, with pauses in seconds."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc: pages that earlier pieces left would hide what this one takes
        ctypes.CDLL(None).malloc_trim(0)
    start, done, result = taken(), threading.Event(), [0.0]

    def sample() -> None:
        while not done.wait(pause):
            result[0] = max(result[0], (taken() - start) / 1e6)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield result
    finally:
        done.set()
        thread.join()


def measure(piece: Piece, corpus: Corpus) -> Measured | None:
    """Run a piece. None if it had to be left out."""
    runs: list[float] = []

    def again() -> bool:
        if not runs or piece.once:
            return not runs
        return sum(runs) < (LONG if len(runs) < RUNS else SHORT)

    with peak_megabytes() as megabytes:
        try:
            while again():
                began = time.perf_counter()
                own = piece.run(corpus)
                runs.append(own if isinstance(own, float) else time.perf_counter() - began)
        except LeftOut:
            return None
        except IndexNotBuilt:
            runs = [math.inf]
        except (DBAPIError, psycopg.Error) as error:
            if not isinstance(getattr(error, "orig", error), psycopg.errors.QueryCanceled):
                raise
            runs = [math.inf]
    return Measured(min(runs), megabytes[0])


Results = dict[str, dict[int, Measured]]


def run_size(store: Store, folder: Path, chunks: int, real: np.ndarray, patience: int, results: Results) -> float:
    """Measure all pieces at one size; recall of the index. Progress goes to stderr."""
    corpus = Corpus(
        store, register(store), chunks, folder, Synthetic(real), store.register_inverter(INVERTER, FINGERPRINT, ())
    )
    for piece in PIECES:
        known = results[piece.name]
        if any(each.seconds > patience for each in known.values()):
            if piece.run is write:  # nothing is stored
                break
            continue
        measured = measure(piece, corpus)
        if measured is not None:
            known[chunks] = measured
            print(f"{chunks:>11,} {piece.name:21} {duration(measured.seconds)}", file=sys.stderr, flush=True)
    return corpus.recall


def growth(measured: dict[int, Measured]) -> float:
    """Slope of log seconds over log chunks, between the smallest and the largest size; NaN for one size."""
    if len(measured) < 2:
        return math.nan
    small, large = min(measured), max(measured)
    return math.log(measured[large].seconds / measured[small].seconds) / math.log(large / small)


# -- the table ------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    return "stopped" if math.isinf(seconds) else f"{seconds:.4f}" if seconds < 1 else f"{seconds:.1f}"


def row(piece: Piece, sizes: list[int], results: Results) -> tuple[str, bool]:
    """A row of the table, and whether its claims hold."""
    known = results[piece.name]
    cells = [duration(known[size].seconds) if size in known else "-" for size in sizes]
    slope, megabytes = growth(known), [known[size].megabytes for size in known]
    most = max(megabytes, default=0.0)
    linear = piece.growth is None or not slope > piece.growth
    over = [m.megabytes for size, m in known.items() if m.megabytes > piece.megabytes + BYTES_A_CHUNK * size / 1e6]
    flat = piece.growth is None or not over
    rate, ratio, fast = "", "", True
    if known:
        last = max(known)
        if piece.each and known[last].seconds < math.inf:
            rate = f"{last / known[last].seconds:,.0f}/s"
        if piece.peer and last in results[piece.peer]:
            speed = results[piece.peer][last].seconds / known[last].seconds
            ratio, fast = f"{speed:.2g} of {piece.peer}", piece.share is None or speed >= piece.share
    claim = "" if piece.growth is None else f"{piece.growth}"
    failed = " ".join(said for said, held in (("GROWS", linear), ("MEMORY", flat), ("SLOW", fast)) if not held)
    seconds = " ".join(f"{cell:>10}" for cell in cells)
    line = f"{piece.name:21} {seconds} {slope:7.2f} {claim:>6} {most:7.0f} {rate:>12} {ratio:21} {failed}"
    return line.rstrip(), linear and flat and fast


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--patience", type=int, default=600)
    asked = parser.parse_args()
    sizes = sorted(set(asked.chunks))
    real = vectors_of_speeches()
    results: Results = {piece.name: {} for piece in PIECES}
    recalls = []
    with databases() as (server, _):
        for chunks in sizes:
            options = f"-c statement_timeout={asked.patience}s"
            with server.fresh(options=options) as store, tempfile.TemporaryDirectory(prefix="lvm-bench-") as folder:
                recalls.append(run_size(store, Path(folder), chunks, real, asked.patience, results))
    heads = " ".join(f"{size:>10,}" for size in sizes)
    print(f"{'seconds at chunks':21} {heads} {'growth':>7} {'claim':>6} {'MB':>7} {'chunks':>12} {'speed':21}")
    rows = [row(piece, sizes, results) for piece in PIECES]
    for line, _ in rows:
        print(line)
    figures = ", ".join("-" if math.isnan(each) else f"{each:.3f}" for each in recalls)
    print(f"recall@{K} of the index beside exact search, by size: {figures} (claim: {RECALL})")
    held = all(each for _, each in rows) and not any(each < RECALL for each in recalls)
    print("all claims hold" if held else "a claim does not hold")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
