"""Hostile input, made from a seed, in thousands of cases; the kinds are in ``cases``.

``python -m tests.field.fuzz --cases 1000 --seed 0`` tries so many. ``--case N`` repeats one: seed and number alone say
what it is. A case may work, end in a named error of one line, or skip by name what cannot be used. Whatever else
happens is a failure: another exception, a traceback, a hang, a changed database after an error, a secret in a message.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import SecretStr

import lvm
from lvm.encoding import vector_files
from lvm.encoding.encoder import TextEncoder
from lvm.errors import LvmError
from lvm.inversion.inverter import PrefixInverter
from lvm.inversion.network import VectorDecoder
from lvm.pipeline.workspace import open_workspace
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space, open_space, registry
from lvm.spaces.statistics import FILE
from lvm.store import errors, open_store, server
from tests.attacks.folders import make
from tests.attacks.test_hostile_folders import CARD, SIZES, small_tokenizer
from tests.field.cases import KINDS
from tests.field.values import NAMED, SECONDS, SECRET, SKIPPED, WORKS, Dice, World, sentence
from tests.service.running import listening, untrained
from tests.training.toy import corpus

FAILED = "FAILED"
TEXTS = ["We met at the harbour.", "The ice broke."]


class Hang(BaseException):
    """A case took longer than ``SECONDS``."""


@dataclass(frozen=True)
class Result:
    """How a case ended. ``why`` is the message of an error or a failure."""

    number: int
    kind: str
    about: str
    outcome: str
    why: str
    seconds: float


# -- the world ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def world(url: str, space: Space) -> Iterator[World]:
    """Set up what the cases attack.

    Args:
        url: an empty database.
        space: the space of everything.
    """
    with tempfile.TemporaryDirectory(prefix="lvm-fuzz-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        settings = Settings(
            database_url=SecretStr(url), artifacts=folder / "artifacts", home=folder / "home", quiet=True,
            spaces=folder / "spaces.toml", inverter=None, token=SecretStr(f"{SECRET}token"),
        )  # fmt: skip
        _files(folder / "files", space, settings)
        sources = folder / "corpus"
        sources.mkdir()
        for number in range(3):
            (sources / f"{number}.txt").write_text(" ".join(sentence(Dice(number)) for _ in range(6)))
        work = stack.enter_context(open_workspace(space, settings))
        lvm.ingest(work, sources)
        _, port = stack.enter_context(listening(build(space, settings)))
        made = World(folder, url, work, port, [(str(sources), f"{number}.txt") for number in range(3)])
        log = _Faults(made.logged)
        logging.getLogger().addHandler(log)
        stack.callback(logging.getLogger().removeHandler, log)
        yield made


def _files(folder: Path, space: Space, settings: Settings) -> None:
    """One of each file that this project reads."""
    make(folder / "encoder", "bert")
    corpus(folder / "sequences.safetensors", documents=6, length=9)
    for model, head in (("gru", "energy"), ("transformer", "point")):
        untrained(folder, space, 5, model, head)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        PrefixInverter(VectorDecoder(SIZES), small_tokenizer(), CARD, np.array([3, 5])).save(folder / "inverter")
    vectors = space.encode(TEXTS)
    for suffix in vector_files.WRITTEN:
        vector_files.write(folder / f"vectors{suffix}", vectors, space.name, TEXTS)
    np.save(folder / "vectors.npy", vectors.raw)
    np.savez(folder / "vectors.npz", space=np.array(space.fingerprint), vectors=vectors.raw)
    own = registry.own_folder(space.name, settings)
    assert own is not None
    shutil.copy(own / FILE, folder)


class _Faults(logging.Handler):
    """Keeps what a log should not have: tracebacks, errors of the service, secrets, forged lines."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.INFO)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().strip()
        error = record.exc_info[1] if record.exc_info else None
        if error or record.levelno >= logging.ERROR or "\n" in message or SECRET in message:
            self.found.append(f"logged: {message[:500]}\n{_stack(error) if error else ''}")


# -- running ------------------------------------------------------------------------------------------------------


def run(world: World, seed: int, numbers: Iterable[int]) -> Iterator[Result]:
    """Try cases by number."""
    for number in numbers:
        yield _case(world, seed, number)


def kind_of(number: int) -> str:
    """The kind of a case."""
    return [*KINDS][number % len(KINDS)]


def _case(world: World, seed: int, number: int) -> Result:
    kind, place = kind_of(number), world.folder / f"case{number}"
    place.mkdir()
    about, attempt = KINDS[kind](world, Dice(f"{seed}-{number}"), place)
    began, before, why = time.monotonic(), world.contents(), ""
    world.logged.clear()
    try:
        with _limited():
            outcome = attempt()
    except LvmError as error:
        outcome, why = NAMED, f"{type(error).__name__}: {error}"
        if "\n" in str(error) or not 20 < len(str(error)) < 1500 or SECRET in why:
            outcome = FAILED
    except (Exception, Hang) as error:
        outcome, why = FAILED, _stack(error)
    if world.logged:
        outcome, why = FAILED, "\n".join([*world.logged, why])
    if outcome == NAMED and world.contents() != before:
        outcome, why = FAILED, f"the database was {before} and is {world.contents()}\n{why}"
    world.work.store.keep_documents(world.kept)
    shutil.rmtree(place, ignore_errors=True)
    return Result(number, kind, about, outcome, why, time.monotonic() - began)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise ``Hang`` in a block that takes too long. If even that does not end it, end the process."""

    def late(*_: object) -> None:
        raise Hang(f"it took longer than {SECONDS} seconds")

    handler, timer = signal.signal(signal.SIGALRM, late), signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _stack(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-3000:]


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """The shipped encoder is opened once, and no command waits for a database that is gone. No answer changes."""
    opened, pauses = registry.TextEncoder, errors.RETRY_SECONDS

    @cache
    def once(folder: Path, recipe: Any, device: str) -> TextEncoder:
        return opened(folder, recipe, device)

    def open_once(folder: Path, recipe: Any, device: str = "cpu") -> TextEncoder:
        return (once if "site-packages" in str(folder) else opened)(folder, recipe, device)

    registry.TextEncoder, errors.RETRY_SECONDS = open_once, ()  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        registry.TextEncoder, errors.RETRY_SECONDS = opened, pauses  # type: ignore[misc]


# -- the command --------------------------------------------------------------------------------------------------


def table(results: list[Result]) -> str:
    """Counts by kind and outcome."""
    counts = Counter((each.kind, each.outcome) for each in results)
    columns = (WORKS, NAMED, SKIPPED, FAILED)
    rows = [["", *columns, "seconds"]]
    for kind in KINDS:
        seconds = sum(each.seconds for each in results if each.kind == kind)
        rows.append([kind, *(str(counts[kind, each]) for each in columns), f"{seconds:.0f}"])
    return "\n".join(f"{row[0]:10}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows)


def main() -> int:
    """Try the cases that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="repeat this one")
    parser.add_argument("--kind", choices=[*KINDS], help="only cases of this kind")
    asked = parser.parse_args()
    chosen = range(asked.cases) if asked.case is None else [asked.case]
    numbers = [each for each in chosen if asked.kind in (None, kind_of(each))]
    torch.set_num_threads(1)
    for name in [each for each in os.environ if each.startswith(("LVM_", "PREFECT_", "PG"))]:
        del os.environ[name]  # settings of this machine
    results = []
    with tempfile.TemporaryDirectory(prefix="lvm-fuzz-home-") as home, quick():
        embedded = Settings(home=Path(home), database_url=None)
        try:
            open_store(embedded).close()
            url = server.database_url(embedded).render_as_string(hide_password=False)
            with world(url, open_space("minilm", embedded)) as made:
                for result in run(made, asked.seed, numbers):
                    results.append(result)
                    if result.outcome == FAILED or asked.case is not None:
                        print(f"\n{result.outcome} {result.number}, {result.kind}: {result.about}\n{result.why}")
                        print(
                            f"again: python -m tests.field.fuzz --seed {asked.seed} --case {result.number}", flush=True
                        )
                    elif len(results) % 100 == 0:
                        print(f"{len(results)} of {len(numbers)} cases", flush=True)
        finally:
            server.stop(embedded)
    print(table(results))
    return 1 if any(each.outcome == FAILED for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
