"""What accuracy costs: hours, memory and throughput of each row, and of its pretraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medssl_bench.analysis.leaderboard.marks import Mark, row_labels
from medssl_bench.analysis.leaderboard.provenance import duration
from medssl_bench.analysis.leaderboard.standings import Key
from medssl_bench.analysis.leaderboard.views import Row, Table, Value, number, shots_text
from medssl_bench.analysis.tables import ROW, rows_of

COLUMNS = [
    "Method",
    "Dice",
    "Hours of a cell",
    "Device hours of a cell",
    "Hours of pretraining",
    "Peak memory",
    "Samples/s",
    "Steps",
    "Devices",
]
HINTS = {
    "Hours of a cell": "wall time of fine-tuning, evaluation and similarity, mean over runs",
    "Device hours of a cell": "wall time times GPUs; none on a CPU",
    "Hours of pretraining": "wall time, once for all cells that start from it",
    "Peak memory": "the most that any run held: on a GPU by tensors, else by the process",
    "Samples/s": "crops trained on per second, mean over runs",
}
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Cost:
    """Means over the runs of one row."""

    wall_hours: float
    device_hours: float
    peak_bytes: float
    samples_per_second: float
    steps: float
    devices: tuple[str, ...]


def costs(records: Sequence[Mapping[str, Any]], keys: Mapping[str, Key]) -> dict[Key, Cost]:
    """Return the cost of each row; ``keys`` says of each cell which row it belongs to."""
    groups: dict[Key, list[Mapping[str, Any]]] = {}
    for record in records:
        if record["key"] in keys:
            groups.setdefault(keys[record["key"]], []).append(record)
    return {key: _cost(group) for key, group in groups.items()}


def _cost(records: Sequence[Mapping[str, Any]]) -> Cost:
    def known(name: str) -> list[float]:
        return [one["cost"][name] for one in records if one["cost"][name] is not None]

    def mean(name: str) -> float:
        return float(np.mean(known(name))) if known(name) else np.nan

    return Cost(
        wall_hours=mean("wall_hours"),
        device_hours=mean("device_hours"),
        peak_bytes=max(known("peak_memory_bytes"), default=np.nan),
        samples_per_second=mean("samples_per_second"),
        steps=mean("steps"),
        devices=tuple(sorted({one["machine"]["device"] for one in records})),
    )


def cost_tables(
    board: pd.DataFrame,
    found: Mapping[Key, Cost],
    pretrained: Mapping[str, float],
    marks: Mapping[str, Mark],
    families: Mapping[str, str],
) -> list[tuple[str, str, Table]]:
    """Return task, shots and the table of each board; ``pretrained`` are hours by key."""
    tables = []
    for index, ((task, shots), rows) in enumerate(board.groupby(["task", "shots"], sort=False)):
        records = rows_of(rows)
        labels = row_labels([{name: str(one[name]) for name in ROW} for one in records])
        body = [
            _row(
                label, one, found[tuple(one[name] for name in ROW)], pretrained, marks,
                families.get(one["method"], "unknown"),
            )
            for label, one in zip(labels, records, strict=True)
        ]  # fmt: skip
        caption = f"{task}, {shots_text(str(shots))}"
        tables.append(
            (str(task), str(shots), Table(f"cost-{index}", caption, COLUMNS, body, 1, hints=HINTS))
        )
    return tables


def _row(
    label: str,
    one: Mapping[str, Any],
    cost: Cost,
    pretrained: Mapping[str, float],
    marks: Mapping[str, Mark],
    family: str,
) -> Row:
    dice, hours = float(one["dice"]), pretrained.get(one["pretraining"], np.nan)
    scratch = one["pretraining"] == "none"
    cells = [
        Value(number(dice, 3), dice) if np.isfinite(dice) else Value(missing="no target"),
        Value(duration(cost.wall_hours), cost.wall_hours),
        Value(duration(cost.device_hours), cost.device_hours)
        if cost.device_hours
        else Value(missing="no GPU was used"),
        Value(duration(hours), hours)
        if np.isfinite(hours)
        else Value(missing="not pretrained" if scratch else NOT_MEASURED),
        Value(f"{cost.peak_bytes / 2**30:.2f} GiB", cost.peak_bytes)
        if np.isfinite(cost.peak_bytes)
        else Value(missing=NOT_MEASURED),
        Value(f"{cost.samples_per_second:.3g}", cost.samples_per_second)
        if np.isfinite(cost.samples_per_second)
        else Value(missing=NOT_MEASURED),
        Value(f"{cost.steps:g}", cost.steps),
        Value(", ".join(cost.devices), ", ".join(cost.devices)),
    ]
    data = {
        "family": family,
        "backbone": one["backbone"],
        "profile": one["profile"],
        "source": "measured",
    }
    return Row(label, marks[one["method"]], cells, data=data)
