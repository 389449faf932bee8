"""Another metric or rule for absent targets: every number, rank and flip is that of the files."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd
import pytest

from medssl_bench.analysis.leaderboard.overview import row_id
from medssl_bench.analysis.tables import ROW

from .conftest import Made, Visit

pytestmark = pytest.mark.browser
DEFINITIONS = [("dice", "left out"), ("dice", "counted"), ("hd95", "left out"), ("hd95", "counted")]
DEFAULT = DEFINITIONS[0]
PARTS = """() => Object.fromEntries([...document.querySelectorAll("tr[data-row]")].map(row => [
  row.dataset.row, Object.fromEntries([...row.querySelectorAll("[data-part]")].map(cell => [
    cell.dataset.part, (cell.querySelector(".text") ?? cell.querySelector(".unseen")).textContent,
  ]))]))"""


def text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "\u2212")


def standings(report: Made, metric: str, empty: str) -> pd.DataFrame:
    table = pd.read_csv(
        report.folder / "tables" / "standings.csv", dtype={name: str for name in ROW},
        keep_default_na=False, na_values={name: [""] for name in ("low", "high", "rank", "mean")},
    )  # fmt: skip
    table = table[(table["metric"] == metric) & (table["empty_targets"] == empty)]
    ids = [row_id(tuple(row[name] for name in ROW)) for row in table.to_dict("records")]
    return table.assign(id=ids).set_index("id")


def expected(row: dict[str, Any], digits: int) -> dict[str, str]:
    score = text(row["mean"], digits)
    if row["low"] == row["low"]:
        score += f" [{text(row['low'], digits)}, {text(row['high'], digits)}]"
    if not row["of"]:
        missing = f"missing: {row['unranked']}"
        return {"score": score, "rank": missing, "tier": missing}
    ranks = f"{row['rank']:g} ({row['rank_low']}\u2013{row['rank_high']} of {row['of']})"
    return {"score": score, "rank": ranks, "tier": str(row["tier"])}


def turned(before: pd.DataFrame, after: pd.DataFrame) -> set[frozenset[str]]:
    """Return the pairs whose ranks turn, by counting over all pairs that are ranked together."""
    found = set()
    ranked = before[before["of"] > 0]
    for _, rows in ranked.groupby(["task", "shots", "backbone", "protocol", "profile"]):
        for one, two in combinations(rows.index, 2):
            was = before.loc[one, "rank"] < before.loc[two, "rank"]
            tied = before.loc[one, "rank"] == before.loc[two, "rank"]
            tied |= after.loc[one, "rank"] == after.loc[two, "rank"]
            if not tied and was != (after.loc[one, "rank"] < after.loc[two, "rank"]):
                found.add(frozenset([one, two]))
    return found


@pytest.fixture
def switched(report: Made, visit: Visit) -> Any:
    page = visit(report)

    def switch(metric: str, empty: str) -> Any:
        page.locator("#controls select[name=metric]").select_option(metric)
        page.locator("#controls select[name=empty]").select_option(empty)
        return page

    return switch


def test_every_number_and_rank_is_that_of_the_file(report: Made, switched: Any) -> None:
    for metric, empty in DEFINITIONS:
        page = switched(metric, empty)
        table = standings(report, metric, empty)
        found = page.evaluate(PARTS)
        assert set(found) == set(table.index) and len(found) == 23
        digits = 3 if metric == "dice" else 1
        for name, row in zip(table.index, table.to_dict("records"), strict=True):
            assert found[name] == expected(row, digits), (metric, empty, row["method"])


def test_rows_stand_in_the_order_of_the_definition(report: Made, switched: Any) -> None:
    for metric, empty in DEFINITIONS[1:]:
        page = switched(metric, empty)
        table = standings(report, metric, empty)
        for block in page.locator(".board").all():
            rows = block.locator("tr[data-row]").all()
            means = [table.loc[row.get_attribute("data-row"), "mean"] for row in rows]
            assert means == sorted(means, reverse=metric == "dice")
            name = "Dice" if metric == "dice" else "HD95, larger of both directions (mm)"
            name += ", absent targets counted" if empty == "counted" else ""
            assert block.locator("thead th").nth(1).inner_text() == name


def test_printed_dice_never_stands_under_another_metric(switched: Any) -> None:
    for metric, empty in DEFINITIONS:
        printed = switched(metric, empty).locator("tr[data-source=reported] td:nth-child(2)")
        texts = printed.all_inner_texts()
        assert len(texts) == 11
        for one in texts:
            assert ("reported" in one) == (metric == "dice")
            assert ("printed as Dice alone" in one) == (metric == "hd95")


def test_flips_are_those_of_the_ranks(report: Made, switched: Any) -> None:
    before = standings(report, *DEFAULT)
    counts = []
    for definition, told in zip(
        DEFINITIONS[1:], report.page_data()["definitions"][1:], strict=True
    ):
        assert (told["metric"], told["empty"]) == definition
        after = standings(report, *definition)
        flips = turned(before, after)
        assert {frozenset(pair) for pair in told["flips"]} == flips
        counts.append(len(flips))
        box = switched(*definition).locator("#flips")
        said = "1 pair of methods changes" if len(flips) == 1 else f"{len(flips)} pairs of methods"
        assert said.split(" of ")[0] in box.inner_text()
        lines = {
            frozenset([before.loc[a, "method"], before.loc[b, "method"]])
            for a, b in map(tuple, flips)
        }
        shown = box.locator("li").all_inner_texts()
        assert len(shown) == min(len(flips), 13)
        for line in shown[:12]:
            names = line.split(": ")[1].split(" and ")
            assert frozenset(name.split(" (")[0] for name in names) in lines
    assert max(counts) > 0


def test_moves_beside_ranks_are_their_differences(report: Made, switched: Any) -> None:
    before, after = (standings(report, *one) for one in (DEFAULT, ("hd95", "left out")))
    page = switched("hd95", "left out")
    for name in after.index:
        moved = page.locator(f"tr[data-row={name}] .moved")
        steps = before.loc[name, "rank"] - after.loc[name, "rank"]
        if not after.loc[name, "of"] or steps == 0:
            assert moved.count() == 0
        else:
            arrow = "\u25b2" if steps > 0 else "\u25bc"
            assert moved.inner_text().startswith(f"{arrow}{abs(steps):g}")


def test_switching_back_restores_the_page(switched: Any) -> None:
    main = switched(*DEFAULT).locator("main")
    seen, whole = main.inner_text(), words(main)
    for definition in DEFINITIONS[1:]:
        switched(*definition)
        assert main.inner_text() != seen
    switched(*DEFAULT)
    assert main.inner_text() == seen
    assert words(main) == whole


def words(main: Any) -> list[str]:
    """Return what stands in every view, hidden or not, in its order."""
    text: str = main.evaluate("main => main.textContent")
    return text.split()
