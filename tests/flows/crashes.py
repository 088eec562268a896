"""Crashes at chosen and at random moments: the real pipeline in a process of its own, harmed, and retried.

``python -m tests.flows.crashes --points 40`` tries every kind of harm at every stage, and the rest at random; the test
beside it tries a few. Afterwards database and artifacts must be what an undisturbed run leaves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from lvm.inversion.inverter import CANDIDATES, PrefixInverter
from lvm.settings import Settings
from lvm.store import open_store, server
from tests.flows.corpora import write_unseen
from tests.pipeline.small import shrink
from tests.store.toy import set_gate_size

STAGES = ("ingest", "validate", "extract", "train", "evaluate")
HARMS = ("kill", "connections", "restart", "disk")
CONTEXT, EPOCHS, MODEL = 3, 4, "gru"
ATTEMPTS = 5


# -- the process that is harmed -----------------------------------------------------------------------------------


def pipeline(source: str, flow_run: str | None) -> None:
    """Run the pipeline, or retry a run, and say on standard output where it is; only the samples are smaller."""
    import flows.pipeline
    from lvm.pipeline import extract, train, validate
    from lvm.pipeline.workspace import Workspace

    shrink()
    PrefixInverter.candidates = CANDIDATES  # as in Ray's workers, where nothing is small

    from prefect import Flow
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Crashed, Scheduled

    def told(stage: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def begin(*args: Any, **kwargs: Any) -> Any:
            print(f"stage {stage}", flush=True)
            return run(*args, **kwargs)

        return begin

    # what each stage does first, once it is sure that it has something to do
    flows.ingest.ingest = told("ingest", flows.ingest.ingest)  # type: ignore[assignment]
    validate.known_texts = told("validate", validate.known_texts)
    extract.write_sequences = told("extract", extract.write_sequences)
    train.describe = told("train", train.describe)
    Workspace.models = told("evaluate", Workspace.models)  # type: ignore[method-assign]

    flow: Flow[..., Any] = flows.pipeline.pipeline_flow
    asked = {"source": source, "context": CONTEXT, "model": MODEL, "epochs": EPOCHS}
    with get_client(sync_client=True) as client:
        if flow_run is None:
            run = client.create_flow_run(flow, parameters=asked)
        else:  # as a worker does it: what died is called crashed, and a retry is scheduled
            run = client.read_flow_run(flow_run)  # type: ignore[arg-type]
            if run.state is None or not run.state.is_final():
                client.set_flow_run_state(run.id, Crashed(message="the process died"), force=True)
            client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"), force=True)
            run = client.read_flow_run(run.id)
    print(f"run {run.id}", flush=True)
    run_flow(flow, flow_run=run, parameters=asked)
    print("done", flush=True)


# -- the harness ----------------------------------------------------------------------------------------------------


@dataclass
class Process:
    """A pipeline in a process of its own, and what it said so far."""

    world: World
    flow_run: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    finished: bool = False

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "tests.flows.crashes", "--pipeline", str(self.world.corpus)]
        self.process = subprocess.Popen(
            [*command, *([self.flow_run] if self.flow_run else [])],
            env=self.world.environment, cwd=Path(__file__).parents[2], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.errors: list[str] = []
        self.readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self.readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            kind, _, what = line.strip().partition(" ")
            if kind == "stage":
                self.stages.setdefault(what, time.monotonic())
            elif kind == "run":
                self.flow_run = what
            elif kind == "done":
                self.finished = True

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors = [*self.errors[-200:], line.rstrip()]

    def reach(self, stage: str) -> bool:
        """Wait until a stage has begun; False if the process ended before."""
        while stage not in self.stages:
            if self.process.poll() is not None:
                return stage in self.stages
            time.sleep(0.005)
        return True

    def end(self, seconds: float = 1200) -> int:
        code = self.process.wait(seconds)
        for reader in self.readers:
            reader.join()
        return code


@dataclass
class World:
    """A database and a folder of artifacts for one pipeline."""

    home: Path  # of the embedded server, shared by all worlds of a session
    name: str
    corpus: Path
    folder: Path
    more: dict[str, str] = field(default_factory=dict)  # further environment variables

    @property
    def environment(self) -> dict[str, str]:
        from prefect.settings import PREFECT_API_URL

        api = PREFECT_API_URL.value()  # the server of whoever runs this
        assert api, "without one each process would start its own, which a kill leaves behind"
        return {
            **os.environ,
            "LVM_DATABASE_URL": self.url,
            "LVM_HOME": str(self.folder / "home"),
            "LVM_ARTIFACTS": str(self.artifacts),
            "LVM_QUIET": "1",
            "PREFECT_API_URL": api,
            "PREFECT_LOGGING_LEVEL": "ERROR",
            **self.more,
        }

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def url(self) -> str:
        found = make_url(server.start(Settings(home=self.home, database_url=None)))
        return found.set(drivername="postgresql+psycopg", database=self.name).render_as_string(hide_password=False)

    def sql(self, statement: str, database: str | None = None) -> list[Any]:
        engine = create_engine(make_url(self.url).set(database=database or self.name), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                result = connection.execute(text(statement))
                return list(result) if result.returns_rows else []
        finally:
            engine.dispose()


@contextmanager
def world(home: Path, name: str, corpus: Path) -> Iterator[World]:
    """An empty one."""
    folder = Path(tempfile.mkdtemp(prefix="lvm-crash-"))
    made = World(home, name, corpus, folder)
    made.sql(f"CREATE DATABASE {name}", "postgres")
    with open_store(Settings(database_url=made.url)) as store:  # type: ignore[arg-type]
        set_gate_size(store, 30)
    made.artifacts.mkdir()
    try:
        yield made
    finally:
        made.sql(f"DROP DATABASE {name} WITH (FORCE)", "postgres")
        shutil.rmtree(folder)


def outcome(made: World) -> dict[str, Any]:
    """Everything a run leaves that means something: content, not ids or moments."""
    settings = Settings(database_url=made.url, artifacts=made.artifacts)  # type: ignore[arg-type]
    with open_store(settings) as store:
        space = store.space_id("minilm")
        assert space is not None
        vectors = hashlib.sha256()
        for batch in store.read_vectors(space):
            vectors.update(batch.unit.tobytes() + batch.norms.tobytes() + batch.positions.tobytes())
        chunks = made.sql(
            "SELECT d.source, d.external_id, d.sha256, d.title, c.position, c.text, c.token_count FROM lvm.document d "
            'JOIN lvm.chunk c ON c.document_id = d.id ORDER BY d.external_id COLLATE "C", c.position'
        )
        kept = store.corpus_revision(space), store.corpus_revision(space) == store.recomputed_revision(space)
        whole = made.sql("SELECT count(*) FROM lvm.embedding UNION ALL SELECT count(*) FROM lvm.chunk")
        gates = made.sql(
            "SELECT gate, value, threshold, passed, corpus_revision, "
            "evidence - 'seconds' - 'chunk_ids' - 'seen' - 'examples' FROM lvm.gate_result ORDER BY gate, value"
        )
        sets = made.sql("SELECT context_length, counts, sha256, corpus_revision FROM lvm.sequence_set")
        runs = made.sql("SELECT architecture, status, sha256, hyperparameters FROM lvm.training_run ORDER BY id")
    files = {
        str(path.relative_to(made.artifacts)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(made.artifacts.rglob("*"))
        if path.is_file()
    }
    summary = json.loads((made.artifacts / "summary.json").read_text())
    for name in ("report.html", "summary.json", f"{MODEL}/last.safetensors"):  # they tell seconds
        files[name] = "there" if name in files else "missing"
    return {
        "chunks": [tuple(row) for row in chunks],
        "vectors": vectors.hexdigest(),
        "whole": whole[0] == whole[1],
        "revision": kept,
        "gates": [tuple(row) for row in gates],
        "sequence sets": [tuple(row) for row in sets],
        "training runs": [tuple(row) for row in runs],
        "files": files,
        "locks": made.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")[0][0],
        "decoded": summary["decoding"],
        "examples": summary["examples"],
    }


def undisturbed(home: Path, corpus: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """What a run leaves that nothing happened to, and how many seconds each stage took."""
    with world(home, "undisturbed", corpus) as made:
        process = Process(made)
        assert process.end() == 0, process.errors
        began = [process.stages[stage] for stage in STAGES] + [time.monotonic()]
        return outcome(made), {stage: began[at + 1] - began[at] for at, stage in enumerate(STAGES)}


def crash(made: World, stage: str, harm: str, wait: float) -> tuple[int, bool]:
    """Harm a run ``wait`` seconds into a stage, retry until it finishes; attempts, and whether the harm was felt."""
    process = Process(made)
    if process.reach(stage):
        time.sleep(wait)
    undo = HARM[harm](made, process)
    process.end()
    undo()
    felt, attempts = not process.finished, 1
    while not process.finished:
        assert attempts < ATTEMPTS, (stage, harm, wait, process.errors)
        process = Process(made, process.flow_run)
        process.end()
        attempts += 1
    return attempts, felt


def _nothing() -> None:
    pass


def _kill(made: World, process: Process) -> Callable[[], None]:
    process.process.kill()
    return _nothing


def _connections(made: World, process: Process) -> Callable[[], None]:
    made.sql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{made.name}'",
        "postgres",
    )
    return _nothing


def _restart(made: World, process: Process) -> Callable[[], None]:
    settings = Settings(home=made.home, database_url=None)
    server.stop(settings)
    time.sleep(0.5)
    server.start(settings)
    return _nothing


def _disk(made: World, process: Process) -> Callable[[], None]:
    """No more room under artifacts: every file the process writes from now on breaks off."""
    import resource

    with suppress(ProcessLookupError):  # it may have ended meanwhile
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (2048, 2048))
    return _nothing


HARM: dict[str, Callable[[World, Process], Callable[[], None]]] = {
    "kill": _kill,
    "connections": _connections,
    "restart": _restart,
    "disk": _disk,
}


def points(count: int, seconds: dict[str, float], seed: int) -> list[tuple[str, str, float]]:
    """(stage, harm, seconds into it): every kind at every stage first, then at random."""
    drawn = random.Random(seed)
    all_of_them = [(stage, harm) for harm in HARMS for stage in STAGES]
    chosen = [all_of_them[i] if i < len(all_of_them) else drawn.choice(all_of_them) for i in range(count)]
    return [(stage, harm, drawn.uniform(0, seconds[stage])) for stage, harm in chosen]


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of what is not as it should be."""
    return [name for name in expected if expected[name] != found[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--first", type=int, default=1, help="the first point, to go on after a stop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pipeline", nargs="+", metavar="SOURCE [FLOW_RUN]", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.pipeline:
        pipeline(asked.pipeline[0], asked.pipeline[1] if len(asked.pipeline) > 1 else None)
        return
    for threads in ("OMP_NUM_THREADS", "LVM_THREADS"):  # with more, a thread that waits for a core holds up the others
        os.environ.setdefault(threads, "1")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    folder = Path(tempfile.mkdtemp(prefix="lvm-crashes-"))
    os.environ |= {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": "http://127.0.0.1:4210/api"}
    (folder / "prefect").mkdir()
    os.environ["LVM_HOME"] = str(folder)
    from flows.deployments import server as prefect_server  # Prefect reads its settings when it is imported

    failed = 0
    try:
        with prefect_server("http://127.0.0.1:4210/api"):
            corpus = write_unseen(folder / "texts", documents=5, characters=700)
            expected, seconds = undisturbed(folder, corpus)
            print("undisturbed:", ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items()), flush=True)
            for number, (stage, harm, wait) in enumerate(points(asked.points, seconds, asked.seed), 1):
                if number < asked.first:
                    continue
                began = time.monotonic()
                with world(folder, f"crash_{number}", corpus) as made:
                    try:
                        attempts, felt = crash(made, stage, harm, wait)
                        wrong = differences(expected, outcome(made))
                    except (AssertionError, subprocess.TimeoutExpired, OperationalError) as error:
                        attempts, felt, wrong = 0, True, [str(error)]
                failed += bool(wrong)
                print(
                    f"{number:3} {harm} {wait:.2f} s into {stage}: "
                    f"{'survived at once' if not felt else f'{attempts} attempts'}, "
                    f"{'DIFFERS in ' + ', '.join(wrong) if wrong else 'the same in the end'} "
                    f"({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
    finally:
        settings = Settings(home=folder, database_url=None)
        server.stop(settings)
        shutil.rmtree(server.folder(settings), ignore_errors=True)  # as root it is elsewhere
        shutil.rmtree(folder, ignore_errors=True)
    tried = asked.points - asked.first + 1
    print(f"{tried - failed} of {tried} ended as if nothing had happened")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
