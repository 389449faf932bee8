"""A link reproduces what is seen; back and forward do too."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Made, Visit, board
from .test_compare_two import choose

pytestmark = pytest.mark.browser
CONTROLS = """() => [...document.querySelectorAll("select, input")]
  .filter(one => one.offsetParent !== null)
  .map(one => [one.name, one.type === "checkbox" ? one.checked : one.value])"""


def seen(page: Any) -> tuple[str, Any, str]:
    """Return all that a reader sees: the text, the controls, the order of every table."""
    page.wait_for_load_state("networkidle")
    sorts = page.evaluate(
        "() => [...document.querySelectorAll('.view.current [aria-sort]')]"
        ".map(one => one.textContent + one.getAttribute('aria-sort')).join()"
    )
    return page.locator("main").inner_text(), page.evaluate(CONTROLS), sorts


def control(page: Any, name: str, word: str) -> None:
    page.locator(f"#controls select[name={name}]").select_option(word)


def set_overview(page: Any) -> None:
    control(page, "modality", "CT")
    control(page, "backbone", "swin_tiny")
    control(page, "metric", "hd95")
    control(page, "empty", "counted")
    page.locator("#controls input[value=origin]").uncheck()
    page.locator("#controls input[value=errors]").uncheck()
    for shots, name in (("5", "Dice gain over scratch"), ("full", "Method")):
        head = board(page, "amos_ct", shots).get_by_role("columnheader", name=name)
        head.get_by_role("button").click()


def set_compare(page: Any) -> None:
    page.locator('nav a[href="#compare"]').click()
    choose(page, task="phantom_mri", shots="5")
    choose(page, a="smit", b="swinunetr", by="hd95")
    page.locator("#compared-cases").get_by_role("button", name="case_01").click()


def set_provenance(page: Any) -> None:
    control(page, "shots", "full")
    page.locator('nav a[href="#provenance"]').click()
    page.locator("#cell-task select").select_option("phantom_mri")
    page.locator("#cell-table tbody button").nth(2).click()
    page.wait_for_selector("#command")


def set_tables(page: Any) -> None:
    page.locator('nav a[href="#methods"]').click()
    for name in ("Dice", "Shots"):
        table = page.locator("table:has(caption:text-is('smit on every task'))")
        table.get_by_role("button", name=name).click()


@pytest.mark.parametrize("set_up", [set_overview, set_compare, set_provenance, set_tables])
def test_a_link_reproduces_what_is_seen(report: Made, visit: Visit, set_up: Any) -> None:
    page = visit(report)
    set_up(page)
    hash_ = page.evaluate("location.hash")
    again = visit(report, hash_)
    assert seen(again) == seen(page)
    assert again.evaluate("location.hash") == hash_
    assert seen(page) != seen(visit(report, page.evaluate("location.hash").split("&")[0] + "&x=1"))


def test_the_link_is_copied(report: Made, visit: Visit) -> None:
    page = visit(report, permissions=["clipboard-read", "clipboard-write"])
    set_overview(page)
    page.get_by_role("button", name="Copy link to this view").click()
    page.wait_for_selector("#status:text-is('Link copied')")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_back_and_forward(report: Made, visit: Visit) -> None:
    page = visit(report)
    states = [seen(page)]
    for view in ("cost", "compare", "methods"):
        page.locator(f'nav a[href="#{view}"]').click()
        if view == "compare":
            set_compare(page)
        if view == "methods":
            control(page, "metric", "hd95")
            set_tables(page)
        states.append(seen(page))
    assert len({text for text, _, _ in states}) == 4
    for place in (2, 1, 0):
        page.go_back()
        assert seen(page) == states[place]
    for place in (1, 2, 3):
        page.go_forward()
        assert seen(page) == states[place]
