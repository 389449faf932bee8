"""Every number of the page and of its data files equals the records, read independently."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl_bench.analysis.leaderboard.standings import CUT, standings
from medssl_bench.analysis.tables import ROW

from .conftest import LACKS_A_DRAW, LACKS_A_TASK, SKILL, Made, Visit, board, grid, heads

WHO = ["task", "shots", "method", "backbone", "profile"]
STATUS = {"o": "ok", "b": "both_empty", "m": "pred_empty", "f": "ref_empty", "c": "classified"}


def read_cells(report: Made) -> dict[str, tuple[dict[str, Any], pd.DataFrame]]:
    """Read each record and its case table from the folder, past the store."""
    found = {}
    for path in report.store.root.glob("records/*/*/record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[record["key"]] = (record, pd.read_parquet(path.parent / "cases.parquet"))
    return found


def read_data(path: Path) -> tuple[str, Any]:
    """Read a data file without the page: its task and what it holds."""
    found = re.fullmatch(r"benchData\((\".*?\"), '(.*)'\);\n", path.read_text("utf-8"), re.DOTALL)
    assert found
    text = re.sub(r"\\(.)", r"\1", found.group(2))
    return json.loads(found.group(1)), json.loads(text)


def rows_by_hand(report: Made) -> pd.DataFrame:
    """Aggregate all segmentation cells with pandas: a row per method, task, shots."""
    parts = []
    for record, table in read_cells(report).values():
        if record["cell"]["task"] != "lesion_type":
            cell = record["cell"] | {"profile": record["profile"]}
            parts.append(table.assign(**{name: cell[name] for name in [*WHO, "draw", "seed"]}))
    every = pd.concat(parts)
    there = every[every["status"].isin(["ok", "pred_empty"])].copy()
    missed = there["status"] == "pred_empty"
    there["hd95"] = there["hd95"].where(~missed, there["diagonal_mm"])
    cases = there.groupby([*WHO, "draw", "seed", "case"])[["dice", "hd95"]].mean()
    runs = cases.groupby([*WHO, "draw", "seed"]).mean()
    rows = runs.groupby([*WHO, "draw"]).mean().groupby(WHO).mean()
    rows["dice_sd"] = runs.groupby(WHO)["dice"].std()
    rows["hd95_sd"] = runs.groupby(WHO)["hd95"].std()
    rows["cases"] = cases.reset_index().groupby(WHO)["case"].nunique()
    counts = every.groupby([*WHO, "status"]).size().unstack(fill_value=0)
    rows["missed"] = (
        counts["pred_empty"].astype(str)
        + " of "
        + (counts["ok"] + counts["pred_empty"]).astype(str)
    )
    rows["false"] = (
        counts["ref_empty"].astype(str)
        + " of "
        + (counts["ref_empty"] + counts["both_empty"]).astype(str)
    )
    places = (
        runs.reset_index().groupby(WHO).agg(draws=("draw", "nunique"), seeds=("seed", "nunique"))
    )
    rows["runs"] = places["draws"].astype(str) + " \u00d7 " + places["seeds"].astype(str)
    by_draw = cases.groupby([*WHO, "draw", "case"])["dice"].mean()
    rows["gain"] = math.nan
    for key in rows.index:
        base = (key[0], key[1], "scratch", *key[3:])
        unpaired = key[:3] == ("amos_ct", "5", LACKS_A_DRAW)
        if base in rows.index and key[2] != "scratch" and not unpaired:
            rows.loc[key, "gain"] = (by_draw[key] - by_draw[base]).mean()
    return rows


def rounded(value: float, digits: int = 3, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", "\u2212")


@pytest.mark.browser
def test_every_row_of_every_board(report: Made, visit: Visit) -> None:
    page, rows = visit(report), rows_by_hand(report)
    seen = 0
    for one in page.locator(".board tr[data-row]").all():
        block = one.locator("xpath=ancestor::div[contains(@class, 'board')]")
        label, *cells = one.evaluate(
            "row => [...row.cells].map(cell => cell.matches('td.missing')"
            " ? [null, cell.querySelector('.unseen').textContent]"
            " : [(cell.querySelector(':scope > .text') ?? cell).textContent.trim(),"
            " cell.querySelector('small')?.textContent])"
        )
        key = (
            block.get_attribute("data-task"), block.get_attribute("data-shots"),
            label[0].split(" (")[0], one.get_attribute("data-backbone"),
            one.get_attribute("data-profile"),
        )  # fmt: skip
        row = rows.loc[key]
        seen += 1
        assert cells[0][0].split(" [")[0] == rounded(row["dice"])
        several = row["dice_sd"] == row["dice_sd"]
        spread = f"SD of runs {rounded(row['dice_sd'])}" if several else "one run"
        assert cells[0][1].split(";")[0] == spread
        if row["gain"] == row["gain"]:
            assert cells[3][0].split(" [")[0] == rounded(row["gain"], 3, "+")
        else:
            assert cells[3][0] is None and cells[3][1].startswith("missing: ")
        distance = rounded(row["hd95"], 1)
        if several:
            distance += f" \u00b1 {rounded(row['hd95_sd'], 1)}"
        assert cells[4][0] == distance
        assert [cells[place][0] for place in (5, 6, 7, 8)] == [
            row["missed"], row["false"], row["runs"], str(row["cases"]),
        ]  # fmt: skip
        leaks = cells[12]
        assert leaks[0] == ("0" if key[2] != "simmim" else None)
    assert seen == len(rows) == 23


def test_every_cell_of_every_data_file(report: Made) -> None:
    cells, seen = read_cells(report), set()
    for task, name in report.page_data()["tasks"].items():
        told, data = read_data(report.folder / name)
        assert told == task
        size = len(data["targets"])
        for cell in data["cells"]:
            record, table = cells[cell["key"]]
            seen.add(cell["key"])
            rows = {
                (case, target): row
                for case, target, row in zip(
                    table["case"], table["target"], table.to_dict("records"), strict=True
                )
            }
            for place, letter in enumerate(cell["status"]):
                case, target = data["cases"][place // size], data["targets"][place % size]
                row = rows.pop((case, target))
                assert STATUS[letter] == row["status"]
                for metric in ("dice", "hd95"):
                    true = row[metric]
                    if metric == "hd95" and letter == "m":
                        true = row["diagonal_mm"]
                    value = cell[metric][place]
                    if math.isfinite(true):
                        assert value == pytest.approx(true, rel=1e-4)
                    else:
                        assert value is None
            assert not rows
            same = ("method", "backbone", "shots", "draw", "seed", "protocol", "pretraining")
            assert {name: cell[name] for name in same} == {
                name: record["cell"][name] for name in same
            }
            for name in ("corpus", "profile", "digests", "git", "finished", "versions"):
                assert cell[name] == record[name], name
            assert cell["leaks"]["found"] == record["leaks"]["found"]
            assert data["splits"][cell["split"]]["test"] == record["split"]["test"]
            assert data["draws"][cell["drawn"]]["cases"] == record["draw"]["cases"]
            assert data["settings"][cell["settings"]] == record["settings"]
            assert data["libraries"][cell["libraries"]] == record["libraries"]
            assert data["definitions"][cell["definitions"]] == record["definitions"]
            assert json.loads((report.store.root / cell["record"]).read_text("utf-8")) == record
    assert seen == set(cells)


@pytest.mark.browser
def test_provenance_lists_every_cell(report: Made, visit: Visit) -> None:
    page, records = visit(report, "#provenance"), [one for one, _ in read_cells(report).values()]
    for task in report.page_data()["tasks"]:
        page.locator("#cell-task select").select_option(task)
        page.wait_for_selector(f"#cell-table caption:has-text('of {task};')")
        mine = {one["key"][:12]: one for one in records if one["cell"]["task"] == task}
        rows = {str(row[0]): row[1:] for row in grid(page.locator("#cell-table"))}
        assert set(rows) == set(mine)
        for key, record in mine.items():
            cell = record["cell"]
            leaks = str(len(record["leaks"]["found"])) if record["leaks"]["checked"] else None
            assert rows[key] == [
                cell["method"], record["corpus"], cell["protocol"][:8], cell["shots"],
                str(cell["draw"]), str(cell["seed"]),
                str(record["draw"]["labelled_total"]), leaks, record["machine"]["device"],
                "0.0200", record["finished"][:16].replace("T", " "), rows[key][11],
            ]  # fmt: skip
            assert (report.store.root / str(rows[key][11])).is_file()


@pytest.mark.browser
def test_a_method_that_lacks_a_draw_is_not_ranked(report: Made, visit: Visit) -> None:
    page = visit(report)
    rows = {str(row[0]): row for row in grid(board(page, "amos_ct", "5"))}
    assert rows[LACKS_A_DRAW][2:4] == [None, None]
    reason = board(page, "amos_ct", "5").locator(f"tr:has-text('{LACKS_A_DRAW}') [data-part=rank]")
    assert reason.locator(".unseen").inner_text() == f"missing: {CUT}"
    others = [row[2] for name, row in rows.items() if name != LACKS_A_DRAW]
    assert all(str(rank).endswith(" of 5)") for rank in others) and len(others) == 5


def test_others_rank_as_if_it_were_not_there(report: Made) -> None:
    cases = report.table("cases")
    cases = cases[cases["task"] != "lesion_type"].drop(columns=["probability", "predicted", "true"])
    told = report.table("standings").set_index([*ROW, "metric", "empty_targets"])
    for definition, found in standings(cases[cases["method"] != LACKS_A_DRAW]).items():
        for key, standing in found.items():
            if (key[ROW.index("task")], key[ROW.index("shots")]) != ("amos_ct", "5"):
                continue
            row = told.loc[(*key, definition.metric, definition.empty)]
            for name in ("rank", "rank_low", "rank_high", "tier", "of"):
                assert getattr(standing, name) == row[name], (key, name)


@pytest.mark.browser
def test_a_method_that_lacks_a_task_has_no_place_overall(report: Made, visit: Visit) -> None:
    page = visit(report)
    rows = {str(row[0]).split(" (")[0]: row for row in grid(page.locator("table:has(#overall)"))}
    told = report.table("standings")
    told = told[
        (told["metric"] == "dice") & (told["empty_targets"] == "left out") & (told["of"] > 0)
    ]
    boards = told.groupby(["task", "shots"]).ngroups
    assert boards == 4
    complete = {name for name in SKILL if (told["method"] == name).sum() == boards}
    assert complete == {"scratch", "simmim", "smit", "swinunetr"}
    # Ranks among the complete alone, taken anew from the means.
    means = told[told["method"].isin(complete)].set_index(["task", "shots", "method"])["mean"]
    ranks = means.groupby(["task", "shots"]).rank(ascending=False).groupby("method").mean()
    for name in SKILL:
        if name in complete:
            assert rows[name][1] == rounded(ranks[name], 2)
        else:
            assert rows[name][1:4] == [None, None, None]
    assert list(rows)[:4] == list(ranks.sort_values().index)
    reason = page.locator(f"table:has(#overall) tr:has-text('{LACKS_A_TASK}') td.missing").first
    assert (
        reason.locator(".unseen").inner_text()
        == "missing: not ranked: it was compared on only 2 of 4 boards"
    )


@pytest.mark.browser
def test_methods_and_tasks_stand_side_by_side(report: Made, visit: Visit) -> None:
    table, rows = visit(report).locator("table:has(#side-by-side)"), rows_by_hand(report)
    boards = [("amos_ct", "5"), ("amos_ct", "full"), ("phantom_mri", "5"), ("phantom_mri", "full")]
    assert heads(table) == ["Method", *(", ".join(board) for board in boards)]
    seen = 0
    for label, *cells in grid(table):
        method, _, variant = str(label).partition(" (")
        who = ("swin_65m", "paper") if "swin_65m" in variant else ("swin_tiny", "demo")
        for board_, told in zip(boards, cells, strict=True):
            key = (*board_, method, *who)
            assert told == (rounded(rows.loc[key, "dice"]) if key in rows.index else None)
            seen += told is not None
    assert seen == len(rows)


def test_nothing_missing_is_a_number(report: Made) -> None:
    text = (report.folder / "index.html").read_text(encoding="utf-8")
    words = re.sub(r"<[^>]+>", " ", text[text.index("<main") : text.index("</main>")]).split()
    assert not {"nan", "NaN", "None", "inf", "undefined", "null"} & set(words)
    for table in (report.table("standings"),):
        unranked = table["of"] == 0
        assert (
            table.loc[unranked, "rank"].isna().all()
            and (table.loc[unranked, "unranked"] != "").all()
        )
        assert np.isfinite(table.loc[~unranked, "rank"]).all()
