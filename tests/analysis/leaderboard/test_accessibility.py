"""axe-core finds nothing serious in any view, in light, in dark and in print; keys reach all."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Made, Visit
from .test_views import VIEWS, settle

pytestmark = pytest.mark.browser
GRAVE = ("serious", "critical")


SAMPLE = """() => {
  document.querySelectorAll("section.view:not(.current)").forEach(one => one.remove());
  const view = document.querySelector("section.view");
  view.querySelectorAll("details").forEach(one => { one.open = true; });
  view.querySelectorAll("figure svg > :not(title, desc)").forEach(one => one.remove());
  [...view.querySelectorAll(".scroll")].slice(3).forEach(one => one.remove());
  for (const body of view.querySelectorAll("tbody")) {
    [...body.rows].slice(2, -1).forEach(one => one.remove());
  }
}"""
"""One view with some tables of some rows: axe takes a minute for them all, which are alike."""


def violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.evaluate(SAMPLE)
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found if one["impact"] in GRAVE
        for node in one["nodes"][:3]
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_violation(report: Made, visit: Visit, scheme: str) -> None:
    found = {}
    for hash_ in [f"view={view}" for view in VIEWS] + ["metric=hd95"]:
        page = visit(report, f"#{hash_}", color_scheme=scheme)
        settle(page)
        found[hash_] = violations(page)
        page.context.close()
    assert {view: lines for view, lines in found.items() if lines} == {}


def test_what_is_known_of_a_cell_has_no_violation(report: Made, visit: Visit) -> None:
    page = visit(report, "#provenance")
    page.locator("#cell-table tbody button").first.click()
    page.wait_for_selector("#command")
    assert violations(page) == []


def test_print_is_readable_from_the_dark(report: Made, visit: Visit) -> None:
    page = visit(report, color_scheme="dark")
    page.evaluate("choose({ metric: 'hd95' })")
    page.emulate_media(media="print", color_scheme="dark")
    assert [line for line in violations(page) if line.startswith("color-contrast")] == []


FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return {
    what: one.tagName + " " + `${one.name || one.hash || one.id ||
      one.closest("th")?.textContent || one.textContent}`,
    seen: box.width > 0 && box.height > 0,
    outline: parseFloat(style.outlineWidth) > 0 && style.outlineStyle !== "none",
  };
}"""


def test_tab_reaches_all_controls_with_a_visible_focus(report: Made, visit: Visit) -> None:
    page = visit(report)
    reached: dict[str, dict[str, Any]] = {}
    for _ in range(90):
        page.keyboard.press("Tab")
        one = page.evaluate(FOCUSED)
        reached[one["what"]] = one
    assert "A #main" in reached
    assert all(f"A #{view}" in reached for view in VIEWS)
    controls = page.locator("#controls select, #controls input, #controls button").all()
    for control in controls:
        name = control.get_attribute("name") or control.get_attribute("id") or control.inner_text()
        assert f"{control.evaluate('one => one.tagName')} {name}" in reached
    for name in ("Dice", "Rank", "Protocol"):
        assert f"BUTTON {name}" in reached
    assert {"BUTTON CSV", "BUTTON Copy LaTeX"} <= set(reached)
    assert [one["what"] for one in reached.values() if not (one["seen"] and one["outline"])] == []


def test_the_skip_link_leads_past_the_controls(report: Made, visit: Visit) -> None:
    page = visit(report)
    page.keyboard.press("Tab")
    assert page.locator(".skip").evaluate("one => one === document.activeElement")
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    assert page.locator("section.view.current").get_attribute("id") == "overview"


def test_sorting_is_said_to_a_screen_reader(report: Made, visit: Visit) -> None:
    page = visit(report)
    head = page.locator(".board table").first.get_by_role("columnheader", name="Rank", exact=True)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") in ("ascending", "descending")
    regions = page.locator(".board .scroll[role=region]")
    names = [one.get_attribute("aria-labelledby") for one in regions.all()]
    assert len(set(names)) == len(names) == 4
    assert all(page.locator(f"#{name}").count() == 1 for name in names)
