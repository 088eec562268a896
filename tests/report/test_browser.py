"""The report in a browser: it sorts, it filters, it reaches for no network, and a phone does not scroll sideways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lvm.report import render
from lvm.report.questions import summary_plots
from tests.report.example import BASELINES, COSINES, HOSTILE, example_summary

NAMES = [*COSINES, *BASELINES, "best_constant", "truth"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    summary = example_summary(HOSTILE)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(summary, summary_plots(summary)))
    return path.as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page. Errors of its script, and what it would load, fail the test."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: said.append(request.url) if request.url != address else None)
    page.goto(address)
    yield page
    page.close()
    assert said == []


def names(page: Any) -> list[str]:
    shown = page.locator("table").first.locator("tbody tr:visible td:first-child")
    return [str(each) for each in shown.all_inner_texts()]


def test_a_click_on_a_header_sorts(page: Any) -> None:
    assert names(page) == NAMES
    nll = page.locator("table").first.get_by_role("button", name="NLL")
    nll.click()
    assert names(page)[0] == "copy_last" and names(page)[-1] == "truth"
    nll.click()
    assert names(page)[:2] == ["truth", "gru"]
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("NLL")
    nll.click()
    assert names(page) == NAMES, "the third click restores the order"
    page.locator("table").first.get_by_role("button", name="cosine", exact=True).click()
    assert names(page)[0] == "gru" and set(names(page)[-2:]) == {"best_constant", "truth"}, "without a figure: last"
    page.locator("table").first.get_by_role("button", name="name").click()
    assert names(page) == sorted(NAMES)


def test_the_box_filters_rows_and_examples(page: Any) -> None:
    box = page.get_by_role("searchbox")
    box.fill("MEAN")
    assert names(page) == ["context_mean", "recency_mean"]
    box.fill("gru chose")
    assert names(page) == []
    assert page.locator(".example:visible").count() == 5
    box.fill("no such words")
    assert page.locator(".example:visible").count() == 0
    box.fill("")
    assert names(page) == NAMES


def test_light_dark_and_a_phone(browser: Any, address: str) -> None:
    for scheme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 24, 27)")):
        page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
        page.goto(address)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colour
        axes = page.locator("figure svg text").first
        assert axes.evaluate("e => getComputedStyle(e).fill") == page.evaluate("getComputedStyle(document.body).color")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.close()
