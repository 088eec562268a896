"""Other people's machines: names of folders, empty and wrong variables, ``.env``, proxies, devices, and hostile text.

A set-up that a machine allows works, or is refused by name, in one line, before anything is made.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import random
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import httpx
import psycopg
import pytest
from markdown_it import MarkdownIt
from pydantic import SecretStr
from sqlalchemy import make_url
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from lvm.cli.doctor import OF_COMPOSE, examine_all
from lvm.cli.surroundings import LOOPBACK, exempt, prefect_api, prefect_server, prepare_prefect, what_to_do
from lvm.corpus.sources import source_name
from lvm.errors import LvmError, UsageError, visible
from lvm.report import markdown
from lvm.service.server import CannotListen, serve
from lvm.settings import InvalidSetting, Settings, dotenv
from lvm.spaces import open_space
from lvm.store import ServerUnavailable, Store, server
from lvm.terminal import Terminal, without_login
from tests.cli.test_cli import lvm

ROOT = Path(__file__).parents[2]
DEAD = "http://me:sesame@127.0.0.1:9"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder and an environment without settings and proxies; both are put back."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("LVM_", "PREFECT_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


# -- names of folders -----------------------------------------------------------------------------------------------

NAME = 'My Project & Söns $HOME;#%41 "it\'s" `x`\\ ?a=b@c {{d}} *'


def test_the_embedded_server_runs_in_a_folder_of_any_name() -> None:
    with tempfile.TemporaryDirectory(prefix="lvm-field-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        settings = Settings(home=Path(folder) / NAME / "-D", database_url=None)
        try:
            url = make_url(server.start(settings)).set(drivername="postgresql").render_as_string(hide_password=False)
            assert server.running(settings)
            with psycopg.connect(url) as connection:
                found = connection.execute("SHOW data_directory").fetchone()
            assert found == (str(server.folder(settings)),)
            done = subprocess.run(
                [server.psql(), url, "-Atc", "SELECT 'in'"], capture_output=True, text=True, check=True
            )
            assert done.stdout == "in\n"
        finally:
            assert server.stop(settings)


@pytest.mark.parametrize("name", ["new\nline", "carriage\rreturn"])
def test_a_name_that_postgres_cannot_have_is_refused_before_anything_is_made(name: str, tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match="has a line break") as raised:
        server.start(Settings(home=tmp_path / name, database_url=None))
    assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []


def test_prefect_finds_its_database_in_a_folder_of_any_name(here: Path) -> None:
    home = here / NAME
    os.environ["PREFECT_SERVER_DATABASE_TIMEOUT"] = "60"  # names no database
    prepare_prefect(Settings(home=home, database_url=None))
    url = make_url(os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"])
    assert url.database == str(home / "prefect" / "prefect.db") and not url.query


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_counts_as_unset(empty: str, here: Path) -> None:
    for name in Settings.model_fields:
        os.environ[f"LVM_{name.upper()}"] = empty
    (here / ".env").write_text("LVM_THREADS=\nLVM_SPACE=''\n")
    assert Settings() == Settings.model_construct() == Settings(token="", database_url=SecretStr(""), home="")


def test_an_empty_variable_leaves_dotenv_in_force(here: Path) -> None:
    os.environ["LVM_THREADS"] = ""
    (here / ".env").write_text("LVM_THREADS=3")
    assert Settings().threads == 3


@pytest.mark.parametrize("token", [None, "", " \n"])
def test_an_empty_token_opens_the_service_to_nobody(token: str | None, here: Path) -> None:
    if token is not None:
        os.environ["LVM_TOKEN"] = token
    for settings in (Settings(), Settings(token=token), Settings().model_copy(update={"token": SecretStr("")})):
        with pytest.raises(CannotListen, match="LVM_TOKEN"):
            serve("0.0.0.0", 1, None, settings)


def test_a_token_is_what_a_caller_can_send(here: Path) -> None:
    token = Settings(token=" sesame\n").token
    assert token is not None and token.get_secret_value() == "sesame"
    for wrong in ("sés", "ses\name"):
        with pytest.raises(InvalidSetting, match="ASCII") as raised:
            Settings(token=wrong)
        assert "s" + wrong[1:] not in str(raised.value), "a secret is not shown"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("LVM_THREADS", "0", "greater than 0"),
        ("LVM_RUNNER", "dask", "'threads' or 'ray'"),
        ("LVM_WORKERS", "x", "integer"),
        ("LVM_QUIET", "maybe", "boolean"),
        ("LVM_SEED", "-1", "greater than or equal to 0"),
        ("LVM_HOME", "~no-such-user/x", "no home folder"),
    ],
)
def test_a_bad_value_is_one_line_in_every_command(
    name: str, value: str, allowed: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    os.environ[name] = value
    for command in (["doctor"], ["search", "x"], ["db", "url"], ["ingest", "sotu"], ["clear"], ["spaces"]):
        assert lvm(monkeypatch, *command) == 2
        said = capfd.readouterr().err
        assert said.startswith(f"InvalidSetting: {name} is '{value}'") and allowed in said and said.count("\n") == 1
    del os.environ[name]
    (here / ".env").write_text(f"{name}={value}\n")
    with pytest.raises(UsageError, match=rf"^{name} in {re.escape(str(here))}/\.env is '{value}'"):
        Settings()
    assert list(here.iterdir()) == [here / ".env"], "nothing was made"


def test_a_tilde_is_expanded_once_in_every_path(here: Path) -> None:
    os.environ["HOME"] = str(here / "home")
    for name in ("HOME", "ARTIFACTS", "SPACES", "INVERTER"):
        os.environ[f"LVM_{name}"] = f"~/{name}"
    settings = Settings()
    found = [settings.home, settings.artifacts, settings.spaces, settings.inverter]
    assert found == [here / "home" / name for name in ("HOME", "ARTIFACTS", "SPACES", "INVERTER")]
    assert Settings(home="~root/x").home == Path("~root/x").expanduser()
    assert source_name("~/texts") == str(here / "home" / "texts")


def test_a_tilde_in_an_option_is_expanded(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    os.environ["HOME"] = str(here / "home")
    for command in (["train", "--config=~/x.toml"], ["decode", "~/x.toml"], ["next", "a", "--inverter=~/x.toml"]):
        assert lvm(monkeypatch, *command) == 2
        assert str(here / "home" / "x.toml") in capfd.readouterr().err


@pytest.mark.parametrize("command", [["models"], ["promote", "gru"], ["sources"], ["remove", "x"]], ids=str)
def test_every_command_of_a_workspace_takes_an_inverter(
    command: list[str], here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lvm(monkeypatch, *command, "--inverter", "nowhere") == 2
    assert "there is no folder nowhere" in capfd.readouterr().err


# -- .env -------------------------------------------------------------------------------------------------------------


def said(settings: Settings, name: str) -> list[str]:
    return [f"{each.found}: {each.advice}" for each in examine_all(settings) if each.name == name]


def test_dotenv_is_read_as_people_write_it(here: Path) -> None:
    written = (
        'LVM_THREADS=3\r\nexport LVM_SPACE="my space" # mine\r\nlvm_seed=4\r\nFOREIGN=1\r\nPREFECT_API_URL=http://a/api'
    )
    (here / ".env").write_bytes(b"\xef\xbb\xbf" + written.encode())  # Windows: a byte order mark, and other line ends
    settings = Settings()
    assert (settings.threads, settings.space, settings.seed) == (3, "my space", 4)
    assert dotenv()["PREFECT_API_URL"] == "http://a/api" == prefect_api(settings)
    (here / ".env").write_bytes("LVM_THREADS=3".encode("utf-16"))
    with pytest.raises(InvalidSetting, match=r"\.env cannot be read \(it is not UTF-8\)"):
        Settings()


def test_the_doctor_names_what_is_in_force_and_misspelt(here: Path) -> None:
    (here / ".env").write_text("LVM_SPAEC=x\nLVM_THREADS=2\nLVM_WORKER_PASSWORD=sesame\nUNRELATED=1\n")
    wrong = "LVM_SPAEC (.env) is not a setting: did you mean LVM_SPACE?"
    assert said(Settings(), "settings") == ["LVM_THREADS (.env): ", wrong]
    (here / ".env").write_text("LVM_THREADS=2\n")
    os.environ["LVM_SPACE"] = "minilm"
    assert said(Settings(), "settings") == ["LVM_SPACE, LVM_THREADS (.env): "]
    of_compose = re.findall(r"^#? ?(LVM_\w+)=", (ROOT / ".env.example").read_text(), re.M)
    assert {name for name in of_compose if name[4:].lower() not in Settings.model_fields} == OF_COMPOSE


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".env", "PREFECT_API_URL=@@"),
        ("prefect.toml", '[api]\nurl="@@"'),
        ("pyproject.toml", '[tool.prefect.api]\nurl="@@"'),
        (".lvm/prefect/profiles.toml", 'active="a"\n[profiles.a]\nPREFECT_API_URL="@@"'),
    ],
)
def test_a_prefect_server_counts_wherever_it_is_configured(file: str, text: str, here: Path) -> None:
    (here / file).parent.mkdir(parents=True, exist_ok=True)
    (here / file).write_text(text.replace("@@", f"{DEAD}/api"))
    settings = Settings()
    assert prefect_api(settings) == f"{DEAD}/api"
    (found,) = said(settings, "Prefect")
    assert file in found and "http://127.0.0.1:9/api" in found and "sesame" not in found
    prepare_prefect(settings)
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:9/api", "Prefect shows it in its log"
    assert os.environ["PREFECT_API_AUTH_STRING"] == "me:sesame"
    os.environ["PREFECT_API_URL"] = "http://other/api"
    assert next(prefect_server(settings)) == ("http://other/api", "PREFECT_API_URL")


@pytest.mark.parametrize("name", ["PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_HOST"])
def test_prefects_own_database_stays_the_one_that_people_name(name: str, here: Path) -> None:
    (here / ".env").write_text(f"{name}=theirs\n")
    prepare_prefect(Settings(home=here / NAME, database_url=None))
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in os.environ


def test_an_empty_variable_of_prefect_counts_as_unset(here: Path) -> None:
    os.environ |= {"PREFECT_API_URL": "", "PREFECT_HOME": ""}
    settings = Settings()
    assert prefect_api(settings) is None
    prepare_prefect(settings)
    assert os.environ["PREFECT_HOME"] == str(here / ".lvm" / "prefect") and "PREFECT_API_URL" not in os.environ


def test_a_login_is_shown_by_nothing() -> None:
    for address in ("http://me:sesame@h/api", "http://me:ses@me@h/api", "http://me:s/esame@h/api"):
        assert without_login(address) == "http://h/api" and without_login(f"no {address} x") == "no http://h/api x"
    assert without_login("me:sesame@h/api") == "h/api"


@pytest.fixture
def prefect() -> Iterator[str]:
    """Something like a Prefect server that wants a login."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == f"Basic {base64.b64encode(b'me:ses@me').decode()}"
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps(version("prefect")).encode())

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{listening.server_port}/api"
    listening.shutdown()
    listening.server_close()


def test_the_doctor_sends_the_login_and_uses_no_proxy(prefect: str, here: Path) -> None:
    os.environ |= {"PREFECT_API_URL": f"http://me:ses%40me@{prefect}", "HTTP_PROXY": DEAD}
    exempt()
    assert said(Settings(), "Prefect") == [f"http://{prefect} (PREFECT_API_URL), version {version('prefect')}: "]
    os.environ["PREFECT_API_URL"] = f"http://{prefect}"
    assert "PREFECT_API_AUTH_STRING" in said(Settings(), "Prefect")[0]
    os.environ["PREFECT_API_AUTH_STRING"] = "me:ses@me"
    assert "version" in said(Settings(), "Prefect")[0]


# -- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_this_machine_is_reached_without_a_proxy(name: str, prefect: str, here: Path) -> None:
    os.environ |= {name: DEAD, "no_proxy": "a.example", "NO_PROXY": "b.example"}
    exempt("10.1.2.3")
    exempt("10.1.2.3")
    expected = ["a.example", "b.example", *LOOPBACK, "10.1.2.3"]
    assert os.environ["no_proxy"].split(",") == os.environ["NO_PROXY"].split(",") == expected
    assert httpx.get(f"http://{prefect}/admin/version").status_code == 401, "it answers"
    assert get_proxy(parse_uri("ws://127.0.0.1:4200/api/events/in")) is None
    assert DEAD in getproxies().values() and not proxy_bypass("huggingface.co"), "the hub is asked through it"


def test_without_a_proxy_the_environment_stays_as_it_is(here: Path) -> None:
    before = dict(os.environ)
    exempt()
    assert dict(os.environ) == before
    os.environ |= {"http_proxy": DEAD, "no_proxy": "*"}
    exempt()
    assert os.environ["no_proxy"] == "*"


def test_advice_fits_the_cause(here: Path) -> None:
    settings, api = Settings(), "http://prefect.example/api"
    assert "PREFECT_API_URL" not in what_to_do(None, settings) and str(here) in what_to_do(None, settings)
    (here / ".env").write_text(f"PREFECT_API_URL={api}")
    assert "remove PREFECT_API_URL in .env" in what_to_do(api, settings) and "proxy" not in what_to_do(api, settings)
    assert "PREFECT_API_AUTH_STRING" in what_to_do(api, settings, 401)
    os.environ["HTTP_PROXY"] = DEAD
    advice = what_to_do(api, settings)
    assert "through the proxy http://127.0.0.1:9" in advice and "NO_PROXY" in advice and "sesame" not in advice


# -- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda:77", "gpu", "meta", "cuda:x", "mps:9"])
def test_a_device_that_is_not_there_is_one_line_in_every_command(
    device: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LVM_DEVICE", device)
    commands = (
        ["search", "x"],
        ["ingest", "sotu"],
        ["next", "x"],
        ["train"],
        ["serve", "--port", "18765"],
        ["diagnose", "minilm", "minilm"],
    )
    for command in commands:
        assert lvm(monkeypatch, *command) == 2
        said = capfd.readouterr().err
        assert said.startswith(f"NoDevice: device '{device}'") and "LVM_DEVICE" in said and said.count("\n") == 1
    monkeypatch.delenv("LVM_DEVICE")
    assert lvm(monkeypatch, "train", "--device", device) == 2
    assert capfd.readouterr().err.startswith("NoDevice: ") and list(here.iterdir()) == []
    with pytest.raises(LvmError, match=device):
        open_space("minilm", Settings(device=device))


# -- text is never markup ---------------------------------------------------------------------------------------------

PIECES = [
    *"ab \\`*_[]()<>|~#!&;-+=1.2)\n\t\"'$:/@{}",
    *("<script>", "![x](http://t/)", "&lt;", "\x1b[2J", "\u202e", "**", "- ", "1. ", "# ", "[/b]", "http://x"),
]


def test_text_in_markdown_is_shown_as_it_is() -> None:
    render, some = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render, random.Random(17)
    for _ in range(300):
        text = "".join(some.choices(PIECES, k=some.randint(1, 12)))
        for around in ("{}", "- … {}", "  1. {}", "**{}: x**", "| {} | c |\n|---|---|\n| {} | d |"):
            shown = render(around.replace("{}", markdown._text(text)))
            allowed = set(re.findall(r"<(/?\w+)", render(around.replace("{}", "text"))))
            assert set(re.findall(r"<(/?\w+)", shown)) <= allowed, text
            plain = " ".join(html.unescape(re.sub(r"<[^>]*>", "", shown)).split())
            assert " ".join(visible(text).split()) in plain, text


def test_hostile_texts_are_ingested_and_found(
    database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "texts [bold] $x"
    folder.mkdir()
    (folder / "[red]a.txt").write_text("A sentence with [/b] in it, \x1b[2J and \u202e more. :smile: [link=http://x]y.")
    (folder / "[i]empty.txt").write_text("")
    assert lvm(monkeypatch, "ingest", str(folder)) == 0
    told = capfd.readouterr().out
    assert "1 documents" in told and "[i]empty.txt: is empty" in told
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    console = Terminal()
    console.file, console.width = io.StringIO(), 300
    monkeypatch.setattr("lvm.cli.common.out", console)
    assert lvm(monkeypatch, "search", "[/b] what") == 0
    shown = console.file.getvalue()
    assert "[/b] in it" in shown and "[link=http://x]y" in shown and ":smile:" in shown
    assert "\x1b[2J" not in shown and "\u202e" not in shown
