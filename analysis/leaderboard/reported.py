"""What papers print, beside what was measured: rows of their own, never averaged or ranked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medssl_bench.analysis.leaderboard.views import Row, Table, Value
from medssl_bench.analysis.studies.reported import read_reported

PAPERS = {
    "medcoss": "MedCoSS",
    "medcoss_supp": "MedCoSS supplement",
    "umif": "UmiF",
    "brainmvp": "BrainMVP",
    "ssl_transfer": "SSL transferability",
}
"""Source in ``results/reported`` to the paper's short name."""


@dataclass(frozen=True)
class ReportedRow:
    """A method's printed mean Dice, as a fraction."""

    label: str
    dice: float
    spread: float
    """As printed; the papers do not say of what. NaN where none is."""
    source: str
    table: str
    backbone: str
    pretraining: str


def printed_rows() -> dict[tuple[str, str], list[ReportedRow]]:
    """Return the printed mean Dice of each (task, shots), best first."""
    table = read_reported()
    means = table[
        (table["metric"] == "dice")
        & table["target"].isin(["AVG", "mean"])
        & table["unit"].isin(["percent", "fraction"])
    ]
    found: dict[tuple[str, str], list[ReportedRow]] = {}
    for row in means.itertuples(index=False):
        scale = 0.01 if row.unit == "percent" else 1.0
        one = ReportedRow(
            label=str(row.method_label),
            dice=float(str(row.value)) * scale,
            spread=float(str(row.std)) * scale if row.std else math.nan,
            source=PAPERS.get(str(row.source), str(row.source)),
            table=str(row.table),
            backbone=str(row.backbone),
            pretraining=str(row.pretraining),
        )
        found.setdefault((str(row.task), str(row.shots)), []).append(one)
    return {key: sorted(rows, key=lambda one: -one.dice) for key, rows in found.items()}


def printed_tables() -> list[Table]:
    """Return each paper's table of each task: a row per method and shots, a column per number."""
    tables = []
    groups = read_reported().groupby(["source", "table", "task"], sort=False)
    for index, ((source, table, task), rows) in enumerate(groups):
        units = ", ".join(f"{m}: {u}" for m, u in _units(rows).items())
        columns = list(dict.fromkeys(zip(rows["target"], rows["metric"], strict=True)))
        found: dict[tuple[str, ...], dict[tuple[str, str], Any]] = {}
        row: Any
        for row in rows.itertuples(index=False):
            who = (row.method_label, row.shots, row.backbone, row.pretraining)
            found.setdefault(who, {}).setdefault((row.target, row.metric), row)
        body = [
            Row(
                label,
                None,
                [
                    Value(shots, shots),
                    *(_printed(mine.get(place)) for place in columns),
                    Value(backbone, backbone),
                    Value(pretraining, pretraining),
                ],
            )
            for (label, shots, backbone, pretraining), mine in found.items()
        ]
        heads = [f"{target} {metric}" for target, metric in columns]
        caption = f"{task}: {PAPERS.get(str(source), str(source))}, {table}"
        notes = [f"as printed ({units})", *sorted({note for note in rows["note"] if note})]
        tables.append(
            Table(
                f"printed-{index}",
                caption,
                ["Method", "Shots", *heads, "Backbone", "Pretraining"],
                body,
                notes=notes,
            )
        )
    return tables


def _units(rows: pd.DataFrame) -> Mapping[str, str]:
    pairs = rows[["metric", "unit"]].drop_duplicates()
    return {str(row.metric): str(row.unit) for row in pairs.itertuples(index=False)}


def _printed(row: Any) -> Value:
    """Write one row of the table of numbers; None where the paper prints no such number."""
    if row is None:
        return Value(missing="not printed")
    text = str(row.printed).replace("-", "\u2212")
    return Value(f"{text} \u00b1 {row.std}" if row.std else text, float(row.value))
