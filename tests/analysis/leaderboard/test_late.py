"""Views are filled when they are first shown; what is laid out late is sorted and printed alike."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Made, Visit, grid
from .test_views import VIEWS

pytestmark = pytest.mark.browser
COUNTS = """() => Object.fromEntries([...document.querySelectorAll("section.view")].map(view =>
  [view.id, view.querySelectorAll("table").length]))"""


def test_a_view_is_empty_until_it_is_shown(report: Made, visit: Visit) -> None:
    page = visit(report)
    counts = page.evaluate(COUNTS)
    assert {view for view, count in counts.items() if count} == {"overview"}
    page.locator('nav a[href="#cost"]').click()
    assert page.evaluate(COUNTS)["cost"] == 4
    assert page.locator("#cost noscript").count() == 0
    assert page.locator("#cost .tools").count() == 4


def test_what_is_folded_is_filled_when_it_is_opened(report: Made, visit: Visit) -> None:
    page = visit(report, "#view=compare&sort=pairs-0.0.d")
    page.wait_for_selector("#compared-cases")
    folded = page.locator("#compare > details").first
    assert folded.locator("table").count() == 0
    folded.locator("summary").click()
    names = [str(row[0]) for row in grid(folded.locator("table"))]
    assert names == sorted(names, reverse=True) and len(set(names)) > 1
    assert page.locator("#compare > details table").count() == 1


def test_without_javascript_the_same_tables_stand(report: Made, visit: Visit) -> None:
    plain, scripted = visit(report, java_script_enabled=False), visit(report)
    scripted.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    scripted.emulate_media(media="print")
    scripted.wait_for_selector("noscript.late", state="detached")
    for view in VIEWS:
        tables = [page.locator(f"#{view} table caption") for page in (plain, scripted)]
        captions = [table.all_text_contents() for table in tables]
        assert captions[0] == captions[1], view


@pytest.fixture
def large(report: Made, visit: Visit) -> Any:
    page = visit(report)
    page.evaluate("document.body.classList.add('large')")
    return page


def test_a_large_page_prints_all(large: Any) -> None:
    hidden = """() => [...document.querySelectorAll("#overview .block")]
      .filter(one => !one.checkVisibility({ contentVisibilityAuto: true })
        || one.firstElementChild.checkVisibility({ contentVisibilityAuto: true }) === false)
      .length"""
    assert large.evaluate(hidden) > 0
    large.emulate_media(media="print")
    assert large.evaluate(hidden) == 0


def test_a_large_page_shows_what_is_scrolled_to(large: Any) -> None:
    last = large.locator(".board table").last
    last.scroll_into_view_if_needed()
    shown = "one => one.checkVisibility({ contentVisibilityAuto: true })"
    large.wait_for_function(shown, arg=last.element_handle())  # in the frame after the scrolling
    assert last.locator("tbody th").first.inner_text().strip()


LONG = """count => {
  const rows = Array.from({ length: count }, (_, place) => element("tr", {},
    element("th", { scope: "row" }, `cell ${place}`), element("td", {}, String(count - place))));
  const table = element("table", { class: "sortable", id: "long" }, element("caption", {}, "Long"),
    element("thead", {}, element("tr", {}, element("th", {}, "Cell"), element("th", {}, "Number"))),
    element("tbody", {}, ...rows));
  const box = element("div", { class: "scroll" }, table);
  document.querySelector("#overview").append(box);
  prepareTable(table);
  cutTable(table, count);
}"""


def test_a_long_table_is_sorted_and_exported_as_a_whole(report: Made, visit: Visit) -> None:
    page = visit(report)
    page.evaluate(LONG, 230)
    table = page.locator("#long")
    assert [row[0] for row in grid(table)] == [f"cell {place}" for place in range(200)]
    table.get_by_role("button", name="Number").click()
    table.get_by_role("button", name="Number").click()
    assert [row[1] for row in grid(table)] == [str(number + 1) for number in range(200)]
    shown = table.evaluate("table => tableShown(table).rows.length")
    assert shown == 230
    page.get_by_role("button", name="Show all 230 rows").click()
    assert len(grid(table)) == 230
    assert page.get_by_role("button", name="Show all 230 rows").count() == 0
