"""The page of the service, used as people use it: in Chromium, by keyboard, on a phone, and when things fail."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lvm.pipeline.predict import MAX_TEMPERATURE, Prediction
from lvm.service import app, messages, page
from lvm.service.app import build
from lvm.settings import Settings
from lvm.spaces import Space, Vectors
from tests.service.running import listening, untrained
from tests.service.test_write import Endless

pytestmark = pytest.mark.usefixtures("nothing_shipped")

EXAMPLE = "We met in the old town. The harbour froze."
NASTY = "<img src=x onerror=alert(1)> & </p><script>alert(2)</script>"


@pytest.fixture
def settings(minilm: Space, tmp_path: Path) -> Settings:
    """Two models: ``lstm`` samples, ``gru`` does not. No database."""
    untrained(tmp_path / "artifacts", minilm, 4, "lstm", "energy")
    untrained(tmp_path / "artifacts", minilm, 4, "gru")
    return Settings(artifacts=tmp_path / "artifacts", home=tmp_path / "home", database_url=None)


# -- without a browser ----------------------------------------------------------------------------------------------


def test_the_page_needs_no_token_and_says_nothing_of_the_service(minilm: Space, settings: Settings) -> None:
    with TestClient(build(minilm, settings)) as client:
        open_to_all = client.get("/")
    with TestClient(build(minilm, settings.model_copy(update={"token": SecretStr("hunter2")}))) as client:
        answer = client.get("/", headers={"Authorization": "Bearer wrong"})
        assert client.get("/models").status_code == 401
    assert answer.status_code == 200 and answer.text == open_to_all.text
    assert minilm.fingerprint not in answer.text and "lstm" not in answer.text


def test_the_browser_is_told_to_run_this_script_only(minilm: Space, settings: Settings) -> None:
    with TestClient(build(minilm, settings)) as client:
        headers = client.get("/").headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["connect-src"] == "'self'" and "unsafe" not in headers["Content-Security-Policy"]
    for tag in ("script", "style"):
        content = page.HTML.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert headers["X-Frame-Options"] == "DENY" and headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer" and headers["content-type"].startswith("text/html")


def test_the_page_is_one_file_that_writes_no_html() -> None:
    assert not re.findall(r"https?:|//cdn|@import|url\(|\bsrc=", page.HTML)
    assert re.findall(r"href=\"(.*?)\"", page.HTML) == ["data:,"]
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|localStorage|cookie", page.HTML)
    assert not re.findall(r"\son\w+=", page.HTML), "no inline handlers: the policy blocks them"
    assert len(page.HTML.splitlines()) <= 500


def test_the_form_has_the_limits_of_the_service() -> None:
    limits = {
        name: (float(low), float(high))
        for name, low, high in re.findall(r'id="(\w+)" type="number" min="(\d+)" max="(\d+)"', page.HTML)
    }
    assert limits == {
        "samples": (1, messages.MAX_SAMPLES),
        "temperature": (0, MAX_TEMPERATURE),
        "seed": (0, 2**53 - 1),  # the largest whole number of a browser
        "steps": (1, messages.MAX_STEPS),
    }
    nearest = re.search(r"NEAREST = (\d+)", page.HTML)
    assert nearest is not None and int(nearest[1]) <= messages.MAX_NEAREST


# -- in a browser -----------------------------------------------------------------------------------------------------


@dataclass
class Window:
    """A tab with the page of a service.

    Attributes:
        page: Playwright's page.
        url: of the service.
        asked: URLs that the tab asked for.
        said: what the browser's console complained about, apart from answers of 4xx and 5xx.
    """

    page: Any
    url: str
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def status(self, text: str | re.Pattern[str]) -> str:
        """The status when it has this text."""
        self.page.get_by_role("status").filter(has_text=text).wait_for()
        return str(self.page.get_by_role("status").inner_text())

    def problem(self) -> str:
        """The message of a failure, when there is one."""
        self.page.get_by_role("alert").wait_for()
        return str(self.page.get_by_role("alert").inner_text())


@contextmanager
def window(browser: Any, space: Space, settings: Settings, **options: Any) -> Iterator[Window]:
    with listening(build(space, settings)) as (_, port), browser.new_context(**options) as context:
        opened = Window(context.new_page(), f"http://127.0.0.1:{port}/")
        opened.page.set_default_timeout(60_000)
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        opened.page.on("console", lambda message: message.type == "error" and opened.said.append(message.text))
        opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.page.goto(opened.url)
        yield opened
        assert all(url.startswith(opened.url) or url == "data:," for url in opened.asked), opened.asked
        assert not [each for each in opened.said if "Failed to load resource" not in each], opened.said


@pytest.fixture
def opened(browser: Any, minilm: Space, settings: Settings) -> Iterator[Window]:
    with window(browser, minilm, settings) as opened:
        opened.page.get_by_label("Model").wait_for()
        yield opened


def test_ways_to_go_on_lie_side_by_side(opened: Window) -> None:
    page = opened.page
    assert page.get_by_label("Model").locator("option").all_inner_texts() == ["lstm", "gru (one prediction)"]
    page.get_by_label("Sentences").fill(EXAMPLE)
    page.get_by_label("Samples").fill("3")
    page.get_by_label("Seed").fill("7")
    opened.click("What comes next")
    opened.status("to go on, by lstm")
    body = {"texts": [EXAMPLE], "model": "lstm", "samples": 3, "seed": 7}
    answer = httpx.post(f"{opened.url}next", json=body, timeout=60, trust_env=False).json()
    ways = [answer, *answer["candidates"]]
    cards = page.get_by_role("article")
    assert cards.locator(".text").all_inner_texts() == [way["text"] for way in ways] and len(ways) > 1
    for number, way in enumerate(ways):
        shown = cards.nth(number).get_by_role("meter").evaluate_all("meters => meters.map(meter => meter.value)")
        assert shown == pytest.approx([max(0.0, way["score"]), max(0.0, way["cosine"])], abs=1e-3)
        assert f"{way['score']:.3f}" in cards.nth(number).inner_text()
    cards.nth(1).get_by_role("button").click()
    assert page.get_by_label("Sentences").input_value() == f"{EXAMPLE}\n{ways[1]['text']}"


def test_a_model_without_samples_gives_its_one_prediction(opened: Window) -> None:
    opened.page.get_by_label("Model").select_option("gru")
    assert opened.page.get_by_label("Samples").is_disabled()
    opened.click("What comes next")
    assert opened.status("by gru") == "1 way to go on, by gru."
    assert opened.page.get_by_role("article").count() == 1


def test_writing_says_why_it_ended(opened: Window) -> None:
    opened.page.get_by_label("Model").select_option("gru")
    opened.page.get_by_label("Steps").fill("2")
    opened.click("Write on")
    assert re.match(r"[12] texts?; (as many texts|the model repeats)", opened.status("; "))
    texts = opened.page.locator("#written > li .text").all_inner_texts()
    assert texts and opened.page.get_by_role("button", name="What comes next").is_enabled()
    opened.click("Add all to the sentences")
    assert opened.page.get_by_label("Sentences").input_value().endswith("\n" + "\n".join(texts))


def test_writing_grows_and_stops_by_keyboard(opened: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "Writing", Endless)
    opened.page.get_by_role("button", name="Write on").focus()
    opened.page.keyboard.press("Enter")
    opened.page.locator("#written > li").nth(2).wait_for()
    assert opened.page.evaluate("document.activeElement.id") == "stop", "the next key can stop it"
    opened.page.keyboard.press("Escape")
    said = opened.status("Stopped after")
    assert said == f"Stopped after {opened.page.locator('#written > li').count()} texts."
    assert opened.page.evaluate("document.activeElement.id") == "write"
    opened.page.get_by_label("Sentences").press("Control+Enter")
    assert opened.status("to go on"), "the service is free for others"


def test_what_models_write_is_text_and_never_html(opened: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Vectors(Settings().space, np.eye(1, 384, dtype=np.float32), np.ones(1, np.float32))
    nasty = Prediction(vector=row, text=NASTY, encoded=row, cosine=-0.5, score=0.5, query=row)

    class Nasty(Endless):
        def __next__(self) -> Prediction:
            if self.texts:
                self.ended = "steps"
                raise StopIteration
            self.texts.append(NASTY)
            return nasty

    monkeypatch.setattr(app, "predict", lambda *_, **__: nasty)
    monkeypatch.setattr(app, "Writing", Nasty)
    opened.click("What comes next")
    opened.status("to go on")
    opened.click("Write on")
    opened.status("1 text;")
    assert opened.page.locator(".text").all_inner_texts() == [NASTY, NASTY]
    assert opened.page.locator("img").count() == 0 and opened.page.locator("script").count() == 1
    refused = opened.page.evaluate("() => { try { document.body.innerHTML = '<b>x</b>' } catch (e) { return e.name } }")
    assert refused == "TypeError", "the policy refuses what the script never does"
    opened.said.clear()  # the browser reports this attempt


def test_what_goes_wrong_is_said(
    browser: Any, minilm: Space, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with window(browser, minilm, settings) as opened:
        opened.page.get_by_label("Sentences").fill("...")
        opened.click("What comes next")
        assert "none of the texts has a letter" in opened.problem()
        opened.page.get_by_label("Sentences").fill(EXAMPLE)
        opened.page.get_by_label("Samples").fill("99")
        opened.click("What comes next")
        assert opened.page.evaluate("document.activeElement.id") == "samples", "the browser points at it"
        opened.page.get_by_label("Samples").fill("2")
        monkeypatch.setattr(app, "MAX_WRITINGS", 0)
        opened.click("Write on")
        opened.page.get_by_role("alert").filter(has_text="cannot answer now").wait_for()
        monkeypatch.setattr(app, "MAX_WRITINGS", 4)

        class Broken(Endless):
            def __next__(self) -> Prediction:
                if self.texts:
                    raise RuntimeError("no memory")
                return super().__next__()

        monkeypatch.setattr(app, "Writing", Broken)
        opened.click("Write on")
        opened.page.get_by_role("alert").filter(has_text="its log has the reason").wait_for()
        assert opened.page.locator("#written > li").count() == 1, "what was written stays"
        opened.page.context.set_offline(True)
        opened.click("What comes next")
        opened.page.get_by_role("alert").filter(has_text="does not answer").wait_for()
        opened.page.context.set_offline(False)
        opened.click("What comes next")
        opened.status("to go on")
        assert opened.page.get_by_role("alert").is_hidden()


def test_the_token_is_asked_for_and_kept_in_this_tab(browser: Any, minilm: Space, settings: Settings) -> None:
    guarded = settings.model_copy(update={"token": SecretStr("hunter2")})
    with window(browser, minilm, guarded) as opened:
        page = opened.page
        for wrong, said in (("wrong", "refuses this token"), ("gr\u00fcn", "cannot be the token")):
            page.get_by_label("Token").fill(wrong)
            opened.click("Use it")
            page.get_by_role("alert").filter(has_text=said).wait_for()
            assert page.locator("#form").is_hidden()
        page.get_by_label("Token").fill("hunter2")
        page.keyboard.press("Enter")
        page.get_by_label("Model").select_option("gru")
        opened.click("What comes next")
        opened.status("by gru")
        page.reload()
        page.get_by_label("Model").wait_for()
        kept = page.evaluate("[Object.values(sessionStorage), localStorage.length, document.cookie]")
        assert kept == [["hunter2"], 0, ""] and "hunter2" not in page.content() + page.url
        opened.click("Forget the token")
        page.get_by_label("Token").wait_for()
        assert page.evaluate("sessionStorage.length") == 0


def test_without_a_model_the_page_says_how_to_train_one(browser: Any, minilm: Space, tmp_path: Path) -> None:
    settings = Settings(artifacts=tmp_path / "artifacts", home=tmp_path / "home", database_url=None)
    with window(browser, minilm, settings) as opened:
        assert "`lvm train --model gru`" in opened.problem()
        assert opened.page.get_by_role("button", name="What comes next").is_disabled()
        untrained(settings.artifacts, minilm, 4, "gru")
        opened.click("Look again")
        opened.page.get_by_label("Model").locator("option").wait_for(state="attached")
        assert opened.page.get_by_role("button", name="What comes next").is_enabled()
        assert opened.page.get_by_role("alert").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone(scheme: str, browser: Any, minilm: Space, settings: Settings) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with window(browser, minilm, settings, **phone) as opened:
        opened.page.get_by_label("Samples").fill("2")
        opened.click("What comes next")
        opened.status("to go on")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
        size = "parseFloat(getComputedStyle(document.querySelector('.card .text')).fontSize)"
        assert opened.page.evaluate(size) >= 16
        colors = "(e => [e.color, e.backgroundColor])(getComputedStyle(document.body))"
        ink, ground = (sum(map(int, re.findall(r"\d+", color)[:3])) for color in opened.page.evaluate(colors))
        assert (ink < ground) == (scheme == "light") and abs(ink - ground) > 450
