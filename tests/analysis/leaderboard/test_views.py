"""Every view opens, by its link and by its address, from disk alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from .conftest import Made, Visit

pytestmark = pytest.mark.browser
VIEWS = (
    "overview", "curves", "groups", "compare", "convergence", "reuse", "scaling", "cost",
    "methods", "tasks", "provenance", "printed", "definitions",
)  # fmt: skip


def shown(page: Any) -> list[str]:
    """Return the views that can be seen."""
    found: list[str] = page.eval_on_selector_all(
        "section.view", "all => all.filter(one => one.offsetHeight > 0).map(one => one.id)"
    )
    return found


def settle(page: Any) -> None:
    """Wait until what the view loads on demand has arrived."""
    if "compare" in shown(page):
        page.wait_for_selector("#compared-cases")
    if "provenance" in shown(page):
        page.wait_for_selector("#cell-table")


def test_every_view_opens_by_its_link(report: Made, visit: Visit) -> None:
    page = visit(report)
    links = page.locator("nav a")
    assert [link.get_attribute("href") for link in links.all()] == [f"#{view}" for view in VIEWS]
    for view in VIEWS:
        page.locator(f'nav a[href="#{view}"]').click()
        assert shown(page) == [view]
        assert page.locator("nav a[aria-current=page]").get_attribute("href") == f"#{view}"
        assert page.locator(f"#{view} h2").is_visible()
        settle(page)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address(report: Made, visit: Visit, view: str) -> None:
    page = visit(report, f"#{view}")
    assert shown(page) == [view]
    settle(page)
    assert page.locator(f"#{view}").inner_text().strip() != ""
    page.goto(f"{report.address}#view={view}")
    assert shown(page) == [view]


@pytest.mark.parametrize("hash_", ["#nowhere", "#%E0%A4%A", "#view=nowhere&__proto__=1", "#a=%ZZ"])
def test_a_broken_address_opens_the_overview(report: Made, visit: Visit, hash_: str) -> None:
    assert shown(visit(report, hash_)) == ["overview"]


def test_an_address_inside_a_view_opens_that_view(report: Made, visit: Visit) -> None:
    assert shown(visit(report, "#cost-0")) == ["cost"]


def test_data_is_loaded_only_when_asked_for(report: Made, visit: Visit) -> None:
    page = visit(report)

    def loaded() -> list[str]:
        prefix = report.folder.as_uri() + "/"
        names = [url.removeprefix(prefix) for url in page.watch.requests if "/data/" in url]
        return sorted(names)

    files = report.page_data()["tasks"]
    for view in ("curves", "groups", "cost", "methods", "tasks", "definitions"):
        page.locator(f'nav a[href="#{view}"]').click()
    assert loaded() == []
    page.locator('nav a[href="#compare"]').click()
    settle(page)
    assert loaded() == [files["amos_ct"]]
    page.locator("#pair select[name=task]").select_option("phantom_mri")
    page.wait_for_selector(f"head script[src='{files['phantom_mri']}']", state="attached")
    page.locator('nav a[href="#provenance"]').click()
    settle(page)
    assert loaded() == sorted([files["amos_ct"], files["phantom_mri"]])


def test_every_picture_is_there(report: Made, visit: Visit) -> None:
    page = visit(report, "#tasks")
    pictures = page.locator("#tasks img")
    assert pictures.count() >= 6 + 5
    for one in pictures.all():
        one.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("[...document.images].every(one => one.naturalWidth > 0)")


def test_no_backtick_and_nothing_over_a_title(report: Made, visit: Visit) -> None:
    page = visit(report)
    codes = 0
    for view in VIEWS:
        page.locator(f'nav a[href="#{view}"]').click()
        settle(page)
        assert "`" not in page.locator(f"#{view}").text_content(), view
        codes += page.locator(f"#{view} code").count()
        for note in page.locator(f"#{view} h3 + .notes").all():
            title = note.locator("xpath=preceding-sibling::h3[1]").bounding_box()
            assert note.bounding_box()["y"] >= title["y"] + title["height"]
    assert codes > 2 and page.locator("h3 + .notes").count() > 2


def test_a_missing_data_file_is_said(report: Made, chromium: Any, tmp_path: Any) -> None:
    text = (report.folder / "index.html").read_text(encoding="utf-8")
    (tmp_path / "index.html").write_text(text, encoding="utf-8")
    page = chromium.new_page()
    page.goto((tmp_path / "index.html").as_uri() + "#compare")
    said = page.locator("#compared .warning").inner_text()
    assert "is missing beside this page; copy the whole folder" in said
    page.close()


def test_a_case_seen_in_3d_is_linked(report: Made, visit: Visit) -> None:
    cell = next(report.store.records()).cell
    page = visit(report, f"#view=provenance&of={cell.task}&cell={cell.key[:12]}")
    link = page.locator("#cell-details a", has_text="case_1")
    place = unquote(urlparse(link.evaluate("link => link.href")).path)
    assert Path(place).read_text() == "<title>case_1 in 3D</title>"
