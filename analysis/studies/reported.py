"""Do the papers' sentences follow from their own tables? Recomputed from ``results/reported``.

Printed numbers are never mixed with measured ones. The statements are in ``statements.py``; here
are the rankings and performance gaps that the tables give.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medssl_bench.analysis.leaderboard.marks import COLOURS, DASHES
from medssl_bench.analysis.statistics.ranks import ranks_of
from medssl_bench.analysis.studies.drawing import sheet, style, titled
from medssl_bench.analysis.studies.outcome import Evidence, Outcome, Section
from medssl_bench.analysis.studies.statements import CELL, LOWER_IS_BETTER, check_statements

COLUMN = ["source", "table", "task", "target", "metric"]
NUMBER = ["source", "table", "method", "backbone", "task", "target", "metric", "shots"]
"""What ``reported_corrections.csv`` names a printed number by."""
CHECKED = {
    "source": "{source}",
    "section": "{section}",
    "statement": "{statement}",
    "stated": "{stated}",
    "from tables": "{computed}",
    "agrees": "{agrees}",
}
RANKED = {"table": "{source} {table}", "what": "{what}", "ranking": "{ranking}"}
GAPPED = {
    "table": "{source} {table}",
    "task": "{task}",
    "target": "{target}",
    "metric": "{metric}",
    "method": "{label}",
    "shots": "{shots}",
    "value": "{value}",
    "best at most shots": "{reference}",
    "gap (%)": "{gap}",
}
ORDER = {"0": 0.0, "1%": 1.0, "10%": 10.0, "20%": 20.0, "40%": 40.0, "100%": 100.0, "full": 1e3}
"""Shots as printed, fewest first; ``40`` and ``many`` are not of a table."""


def analyse(evidence: Evidence) -> Outcome:
    """Recompute statements, rankings and performance gaps."""
    table = read_reported()
    checks = check_statements(table, read_facts())
    wrong = checks[checks["agrees"] == "no"]
    sections = [
        Section(
            "Statements against tables", checks, CHECKED,
            [f"{len(checks)} statements recomputed, {len(wrong)} differ"],
        ),
        Section(
            "Rankings by printed averages", rankings(table), RANKED,
            ["ties share a rank; values as printed, so a misprint ranks as it is printed"],
        ),
        Section(
            "Performance gaps to the best at the most shots", performance_gaps(table), GAPPED,
            ["where a paper's table has several numbers of shots; no spread is printed, so no"
             " interval can be computed"],
        ),
    ]  # fmt: skip
    claim = "Numbers as printed in the papers, recomputed from their own tables; nothing measured."
    return Outcome("reported", claim, sections, {"reported": _draw(performance_gaps(table))})


def read_reported() -> pd.DataFrame:
    """Read the printed results, values as numbers; ``printed`` is their text."""
    table = _read("reported_results.csv")
    return table.assign(printed=table["value"], value=table["value"].astype(float))


def read_facts() -> pd.DataFrame:
    """Read the printed sizes and settings; values stay text."""
    return _read("reported_facts.csv")


def read_corrections() -> dict[tuple[str, ...], tuple[str, str]]:
    """Read what is suggested for cells that look wrong: ``NUMBER`` -> (number, reason)."""
    return {
        tuple(row[name] for name in NUMBER): (row["value_suggested"], row["reason"])
        for row in _read("reported_corrections.csv").to_dict("records")
    }


def _read(name: str) -> pd.DataFrame:
    path = resources.files("medssl_bench.results").joinpath(f"reported/{name}")
    with path.open(encoding="utf-8") as stream:
        return pd.read_csv(stream, dtype=str, keep_default_na=False)


def rankings(table: pd.DataFrame) -> pd.DataFrame:
    """Rank the methods of every column of averages in the papers' tables."""
    printed = table[table["table"].str.startswith("Table") & table["target"].isin(["AVG", "mean"])]
    rows = []
    for key, cells in printed.groupby(CELL, sort=False):
        words = dict(zip(CELL, map(str, key), strict=True))
        if len(cells) < 2:
            continue
        sign = -1 if words["metric"] in LOWER_IS_BETTER else 1
        ranks = ranks_of(sign * cells["value"].to_numpy()[None])[0]
        labels = [_label(cell, cells) for cell in cells.to_dict("records")]
        order = np.argsort(ranks, kind="stable")
        text = ", ".join(f"{ranks[one]:g} {labels[one]}" for one in order)
        what = f"{words['task']} {words['metric']}, shots {words['shots']}"
        rows.append({**words, "what": what, "ranking": text})
    return pd.DataFrame(rows)


def performance_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Relate each printed value to the best of its column at the most shots, in percent."""
    printed = table[table["table"].str.startswith("Table") & table["shots"].isin(list(ORDER))]
    rows = []
    for _, cells in printed.groupby(COLUMN, sort=False):
        shots = sorted(cells["shots"].unique(), key=ORDER.__getitem__)
        most = cells[cells["shots"] == shots[-1]]
        if len(shots) < 2:
            continue
        lower = most["metric"].iloc[0] in LOWER_IS_BETTER
        best = most.sort_values("value", ascending=lower, kind="stable").iloc[0].to_dict()
        for cell in cells.to_dict("records"):
            gap = 100 * (cell["value"] / best["value"] - 1)
            reference = f"{_label(best, most)} {best['value']:g}"
            rows.append({**cell, "label": _label(cell, cells), "reference": reference, "gap": gap})
    columns = [*CELL, "method", "backbone", "label", "value", "reference", "gap"]
    return pd.DataFrame(rows)[columns]


def _draw(gaps: pd.DataFrame) -> Figure:
    """Draw the printed gaps against shots, a column of a table each."""
    columns = list(gaps.groupby(COLUMN, sort=False))
    with style():
        figure, axes = sheet(-(-len(columns) // 2), 4.6, 3.0, columns=2)
        for one, (key, rows) in zip(axes, columns, strict=False):
            shots = sorted(rows["shots"].unique(), key=ORDER.__getitem__)
            labels = list(dict.fromkeys(rows["label"]))
            for number, label in enumerate(labels):
                mine = rows[rows["label"] == label]
                places = [shots.index(word) for word in mine["shots"]]
                colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % 4]
                one.plot(
                    places, mine["gap"], color=colour, linestyle=dash, marker="o", markersize=3,
                    linewidth=1.2, label=label,
                )  # fmt: skip
            one.set_xticks(range(len(shots)), shots)
            one.set_ylabel("Performance gap (%)")
            one.grid(axis="y")
            one.legend(frameon=False, fontsize=5.5, ncols=2)
            titled(one, ", ".join(map(str, key)))
        for one in axes[len(columns) :]:
            one.set_axis_off()
    return figure


def _label(cell: Mapping[Any, Any], cells: pd.DataFrame) -> str:
    """Name a row by its method, and by its backbone where that is what tells it apart."""
    alike = cells[cells["method"] == cell["method"]]
    several = alike["backbone"].nunique() > 1
    return f"{cell['method']} ({cell['backbone']})" if several else str(cell["method"])
