"""Names made to break out are text everywhere: nothing runs, nothing is lost, nothing overflows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medssl_bench.analysis.leaderboard.page import build_report
from medssl_bench.store import Store

from ..conftest import make_history, make_picture
from .conftest import MOMENT, Made, Visit, cases_of, grid, record_of
from .test_layout import sideways
from .test_numbers_on_page import read_data
from .test_views import VIEWS

TASKS = ("__proto__", "</script><script>alert(1)</script>", "]]>'\"`${alert(1)}\\' --><!--")
METHODS = (
    "scratch", "constructor", "__proto__", "<img src=x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>",
    "\u202eevil\u202d rtl \u05d0\u05d1", "m" * 200,
)  # fmt: skip
CASES = (
    "__proto__", "constructor", "toString", "<script>alert(2)</script>", "]]></script>",
    "\u202e\u0627\u0644", "c" * 200,
)  # fmt: skip
TARGET = "<b onmouseover=alert(3)>\u202eliver__proto__" + "t" * 150
CORPUS = "'; -- ${x} {{ y }} {% z %} <iframe src=x>"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("hostile")
    store = Store(root / "results")
    for task in TASKS:
        for method in METHODS:
            if (task, method) == (TASKS[2], METHODS[1]):
                continue
            corpus = None if method == "scratch" else CORPUS
            record = record_of(
                method, task, "5", 0, 0, "<i>CT", CASES, corpus=corpus, similarity=None
            )
            cases = cases_of(record, CASES).replace({"target": {"lesion": TARGET}})
            pictures = {}
            if task == TASKS[0]:
                pictures = {f"slices/{case}.png": make_picture(case, 0.5)
                            for case in ("__proto__", "toString")}  # fmt: skip
            store.write(record, cases, make_history(1.0), pictures)
    return Made(build_report(store.root, root / "report", MOMENT).parent, store)


def test_data_files_hold_the_names(hostile: Made) -> None:
    files = hostile.page_data()["tasks"]
    assert set(files) == set(TASKS)
    for task, name in files.items():
        found, data = read_data(hostile.folder / name)
        assert found == task
        assert sorted(data["cases"]) == sorted(CASES) and TARGET in data["targets"]
        assert "<" not in (hostile.folder / name).read_text("utf-8")
        expected = set(METHODS) - ({METHODS[1]} if task == TASKS[2] else set())
        assert {cell["method"] for cell in data["cells"]} == expected


@pytest.mark.browser
def test_nothing_runs_and_nothing_overflows(hostile: Made, visit: Visit) -> None:
    page = visit(hostile, width=375)
    assert page.locator("main script, main iframe, main svg[onload], main b").count() == 0
    for view in VIEWS:
        page.evaluate("view => choose({ view }, true)", view)
        page.wait_for_load_state("networkidle")
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert sideways(page) == [0], view
    assert page.locator("[onerror], [onload], [onmouseover]").count() == 0


@pytest.mark.browser
def test_overview_and_filters_know_the_names(hostile: Made, visit: Visit) -> None:
    page = visit(hostile)
    for task in TASKS:
        page.locator("#controls select[name=task]").select_option(task)
        blocks = page.locator(".board:visible")
        assert blocks.count() == 1 and blocks.get_attribute("data-task") == task
        names = {str(row[0]) for row in grid(blocks.locator("table"))}
        expected = set(METHODS) - ({METHODS[1]} if task == TASKS[2] else set())
        assert names == {" ".join(name.split()) for name in expected}
        again = visit(hostile, page.evaluate("location.hash"))
        assert again.locator(".board:visible").get_attribute("data-task") == task
    page.locator("#controls select[name=metric]").select_option("hd95")
    assert page.locator("#flips").is_visible()


@pytest.mark.browser
def test_comparing_looks_up_such_names(hostile: Made, visit: Visit) -> None:
    page = visit(hostile, "#compare")
    form = page.locator("#pair")
    for task in TASKS:
        form.locator("select[name=task]").select_option(task)
        form.locator("select[name=a]").select_option(label="__proto__")
        form.locator("select[name=b]").select_option(label=METHODS[3])
        page.wait_for_selector("#compared dt:text-is('Mean of __proto__')")
        names = {str(row[0]) for row in grid(page.locator("#compared-cases"))}
        assert names == set(CASES)
    form.locator("select[name=task]").select_option("__proto__")
    form.locator("select[name=a]").select_option(label="constructor")
    cases = page.locator("#compared-cases tbody")
    for case in ("__proto__", "toString"):
        cases.get_by_role("button", name=case, exact=True).click()
        assert page.locator("#case-pictures h4").inner_text() == f"Case {case}"
        pictures = page.locator("#case-pictures img")
        page.wait_for_load_state("networkidle")
        assert pictures.count() == 2
        assert all(one.evaluate("one => one.naturalWidth > 0") for one in pictures.all())
    for case in ("constructor", "]]></script>"):  # without a picture
        assert cases.get_by_role("button", name=case, exact=True).count() == 0
        assert case in CASES


@pytest.mark.browser
def test_provenance_and_downloads_of_such_names(hostile: Made, visit: Visit) -> None:
    page = visit(hostile, "#provenance")
    for task in TASKS:
        page.locator("#cell-task select").select_option(task)
        table = page.locator("#cell-table")
        page.locator("#cell-table caption").filter(has_text=f"of {task};").wait_for()
        names = {str(row[1]) for row in grid(table)}
        assert "__proto__" in names and METHODS[3] in names
        page.locator("#cell-table tbody button").first.click()
        page.wait_for_selector("#command")
    with page.expect_download() as found:
        page.locator("#cell-list .tools").get_by_role("button", name="JSON").click()
    document = json.loads(found.value.path().read_text("utf-8"))
    assert {row["Method"]["text"] for row in document["rows"]} == names


@pytest.mark.browser
def test_right_to_left_names_leave_numbers_alone(hostile: Made, visit: Visit) -> None:
    page: Any = visit(hostile)
    rows = page.locator(".board").first.locator("tr", has_text="evil")
    assert rows.count() == 1
    # Where the first and the last letter of a number are drawn.
    order = rows.locator("td .text").first.evaluate("""text => {
      const at = place => {
        const range = document.createRange();
        range.setStart(text.firstChild, place);
        range.setEnd(text.firstChild, place + 1);
        return range.getBoundingClientRect().left;
      };
      return [0, 2, 4].map(at);
    }""")
    assert order == sorted(order) and len(set(order)) == 3
