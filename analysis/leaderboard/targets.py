"""The table of each target: a row per target, a column per row of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from medssl_bench.analysis.leaderboard.marks import Mark, row_labels
from medssl_bench.analysis.leaderboard.views import (
    Row,
    Table,
    Value,
    measured,
    number,
    shots_text,
)
from medssl_bench.analysis.tables import IDENTITY, rows_of


def target_tables(
    targets: pd.DataFrame, order: Mapping[str, Sequence[str]], marks: Mapping[str, Mark]
) -> dict[str, list[Table]]:
    """Return the tables of each task: a row per target, a column per leaderboard row."""
    tables: dict[str, list[Table]] = {}
    groups = targets.groupby(["task", "shots"], sort=False)
    for index, ((task, shots), rows) in enumerate(groups):
        keys = rows_of(rows[IDENTITY].drop_duplicates().sort_values(IDENTITY))
        keys.sort(key=lambda key: list(marks).index(key["method"]))
        found = {(row["target"], *(row[name] for name in IDENTITY)): row for row in rows_of(rows)}
        body = [
            Row(
                str(target),
                None,
                [
                    _target_cell(found.get((target, *(key[name] for name in IDENTITY))))
                    for key in keys
                ],
            )
            for target in order[str(task)]
        ]
        columns = ["Target", *row_labels(keys)]
        caption = f"{task}, {shots_text(str(shots))}"
        tables.setdefault(str(task), []).append(Table(f"target-{index}", caption, columns, body))
    return tables


def _target_cell(row: Mapping[str, Any] | None) -> Value:
    if row is None:
        return Value(missing="not measured for this row")
    value = measured(row["dice"], row["dice_sd"], 3)
    if value.missing:
        return value
    note = f"{number(row['hd95'], 1)} mm, {int(row['misses'])} of {int(row['present'])} missed"
    return replace(value, note=note)
