"""``lvm doctor``: check everything that a run needs, and say what to do about problems.

Contract: checks change nothing.
"""

from __future__ import annotations

import base64
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
from lvm.cli.surroundings import login_of, prefect_server, surroundings, what_to_do
from lvm.errors import LvmError, did_you_mean, first_line
from lvm.files import CorruptedFile
from lvm.pipeline.errors import GateMissing
from lvm.pipeline.promote import Version, versions
from lvm.pipeline.workspace import Workspace, open_workspace
from lvm.settings import Settings, dotenv
from lvm.store import databases_beside, open_store, server
from lvm.store.health import Health, examine
from lvm.store.migrate import ENCODING, ENCODING_ADVICE, PGVECTOR, version_of
from lvm.terminal import without_login

GIGABYTE = 10**9
LITTLE_SPACE, NO_SPACE = 5 * GIGABYTE, 1 * GIGABYTE  # free bytes on the disk: below, a warning or a problem
API_SECONDS = 5

OF_COMPOSE = {
    "LVM_POSTGRES_PASSWORD",
    "LVM_WORKER_PASSWORD",
    "LVM_GATEKEEPER_PASSWORD",
    "LVM_READER_PASSWORD",
    "LVM_POSTGRES_PORT",
}
"""Variables of ``docker-compose.yml``, which ``.env`` has too. They are no settings."""

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        name: name of the check.
        verdict: ``problem`` if runs will fail, ``warning`` if they may fail, else ``ok``.
        found: the result in words.
        advice: what to do; may be empty.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine_all(
    settings: Settings, environment: Mapping[str, str] | None = None, deep: bool = False
) -> Iterator[Finding]:
    """Run all checks and yield their results. A check that raises an error is a problem.

    Args:
        settings: the settings to check.
        environment: variables; those of the environment and of ``.env`` unless given.
        deep: also read all rows and files: compute revisions again, compare sequence sets with stored vectors and
            checkpoints with recorded runs.
    """
    environment = surroundings() if environment is None else environment
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", lambda: _versions()),
        ("settings", lambda: _settings(environment)),
        ("folders", lambda: _folders(settings)),
        ("database", lambda: _database(settings)),
        ("space", lambda: _space(settings)),
        ("Prefect", lambda: _prefect(settings, environment)),
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
    in_file = dotenv()
    ours = {name.upper(): value for name, value in environment.items() if name.upper().startswith("LVM_")}
    where = {name: " (.env)" if in_file.get(name) == value else "" for name, value in ours.items()}
    given = (f"{name}{where[name]}" for name in sorted(ours.keys() & known))
    yield Finding("settings", "ok", ", ".join(given) or "all defaults")
    for name in sorted(ours.keys() - known - OF_COMPOSE):
        yield Finding(
            "settings",
            "warning",
            f"{name}{where[name]} is not a setting",
            did_you_mean(name, known) or "remove it",
        )


def _folders(settings: Settings) -> Iterator[Finding]:
    for variable, folder in (("LVM_HOME", settings.home), ("LVM_ARTIFACTS", settings.artifacts)):
        folder = folder.resolve()
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            advice = f"set {variable} to a folder that you own"
            yield Finding(variable, "problem", f"{folder} cannot be written", advice)
            continue
        free = shutil.disk_usage(existing).free
        verdict: Verdict = "problem" if free < NO_SPACE else "warning" if free < LITTLE_SPACE else "ok"
        advice = "" if verdict == "ok" else f"free disk space, or set {variable} to another disk"
        yield Finding(variable, verdict, f"{folder}, {free / GIGABYTE:.1f} GB free", advice)
        if folder.is_dir():
            yield from _open_to_others(variable, folder)
    unfinished = list(settings.artifacts.rglob(".*.tmp")) if settings.artifacts.is_dir() else []
    if unfinished:
        files = f"{len(unfinished)} unfinished files, e.g. {unfinished[0]}"
        yield Finding("LVM_ARTIFACTS", "warning", files, "the next run replaces them")


def _open_to_others(variable: str, folder: Path) -> Iterator[Finding]:
    status = folder.stat()
    if status.st_uid != os.geteuid():
        yield Finding(variable, "warning", f"{folder} belongs to user id {status.st_uid}", "use a folder that you own")
    elif status.st_mode & 0o007:
        mode = stat.filemode(status.st_mode)
        yield Finding(variable, "warning", f"other users can read {folder} ({mode})", f"chmod o= {folder}")


def _database(settings: Settings) -> Iterator[Finding]:
    if not server.exists(settings):
        yield Finding("database", "ok", "the embedded database does not exist yet", "the first run makes it")
        return
    health = examine(settings, settings.space)
    where = "LVM_DATABASE_URL"
    if settings.database_url is None:
        data = server.folder(settings)
        moved = data.parent != settings.home.resolve()
        where = f"embedded, data in {data}, because its user cannot reach LVM_HOME" if moved else "embedded"
    yield Finding("database", "ok", f"Postgres {health.version} ({where}), {health.size / GIGABYTE:.2f} GB")
    yield from _schema(health)
    full = health.connections > 0.8 * health.most
    yield Finding(
        "connections",
        "warning" if full else "ok",
        f"{health.connections} of {health.most}",
        "raise max_connections, or end other clients" if full else "",
    )
    if health.busy:
        yield Finding("locks", "ok", f"{health.busy} held: another process ingests, trains or clears")
    if health.incomplete:
        yield Finding(
            "documents",
            "warning",
            f"{health.incomplete} documents have chunks without a vector in space {settings.space}",
            f"lvm reembed --to {settings.space} --space OTHER, or ingest again",
        )
    if health.unindexed:
        yield Finding(
            "search index",
            "warning",
            f"none for the {health.unindexed} vectors of space {settings.space}; search is exact and slow",
            "lvm db index",
        )


def _schema(health: Health) -> Iterator[Finding]:
    if health.encoding != ENCODING:
        yield Finding("encoding", "problem", f"{health.encoding} cannot hold every text", ENCODING_ADVICE)
    version = health.pgvector or health.pgvector_available
    if version is None:
        yield Finding("pgvector", "problem", "not enabled", "install pgvector on the server")
    elif version_of(version) < PGVECTOR:
        needed = f"{'.'.join(map(str, PGVECTOR))} or newer is needed"
        yield Finding("pgvector", "problem", version, f"{needed}: install it, then ALTER EXTENSION vector UPDATE")
    elif health.pgvector is None:
        yield Finding("pgvector", "warning", "not enabled", "the first run enables it, if the user may")
    elif health.pgvector_moved is not None:
        moved = f"{version}, moved out of schema {health.pgvector_moved}, where functions of this project use it"
        advice = f"ALTER EXTENSION vector SET SCHEMA {health.pgvector_moved}"
        yield Finding("pgvector", "problem", moved, advice)
    else:
        yield Finding("pgvector", "ok", version)
    for missing, advice in health.rights:
        yield Finding("rights", "problem", missing, advice)
    if not health.known:
        newer = f"{health.migration}, which is newer than this lvm ({health.newest})"
        yield Finding("schema", "problem", newer, "upgrade lvm, or use another database")
    elif health.migration != health.newest:
        older = f"{health.migration or 'none'}, newest is {health.newest}"
        yield Finding("schema", "warning", older, "lvm db migrate")
    else:
        yield Finding("schema", "ok", f"{health.migration}")
        if health.off:
            yield Finding(
                "triggers",
                "problem",
                f"{len(health.off)} are disabled or missing: {', '.join(health.off)}",
                "rows written without them were not checked: enable them (ALTER TABLE ... ENABLE ALWAYS TRIGGER), "
                "then lvm doctor --deep",
            )
        if health.children:
            inherited = f"{', '.join(health.children)} inherit from the project's tables and are not read"
            yield Finding("tables", "warning", inherited, "drop them")


def _space(settings: Settings) -> Iterator[Finding]:
    from lvm.spaces import open_space

    space = open_space(settings.space, settings, fetch=False)
    own = space.inverter_encoder == space.fingerprint
    yield Finding(
        "space",
        "ok" if own else "problem",
        f"{space.name} {space.fingerprint}, {space.dim} dimensions, its inverter was {'' if own else 'not '}trained "
        "for its encoder",
        "" if own else "lvm diagnose, or train an inverter: lvm inverter train",
    )
    if not server.exists(settings):
        return
    try:
        health = examine(settings, settings.space)
    except LvmError:  # the check of the database reports it
        return
    if health.migration != health.newest:  # opening the database would migrate it, and checks change nothing
        return
    with open_store(settings) as store:
        number = store.space_id(space.name)
        if number is None:
            yield Finding("gate", "ok", f"nothing is stored in {space.name} yet", "lvm ingest SOURCE")
            return
        store.register_space(space.name, space.dim, space.fingerprint, space.recipe, space.probe().unit)
        work = Workspace(settings, store, space, number)
        gate, last = work.verdict(), store.latest_gate(number)
        for version in versions(work):
            if version.champion:
                yield _champion(version)
        if settings.source_only is not None:
            found = f"stages work on {settings.source_only} alone; what follows is about the whole database"
            yield Finding("LVM_SOURCE_ONLY", "ok", found)
        for each in databases_beside(store):
            found = f"{each.about}, {each.size / GIGABYTE:.2f} GB in database {each.name}"
            name = "other corpus" if each.kind == "on" else "source alone"
            yield Finding(name, "ok", found, "lvm clear drops it together with all else")
    if last is None:
        yield Finding("gate", "ok", "not measured yet", "lvm validate")
    elif gate is None:
        same = last.inverter_id == work.inverter_id
        changed = (
            "the corpus changed since then" if same else f"with another inverter than {space.inverter.sha256[:12]}"
        )
        yield Finding("gate", "warning", f"{last.value:.3f}, but {changed}", "lvm validate")
    else:
        verdict = "passed" if gate.passed else "blocked"
        advice = "" if gate.passed else "lvm diagnose, or adapt the inverter: lvm inverter finetune SOURCE"
        yield Finding("gate", "ok" if gate.passed else "problem", f"{verdict}, {gate.value:.3f}", advice)


def _champion(version: Version) -> Finding:
    """The model that answers where none is named: whether its file is there."""
    if version.kept:
        return Finding("champion", "ok", f"{version.run.version}, its file is there")
    advice = "restore its file from a backup, promote another model, or lvm promote --back"
    return Finding("champion", "problem", f"{version.run.version}, its file is gone", advice)


def _content(settings: Settings) -> Iterator[Finding]:
    if not server.exists(settings):
        return
    health = examine(settings, settings.space)
    if health.migration != health.newest:
        yield Finding("content", "warning", "not checked: the schema is not the newest", "lvm db migrate")
        return
    with open_workspace(settings=settings) as work:
        for name, number in work.store.spaces().items():
            same = work.store.corpus_revision(number) == work.store.recomputed_revision(number)
            yield Finding(
                f"revision of {name}",
                "ok" if same else "problem",
                "matches the rows" if same else "does not match the rows: rows were written without the triggers",
                "" if same else "lvm clear, and ingest again",
            )
        for path in sorted(work.sequences_path(1).parent.glob("ctx*.safetensors")):
            yield from _sequences(work, path)


def _sequences(work: Workspace, path: Path) -> Iterator[Finding]:
    """Compare a sequence set with the database, and its models with the recorded runs."""
    context = path.stem.removeprefix("ctx")
    if not context.isdecimal():
        return
    try:
        sequences, row = work.sequences(int(context))
    except GateMissing as error:
        yield Finding(path.name, "warning", str(error), "lvm validate, lvm extract")
        return
    try:
        wrong = work.differing_vectors(sequences)
    except CorruptedFile as error:
        yield Finding(path.name, "problem", str(error), "lvm extract")
        return
    if wrong:
        differing = f"{wrong} of {len(sequences.unit)} vectors differ from the stored vectors"
        yield Finding(path.name, "problem", differing, f"delete {path}, and lvm extract")
    else:
        yield Finding(path.name, "ok", "its vectors are the stored vectors")
    models = work.models(row)
    yield Finding("models", "ok", f"{', '.join(models) or 'none'}: checkpoints are as recorded")


def _prefect(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    address, named_by = next(prefect_server(settings, environment), ("", ""))
    api = without_login(address).rstrip("/")
    if not api:
        found = "no server: stages run in the process of their command, `lvm run` starts a server of its own"
        yield Finding("Prefect", "ok", found, "to see runs and retry them: lvm ui")
        return
    if not api.endswith("/api") and "/api/" not in api:
        yield Finding("Prefect", "problem", f"{api} ({named_by})", f"it must end in /api: {api}/api")
        return
    try:
        request = urllib.request.Request(f"{api}/admin/version", headers=_login(address, environment))
        with urllib.request.urlopen(request, timeout=API_SECONDS) as answer:
            theirs = json.loads(answer.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        advice = what_to_do(address, settings, getattr(error, "code", None))
        found = f"{api} ({named_by}) does not answer as a Prefect server ({without_login(first_line(reason))})"
        yield Finding("Prefect", "problem", found, advice)
        return
    ours = version("prefect")
    same = str(theirs).split(".")[:2] == ours.split(".")[:2]
    found = f"{api} ({named_by}), version {theirs}" + ("" if same else f", while {ours} is installed here")
    yield Finding("Prefect", "ok" if same else "warning", found, "" if same else "run both at one version")


def _login(address: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The header that Prefect's client sends: the login of the address, else the one of Prefect's settings."""
    login, key = login_of(address) or environment.get("PREFECT_API_AUTH_STRING"), environment.get("PREFECT_API_KEY")
    if login:
        return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return {"Authorization": f"Bearer {key}"} if key else {}
