"""``lvm doctor``: is everything there that a run needs, and if not, what to do. It looks and changes nothing."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import stat
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from lvm import __version__
from lvm.errors import LvmError, first_line
from lvm.settings import Settings
from lvm.store import open_store, server
from lvm.store.health import Health, examine
from lvm.terminal import without_login
from lvm.workspace import GateMissing, Workspace, open_workspace

GIGABYTE = 10**9
LITTLE_ROOM, NO_ROOM = 5 * GIGABYTE, 1 * GIGABYTE
API_SECONDS = 5

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: what.
        verdict: ``problem``: runs will fail; ``warning``: they may, or something is odd.
        found: what was found.
        advice: what to do; empty where there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine_all(
    settings: Settings, environment: Mapping[str, str] = os.environ, deep: bool = False
) -> Iterator[Finding]:
    """Every finding, as it is made; a check that breaks is itself a problem.

    Args:
        deep: also read every row and file: revisions are computed from scratch, sequence sets compared with the stored
            vectors, checkpoints with the recorded runs.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", lambda: _versions()),
        ("settings", lambda: _settings(environment)),
        ("folders", lambda: _folders(settings)),
        ("database", lambda: _database(settings)),
        ("space", lambda: _space(settings)),
        ("Prefect", lambda: _prefect(environment.get("PREFECT_API_URL"))),
        *([("content", lambda: _content(settings))] if deep else []),
    ]
    for name, check in checks:
        try:
            yield from check()
        except LvmError as error:
            yield Finding(name, "problem", f"{type(error).__name__}: {error}")
        except Exception as error:
            yield Finding(name, "problem", f"{type(error).__name__}: {first_line(error)}")


def _versions() -> Iterator[Finding]:
    parts = ", ".join(f"{name} {version(name)}" for name in ("torch", "prefect", "psycopg", "transformers"))
    yield Finding("versions", "ok", f"lvm {__version__}, Python {sys.version.split()[0]}, {parts}")


def _settings(environment: Mapping[str, str]) -> Iterator[Finding]:
    known = {f"LVM_{name.upper()}" for name in Settings.model_fields}
    unknown = [name for name in environment if name.startswith("LVM_") and name not in known]
    for name in unknown:
        close = difflib.get_close_matches(name, known, 1)
        yield Finding(
            "settings", "warning", f"{name} is no setting", f"did you mean {close[0]}?" if close else "unset it"
        )
    if not unknown:
        given = sorted(name for name in environment if name in known)
        yield Finding("settings", "ok", ", ".join(given) or "all defaults")


def _folders(settings: Settings) -> Iterator[Finding]:
    for variable, folder in (("LVM_HOME", settings.home), ("LVM_ARTIFACTS", settings.artifacts)):
        folder = folder.expanduser().resolve()
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            yield Finding(variable, "problem", f"{folder} cannot be written", f"set {variable} to a folder you own")
            continue
        free = shutil.disk_usage(there).free
        verdict: Verdict = "problem" if free < NO_ROOM else "warning" if free < LITTLE_ROOM else "ok"
        room = "" if verdict == "ok" else f"make room, or set {variable} to another disk"
        yield Finding(variable, verdict, f"{folder}, {free / GIGABYTE:.1f} GB free", room)
        if folder.is_dir():
            yield from _open_to_others(variable, folder)
    left = list(settings.artifacts.rglob(".*.tmp")) if settings.artifacts.is_dir() else []
    if left:
        yield Finding(
            "LVM_ARTIFACTS", "warning", f"{len(left)} unfinished files, e.g. {left[0]}", "the next run replaces them"
        )


def _open_to_others(variable: str, folder: Path) -> Iterator[Finding]:
    status = folder.stat()
    if status.st_uid != os.geteuid():
        yield Finding(variable, "warning", f"{folder} belongs to user id {status.st_uid}", "use a folder that you own")
    elif status.st_mode & 0o007:
        mode = stat.filemode(status.st_mode)
        yield Finding(variable, "warning", f"others can look into {folder} ({mode})", f"chmod o= {folder}")


def _database(settings: Settings) -> Iterator[Finding]:
    if not server.exists(settings):
        yield Finding("database", "ok", "the embedded one is not made yet", "the first run makes it")
        return
    found = examine(settings, settings.space)
    where = "LVM_DATABASE_URL"
    if settings.database_url is None:
        data = server.folder(settings)
        moved = data.parent != settings.home.expanduser().resolve()
        where = f"embedded, its data in {data}: its user cannot reach LVM_HOME" if moved else "embedded"
    yield Finding("database", "ok", f"Postgres {found.version} ({where}), {found.size / GIGABYTE:.2f} GB")
    yield from _schema(found)
    full = found.connections > 0.8 * found.most
    yield Finding(
        "connections",
        "warning" if full else "ok",
        f"{found.connections} of {found.most}",
        "raise max_connections, or end other clients" if full else "",
    )
    if found.busy:
        yield Finding("locks", "ok", f"{found.busy} held: another process ingests, trains or clears")
    if found.incomplete:
        yield Finding(
            "documents",
            "warning",
            f"{found.incomplete} documents have chunks without a vector in space {settings.space}",
            f"lvm reembed --to {settings.space} --space OTHER, or ingest again",
        )


def _schema(found: Health) -> Iterator[Finding]:
    if found.pgvector is None:
        advice = "the first run enables it" if found.pgvector_available else "install pgvector on the server"
        yield Finding("pgvector", "warning" if found.pgvector_available else "problem", "not enabled", advice)
    else:
        old = tuple(int(part) for part in found.pgvector.split(".")[:2]) < (0, 5)
        yield Finding("pgvector", "problem" if old else "ok", found.pgvector, "0.5 or newer is needed" if old else "")
    if not found.known:
        advice = "upgrade lvm, or use another database"
        yield Finding("schema", "problem", f"{found.migration}, which is newer than this lvm ({found.newest})", advice)
    elif found.migration != found.newest:
        yield Finding("schema", "warning", f"{found.migration or 'none'}, newest is {found.newest}", "lvm db migrate")
    else:
        yield Finding("schema", "ok", f"{found.migration}")
        if found.off:
            yield Finding(
                "triggers",
                "problem",
                f"{len(found.off)} are disabled or gone: {', '.join(found.off)}",
                "what was written meanwhile was not checked: enable them (ALTER TABLE ... ENABLE ALWAYS TRIGGER), "
                "then lvm doctor --deep",
            )
        if found.children:
            yield Finding(
                "tables", "warning", f"{', '.join(found.children)} inherit from ours and are not read", "drop them"
            )


def _space(settings: Settings) -> Iterator[Finding]:
    from lvm.spaces import open_space

    space = open_space(settings.space, settings, fetch=False)
    own = space.inverter_encoder == space.fingerprint
    yield Finding(
        "space",
        "ok" if own else "problem",
        f"{space.name} {space.fingerprint}, {space.dim} dimensions, its inverter is {'' if own else 'not '}its own",
        "" if own else "lvm diagnose, or train one: lvm inverter train",
    )
    if not server.exists(settings):
        return
    try:
        found = examine(settings, settings.space)
    except LvmError:  # told already
        return
    if found.migration != found.newest:  # opening it would bring it to the newest, and this only looks
        return
    with open_store(settings) as store:
        number = store.space_id(space.name)
        if number is None:
            yield Finding("gate", "ok", f"nothing is stored in {space.name} yet", "lvm ingest SOURCE")
            return
        store.register_space(space.name, space.dim, space.fingerprint, space.recipe, space.probe().unit)
        work = Workspace(settings, store, space, number)
        gate, last = work.verdict(), store.latest_gate(number)
    if last is None:
        yield Finding("gate", "ok", "not measured yet", "lvm validate")
    elif gate is None:
        yield Finding(
            "gate", "warning", f"{last.value:.3f}, about another corpus or inverter than there is now", "lvm validate"
        )
    else:
        verdict = "passed" if gate.passed else "blocked"
        advice = "" if gate.passed else "lvm diagnose, or adapt the inverter: lvm inverter finetune SOURCE"
        yield Finding("gate", "ok" if gate.passed else "problem", f"{verdict}, {gate.value:.3f}", advice)


def _content(settings: Settings) -> Iterator[Finding]:
    if not server.exists(settings):
        return
    found = examine(settings, settings.space)
    if found.migration != found.newest:
        yield Finding("content", "warning", "not looked at: the schema is not the newest", "lvm db migrate")
        return
    with open_workspace(settings) as work:
        for name, number in work.store.spaces().items():
            same = work.store.corpus_revision(number) == work.store.recomputed_revision(number)
            yield Finding(
                f"revision of {name}",
                "ok" if same else "problem",
                "the rows are those that the triggers counted" if same else "rows were written past the triggers",
                "" if same else "lvm clear, and ingest again",
            )
        for path in sorted(work.sequences_path(1).parent.glob("ctx*.safetensors")):
            yield from _sequences(work, path)


def _sequences(work: Workspace, path: Path) -> Iterator[Finding]:
    """One sequence set beside the database, and the models that were trained on it."""
    context = path.stem.removeprefix("ctx")
    if not context.isdecimal():
        return
    try:
        sequences, row = work.sequences(int(context))
    except GateMissing as error:
        yield Finding(path.name, "warning", str(error), "lvm validate, lvm extract")
        return
    wrong = work.differing_vectors(sequences)
    yield Finding(
        path.name,
        "problem" if wrong else "ok",
        f"{wrong} of {len(sequences.unit)} vectors are not the stored ones"
        if wrong
        else "its vectors are the stored ones",
        f"delete {path}, and lvm extract" if wrong else "",
    )
    models = work.models(sequences, row)
    yield Finding("models", "ok", f"{', '.join(models) or 'none'}: checkpoints as recorded")


def _prefect(address: str | None) -> Iterator[Finding]:
    api = without_login(address or "")
    if not api:
        yield Finding("Prefect", "ok", "no PREFECT_API_URL: each run starts a server of its own", "lvm ui keeps one")
        return
    advice = "start it: lvm ui, or prefect server start; or unset PREFECT_API_URL"
    if not api.rstrip("/").endswith("/api"):
        yield Finding("Prefect", "problem", f"PREFECT_API_URL={api}", f"it must end in /api: {api.rstrip('/')}/api")
        return
    try:
        with urllib.request.urlopen(f"{str(address).rstrip('/')}/admin/version", timeout=API_SECONDS) as answer:
            theirs = json.loads(answer.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        yield Finding("Prefect", "problem", f"{api} does not answer as a Prefect server ({first_line(reason)})", advice)
        return
    ours = version("prefect")
    same = str(theirs).split(".")[:2] == ours.split(".")[:2]
    found = f"{api}, version {theirs}" + ("" if same else f", while {ours} is installed here")
    yield Finding("Prefect", "ok" if same else "warning", found, "" if same else "run both at one version")
