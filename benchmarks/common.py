"""What the benchmarks share: options, claims, the speed of a matrix product, a server of their own, random documents.

Contract: a benchmark prints its claims with ``compare`` or ``claim`` and exits with code 1 if one does not hold. No
claim depends on the CPU: the peer does the same arithmetic, or the claim is a share of a limit that is measured in the
same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sqlalchemy import create_engine, make_url

from lvm.corpus.documents import Document
from lvm.settings import Settings
from lvm.spaces import Vectors
from lvm.store import IngestedDocument, Store, open_store, server

DIM, CHUNKS_EACH, FINGERPRINT = 384, 500, "0" * 16


def options(claim: str | None, **defaults: int) -> argparse.Namespace:
    """Whole-number options of a benchmark, ``--name``, with its docstring as help."""
    parser = argparse.ArgumentParser(description=claim, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def compare(unit: str, count: int, ours: list[float], peer: str, theirs: list[float], least: float | None) -> bool:
    """Print both speeds, each by its fastest run, and claim their ratio.

    Args:
        unit, count: what was done ``count`` times in each run.
        ours, theirs: seconds of the runs; ``peer`` names the other side.
        least: the ratio that is claimed; None for no claim.

    Returns:
        Whether the claim holds.
    """

    def speed(seconds: float) -> str:
        return f"{count / seconds:,.0f}" if count > 10 * seconds else f"{count / seconds:.3f}"

    for name, seconds in (("ours", ours), (peer, theirs)):
        runs = ", ".join(map(speed, seconds))
        print(f"{name:22} {speed(min(seconds)):>9} {unit}/s (runs: {runs})")
    return claim("ratio", min(theirs) / min(ours), least)


def claim(name: str, value: float, least: float | None = None, most: float | None = None) -> bool:
    """Print a value and what is claimed of it.

    Args:
        name: of the value.
        value: the value.
        least: the claim where larger is better; None for no such claim.
        most: the claim where smaller is better; None for no such claim.

    Returns:
        Whether the claim holds.
    """
    held = (least is None or value >= least) and (most is None or value <= most)
    bounds = [f"claim: at {word} {bound:g}" for word, bound in (("least", least), ("most", most)) if bound is not None]
    said = "; ".join(bounds) or "no claim"
    print(f"{name:22} {value:9.2f} ({said}{'' if held else ', DOES NOT HOLD'})", flush=True)
    return held


def product_speed(rows: int, inputs: int, outputs: int, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """GFLOP/s of ``torch.nn.functional.linear`` on (rows, inputs) and (outputs, inputs), by its fastest run."""
    x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        F.linear(x, weight)
        fastest = min(fastest, time.perf_counter() - began)
    return 2e-9 * rows * inputs * outputs / fastest


class Databases:
    """Fresh, migrated databases on one embedded server."""

    def __init__(self, settings: Settings) -> None:
        self._url = make_url(server.start(settings)).set(drivername="postgresql+psycopg")
        self._index_memory = server.index_memory(settings)
        self._count = 0

    def fresh(self, **query: str) -> Store:
        """A new database. ``query`` are further parameters of its URL, e.g. ``options``."""
        self._count += 1
        admin = create_engine(self._url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE bench_{self._count}")
        admin.dispose()
        url = self._url.set(database=f"bench_{self._count}").update_query_dict(query)
        store = open_store(Settings(database_url=url.render_as_string(hide_password=False)))
        return replace(store, index_memory=self._index_memory)  # as if the URL were not named


@contextmanager
def databases() -> Iterator[tuple[Databases, Path]]:
    """Databases, and a folder that the server can read and write."""
    with tempfile.TemporaryDirectory(prefix="lvm-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the server runs as another user
        (folder / "files").mkdir()
        (folder / "files").chmod(0o777)
        settings = Settings(home=folder, database_url=None)
        yield Databases(settings), folder / "files"
        server.stop(settings)


def documents(chunks: int) -> list[IngestedDocument]:
    """Documents of ``CHUNKS_EACH`` chunks with random unit vectors."""
    random = np.random.default_rng(0)
    made = []
    for number in range(chunks // CHUNKS_EACH):
        unit = random.normal(size=(CHUNKS_EACH, DIM)).astype(np.float32)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        texts = [
            f"Sentence {i} of document {number}, about as long as sentences are in speeches."
            for i in range(CHUNKS_EACH)
        ]
        document = Document("bench", f"{number:06d}", f"document {number}", " ".join(texts))
        vectors = Vectors(FINGERPRINT, unit, np.ones(CHUNKS_EACH, np.float32))
        made.append(IngestedDocument(document.info, texts, [17] * CHUNKS_EACH, vectors))
    return made


def register(store: Store) -> int:
    """A space of random vectors."""
    probes = np.eye(3, DIM, dtype=np.float32)
    return store.register_space("bench", DIM, FINGERPRINT, {"weights": "none"}, probes)
