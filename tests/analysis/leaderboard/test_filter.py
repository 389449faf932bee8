"""Filters show exactly the rows that agree; groups of columns go and come back."""

from __future__ import annotations

from typing import Any

import pytest

from medssl_bench.analysis.leaderboard.overview import COLUMNS, GROUPS
from medssl_bench.analysis.leaderboard.reported import printed_rows
from medssl_bench.analysis.leaderboard.subjects import families

from .conftest import TASKS, Made, Visit, board, grid, heads

pytestmark = pytest.mark.browser
Rows = dict[tuple[str, str], list[str]]


def facts(report: Made) -> list[dict[str, str]]:
    """Return what each row of the overview is filtered by."""
    known = families()
    measured = [
        {
            "name": row["method"], "task": row["task"], "shots": row["shots"],
            "modality": TASKS[row["task"]], "family": known[row["method"]],
            "backbone": row["backbone"], "profile": row["profile"], "source": "measured",
        }
        for row in report.table("leaderboard").to_dict("records")
    ]  # fmt: skip
    boards = {(row["task"], row["shots"]) for row in measured}
    printed = [
        {
            "name": one.label, "task": task, "shots": shots, "modality": TASKS[task],
            "family": "reported", "backbone": one.backbone, "profile": "", "source": "reported",
        }
        for (task, shots), rows in printed_rows().items() if (task, shots) in boards
        for one in rows
    ]  # fmt: skip
    assert printed
    return measured + printed


def rows_shown(page: Any) -> Rows:
    found: Rows = {}
    for block in page.locator(".board").all():
        place = (block.get_attribute("data-task"), block.get_attribute("data-shots"))
        names = [str(row[0]) for row in grid(block.locator("table"))]
        if names:
            found[place] = sorted(name.removesuffix(tail(name)) for name in names)
    return found


def tail(label: str) -> str:
    """Return what is added to a method's name where it has two rows."""
    return label[label.index(" (backbone") :] if " (backbone" in label else ""


def expected(every: list[dict[str, str]], **chosen: str) -> Rows:
    found: Rows = {}
    for one in every:
        if all(one[name] == word for name, word in chosen.items()):
            found.setdefault((one["task"], one["shots"]), []).append(one["name"])
    return {place: sorted(names) for place, names in found.items()}


def test_every_word_of_every_filter(report: Made, visit: Visit) -> None:
    page, every = visit(report), facts(report)
    assert rows_shown(page) == expected(every)
    names = [one.get_attribute("name") for one in page.locator("#controls select").all()]
    assert names == [
        "task", "modality", "shots", "family", "backbone", "profile", "source", "metric", "empty",
    ]  # fmt: skip
    for name in names[:7]:
        select = page.locator(f"#controls select[name={name}]")
        words = [str(one.get_attribute("value")) for one in select.locator("option").all()]
        seen = {one[name] for one in every if name != "profile" or one[name]}
        own = {"lesion_type"} if name == "task" else set()
        assert set(words[1:]) == (seen | own if name != "family" and name != "backbone" else
                                  {one for one in words[1:]} & seen)  # fmt: skip
        for word in words[1:]:
            select.select_option(word)
            assert rows_shown(page) == expected(every, **{name: word}), (name, word)
        select.select_option("")
    assert rows_shown(page) == expected(every)


def test_filters_work_together(report: Made, visit: Visit) -> None:
    page, every = visit(report), facts(report)
    chosen = {"modality": "MRI", "shots": "full", "backbone": "swin_65m"}
    for name, word in chosen.items():
        page.locator(f"#controls select[name={name}]").select_option(word)
    assert rows_shown(page) == expected(every, **chosen) == {("phantom_mri", "full"): ["smit"]}
    page.locator("#controls select[name=family]").select_option("none")
    assert rows_shown(page) == {}
    said = page.locator("#nothing")
    assert said.inner_text().startswith("No row matches these filters.")
    page.locator('nav a[href="#cost"]').click()
    assert said.is_visible() and not page.locator("#cost caption").first.is_visible()
    page.locator('nav a[href="#provenance"]').click()
    page.locator('nav a[href="#overview"]').click()
    said.get_by_role("button", name="Clear the filters").click()
    assert not said.is_visible()
    assert rows_shown(page) == expected(every)


def test_no_cell_left_by_the_filters_is_said(report: Made, visit: Visit) -> None:
    page = visit(report, "#view=provenance&of=amos_ct&backbone=swin_65m")
    page.wait_for_selector("#cell-list .warning:has-text('No cell of this task matches')")
    page.locator("#cell-list button").click()
    page.wait_for_selector("#cell-table")
    cells = [row for row in report.table("cells").to_dict("records") if row["task"] == "amos_ct"]
    assert len(grid(page.locator("#cell-table"))) == len(cells) > 0


@pytest.mark.parametrize("view", ["curves", "groups", "compare", "convergence", "cost", "tasks"])
def test_other_views_follow_task_and_modality(report: Made, visit: Visit, view: str) -> None:
    page = visit(report, f"#{view}")
    blocks = page.locator(f"#{view} .block[data-task]")
    for name, word in (("task", "phantom_mri"), ("modality", "MRI")):
        page.locator(f"#controls select[name={name}]").select_option(word)
        seen = {one.get_attribute("data-task") for one in blocks.all() if one.is_visible()}
        assert seen == {"phantom_mri"}, name
        page.locator(f"#controls select[name={name}]").select_option("")
    assert {one.get_attribute("data-task") for one in blocks.all() if one.is_visible()} > seen


def test_shots_act_on_classification_and_family_on_cost(report: Made, visit: Visit) -> None:
    page = visit(report)
    classes = page.locator(".shots[data-task=lesion_type]")
    assert classes.is_visible() and classes.locator("table").count() == 1
    page.locator("#controls select[name=shots]").select_option("full")
    assert not classes.is_visible()
    page.locator("#controls select[name=shots]").select_option("5")
    assert classes.locator("table").is_visible()
    page.locator('nav a[href="#cost"]').click()
    known = families()
    for family in ("none", "mim"):
        page.locator("#controls select[name=family]").select_option(family)
        names = {str(row[0]) for table in page.locator("#cost table").all() for row in grid(table)}
        assert names and {known[name] for name in names} == {family}
    page.locator('nav a[href="#overview"]').click()
    assert [row[0] for row in grid(classes.locator("table"))] == ["smit"]


def test_groups_of_columns(report: Made, visit: Visit) -> None:
    page = visit(report)
    table = board(page, "amos_ct", "5")
    assert heads(table) == COLUMNS
    hidden: set[str] = set()
    for group in dict.fromkeys(GROUPS.values()):
        page.locator(f"#controls input[value={group}]").uncheck()
        hidden.add(group)
        kept = [name for name in COLUMNS if GROUPS.get(name) not in hidden]
        assert heads(table) == kept
        assert {len(row) for row in grid(table)} == {len(kept)}
    page.get_by_role("button", name="Reset").click()
    assert heads(table) == COLUMNS


def test_a_line_stands_above_rows_of_another_protocol_that_are_shown(
    report: Made, visit: Visit
) -> None:
    def lines(hash_: str) -> list[str]:
        """The first row of each set but the topmost, by name."""
        table = board(visit(report, hash_), "phantom_mri", "full")
        rows = table.locator("tbody tr:visible").all()
        width = "row => getComputedStyle(row.cells[0]).borderTopWidth"
        assert {row.evaluate(width) for row in rows} <= {"2px", "0px"}
        return [row.locator("th").inner_text() for row in rows if row.evaluate(width) == "2px"]

    (other,) = lines("")
    assert "swin_65m" in other
    assert lines("#family=mim") == [other]
    assert lines("#family=none") == []
    # Sorted by a column, rows of all sets are mixed.
    table = board(page := visit(report), "phantom_mri", "full")
    table.locator("thead button").nth(1).click()
    assert not page.evaluate("""() => [...document.querySelectorAll("tr.apart")].filter(
      row => row.closest("table").querySelector("[aria-sort]")).some(
      row => getComputedStyle(row.cells[0]).borderTopWidth === "2px")""")


def test_cells_are_filtered_by_family(report: Made, visit: Visit) -> None:
    page = visit(report, "#view=provenance&of=phantom_mri&family=mim")
    page.wait_for_selector("#cell-table")
    known = families()
    methods = {str(row[1]) for row in grid(page.locator("#cell-table"))}
    assert methods and {known[name] for name in methods} == {"mim"}


def test_flips_are_those_of_the_rows_that_are_shown(report: Made, visit: Visit) -> None:
    page = visit(report, "#metric=hd95")
    text = page.locator("#flips").inner_text()
    tasks = {line.split(",")[0] for line in text.splitlines()[1:]}
    for task in TASKS:
        narrowed = visit(report, f"#metric=hd95&task={task}").locator("#flips").inner_text()
        assert {x.split(",")[0] for x in narrowed.splitlines()[1:]} <= {task} & tasks
        own = [x for x in text.splitlines()[1:] if x.startswith(f"{task},")]
        assert narrowed.splitlines()[1:] == own or " more" in text
    assert " 0 pairs" in visit(report, "#metric=hd95&family=none").locator("#flips").inner_text()
