"""The command line: every wrong request is one line and an exit code, and changes nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flows.common import PrefectUnavailable, Where
from flows.deployments import alone
from lvm import cli
from lvm.cli.common import flow, loading, prefect_starting, workspace_opened
from lvm.cli.surroundings import prefect_api, prepare_prefect
from lvm.encoding.weights import find
from lvm.errors import UsageError
from lvm.settings import Settings
from lvm.spaces import open_space
from lvm.store import DatabaseUnavailable, Store, open_store
from tests.flows.corpora import write_unseen
from tests.test_terminal import terminal


def lvm(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lvm", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ingest", "no/such/place"], 2, "no/such/place"),
        (["ingest", "EMPTY"], 2, "no usable document (first: empty.txt: is empty)"),
        (["ingest", "NOTHING"], 2, "no usable document (it holds nothing that is read; name a folder of texts, a file"),
        (["run", "sotuu"], 2, "did you mean sotu? Or name a folder"),
        (["evaluate", "--on", "no/such/place"], 2, "no/such/place"),
        (["ingest", "BROKEN"], 2, "no usable document"),
        (["ingest", "sotu", "--limit", "0"], 2, "--limit"),
        (["ingest", "sotu", "--limit", "many"], 2, "--limit"),
        (["ingest", "sotu", "--space", "gtr"], 2, "minilm"),
        (["validate", "--space", "gtr"], 2, "minilm"),
        (["validate"], 1, "ingest"),
        (["extract"], 1, "lvm validate"),
        (["extract", "--export", "csv"], 2, "npz"),
        (["train", "--model", "gpt"], 2, "lstm"),
        (["train", "--loss", "l2"], 2, "infonce"),
        (["train", "--model", "gru"], 1, "lvm validate"),
        (["train", "--model", "gru", "--set", "hidden=32", "--config", "TOML"], 1, "lvm validate"),
        (["train", "--set", "hidden"], 2, "NAME=VALUE"),
        (["train", "--set", "hiden=32"], 2, "did you mean hidden?"),
        (["train", "--model", "gru", "--set", "heads=2"], 2, "transformer"),
        (["train", "--set", "seed=1"], 2, "LVM_SEED"),
        (["train", "--epochs", "3", "--set", "epochs=4"], 2, "given twice"),
        (["train", "--config", "no/such.toml"], 2, "no/such.toml"),
        (["train", "--config", "BROKEN"], 2, "is no TOML"),
        (["train", "--device", "nonsense", "--set", "hidden=0"], 2, "hidden is 0"),
        (["run", "EMPTY", "--set", "learning_rate=0"], 2, "learning_rate is 0.0"),
        (["run", "EMPTY", "--config", "BROKEN"], 2, "is no TOML"),
        (["inverter", "train", "--set", "learning_rate=fast"], 2, "a finite number"),
        (["inverter", "train", "--set", "noise=1"], 2, "noise is 1.0"),
        (["inverter", "train", "--set", "seed=1"], 2, "LVM_SEED"),
        (["inverter", "train", "--epochs", "2", "--set", "epochs=3"], 2, "given twice"),
        (["inverter", "finetune", "sotu", "--set", "vocabulary=5000"], 2, "keeps its vocabulary"),
        (["evaluate"], 1, "lvm validate"),
        (["evaluate", "--on", "sotu"], 1, "lvm validate"),
        (["evaluate", "--limit", "5"], 2, "--on SOURCE"),
        (["clear"], 2, "lvm clear --confirm"),
        (["clear", "--confirm", "wrong"], 2, "lvm clear --confirm"),
        (["diagnose", "minilm", "minilm:pooling=median"], 2, "median"),
        (["diagnose", "minilm", "minilm:colour=red"], 2, "colour"),
        (["next", "One sentence."], 2, "lvm train"),
        (["notify", "mailto:me@example.org"], 2, "https://"),
        (["notify", "https://example.org/hook"], 2, "lvm ui"),
        (["deploy"], 2, "PREFECT_API_URL"),
        (["frobnicate"], 2, "frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("nothing_shipped")
def test_wrong_requests(
    arguments: list[str],
    code: int,
    said: str,
    settings: Settings,
    database: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "broken.txt").write_bytes(b"\x00\xff\x00\xfebroken")
    (tmp_path / "train.toml").write_text("learning_rate = 1e-3\n[gru]\ndropout = 0.2\n")
    names = {
        "EMPTY": str(tmp_path / "empty.txt"),
        "NOTHING": str(tmp_path / "nothing"),
        "BROKEN": str(tmp_path / "broken.txt"),
        "TOML": str(tmp_path / "train.toml"),
    }
    before = database.contents()
    assert lvm(monkeypatch, *(names.get(each, each) for each in arguments)) == code
    error = capfd.readouterr().err
    assert said in " ".join(error.split()), error
    assert "Traceback" not in error
    after = database.contents()
    assert {**after, "space": 0} == {**before, "space": 0}


def test_a_corrupted_inverter_is_one_line(
    settings: Settings,
    database: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shipped = find("package:lvm/spaces/minilm", settings.home)
    for file in ("inverter.safetensors", "tokenizer.json", "config.json"):
        folder = tmp_path / file
        shutil.copytree(shipped, folder)
        (folder / file).write_bytes((folder / file).read_bytes()[:5000])
        monkeypatch.setenv("LVM_INVERTER", str(folder))
        assert lvm(monkeypatch, "ingest", "sotu", "--limit", "1") == 0  # ingesting needs no inverter
        assert lvm(monkeypatch, "validate") == 1
        error = capfd.readouterr().err
        assert str(folder) in " ".join(error.split()).replace(" ", "") or file in error
        assert "Traceback" not in error


def test_an_unreachable_database_keeps_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LVM_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:9/lvm")
    assert lvm(monkeypatch, "search", "anything") == 1
    said = capfd.readouterr().err
    assert "hunter2" not in said and "127.0.0.1" in said and "Traceback" not in said


def test_spaces_and_diagnosis_are_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lvm(monkeypatch, "spaces") == 0
    assert open_space("minilm", settings).fingerprint in capfd.readouterr().out
    assert lvm(monkeypatch, "diagnose", "minilm", "minilm:pooling=cls") == 0
    assert "part at pooling" in " ".join(capfd.readouterr().out.split())


def test_help_in_a_pipe_has_no_boxes_and_no_sentence_is_cut(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lvm(monkeypatch, "--help") == 0 and lvm(monkeypatch, "spaces", "compare", "--help") == 0
    told = capfd.readouterr().out
    assert "│" not in told
    assert "Store a source's documents, chunks and vectors; what is stored already stays as it is." in told


def test_a_fresh_folder_needs_nothing_made_beforehand(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    prepare_prefect(Settings(home=tmp_path / "not" / "there" / "yet"))
    assert (tmp_path / "not" / "there" / "yet" / "prefect").is_dir()


def test_a_home_that_cannot_be_made_is_one_line(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LVM_HOME", str(tmp_path / "file"))
    assert lvm(monkeypatch, "run", "sotu", "--limit", "1") == 2
    said = capfd.readouterr().err
    assert "LVM_HOME" in said and "Traceback" not in said


@pytest.mark.parametrize("api", ["http://127.0.0.1:9/api", "nonsense"])
def test_a_prefect_server_that_is_not_there_is_one_line(api: str, settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from lvm.cli import main; main()", "ingest", "sotu", "--limit", "1"],
        env={**os.environ, "PREFECT_API_URL": api}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("PrefectUnavailable: ") and done.stderr.count("\n") == 1, done.stderr
    assert api in done.stderr and "lvm doctor" in done.stderr


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("prefect.toml", b"api = {", "invalid TOML"),
        ("prefect.toml", b"\xff\xfe", "can't decode"),
        ("prefect.toml", b"[server.api]\nport = 'hunter2'\n", "ServerAPISettings, port: Input should"),
        ("home/prefect/profiles.toml", b"active = {", "Invalid initial character"),
        ("home/prefect/profiles.toml", b"[profiles]\nx = 'y'\n", "must be a dictionary"),
    ],
)
def test_what_prefect_cannot_read_is_one_line_at_once(
    file: str, content: bytes, why: str, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(content)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", "from lvm.cli import main; main()", "run", "sotu", "--limit", "1"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    *_, said = done.stderr.splitlines()
    assert why in said and Path(file).name in said and "hunter2" not in done.stderr and "Traceback" not in done.stderr
    assert said.startswith(("InvalidSetting: Prefect", "UsageError: "))


def test_a_stage_needs_no_prefect_server(settings: Settings, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    run = "import sys; from lvm.cli import main; main(); assert 'prefect' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", run, "ingest", "sotu", "--limit", "1"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "1 documents" in done.stdout, done.stderr
    assert not (settings.home / "prefect").exists()


def test_a_running_ui_is_found_by_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    settings = Settings(home=tmp_path)
    assert prefect_api(settings) is None
    with alone(tmp_path / "prefect") as announce:
        assert prefect_api(settings) is None, "its server does not answer yet"
        announce("http://127.0.0.1:4321/api")
        assert prefect_api(settings) == "http://127.0.0.1:4321/api"
    assert prefect_api(settings) is None, "a lock that nobody holds says nothing"
    monkeypatch.setenv("PREFECT_API_URL", "http://server/api")
    assert prefect_api(settings) == "http://server/api"


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [("ingest", signal.SIGINT, 130), ("ingest", signal.SIGTERM, 143), ("run", signal.SIGINT, 130)],
)
def test_a_command_that_is_stopped_ends_in_peace(
    command: str, number: signal.Signals, code: int, settings: Settings, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    source = "sotu" if command == "ingest" else str(write_unseen(tmp_path / "texts", 4, 20_000))  # its gate takes long
    program = "import lvm.pipeline.ingest as room; room.GROUP_CHUNKS = 64; from lvm.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, command, source, "--limit", "249"],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with open_store(settings) as store:
        until = time.monotonic() + 120
        while not store.contents()["chunk"]:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.2)
        os.killpg(process.pid, number)  # as a terminal does: Prefect's server, which `run` starts, is in the group
        _, said = process.communicate(timeout=30)
        assert process.returncode == code and "Traceback" not in said
        assert ("run the same command again" in said) == (number is signal.SIGINT)
        contents = store.contents()
    assert contents["chunk"] == contents["embedding"], "no document is half there"


def test_the_workspace_is_open_during_a_run_and_its_errors_are_left_to_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    @contextmanager
    def opened(where: Where) -> Iterator[None]:
        told.append(f"opened {where.space}")
        yield
        told.append("closed")

    monkeypatch.setattr("flows.common.opened", opened)
    with workspace_opened("minilm"):
        told.append("run")
    assert told == ["opened minilm", "run", "closed"]

    def broken(where: Where) -> None:
        raise DatabaseUnavailable("no server")

    monkeypatch.setattr("flows.common.opened", broken)
    with workspace_opened("minilm"):
        told.append("run again")
    assert told[-1] == "run again"
    with pytest.raises(UsageError, match="what the run says"), workspace_opened("minilm"):
        raise UsageError("what the run says")

    def misnamed(where: Where) -> None:
        raise UsageError("no such space")

    monkeypatch.setattr("flows.common.opened", misnamed)
    with pytest.raises(UsageError, match="no such space"), workspace_opened("minilm"):
        told.append("never")
    assert told[-1] == "run again", "a wrong name ends the command before the run"


@pytest.mark.parametrize("command", [["ingest"], ["run"], ["evaluate", "--on"]])
def test_a_source_that_does_not_exist_is_named_before_anything_starts(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LVM_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setattr("lvm.cli.stages.prefect_starting", lambda: pytest.fail("Prefect's server is started"))
    assert lvm(monkeypatch, *command, "no/such/place") == 2
    assert "no source 'no/such/place'" in capfd.readouterr().err


def test_a_terminal_shows_that_torch_is_imported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    out, file = terminal(monkeypatch, 80)
    monkeypatch.setenv("TERM", "xterm")
    out.is_interactive = True
    monkeypatch.setattr("lvm.cli.common.err", out)
    with loading(Settings(quiet=True)):
        pass
    assert file.getvalue() == ""
    with loading(Settings(quiet=False)):
        print("as it is")  # standard output stays whose it is
    assert "loading torch" in file.getvalue() and "as it is" not in file.getvalue()


def test_prefects_server_starts_meanwhile_and_its_errors_are_those_of_the_flow(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    begun, go_on = threading.Event(), threading.Event()

    def get_client(sync_client: bool) -> None:
        begun.set()
        assert go_on.wait(10)
        raise RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server.")

    monkeypatch.setattr("flows.server.get_client", get_client)
    server = prefect_starting()
    assert server is not None and begun.wait(10) and not server.done()
    go_on.set()
    with pytest.raises(PrefectUnavailable, match="Timed out"):
        flow("pipeline", server)(source="sotu", limit=1)


@pytest.mark.parametrize("seconds", [0, 0.02, 1])
def test_a_process_that_ends_while_prefects_server_starts_leaves_nothing_behind(seconds: float, tmp_path: Path) -> None:
    """A thread that outlives Python's end may abort the process; a server that starts during the exit would stay."""
    code = f"""
import atexit, sys, threading, time
import flows.server
def left():
    names = [thread.name for thread in threading.enumerate() if "answered" in thread.name]
    print(names, file=open("left", "w"))
atexit.register(left)  # registered first, so called last
flows.server.start()
assert any("answered" in thread.name for thread in threading.enumerate())
time.sleep({seconds})
sys.exit(130)
"""
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "1"}
    environment.pop("PREFECT_API_URL", None)
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, timeout=120
    )
    assert done.returncode == 130
    assert (tmp_path / "left").read_text() == "[]\n"
    assert not [each for each in psutil.process_iter() if f"PREFECT_HOME={tmp_path}" in environ(each)]


def environ(process: psutil.Process) -> set[str]:
    """``NAME=VALUE`` of a process; empty if it ended or may not be looked at."""
    try:
        return {f"{name}={value}" for name, value in process.environ().items()}
    except psutil.Error:
        return set()


def test_a_prefect_server_that_is_named_is_not_started(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert prefect_starting() is None
