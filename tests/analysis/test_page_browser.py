"""The page in a real browser: offline, sorted by buttons, readable narrow, dark, unscripted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medssl_bench.analysis.leaderboard.page import build_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="chromium is not installed: apt install chromium"
    ),
]
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(results_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_report(results_folder, tmp_path_factory.mktemp("report")).as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def column(table: Any, index: int) -> list[str]:
    texts: list[str] = table.locator(f"tbody tr > :nth-child({index + 1})").all_inner_texts()
    return [text.split("\n")[0].strip() for text in texts]


def test_nothing_is_requested_and_nothing_complains(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    requested: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address, wait_until="networkidle")
    assert [url for url in requested if not url.startswith("data:")] == [address]
    assert complaints == []
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    context.close()


def test_buttons_sort_and_say_so(page: Any) -> None:
    table = page.locator("#leaderboard table").first
    dice = table.get_by_role("columnheader", name="Dice", exact=True)
    assert dice.get_attribute("aria-sort") == "descending"
    assert column(table, 0) == ["smit", "simmim", "scratch"]
    dice.get_by_role("button").click()
    assert dice.get_attribute("aria-sort") == "ascending"
    assert column(table, 0) == ["scratch", "simmim", "smit"]
    assert column(table, 1) == sorted(column(table, 1))
    method = table.get_by_role("columnheader", name="Method")
    method.get_by_role("button").press("Enter")
    assert method.get_attribute("aria-sort") == "ascending"
    assert dice.get_attribute("aria-sort") is None
    assert column(table, 0) == ["scratch", "simmim", "smit"]


def test_missing_values_stay_last_in_both_directions(page: Any) -> None:
    table = page.locator("#leaderboard table").first
    button = table.get_by_role("columnheader", name="Gain").get_by_role("button")
    for _ in range(2):
        button.click()
        assert column(table, 0)[-1] == "scratch"


def test_shots_are_sorted_by_their_size(page: Any) -> None:
    table = page.locator("#sources table")
    button = table.get_by_role("columnheader", name="Shots").get_by_role("button")
    button.click()
    button.click()
    shots = column(table, 2)
    assert shots == ["5"] * 12 + ["full"] * 6


def test_readable_without_javascript(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("button").count() == 0
    table = page.locator("#leaderboard table").first
    assert column(table, 0) == ["smit", "simmim", "scratch"]
    assert page.locator("figure svg").first.is_visible()
    context.close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_sideways_scrolling_and_enough_contrast(
    browser: Any, address: str, width: int, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for place in ("body", "td small", "a", "figure svg text"):
        assert page.evaluate(CONTRAST, place) >= 4.5, place
    context.close()


CONTRAST = """place => {
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map(value => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(place);
  const style = getComputedStyle(element);
  const ink = light(element instanceof SVGElement ? style.fill : style.color);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""


def test_prints_on_white_without_cut_tables(page: Any) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    body = "getComputedStyle(document.body)"
    assert page.evaluate(f"{body}.backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(f"{body}.color") == "rgb(0, 0, 0)"
    assert not page.get_by_role("navigation").is_visible()
    assert len(page.pdf(format="A4", landscape=True)) > 20_000
