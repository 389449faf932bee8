"""Every column of every table sorts both ways, missing values last, and no row is lost."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Made, Visit, board, grid

pytestmark = pytest.mark.browser
EVERY_SORT = """section => [...section.querySelectorAll("table.sortable")].flatMap(table =>
  [...table.tHead.rows[0].cells].flatMap((head, column) => [1, 2].map(() => {
    const rows = () => [...table.tBodies[0].rows];
    const before = rows().map(row => row.textContent).sort();
    head.querySelector("button").click();
    return {
      table: table.caption.textContent, column: head.textContent,
      direction: head.getAttribute("aria-sort"),
      marked: table.tHead.querySelectorAll("[aria-sort]").length,
      kept: JSON.stringify(before) === JSON.stringify(rows().map(row => row.textContent).sort()),
      keys: rows().map(row => row.cells[column]).map(cell => cell.matches("td.missing") ? null :
        cell.dataset.value ?? (cell.querySelector(":scope > .text") ?? cell).textContent.trim()),
    };
  })))"""


def is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


@pytest.mark.parametrize("view", ["overview", "cost", "methods", "tasks", "provenance", "compare"])
def test_every_column_sorts_both_ways(report: Made, visit: Visit, view: str) -> None:
    page = visit(report, f"#{view}")
    page.wait_for_load_state("networkidle")
    for one in page.locator(f"#{view} details summary").all():
        if one.is_visible():
            one.click()
    if view == "compare":
        page.wait_for_selector("#compare details table thead button")
    found = page.locator(f"#{view}").evaluate(EVERY_SORT)
    assert len(found) >= 8
    for one in found:
        assert one["kept"] and one["marked"] == 1, one
        keys = [key for key in one["keys"] if key is not None]
        assert one["keys"][len(keys) :] == [None] * (len(one["keys"]) - len(keys)), one
        if all(map(is_number, keys)):
            numbers = [float(key) for key in keys]
            assert numbers == sorted(numbers, reverse=one["direction"] == "descending"), one
    both = {(one["table"], one["column"], one["direction"]) for one in found}
    assert len(both) == len(found), "a second click turns the order"


def test_sorting_by_dice_is_that_of_the_records(report: Made, visit: Visit) -> None:
    page = visit(report)
    table = board(page, "amos_ct", "5")
    head = table.get_by_role("columnheader", name="Dice", exact=True)
    rows = report.table("leaderboard").query("task == 'amos_ct' and shots == '5'")
    order = list(rows.sort_values("dice", ascending=False)["method"])
    assert [row[0] for row in grid(table)] == order
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert [row[0] for row in grid(table)] == order[::-1]


def test_the_keyboard_sorts(report: Made, visit: Visit) -> None:
    table = board(visit(report), "amos_ct", "5")
    head = table.get_by_role("columnheader", name="Method")
    for key, direction in (("Enter", "ascending"), ("Space", "descending")):
        head.get_by_role("button").press(key)
        assert head.get_attribute("aria-sort") == direction
        names: list[Any] = [row[0] for row in grid(table)]
        assert names == sorted(names, reverse=direction == "descending")


def test_shots_are_sorted_by_their_size(report: Made, visit: Visit) -> None:
    page = visit(report, "#provenance")
    table = page.locator("#cell-table")
    button = table.get_by_role("columnheader", name="Shots").get_by_role("button")
    for order in (["full", "5"], ["5", "full"]):
        button.click()
        assert list(dict.fromkeys(row[4] for row in grid(table))) == order


def test_reset_restores_the_order(report: Made, visit: Visit) -> None:
    page = visit(report)
    table = board(page, "amos_ct", "full")
    before = page.locator("#overview").inner_text()
    for name in ("Method", "Rank", "HD95 (mm)"):
        table.get_by_role("columnheader", name=name, exact=True).get_by_role("button").click()
    assert page.locator("#overview").inner_text() != before
    page.get_by_role("button", name="Reset").click()
    assert page.locator("#overview").inner_text() == before
    assert page.evaluate("location.hash") == "#overview"
