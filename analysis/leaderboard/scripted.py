"""What the page's script is given of every row, and the words of the filters above the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from medssl_bench.analysis import tables
from medssl_bench.analysis.leaderboard import datafiles, overview, pairs
from medssl_bench.analysis.leaderboard.standings import DEFAULT, Standing, flips
from medssl_bench.analysis.statistics.panel import AREA

if TYPE_CHECKING:
    from medssl_bench.analysis.leaderboard.page import Report

METRIC_WORDS = {
    "dice": ("Dice", 3),
    "nsd": ("Surface Dice", 3),
    "hd95": ("HD95, larger of both directions (mm)", 1),
    "hd95_pooled": ("HD95, both directions pooled (mm)", 1),
    "hd95_surfel": ("HD95, weighted by surface area (mm)", 1),
}


def page_data(report: Report, tasks: Sequence[str]) -> dict[str, Any]:
    """Return what the script needs of every row: its standing under every definition."""
    definitions = list(report.standings)
    before = report.standings.get(DEFAULT, {})
    return {
        "tasks": {task: datafiles.file_of(task) for task in tasks},
        "definitions": [
            {
                "key": one.key,
                "metric": one.metric,
                "empty": one.empty,
                "label": METRIC_WORDS[one.metric][0],
                "digits": METRIC_WORDS[one.metric][1],
                "flips": [
                    [report.ids[flip.first], report.ids[flip.second]]
                    for flip in flips(before, report.standings[one])
                ],
            }
            for one in definitions
        ],
        "rows": {
            report.ids[key]: {
                "task": key[tables.ROW.index("task")],
                "shots": key[tables.ROW.index("shots")],
                "label": report.labels[key],
                "s": [_plain(report.standings[one][key]) for one in definitions],
            }
            for key in before
        },
        "classes": report.class_rows,
    }


def _plain(one: Standing) -> list[float | int | str | None]:
    numbers = [
        None if value != value else float(f"{value:.7g}")
        for value in (one.mean, one.low, one.high, one.rank)
    ]
    return [*numbers, one.rank_low, one.rank_high, one.tier, one.of, one.unranked]


def definition_choices(report: Report) -> dict[str, Any]:
    """Return the metrics to rank and to compare by."""
    return {
        "metrics": [
            (one.metric, METRIC_WORDS[one.metric][0])
            for one in report.standings
            if one.empty == "left out"
        ],
        "compared": [
            (metric, word)
            for metric, word in pairs.WORDS.items()
            if (
                len(report.classes)
                if metric == AREA
                else any(one.metric == metric for one in report.standings)
            )
        ],
    }


def filters(
    blocks: Sequence[overview.Block],
    modality: Mapping[str, str],
    tasks: Sequence[str],
    classes: pd.DataFrame,
) -> dict[str, list[str]]:
    """Return the words of each filter, those with more than one."""
    rows = [row.data for block in blocks for row in block.table.rows]
    shots = {block.shots for block in blocks} | set(classes.get("shots", ()))
    found = {
        "task": list(tasks),
        "modality": sorted({modality[task] for task in tasks if modality.get(task)}),
        "shots": sorted(map(str, shots), key=tables.shots_order),
        **{
            name: sorted({row[name] for row in rows if row.get(name)})
            for name in ("family", "backbone", "profile", "source")
        },
    }
    return {name: words for name, words in found.items() if len(words) > 1}
