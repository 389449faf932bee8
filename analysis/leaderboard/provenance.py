"""Where every number comes from: one row per record, and what the page says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medssl_bench.analysis.leaderboard.marks import Mark, short
from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.leaderboard.views import Row, Table, Value
from medssl_bench.analysis.tables import shots_order

COLUMNS = [
    "Method",
    "Task",
    "Shots",
    "Draw",
    "Seed",
    "Weights",
    "Labelled cases",
    "Leaks",
    "Source",
    "Device",
    "Precision",
    "Threads",
    "Wall time",
    "Finished (UTC)",
    "Record",
]
HINTS = {
    "Weights": "SHA-256 of the weights that were tested",
    "Labelled cases": "how many labelled cases were used, and the digest of the draw",
    "Leaks": "test cases found in the pretraining corpus",
    "Source": "git commit; + where the checkout had changes",
}


def source_table(results: Results, marks: Mapping[str, Mark]) -> Table:
    """Return the table of all records, in the order of task, shots, method, draw, seed."""
    rows = [
        _row(record, results.paths.get(record["key"], ""), marks)
        for record in sorted(results.records, key=_order)
    ]
    caption = "One row for each finished cell; every digest in full in its record and in its title"
    return Table("sources-table", caption, COLUMNS, rows, hints=HINTS)


def settings_told(board: pd.DataFrame, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Add a column ``settings`` to a board: what tells pretrainings of one method apart.

    That is the settings of method and pretraining in which those of one backbone, corpus and
    profile differ, as in an ablation.
    """
    known: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for record in records:
        cell, settings = record["cell"], record["settings"]
        own = (settings.get("methods") or {}).get(cell["method"]) or {}
        kind = (cell["method"], cell["backbone"], record["corpus"] or "", record["profile"])
        values = {**(settings.get("pretrain") or {}), **own}
        known.setdefault(kind, {})[cell["pretraining"]] = values
    words: dict[str, str] = {}
    for found in known.values():
        names = dict.fromkeys(name for values in found.values() for name in values)
        several = [
            name for name in names if len({repr(values.get(name)) for values in found.values()}) > 1
        ]
        for key, values in found.items():
            words[key] = ", ".join(f"{name} {values.get(name, 'default')}" for name in several)
    told = [words.get(key, "") for key in board["pretraining"]] if len(board) else []
    return board.assign(settings=told)


def conflict_table(results: Results, marks: Mapping[str, Mark]) -> Table | None:
    """Return every run of cells that have runs with different numbers; None where there is none."""
    rows = [
        Row(
            conflict.cell["method"],
            marks.get(conflict.cell["method"]),
            [
                Value(conflict.cell["task"], conflict.cell["task"]),
                Value(conflict.cell["shots"], conflict.cell["shots"]),
                Value(str(conflict.cell["draw"]), conflict.cell["draw"]),
                Value(str(conflict.cell["seed"]), conflict.cell["seed"]),
                Value(f"{run.number:.6f}", run.number)
                if run.number is not None
                else Value(missing="no number in its record"),
                Value("in the tables" if place == 0 else "kept aside"),
                Value(run.source) if run.source else Value(missing="one folder was read"),
                Value(run.path),
            ],
        )
        for conflict in results.conflicts
        for place, run in enumerate(conflict.versions)
    ]
    heads = ["Method", "Task", "Shots", "Draw", "Seed", "Number", "Where", "Source", "Record"]
    caption = "Cells of which there are runs with different numbers"
    return Table("conflicts", caption, heads, rows) if rows else None


def _order(record: Mapping[str, Any]) -> tuple[Any, ...]:
    cell = record["cell"]
    return (cell["task"], shots_order(cell["shots"]), cell["method"], cell["draw"], cell["seed"])


def _row(record: Mapping[str, Any], path: str, marks: Mapping[str, Mark]) -> Row:
    cell, machine, draw = record["cell"], record["machine"], record["draw"]
    kind, amount = shots_order(cell["shots"])
    git, leaks, hours = record["git"], record["leaks"], record["cost"]["wall_hours"]
    return Row(
        cell["method"],
        marks[cell["method"]],
        [
            Value(cell["task"], cell["task"]),
            Value(cell["shots"], kind * 1e9 + amount),
            Value(str(cell["draw"]), cell["draw"]),
            Value(str(cell["seed"]), cell["seed"]),
            Value(short(record["digests"]["weights"]), record["digests"]["weights"]),
            Value(
                str(draw["labelled_total"]), draw["labelled_total"],
                note=f"draw {short(draw['digest'])}",
            ),
            Value(str(len(leaks["found"])), len(leaks["found"]))
            if leaks["checked"]
            else Value(missing="nobody looked"),
            Value(short(git["sha"]) + "+" * git["dirty"], git["sha"])
            if git
            else Value(missing="installed from a wheel; see the version"),
            Value(machine["device"], machine["device"], note=machine["instruction_set"]),
            Value(machine["precision"], machine["precision"]),
            Value(str(machine["threads"]), machine["threads"]),
            Value(duration(hours), hours),
            Value(record["finished"][:16].replace("T", " "), record["finished"]),
            Value(path or short(record["key"]), path, note=f"key {short(record['key'])}"),
        ],
    )  # fmt: skip


def duration(hours: float) -> str:
    """Write hours as ``1 h 05 min``, ``4 min 10 s`` or ``12 s``."""
    seconds = round(hours * 3600)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


def facts(results: Results, board: pd.DataFrame, version: str) -> dict[str, str]:
    """Say what the page is made of: profile, corpus, backbone, cells, cost, versions."""
    records = results.records

    def names(values: Sequence[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values if value is not None})) or "none"

    def libraries(name: str) -> str:
        return names([record["libraries"].get(name) for record in records])

    wall = sum(record["cost"]["wall_hours"] for record in records)
    return {
        "Profile": names([record["profile"] for record in records]),
        "Corpus": names([record["corpus"] for record in records]),
        "Backbone": names([record["cell"]["backbone"] for record in records]),
        "Methods": names([record["cell"]["method"] for record in records]),
        "Tasks": names([record["cell"]["task"] for record in records]),
        "Finished cells": str(len(records)),
        "Test cases": f"{results.cases.groupby('task')['case'].nunique().sum()} in all tasks",
        "Time of the cells": duration(wall),
        "medssl-bench": version,
        "torch": libraries("torch"),
        "MONAI": libraries("monai"),
    }


def definitions(results: Results) -> list[tuple[str, str]]:
    """Return every metric's definition as recorded; one that changed is listed in each version."""
    found = {
        (metric, text)
        for record in results.records
        for metric, text in record["definitions"].items()
    }
    return sorted(found)


def own_training(results: Results) -> dict[str, list[str]]:
    """Return method -> its protocols, of the methods that bring a training of their own."""
    found: dict[str, set[str]] = {}
    for record in results.records:
        if "own_training" in record["settings"]:
            found.setdefault(record["cell"]["method"], set()).add(record["cell"]["protocol"])
    return {method: sorted(protocols) for method, protocols in sorted(found.items())}
