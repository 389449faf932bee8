"""Narrow, medium and wide; without JavaScript; printed."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Made, Visit, grid
from .test_views import VIEWS, settle

pytestmark = pytest.mark.browser
SIDEWAYS = """() => {
  const width = document.documentElement.clientWidth;
  const wide = [...document.querySelectorAll("main *, nav *, header *, form *")].filter(one =>
    !one.closest(".scroll > *, nav *, svg *, .unseen") &&
    one.getBoundingClientRect().right > width + 1);
  return [document.documentElement.scrollWidth - width,
    ...wide.slice(0, 3).map(one => one.outerHTML.slice(0, 120))];
}"""


def sideways(page: Any) -> list[Any]:
    """Return by how much the document scrolls sideways, and what stands out."""
    found: list[Any] = page.evaluate(SIDEWAYS)
    return found


@pytest.mark.parametrize("width", [375, 768, 1440])
def test_no_view_scrolls_sideways(report: Made, visit: Visit, width: int) -> None:
    page = visit(report, width=width)
    for view in VIEWS:
        page.evaluate("view => choose({ view }, true)", view)
        settle(page)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert sideways(page) == [0], view
    for one in page.locator("nav a, #controls select, #controls button").all():
        one.scroll_into_view_if_needed()
        box = one.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width


def test_wide_tables_scroll_in_their_own_box(report: Made, visit: Visit) -> None:
    """On a wide screen leaks are in sight; elsewhere the last column can be scrolled to."""
    page = visit(report, width=1440)
    for head in page.locator(".board th:has-text('Leaks')").all():
        box = head.evaluate("one => [one.getBoundingClientRect().right, innerWidth]")
        assert box[0] <= box[1]
    page.set_viewport_size({"width": 390, "height": 900})
    scroll = page.locator(".board .scroll").first
    assert scroll.evaluate("one => one.scrollWidth > one.clientWidth")
    last = scroll.locator("thead th").last
    last.scroll_into_view_if_needed()
    shown = last.evaluate("one => [one.getBoundingClientRect().right, innerWidth]")
    name = scroll.locator("tbody th").first.bounding_box()
    assert shown[0] <= shown[1] and 0 <= name["x"] and name["width"] < 0.4 * 390


@pytest.mark.parametrize("width", [375, 768])
def test_controls_can_be_used_when_narrow(report: Made, visit: Visit, width: int) -> None:
    page = visit(report, width=width)
    page.locator("#controls select[name=task]").select_option("phantom_mri")
    page.locator("#controls input[value=gain]").uncheck()
    table = page.locator(".board:visible table").first
    table.get_by_role("columnheader", name="Protocol").get_by_role("button").click()
    page.locator('nav a[href="#definitions"]').click()
    assert page.locator("#definitions").is_visible()


def test_everything_is_readable_without_javascript(report: Made, visit: Visit) -> None:
    page = visit(report, java_script_enabled=False)
    assert page.locator("noscript:not(.late) p").is_visible()
    for view in VIEWS:
        assert page.locator(f"#{view} h2").is_visible(), view
    controls = page.locator("button, select, input, form")
    assert controls.count() > 0
    assert [one for one in controls.all() if one.is_visible()] == []
    tables = page.locator("section.view table")
    closed = page.locator("details:not([open]) table").count()
    seen = sum(one.is_visible() for one in tables.all())
    assert seen == tables.count() - closed > 20
    figures = page.locator("figure svg")
    assert figures.count() > 10 and all(one.is_visible() for one in figures.all())
    summary = page.locator("#compare details summary").first
    summary.click()
    assert page.locator("#compare details table").first.is_visible()
    page.locator('nav a[href="#cost"]').click()
    assert page.url.endswith("#cost")
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.locator("#overview").bounding_box()["width"] <= 375


def test_print_has_every_view_on_white(report: Made, visit: Visit) -> None:
    page = visit(report, "#provenance", color_scheme="dark")
    settle(page)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    for view in VIEWS:
        assert page.locator(f"#{view} h2").is_visible(), view
    for gone in ("nav", "#controls", ".tools", "#comparison", ".skip", "#cells"):
        assert not any(one.is_visible() for one in page.locator(gone).all()), gone
    rows = grid(page.locator("#cells-static table"))
    assert len(rows) == len(report.table("cells"))
    dark = page.evaluate("""() => [...document.querySelectorAll("main *")].filter(one => {
      const [r, g, b, a] = getComputedStyle(one).backgroundColor.match(/[0-9.]+/g).map(Number);
      return one.offsetHeight > 0 && a !== 0 && r + g + b < 600 && one.tagName !== "IMG";
    }).map(one => one.outerHTML.slice(0, 80))""")
    assert dark == []
    assert len(page.pdf(format="A4", landscape=True)) > 100_000
