"""Kinds of hostile cases: files, requests, settings, URLs, checkpoints, arguments, calls and SQL. ``fuzz`` runs them.

A kind is a function that takes dice, describes a case and returns what to do. A case that works says so, or that it
skipped something by name. It raises a named error, or it is a failure.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import torch
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

import lvm
from lvm import cli
from lvm.cli import vectors as commands
from lvm.encoding import vector_files
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.vectors import Vectors
from lvm.inversion.inverter import PrefixInverter
from lvm.sequences import load
from lvm.spaces import open_space, registry
from lvm.spaces.statistics import Statistics
from lvm.store import open_store
from lvm.training import load_model
from tests.attacks.folders import RECIPE
from tests.attacks.hostile import JSON, mutated
from tests.attacks.test_hostile_files import sealed, split
from tests.field.corpora import plant, texts
from tests.field.values import (
    INTEGERS,
    NAMED,
    REALS,
    SECONDS,
    SECRET,
    WORKS,
    Broken,
    Case,
    Dice,
    World,
    anything,
    as_json,
    harmed,
    raw,
    sentence,
    text,
)

# -- requests -----------------------------------------------------------------------------------------------------

HEADERS = [
    b"X: \xff\xfe", b"X: a\0b", b"X" * 70_000 + b": a", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Host: y",
    b"Expect: 100-continue", b"Upgrade: websocket", b"Content-Encoding: gzip", b"Accept: \x7f", b"no colon", b" : ",
    b"Cookie: " + b"a" * 5000, b"Authorization: Bearer x", b"Transfer-Encoding: gzip",
]  # fmt: skip
TYPES = [b"application/json"] * 6 + [b"text/plain", b"application/json; charset=\xff", b""]
TOKENS = [f"{SECRET}token".encode()] * 9 + [b"x", b"\xff", b"", SECRET.encode()]
POSTED = ("/encode", "/decode", "/next", "/write")


def requests(world: World, dice: Dice, place: Path) -> Case:
    """A request to the service."""
    path = dice.choice([*POSTED, "/models", "/spaces", "/health", "/", "/openapi.json"])
    data = raw(as_json(_body(world, dice, path))) if dice.random() < 0.9 else raw(dice.choice([*JSON, text(dice)]))
    data = harmed(data, dice) if dice.random() < 0.3 else data
    method = dice.choice(["POST"] * 6 + ["GET", "PUT", "get", "BREW"]) if path in POSTED else "GET"
    path += dice.choice([""] * 12 + ["/", "?a=%ff", "%00", "/../x", "%0d%0aX: y", "#a", "//", "\u00e9"])
    headers = [
        b"Host: " + dice.choice([b"x"] * 5 + [b"evil.example", b"", b"[::1"]),
        b"Authorization: Bearer " + dice.choice(TOKENS),
        b"Content-Type: " + dice.choice(TYPES),
        b"Content-Length: %d" % (len(data) + dice.choice([0] * 9 + [1, -1, 10**30])),
        b"Connection: close",
    ]
    if dice.random() < 0.3:
        headers.insert(dice.randrange(5), dice.choice(HEADERS))
    sent = b"\r\n".join([raw(f"{method} {path} HTTP/1.1"), *headers, b"", data])
    sent = mutated(sent, dice) if dice.random() < 0.15 else sent
    return f"send {sent[:1500]!r}", lambda: answered(world, sent)


def _body(world: World, dice: Dice, path: str) -> dict[str, Any]:
    body: dict[str, Any] = {"texts": [sentence(dice)], "space": world.work.space.fingerprint}
    if path == "/decode":
        vectors = ["AAAA", [[0.1] * 384], [[0.1] * 3], [[1e400] * 384], world.work.space.encode(["a"]).unit.tolist()]
        body = {"vectors": dice.choice(vectors), "space": body["space"], "n_best": 1}
    elif path in ("/next", "/write"):
        body |= {"model": dice.choice(["shipped", None, "gru"]), "samples": 1, "seed": 1}
        body |= {"steps": 1} if path == "/write" else {"nearest": 1}
    for name in dice.sample([*body], dice.choice([0, 1, 1, 2])):
        body[name] = anything(dice)
    return body


def answered(world: World, sent: bytes) -> str:
    """Send bytes, and judge the answer."""
    received = b""
    with socket.create_connection(("127.0.0.1", world.port), SECONDS) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        while more := client.recv(65_536):
            received += more
    received = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    header, _, body = received.partition(b"\r\n\r\n")
    if not header.startswith(b"HTTP/1.1 "):
        raise Broken(f"the answer is {received[:200]!r}")
    if SECRET.encode() in received or str(world.folder).encode() in received:
        raise Broken(f"the answer tells too much: {received[-500:]!r}")
    status = int(header.split()[1])
    if status == 200 and b"event: error" not in body:
        return WORKS
    if not 400 <= status < 500 or b"content-type: application/json" not in header.lower():
        raise Broken(f"the answer is {received[:500]!r}")
    if sent[:4] != b"HEAD":
        answer, _ = json.JSONDecoder().raw_decode(body.decode())
        if set(answer) != {"error", "detail"} or any(ord(c) < 32 for c in answer["detail"]):
            raise Broken(f"the answer is {answer}")
    return NAMED


# -- settings and arguments of the command line --------------------------------------------------------------------

NUMBERS = ["", " ", "0", "-1", "1.0", "1", "many", "1e9", "\u0664", "9" * 400, "nan", "0x10", "1_0", "true"]
TEXT_SETTINGS = (
    "LVM_DATABASE_URL", "LVM_GATEKEEPER_URL", "LVM_ARTIFACTS", "LVM_ARTIFACTS_URL", "LVM_SPACE", "LVM_SPACES",
    "LVM_INVERTER", "LVM_SOURCE_ONLY", "LVM_TOKEN", "LVM_RAY_ADDRESS", "LVM_TREADS",
)  # fmt: skip
SETTINGS: dict[str, Callable[[Dice], str]] = {
    **dict.fromkeys(TEXT_SETTINGS, text),
    **dict.fromkeys(
        ("LVM_THREADS", "LVM_WORKERS", "LVM_REPLICAS", "LVM_SEED", "LVM_QUIET"), lambda dice: dice.choice(NUMBERS)
    ),
    "LVM_DEVICE": lambda dice: dice.choice(["cuda", "cuda:99", "mps", "cpu:7", "meta", "xla", "CPU", text(dice)]),
    "LVM_RUNNER": lambda dice: dice.choice(["dask", "RAY", " threads", "", text(dice)]),
    "LVM_HOME": lambda dice: dice.choice(["/dev/null", "/dev/null/x", "/proc/x", "", "a" * 300, "~nobody/x"]),
}
READING = [["doctor"], ["spaces"], ["db", "url"], ["sources"], ["search", "We met."], ["models", "--json"]]
COMMANDS = [
    ["search"], ["next"], ["write", "--steps", "1", "--samples", "1"], ["encode"], ["decode"], ["check"], ["ingest"],
    ["remove"], ["promote"], ["models"], ["sources"], ["spaces"], ["extract"], ["train"], ["evaluate"], ["db", "url"],
    ["clear"], ["reembed"], ["diagnose", "none"], ["validate", "--space", "none"], ["notify"], ["serve", "--space",
    "none"], ["pack"], [],
]  # fmt: skip
OPTIONS = [
    "--model", "--k", "--skip", "--source", "--document", "--where", "--space", "--json", "--samples", "--temperature",
    "--seed", "--limit", "--confirm", "--out", "--vectors-of", "--n-best", "--context", "--set", "--config", "--epochs",
    "--loss", "--head", "--device", "--inverter", "--to", "--reason", "--host", "--on", "--export", "--help",
    "--hybrid", "--exact",
]  # fmt: skip


def settings(world: World, dice: Dice, place: Path) -> Case:
    """Settings in the environment or in ``.env``, and a command that reads them."""
    names = dice.sample([*SETTINGS], dice.choice([1, 1, 2, 3]))
    given = {name: raw(SETTINGS[name](dice).replace("\0", "")).decode("utf-8", "replace") for name in names}
    command = dice.choice(READING)
    if dice.random() < 0.6:
        return f"lvm {command} with {given}"[:1500], lambda: command_line(world, place, command, given)
    lines = (f"{name}={dice.choice(['', chr(34), chr(39)])}{value}" for name, value in given.items())
    file = harmed(raw("\n".join(lines)), dice)
    if dice.random() < 0.1:
        (place / ".env").mkdir()
    else:
        (place / ".env").write_bytes(file)
    return f"lvm {command} with .env {file!r}"[:1500], lambda: command_line(world, place, command, {}, file)


def arguments(world: World, dice: Dice, place: Path) -> Case:
    """A command with arguments of any kind."""
    files = sorted(map(str, (world.folder / "files").iterdir()))
    command = [*dice.choice(COMMANDS)]
    command += [dice.choice([text(dice), dice.choice(files)]) for _ in range(dice.choice([0, 1, 1, 2]))]
    for option in dice.sample(OPTIONS, dice.choice([0, 1, 1, 2])):
        command += [option, dice.choice([text(dice), str(dice.choice(INTEGERS)), str(dice.choice(REALS)), "minilm"])]
    command = [each.replace("\0", "").replace("\ud800", "\udcff") for each in command]
    return f"lvm {command}"[:1500], lambda: command_line(world, place, command, {})


def command_line(world: World, place: Path, command: list[str], given: dict[str, str], file: bytes = b"") -> str:
    """Run a command in this process, and judge its exit code and what it prints.

    Args:
        world: its database and folders are in the settings.
        place: the working folder.
        command: after ``lvm``.
        given: environment variables.
        file: ``.env``; what it names is not set in the environment.
    """
    ours = {
        "LVM_DATABASE_URL": world.url, "LVM_HOME": str(world.folder / "home"), "LVM_QUIET": "1", "LVM_THREADS": "1",
        "LVM_ARTIFACTS": str(world.folder / "artifacts"),
    }  # fmt: skip
    ours = {name: value for name, value in ours.items() if raw(name) not in file} | given
    printed, said = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    environment, arguments, stdin, code = dict(os.environ), sys.argv, sys.stdin, 0
    os.environ.update(ours)
    sys.argv, sys.stdin = ["lvm", *command], io.TextIOWrapper(io.BytesIO(b"We met.\n"))
    try:
        with contextlib.chdir(place), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, sys.stdin = arguments, stdin
        torch.set_num_threads(1)
    out, err = _printed(printed), _printed(said)
    if SECRET in out + err:
        raise Broken(f"it prints a secret: {out[-300:]} {err[-300:]}")
    if "Traceback" in err or "Warning:" in err:
        raise Broken(f"it prints {err[-1500:]}")
    if code == 0:
        return WORKS
    if code not in (1, 2) or not (err.strip() or command == ["doctor"] or "Usage" in out):
        raise Broken(f"exit code {code}: {err[-500:]!r}")
    if code == 1 and len(err.strip().splitlines()) > 2:  # a line before may say which model answers
        raise Broken(f"it prints {len(err.strip().splitlines())} lines: {err[-1500:]}")
    return NAMED


def _printed(file: io.TextIOWrapper) -> str:
    file.seek(0)
    return file.buffer.read().decode("utf-8", "replace")


# -- URLs of databases --------------------------------------------------------------------------------------------

LOGINS = [
    "", "u@", f"u:{SECRET}@", f"u:{SECRET}@{SECRET}@", f"u:{SECRET}/x@", f"u:%zz{SECRET}@", f"u:a:{SECRET}@",
    "\u00e9:\ud800@",
]  # fmt: skip
HOSTS = [
    "127.0.0.1:1", "localhost:abc", "localhost:99999", "localhost:-1", "localhost:", "a.invalid,b.invalid", "[::1]:1",
    "[::1", "127.0.0.1:1,127.0.0.1:2", "", "no such host", "x" * 300, "127.0.0.1:1:2", "..", "\u00e9\u00e9.invalid",
    "%2Fnone", f"{SECRET}@h.invalid",
]  # fmt: skip
DATABASES = ["lvm", "", "postgres", "a/b", "\u00e9", "%00", "x" * 100, "a b", "'", "template0"]
QUERIES = [
    "", "", "none=1", "connect_timeout=abc", "port=abc", f"password={SECRET}", "sslmode=evil", "options=-cfoo=1", "a",
    "=1", "host=/none", "service=none", "sslrootcert=/none&sslmode=verify-full", "application_name=%00",
    "host=/a&host=/b", "client_encoding=latin1", "client_encoding=evil", "target_session_attrs=evil",
    f"sslpassword={SECRET}", "gssencmode=x", "port=5432", "port=1", "connect_timeout=-1", "keepalives=x",
]  # fmt: skip
SCHEMES = ["postgresql"] * 6 + ["postgres", "mysql", "", "postgresql+asyncpg", "prefect:secret", "http", "POSTGRESQL"]


def urls(world: World, dice: Dice, place: Path) -> Case:
    """A URL of a database."""
    query = dice.choice(QUERIES)
    if dice.random() < 0.4:  # the real server, in an odd way
        real = conninfo_to_dict(world.dsn)
        url = f"postgresql://{real['user']}:{SECRET}@/{real['dbname']}?host={real['host']}&{query}"
    else:
        url = f"{dice.choice(SCHEMES)}://{dice.choice(LOGINS)}{dice.choice(HOSTS)}/{dice.choice(DATABASES)}?{query}"
    data = mutated(raw(url), dice) if dice.random() < 0.1 else raw(url)
    url = data.decode("utf-8", "replace").replace("\0", "")
    which = dice.choice(["database_url", "database_url", "gatekeeper_url"])
    if dice.random() < 0.3:
        return f"lvm db url of {url!r}", lambda: command_line(world, place, ["db", "url"], {"LVM_DATABASE_URL": url})

    def attempt() -> str:
        with open_store(world.work.settings.model_copy(update={which: SecretStr(url)})) as store:
            store.contents()
        return WORKS

    return f"open {which} {url!r}", attempt


# -- files of this project ----------------------------------------------------------------------------------------


def files(world: World, dice: Dice, place: Path) -> Case:
    """A file that this project reads, damaged, also sealed again."""
    kind = dice.choice([*OPENERS])
    name, opener = OPENERS[kind]
    base = world.folder / "files"
    target = place / kind
    if (base / kind).is_dir():
        shutil.copytree(base / kind, target)
        name = name or dice.choice(sorted(each.name for each in target.iterdir() if each.is_file()))
        target = target / name
    elif (base / kind).exists():
        shutil.copy(base / kind, target)
    data = target.read_bytes() if target.exists() else raw(_spaces(world, dice))
    how = dice.choice(["bytes", "bytes", "header", "header", "header", "json", "cut", "folder", "pipe", "loop", "gone"])
    if how == "pipe" and target.suffix == ".jsonl":  # a reader waits for a writer, as it should
        how = "gone"
    if how == "header" and target.suffix == ".safetensors":
        with contextlib.suppress(KeyError):
            data = _another_header(data, dice)
    elif how == "cut":
        data = data[: dice.randrange(len(data))]
    elif how == "json" or (how == "header" and target.suffix == ".json"):
        data = _another_json(data, dice) if target.suffix == ".json" else raw(dice.choice(JSON))
    elif kind != "spaces.toml" or dice.random() < 0.3:
        data = mutated(data, dice)
    target.unlink(missing_ok=True)
    if how in ("folder", "pipe", "loop"):
        plant(how, target)
    elif how != "gone":
        target.write_bytes(data)

    def attempt() -> str:
        opener(world, target)
        return WORKS

    return f"open {target.relative_to(place)} after {how}: {data[:600]!r}", attempt


def _another_header(data: bytes, dice: Dice) -> bytes:
    """A safetensors file with a changed header, whose seal is right."""
    header, rest = split(data)
    about = header["__metadata__"]
    for _ in range(dice.choice([1, 1, 2])):
        where = dice.choice([about, header[dice.choice(sorted(header))]])
        key = dice.choice(sorted(where))
        value = where[key]
        if where is about and value.startswith("{"):
            where[key] = _another_json(raw(value), dice).decode("utf-8", "replace")
        else:
            where[key] = str(anything(dice)) if where is about else anything(dice)
    return sealed(header, rest)


def _another_json(data: bytes, dice: Dice) -> bytes:
    """JSON with one value changed, somewhere inside."""
    found = json.loads(data)
    where: Any = found
    while isinstance(where, dict | list) and where:
        key = dice.choice(sorted(where, key=str)) if isinstance(where, dict) else dice.randrange(len(where))
        if not isinstance(where[key], dict | list) or not where[key] or dice.random() < 0.2:
            where[key] = anything(dice)
            break
        where = where[key]
    return json.dumps(found).encode()


def _spaces(world: World, dice: Dice) -> str:
    base = world.folder / "files"
    entry: dict[str, Any] = {"encoder": str(base / "encoder"), "inverter": str(base / "inverter")}
    entry |= {"normalize": True, "max_tokens": 12, "pooling": "mean", "layer": -1}
    for name in dice.sample([*entry, "projection", "steps", "more"], dice.choice([0, 1, 2])):
        entry[name] = dice.choice([text(dice), dice.choice(INTEGERS[:11]), dice.choice(REALS), True, [1]])
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items()]
    return f"[{dice.choice(['mine', 'mine', 'minilm', 'a.b', json.dumps(text(dice))])}]\n" + "\n".join(lines)


def _open_spaces(world: World, path: Path) -> None:
    given = world.work.settings.model_copy(update={"spaces": path})
    for name, entry in registry.configured(given).items():
        if entry.encoder.startswith(str(world.folder)):
            space = open_space(name, given, fetch=False)
            assert space.encode(["We met."]) and space.inverter


def _open_vectors(world: World, path: Path) -> None:
    assert [*commands.decode(path, None, world.work.settings, world.work.space.fingerprint)]
    commands.check(path, None, world.work.settings)


OPENERS: dict[str, tuple[str, Callable[[World, Path], object]]] = {
    "encoder": ("", lambda _, path: TextEncoder(path.parent, RECIPE).encode(["We met.", "The ice broke."])),
    "inverter": ("", lambda _, path: PrefixInverter.load(path.parent)),
    "gru": ("model.safetensors", lambda _, path: load_model(path.parent)),
    "transformer": ("model.safetensors", lambda _, path: load_model(path.parent)),
    "sequences.safetensors": ("", lambda _, path: load(path).unit.check()),
    "statistics.safetensors": ("", lambda _, path: Statistics.load(path).own_distance),
    **{f"vectors{suffix}": ("", _open_vectors) for suffix in vector_files.READ},
    "spaces.toml": ("", _open_spaces),
}
"""What opens a file or folder of ``World.folder/files``; of a folder, which file in it is damaged (empty: any)."""


# -- calls in Python and SQL ----------------------------------------------------------------------------------------

ROWS: list[Any] = [[[0.1] * 384], [[0.1] * 3], [], [[float("nan")] * 384], [[0.0] * 384], [0.1] * 384]


def calls(world: World, dice: Dice, place: Path) -> Case:
    """A call of the front door with values of the right types."""
    work, space = world.work, world.work.space
    name, texts, number = text(dice), [text(dice) for _ in range(dice.randrange(4))], dice.choice(INTEGERS)
    model, confirm = dice.choice(["shipped", "shipped", "gru", None, name]), dice.choice(["", name])
    rows, k = np.array(dice.choice(ROWS), np.float32), dice.choice([1, 3, number])
    all_options = {"samples": dice.choice([1, 1, None, -1, 0, 2]), "temperature": dice.choice(REALS), "seed": number}
    options: Any = {key: all_options[key] for key in dice.sample([*all_options], dice.randrange(4))}
    keys = ["source", "document", "metadata", name]
    found: Any = {
        "filter": {dice.choice(keys): anything(dice) for _ in range(dice.randrange(3))}, "hybrid": dice.random() < 0.5,
        "skip": dice.choice([0, 0, number]), "exact": dice.random() < 0.5,
    }  # fmt: skip
    config: Any = {
        "epochs": number,
        "learning_rate": dice.choice(REALS),
        "device": name,
        "loss": dice.choice(["mix", name]),
    }

    def vectors() -> Vectors:
        return Vectors.from_raw(space.fingerprint, rows)

    possible: list[tuple[str, Callable[[], object]]] = [
        (f"search({name!r}, {k}, **{found})", lambda: work.search(name, k, **found)),
        (f"search(Vectors of {rows}, {k})", lambda: work.search(vectors(), k)),
        (f"predict_next({model!r}, {texts!r}, **{options})", lambda: lvm.predict_next(work, model, texts, **options)),
        (f"write({model!r}, {texts!r}, **{options})", lambda: [*lvm.write(work, model, texts, steps=1, **options)]),
        (f"open_space({name!r})", lambda: lvm.open_space(name, work.settings)),
        (f"ingest({name!r}, {number})", lambda: lvm.ingest(work, name, number)),
        (f"remove({name!r}, confirm={confirm!r})", lambda: lvm.remove(work, name, confirm=confirm)),
        (f"promote({name!r})", lambda: lvm.promote(work, name, reason=name)),
        (f"extract({number})", lambda: lvm.extract(work, number)),
        (f"encode({texts!r})", lambda: space.encode(texts)),
        (f"decode(Vectors of {rows}, {k})", lambda: space.decode(vectors(), k)),
        (f"TrainConfig(**{config})", lambda: lvm.TrainConfig(**config)),
    ]
    about, call = dice.choice(possible)

    def attempt() -> str:
        call()
        return WORKS

    return about[:1500], attempt


FUNCTIONS = {
    "search": "SELECT * FROM lvm.search(%(vector)s::vector, %(k)s::integer, %(space)s, %(filter)s::jsonb, %(exact)s)",
    "find": "SELECT * FROM lvm.find(%(words)s, %(k)s::integer, %(space)s, %(filter)s::jsonb)",
    "hybrid": "SELECT * FROM lvm.hybrid(%(words)s, %(vector)s::vector, %(k)s::integer, %(space)s, %(filter)s::jsonb)",
    "neighbours": "SELECT * FROM lvm.neighbours(%(chunk)s::bigint, %(k)s::integer, %(space)s)",
    "next": "SELECT * FROM lvm.next(%(chunk)s::bigint, %(k)s::integer)",
    "corpus_revision": "SELECT lvm.corpus_revision(%(k)s::integer)",
}
QUERY_VECTORS: list[list[Any]] = [[0.1] * 384, [0.1] * 3, [0] * 384, ["nan"] * 384, [1e38] * 384, []]
SERVERS_FAULT = ("XX", "57", "53", "58")
"""Classes of Postgres' error codes: internal errors, the server's state, resources, the system."""


def sql(world: World, dice: Dice, place: Path) -> Case:
    """A call of a function in SQL, with values of the right types."""
    words = raw(text(dice).replace("\0", "")).decode("utf-8", "replace")
    filters = [None, {"source": anything(dice)}, {"metadata": anything(dice)}, anything(dice)]
    values = {
        "vector": f"[{','.join(map(str, dice.choice(QUERY_VECTORS)))}]", "words": words,
        "filter": raw(as_json(dice.choice(filters))).decode("utf-8", "replace"), "k": dice.choice([1, 3, None,
        *INTEGERS]), "chunk": dice.choice(INTEGERS), "space": dice.choice(["minilm", "minilm", "none", "", None,
        words]), "exact": dice.random() < 0.5,
    }  # fmt: skip
    statement = FUNCTIONS[dice.choice([*FUNCTIONS])]

    def attempt() -> str:
        with psycopg.connect(world.dsn, options=f"-cstatement_timeout={SECONDS - 5}s") as connection:
            try:
                connection.execute(statement, values).fetchall()
            except psycopg.Error as error:
                if not isinstance(error, psycopg.DataError) and (error.sqlstate or "XX")[:2] in SERVERS_FAULT:
                    raise
                return NAMED
        return WORKS

    return f"{statement} {str(values)[:1200]}", attempt


KINDS: dict[str, Callable[[World, Dice, Path], Case]] = {
    each.__name__: each for each in (texts, requests, settings, urls, files, arguments, calls, sql)
}
"""By name. The number of a case says its kind: they take turns."""
